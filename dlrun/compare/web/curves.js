/* Curves of metrics over steps or seconds: groups as means and bands, or each run. */

const CROWD = 60; // lines, from which on those without a colour are pale
const AXES = { step: "steps", epoch: "epochs", examples: "examples", seconds: "seconds of training" };
const AXIS_NAMES = { step: "step", epoch: "epoch", examples: "examples trained on", seconds: "seconds of training" };

function showCurves(section) {
  const { metrics } = data.curves;
  if (!metrics.length) return section.remove();
  const first = data.metrics.find((name) => metrics.includes(name));
  const axes = Object.keys(AXES).filter((axis) => !runs.perStep[axis] || runs.perStep[axis].some((size) => size));
  const state = { metric: first ?? metrics[0], axis: "step", data: 0, log: null, single: false, hidden: new Set() };
  const place = html("div", { class: "figure" });
  const logBox = checkbox("log", false, (on) => change({ log: on }));
  const controls = html("div", { class: "controls" },
    chooser("metric", metrics, metrics.indexOf(state.metric), (i) => change({ metric: metrics[i], log: null })),
    chooser("over", axes.map((axis) => AXES[axis]), 0, (i) => change({ axis: axes[i] })),
    dataChooser((i) => change({ data: i })),
    groups.names.length < runs.names.length
      ? chooser("show", ["groups: mean ± standard deviation", "each run"], 0, (i) => change({ single: i === 1 }))
      : [],
    logBox);
  const legend = groups.names.length > 1 ? curvesLegend(state, () => change({})) : html("div");
  let width = 0;
  function change(what) {
    Object.assign(state, what);
    draw();
  }
  function draw() {
    const lines = linesOf(state);
    const log = state.log ?? wantsLog(state.metric, lines);
    logBox.querySelector("input").checked = log;
    place.replaceChildren(curvesFigure(lines, state, log, width));
    said.textContent = [
      lines.some((line) => line.dashed) ? "Dashed: runs that did not complete; they are in no mean." : "",
      lines.some(({ n }) => Array.isArray(n) && n.some((k) => k < Math.max(...n))) ? "Dotted: fewer than n seeds reach this far." : "",
    ].join(" ").trim();
  }
  const said = html("p", { class: "aside" });
  section.append(controls, place, legend, said);
  onWidth(place, (now) => {
    width = now;
    draw();
  });
}

/* Buttons that hide and show groups: those with a colour first. */
function curvesLegend(state, redraw) {
  const order = groups.names.map((_, g) => g).sort((a, b) => (colour[a] === "other") - (colour[b] === "other"));
  const buttons = order.map((g) => html("button",
    { type: "button", "aria-pressed": "true", "data-group": g, title: groups.names[g], click: () => set([g], state.hidden.has(g)) },
    html("i", { class: `swatch ${colour[g]}` }), ` ${groupNames[g]}`,
    html("small", {}, ` n=${seedsOf(g)}`, g === groups.baseline ? " baseline" : "", unfinished(g))));
  const all = html("button", { type: "button", class: "all", click: () => set(order, state.hidden.size > 0) });
  function set(which, visible) {
    for (const g of which) visible ? state.hidden.delete(g) : state.hidden.add(g);
    update();
    redraw();
  }
  function update() {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(!state.hidden.has(Number(button.dataset.group))));
    }
    all.textContent = state.hidden.size ? "show all" : "hide all";
  }
  update();
  return html("div", { class: "legend", role: "group", "aria-label": "Groups shown" }, buttons, all);
}

/* How many seeds of a group completed. */
function seedsOf(g) {
  return new Set(membersOf[g].filter((r) => runs.counted[r]).map((r) => runs.seed[r])).size;
}

/* What became of the runs of a group of which none completed. */
function unfinished(g) {
  const members = membersOf[g];
  return members.some((r) => runs.counted[r]) ? "" : ` ${[...new Set(members.map((r) => runs.status[r]))].join(", ")}`;
}

