/* The filter of the table: what --where takes (dlrun/runs/condition.py), and words that a row must have somewhere.

   condition = all {"or" all}
   all       = one {["and"] one}
   one       = "not" one | "(" condition ")" | name relation value | name "in" values | word
   relation  = "=" | "==" | "!=" | "<" | "<=" | ">" | ">="
   values    = value {"," value} | "(" value {"," value} ")" | "[" value {"," value} "]" */

const TOKEN = /\s*(?:(?<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?<list>\[[^[\]]*\])|(?<sign>==|!=|<=|>=|[=<>(),])|(?<word>[^\s=!<>(),"'[\]]+))/sy;
const RELATIONS = ["=", "==", "!=", "<", "<=", ">", ">=", "in"];
const DEEPEST = 50; // parentheses within parentheses

/* Gives {test, wrong}: a function of a row, and what was not understood, empty if all was.
   columns: {name, key, kind, cells, values?}. */
function condition(text, columns) {
  try {
    return { test: text.trim() ? new ConditionParser(text, columns).whole() : () => true, wrong: "" };
  } catch (error) {
    if (!(error instanceof NotUnderstood)) throw error;
    return { test: () => true, wrong: error.message };
  }
}

class NotUnderstood extends Error {}

/* Reads from left to right; each rule of the grammar is a method. */
class ConditionParser {
  constructor(text, columns) {
    Object.assign(this, { columns, next: 0, depth: 0, tokens: [] });
    let at = 0;
    while (text.slice(at).trim()) {
      TOKEN.lastIndex = at;
      const match = TOKEN.exec(text);
      if (!match) {
        const rest = text.slice(at).trim();
        throw new NotUnderstood(`${rest}: ${`"'[`.includes(rest[0]) ? "not closed" : `${rest[0]} is not part of a condition`}`);
      }
      const [kind, found] = Object.entries(match.groups).find(([, part]) => part !== undefined);
      this.tokens.push({ kind, text: found, plain: kind === "quoted" ? found.slice(1, -1).replace(/\\(.)/gs, "$1") : found });
      at = TOKEN.lastIndex;
    }
    this.tokens.push({ kind: "end", text: "", plain: "" });
  }

  expected(what) {
    const [token, before] = [this.tokens[this.next], this.tokens[this.next - 1]];
    const found = token.kind === "end" ? "the end" : token.text;
    throw new NotUnderstood(`${found}${before ? ` after ${before.text}` : ""}: expected ${what}`);
  }

  says(...words) {
    const { kind, text } = this.tokens[this.next];
    return ["word", "sign"].includes(kind) && words.includes(text.toLowerCase());
  }

  /* Moves past the next token if it is one of these, and gives it; else null. */
  take(...words) {
    return this.says(...words) ? this.tokens[this.next++].text.toLowerCase() : null;
  }

  whole() {
    const test = this.anyOf();
    if (this.tokens[this.next].kind !== "end") this.expected("and, or");
    return test;
  }

  anyOf() {
    const parts = [this.allOf()];
    while (this.take("or")) parts.push(this.allOf());
    return (i) => parts.some((part) => part(i));
  }

  allOf() {
    const parts = [this.one()];
    while (this.take("and") || !(this.tokens[this.next].kind === "end" || this.says("or", ")"))) parts.push(this.one());
    return (i) => parts.every((part) => part(i));
  }

  one() {
    if (++this.depth > DEEPEST) throw new NotUnderstood(`more than ${DEEPEST} nested parentheses or nots`);
    let test;
    if (this.take("not")) {
      const inner = this.one();
      test = (i) => !inner(i);
    } else if (this.take("(")) {
      test = this.anyOf();
      if (!this.take(")")) this.expected("and, or, )");
    } else {
      test = this.comparison();
    }
    this.depth--;
    return test;
  }

  comparison() {
    const token = this.tokens[this.next];
    if (!["word", "quoted"].includes(token.kind) || this.says("and", "or", "in")) this.expected("a column or a word");
    this.next++;
    const sign = this.take(...RELATIONS);
    if (!sign) {
      const wanted = token.plain.toLowerCase();
      return (i) => this.columns.some((column) => column.cells[i].toLowerCase().includes(wanted));
    }
    const column = columnOf(token.plain, this.columns);
    if (!column) throw new NotUnderstood(`no column ${token.plain}`);
    const wanted = (sign === "in" ? this.values() : [this.value()]).map((value) => meantIn(column, value));
    const of = (i) => (column.values ? column.values[i] : column.cells[i]);
    if (sign === "in") return (i) => wanted.some((value) => isEqual(of(i), value));
    if (["=", "==", "!="].includes(sign)) return (i) => isEqual(of(i), wanted[0]) === (sign !== "!=");
    return (i) => isOrdered(sign, of(i), wanted[0]);
  }

  values() {
    const token = this.tokens[this.next];
    if (token.kind === "list") {
      this.next++;
      const words = token.text.slice(1, -1).split(",").map((word) => word.trim().replace(/^["']|["']$/g, ""));
      return words.filter((word) => word).map((word) => valueOf(word));
    }
    const closed = this.take("(");
    const listed = [this.value()];
    while (this.take(",")) listed.push(this.value());
    if (closed && !this.take(")")) this.expected("a comma or )");
    return listed;
  }

  value() {
    const token = this.tokens[this.next];
    if (!["word", "quoted", "list"].includes(token.kind) || this.says("and", "or", "not", "in")) this.expected("a value");
    this.next++;
    return token.kind === "quoted" ? { text: token.plain, meant: token.plain } : valueOf(token.text);
  }
}

/* A value as it was typed, and its meaning; text stands for itself. */
function valueOf(text) {
  const words = { true: true, false: false, null: null, none: null };
  if (Object.hasOwn(words, text.toLowerCase())) return { text, meant: words[text.toLowerCase()] };
  const isNumber = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
  return { text, meant: isNumber ? Number(text) : text };
}

/* A value as it is compared with those of a column: of a column of times, in seconds since 1970. */
function meantIn(column, value) {
  if (column.kind !== "time" || value.meant === null) return value;
  const seconds = instant(value.text);
  if (seconds == null) throw new NotUnderstood(`${value.text}: not a time`);
  return { text: value.text, meant: seconds };
}

function isEqual(actual, { text, meant }) {
  if (actual == null) return meant === null;
  if (typeof actual === "number") return actual === meant;
  if (typeof meant === "boolean") return actual === String(meant);
  const squeezed = (list) => list.replace(/[\s"']/g, "");
  return actual === text || (actual.startsWith("[") && squeezed(actual) === squeezed(text));
}

function isOrdered(sign, actual, { text, meant }) {
  const wanted = typeof actual === "number" ? meant : text;
  if (actual == null || typeof actual !== typeof wanted) return false;
  return { "<": actual < wanted, "<=": actual <= wanted, ">": actual > wanted, ">=": actual >= wanted }[sign];
}

/* The column of a name: act for act.name, accuracy for val/accuracy, lr for optim.lr. */
function columnOf(name, columns) {
  const wanted = name.toLowerCase();
  const ways = [
    ...["", "val/", "test/", "train/"].map((split) => (n) => n === split + wanted),
    (n) => n.split(/[./]/).at(-1) === wanted,
  ];
  for (const way of ways) {
    const found = columns.find((c) => way(c.name.toLowerCase()) || way((c.key ?? "").toLowerCase()));
    if (found) return found;
  }
  return null;
}

/* Seconds since 1970 of a time such as 2026-11-23, 2026-11-23T05:22 or 2026-11-23T05:22:39+01:00, local without an
   offset; null for what is none. */
function instant(text) {
  const match = /^([12]\d{3})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?)?)?$/i.exec(text);
  if (!match) return null;
  const [year, month, day, hour, minute, second] = [0, 1, 1, 0, 0, 0].map((least, i) => Number(match[i + 1] ?? least));
  if (month < 1 || month > 12 || day < 1 || day > new Date(year, month, 0).getDate()) return null;
  if (hour > 23 || minute > 59 || second >= 60) return null;
  const parts = [year, month - 1, day, hour, minute, Math.floor(second), Math.round((second % 1) * 1000)];
  if (!match[7]) return new Date(...parts).getTime() / 1000;
  const [, sign, hours, minutes] = /([+-])(\d\d):?(\d\d)?/.exec(match[7]) ?? ["", "+", "0", "0"];
  return Date.UTC(...parts) / 1000 - Number(`${sign}1`) * (3600 * Number(hours) + 60 * Number(minutes ?? 0));
}
