/* What the page is made of. Text from runs only ever becomes text nodes and attributes of fixed names. */

const data = JSON.parse(document.getElementById("data").textContent);
const NONE = "–";

/* An HTML element. Attributes that are functions listen to events; false and null ones are left out. */
function html(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/* An SVG element. */
function svg(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value != null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity));
  return node;
}

/* A labelled <select>. Options: texts, whose numbers are the values. */
function chooser(label, texts, chosen, change) {
  const options = texts.map((text, i) => html("option", { value: i, selected: i === chosen }, text));
  const select = html("select", { change: (event) => change(Number(event.target.value)) }, options);
  return html("label", {}, label + " ", select);
}

function checkbox(label, checked, change) {
  const box = html("input", { type: "checkbox", change: (event) => change(event.target.checked) });
  box.checked = checked;
  return html("label", {}, box, " " + label);
}

/* A number in four digits. */
function number(x) {
  if (x == null || Number.isNaN(x)) return NONE;
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return Number(x.toPrecision(3)).toExponential().replace("e+", "e");
  return String(Number(x.toPrecision(4)));
}

/* Calls back when the width of a node has changed, and at first. */
function onWidth(node, draw) {
  let width = 0;
  new ResizeObserver(() => {
    const now = Math.floor(node.clientWidth);
    if (now && now !== width) draw((width = now));
  }).observe(node);
}

const groups = data.groups;
const runs = data.runs;

/* A choice of the data set, where there are several: metrics of different ones never share a picture. */
function dataChooser(change) {
  return data.sets.length > 1 ? [chooser("data", data.sets, 0, change)] : [];
}

/* The class of a group's colour: the baseline's is "base", the best seven have c0 to c6, the rest "other". */
const colour = groups.names.map(() => "other");
{
  const finished = (g) => groups.means[g][0] != null;
  const any = groups.names.some((_, g) => finished(g));
  let next = 0;
  groups.names.forEach((_, g) => {
    if (any && !finished(g)) return;
    if (g === groups.baseline) colour[g] = "base";
    else if (next < 7) colour[g] = `c${next++}`;
  });
}

/* Long numbers in a text, as a search draws them, are shortened. */
function shortened(text) {
  return text.replace(/\d+\.\d{5,}(e[+-]?\d+)?/g, (digits) => number(Number(digits)));
}

const groupNames = groups.names.map(shortened);