/* The lines to draw: {name, group, x, y, spread?, n, dashed}. */
function linesOf({ metric, axis, data: set, single, hidden }) {
  const ofRun = (r) => {
    const found = data.curves.runs[r][metric];
    const perStep = runs.perStep[axis]?.[r] ?? 1;
    if (!found || !perStep || runs.data[r] !== set) return null;
    const xs = data.curves.x[found[axis === "seconds" ? 1 : 0]].map((x) => x * perStep);
    const rows = found[2].flatMap((y, i) => (y == null ? [] : [i]));
    return { x: rows.map((i) => xs[i]), y: rows.map((i) => found[2][i]) };
  };
  const lines = [];
  groups.names.forEach((_, group) => {
    if (hidden.has(group)) return;
    const members = membersOf[group].map((r) => [r, ofRun(r)]).filter(([, line]) => line);
    const counted = members.filter(([r]) => runs.counted[r]);
    const each = single ? members : members.filter(([r]) => !runs.counted[r]);
    for (const [r, line] of each) {
      const name = single || counted.length ? runName(r) : groupNames[group];
      lines.push({ ...line, name, group, n: 1, dashed: !runs.counted[r] });
    }
    if (!single && counted.length) {
      const line = mean(ofSeeds(counted));
      const share = data.shares.includes(metric) && line.y.every((y) => y >= 0 && y <= 1);
      lines.push({ ...line, name: groupNames[group], group, dashed: false, share });
    }
  });
  return lines;
}

/* Means over the runs that share a seed. */
function ofSeeds(members) {
  const found = new Map();
  for (const [r, line] of members) found.set(runs.seed[r], [...(found.get(runs.seed[r]) ?? []), line]);
  return [...found.values()].map((lines) => mean(lines));
}

const membersOf = groups.names.map(() => []);
runs.group.forEach((group, run) => membersOf[group].push(run));
const runName = (r) => `${runs.names[r]}${runs.counted[r] ? "" : ` (${runs.status[r]})`}`;

/* Mean and standard deviation of lines at each x of any, over those that are there: between their first and last x. */
function mean(lines) {
  if (lines.length === 1) return { ...lines[0], n: 1 };
  const xs = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const at = lines.map(() => 0);
  const found = { x: [], y: [], spread: [], n: [] };
  for (const x of xs) {
    const values = lines.flatMap((line, k) => {
      while (line.x[at[k] + 1] <= x) at[k]++;
      const y = between(line, x, at[k]);
      return y == null ? [] : [y];
    });
    if (!values.length) continue;
    const middle = values.reduce((a, b) => a + b) / values.length;
    const squares = values.reduce((sum, v) => sum + (v - middle) ** 2, 0);
    found.x.push(x);
    found.y.push(middle);
    found.spread.push(Math.sqrt(squares / Math.max(values.length - 1, 1)));
    found.n.push(values.length);
  }
  return found;
}

/* A line's value at x, which lies between its points i and i + 1; null outside of the line. */
function between({ x: xs, y: ys }, x, i) {
  if (x < xs[0] || x > xs.at(-1)) return null;
  if (i + 1 >= xs.length || xs[i] === x) return ys[i];
  return ys[i] + ((ys[i + 1] - ys[i]) * (x - xs[i])) / (xs[i + 1] - xs[i]);
}

/* As in the pictures of runs: more than two decades, and no share such as an accuracy. */
function wantsLog(metric, lines) {
  const values = shaping(lines).flatMap((line) => line.y);
  const [low, high] = extent(values.filter((v) => v > 0));
  return values.every((v) => v >= 0) && high > 100 * low && (metric.includes("loss") || high > 1);
}

/* The lines that the axes fit: those of completed runs, if there are any. */
function shaping(lines) {
  const whole = lines.filter((line) => !line.dashed);
  return whole.length ? whole : lines;
}

function curvesFigure(lines, state, log, width) {
  const box = { left: 58, right: width - 14, top: 26, bottom: HEIGHT - 38 };
  const shown = shaping(lines);
  if (!shown.length) return html("p", { class: "aside" }, "Nothing to draw.");
  const lows = shown.flatMap((line) => line.y.map((_, i) => edgeOf(line, i, -1)));
  const highs = shown.flatMap((line) => line.y.map((_, i) => edgeOf(line, i, 1)));
  const positive = shown.flatMap((line) => line.y).filter((y) => y > 0);
  const y = log && positive.length
    ? logarithmic(extent(positive)[0], extent(highs)[1], box.bottom, box.top, { pad: 0.04 })
    : linear(extent(lows)[0], extent(highs)[1], box.bottom, box.top, { pad: 0.04 });
  const x = linear(0, extent(shown.flatMap((line) => line.x))[1] || 1, box.left, box.right, { count: width / 110 });
  const figure = canvas(width, HEIGHT, `${state.metric} over ${AXES[state.axis]}, ${lines.length} lines`);
  const paths = lines.map((line) => curve(line, x, y, log));
  const order = lines.map((_, i) => i).reverse().sort((a, b) => rank(lines[a]) - rank(lines[b]));
  const clip = svg("clipPath", { id: "plot" },
    svg("rect", { x: box.left, y: box.top - 2, width: Math.max(box.right - box.left + 2, 0), height: box.bottom - box.top + 4 }));
  const cursor = svg("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  figure.append(clip, axes(box, x, y, AXIS_NAMES[state.axis], state.metric),
    svg("g", { class: lines.length > CROWD && "crowd", "clip-path": "url(#plot)" }, order.map((i) => paths[i]), cursor));
  hover(figure, lines, paths, x, y, cursor, state);
  return figure;
}

