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
