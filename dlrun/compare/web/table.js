/* Tables that a click on a head sorts. */

const AT_ONCE = 500; // rows drawn before somebody asks for more

/* columns: {name, cells, right, values?, draw?}; values are what is sorted by, draw(i) makes a cell's content.
   Gives the element, and show(keep): draws the rows i for which keep(i). */
function table(caption, columns, count, rowClass = () => null) {
  let sorted = null;
  let down = false;
  let order = Array.from({ length: count }, (_, i) => i);
  let keep = () => true;
  let most = AT_ONCE;
  const body = html("tbody");
  const more = html("button", { type: "button", class: "more", click: () => draw((most += 10 * AT_ONCE)) });
  const heads = columns.map((column) => {
    const button = html("button", { type: "button", click: () => sort(column) }, column.name);
    return html("th", { scope: "col", class: column.right && "number" }, column.cells ? button : []);
  });

  function sort(column) {
    down = sorted === column ? !down : false;
    sorted = column;
    const keys = (column.values ?? column.cells).map(sortable);
    order = Array.from({ length: count }, (_, i) => i).sort((a, b) => compare(keys[a], keys[b], down) || a - b);
    heads.forEach((head, i) => {
      const here = columns[i] === column;
      head.toggleAttribute("aria-sort", here);
      if (here) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
    draw();
  }

  function draw() {
    const shown = order.filter((i) => keep(i));
    body.replaceChildren(...shown.slice(0, most).map(row));
    more.hidden = shown.length <= most;
    more.textContent = `${shown.length - most} more`;
    return shown.length;
  }

  function row(i) {
    const cells = columns.map((column, k) => {
      const content = column.draw ? column.draw(i) : column.cells[i];
      const how = [column.right && "number", column.cellClass?.(i)].filter(Boolean).join(" ");
      return html(k === 0 ? "th" : "td", { scope: k === 0 && "row", class: how || null }, content);
    });
    return html("tr", { class: rowClass(i) }, cells);
  }

  const head = html("thead", {}, html("tr", {}, heads));
  const whole = html("table", {}, html("caption", { class: "unseen" }, caption), head, body);
  // A region that scrolls has to be reached by keyboard.
  const element = html("div", {}, html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, whole), more);
  draw();
  return {
    element,
    show(test) {
      keep = test;
      most = AT_ONCE;
      return draw();
    },
  };
}

/* A cell's text by the number that it begins with, where it does. */
function sortable(value) {
  if (typeof value !== "string") return value;
  const match = /^(?:< )?([+\-−]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?= |$)/i.exec(value);
  return match ? Number(match[1].replace("−", "-")) : value === NONE || value === "" ? null : value;
}

/* Numbers by size, before text; what is absent last, whatever the direction. */
function compare(a, b, down) {
  if (a == null || b == null) return (a == null) - (b == null);
  const sign = down ? -1 : 1;
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return sign * a.localeCompare(b, undefined, { numeric: true });
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

/* A filter such as "gelu lr<0.01 act=relu": all its words hold. Gives {test, wrong}: a function of a row, and the words
   whose column there is none of, or whose time is none.
   columns: {name, key, cells, values?}. */
function condition(text, columns) {
  const wrong = [];
  const tests = [];
  for (const word of text.match(/(?:[^\s"]|"[^"]*")+/g) ?? []) {
    const match = /^([^<>=!]+)(!=|<=|>=|==?|<|>)(.*)$/.exec(word);
    if (!match) {
      const wanted = word.replaceAll('"', "").toLowerCase();
      tests.push((i) => columns.some((column) => column.cells[i].toLowerCase().includes(wanted)));
      continue;
    }
    const [, name, sign, value] = match;
    const column = columnOf(name, columns);
    if (!column) wrong.push(`no column ${name}`);
    else if (column.kind === "time" && value && instant(value.replaceAll('"', "")) == null) wrong.push(`${value}: no time`);
    else tests.push(relation(column, sign, value.replaceAll('"', "")));
  }
  return { test: (i) => tests.every((holds) => holds(i)), wrong };
}

/* The column of a name, or of its last part: lr for optim.lr, accuracy for val/accuracy. */
function columnOf(name, columns) {
  const wanted = name.toLowerCase();
  const ways = [(n) => n === wanted, (n) => n.split(/[./]/).at(-1) === wanted];
  for (const way of ways) {
    const found = columns.find((c) => way(c.name.toLowerCase()) || way((c.key ?? "").toLowerCase()));
    if (found) return found;
  }
  return null;
}

function relation(column, sign, text) {
  const wanted = column.kind === "time" ? instant(text) : text.trim() !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
  return (i) => {
    const value = column.values ? column.values[i] : column.cells[i];
    const equal = value === wanted || column.cells[i] === text || (value == null && text === "");
    if (sign === "=" || sign === "==") return equal;
    if (sign === "!=") return !equal;
    if (value == null || typeof value !== typeof wanted) return false;
    return { "<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted }[sign];
  };
}