/* An edge of a line's band; of a share such as an accuracy cut at 0 and 1. */
function edgeOf(line, i, sign) {
  const edge = line.y[i] + sign * (line.spread?.[i] ?? 0);
  return line.share ? Math.min(Math.max(edge, 0), 1) : edge;
}

/* Grey lines lie below, those of completed runs above. */
function rank(line) {
  return (colour[line.group] === "other" ? 0 : 2) + (line.dashed ? 0 : 1);
}

function curve(line, x, y, log) {
  const points = line.x.map((v, i) => (log && line.y[i] <= 0 ? null : [x.at(v), y.at(line.y[i])]));
  const most = Array.isArray(line.n) ? Math.max(...line.n) : 1;
  const whole = line.x.map((_, i) => !Array.isArray(line.n) || line.n[i] === most); // where all seeds are
  const fewer = whole.map((all, i) => !all || whole[i - 1] === false || whole[i + 1] === false);
  const kind = [colour[line.group], line.dashed && "dashed", line.n === 1 && "single"].filter(Boolean).join(" ");
  const parts = [svg("path", { class: "line", d: path(points.map((point, i) => (whole[i] ? point : null))) })];
  if (!whole.every(Boolean)) {
    parts.push(svg("path", { class: "line fewer", d: path(points.map((point, i) => (fewer[i] ? point : null))) }));
  }
  if (points.length === 1 && points[0]) parts.push(svg("circle", { class: "dot", cx: points[0][0], cy: points[0][1], r: 3 }));
  if (line.spread?.some((s) => s > 0) && colour[line.group] !== "other") {
    const all = line.x.map((_, i) => i).filter((i) => whole[i]);
    const edge = (sign) => all.map((i) => [x.at(line.x[i]), y.at(edgeOf(line, i, sign))]);
    parts.unshift(svg("path", { class: "band", d: path([...edge(1), ...edge(-1).reverse()]) + "Z" }));
  }
  return svg("g", { class: `curve ${kind}`, "data-group": line.group }, parts);
}

/* The value of the nearest line, and of the coloured ones, where the pointer is. */
function hover(figure, lines, paths, x, y, cursor, state) {
  let last = null;
  const leave = () => {
    last?.classList.remove("on");
    cursor.setAttribute("visibility", "hidden");
    tell(null, []);
  };
  figure.addEventListener("pointerleave", leave);
  figure.addEventListener("pointermove", (event) => {
    const [px, py] = pointer(event, figure);
    leave();
    const here = x.low + ((px - x.at(x.low)) / (x.at(x.high) - x.at(x.low))) * (x.high - x.low);
    const found = lines.map((line, i) => {
      const k = nearestPoint(line.x, here);
      const height = between(line, here, line.x[k] <= here ? k : k - 1) ?? line.y[k];
      const aside = Math.max(line.x[0] - here, here - line.x.at(-1), 0); // of its ends
      return { line, i, k, value: line.y[k], far: Math.abs(y.at(height) - py) + x.at(aside) - x.at(0) };
    });
    if (!found.length) return;
    const near = found.reduce((a, b) => (a.far <= b.far ? a : b));
    last = paths[near.i];
    last.classList.add("on");
    const at = near.line.x[near.k];
    cursor.setAttribute("x1", x.at(at));
    cursor.setAttribute("x2", x.at(at));
    cursor.setAttribute("visibility", "visible");
    const others = found.filter((f) => f !== near && !state.single && colour[f.line.group] !== "other" && !f.line.dashed);
    const rows = [near, ...others].sort((a, b) => b.value - a.value);
    tell(event, [{ text: state.axis === "seconds" ? `${number(at)} s` : `${AXIS_NAMES[state.axis]} ${number(at)}` }, ...rows.map((f) => ({
      text: `${valueText(f)}  ${cut(f.line.name, 60)}`, strong: f === near, colour: colour[f.line.group],
    }))]);
  });
}

function valueText({ line, k, value }) {
  const n = Array.isArray(line.n) ? line.n[k] : line.n;
  return n > 1 ? `${number(value)} ± ${number(line.spread[k])} (${n})` : number(value);
}

/* The number of the x that is nearest to a value; xs ascend. */
function nearestPoint(xs, value) {
  let [low, high] = [0, xs.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= value) low = middle;
    else high = middle;
  }
  return Math.abs(xs[low] - value) <= Math.abs(xs[high] - value) ? low : high;
}
