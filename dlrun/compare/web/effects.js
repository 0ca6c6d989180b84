/* What the hyperparameters do: parallel coordinates over all of them, and one of them against a metric. */

const MOST_AXES = 12; // beside the metric's

function showEffects(section) {
  const keys = runs.columns.filter((column) => column.kind === "key");
  const metrics = runs.columns.filter((c) => c.kind === "metric" && numbers(c).length > 1);
  if (!keys.length || !metrics.length) return section.remove();
  const state = { metric: metrics[0], key: widest(keys), data: 0 };
  const controls = html("div", { class: "controls" },
    chooser("metric", metrics.map((c) => c.name), 0, (i) => change({ metric: metrics[i] })),
    chooser("key", keys.map((c) => c.name), keys.indexOf(state.key), (i) => change({ key: keys[i] })),
    dataChooser((i) => change({ data: i })));
  const [parallel, scatter] = [html("div", { class: "figure parallel" }), html("div", { class: "figure scatter" })];
  let width = 0;
  function change(what) {
    Object.assign(state, what);
    draw();
  }
  function draw() {
    const metric = ofSet(state.metric, state.data);
    if (!numbers(metric).length) {
      parallel.replaceChildren();
      return scatter.replaceChildren(html("p", { class: "aside" }, "Nothing to draw."));
    }
    parallel.replaceChildren(parallelFigure(keys.slice(0, MOST_AXES), metric, width));
    scatter.replaceChildren(scatterFigure(state.key, metric, width));
  }
  section.append(controls, scatter, parallel, html("p", { class: "aside" }, scaleOfShades(), " ",
    "Each line is a run; dashed lines and hollow dots are runs that did not complete.",
    keys.length > MOST_AXES ? ` The first ${MOST_AXES} of ${keys.length} keys.` : ""));
  onWidth(section, (now) => {
    width = now;
    draw();
  });
}

/* A metric in the runs of one data set alone. */
function ofSet(column, set) {
  return { ...column, values: valuesOf(column).map((value, i) => (runs.data[i] === set ? value : null)) };
}

function numbers(column) {
  return valuesOf(column).filter((v) => typeof v === "number");
}

function valuesOf(column) {
  return column.values ?? column.cells;
}

/* The key with the most different values. */
function widest(keys) {
  const sizes = keys.map((column) => new Set(column.cells).size);
  return keys[sizes.indexOf(Math.max(...sizes))];
}

/* Where the values of a column lie: numbers on a line (of logarithms, if over decades), all else in even steps.
   Gives the scale, and of(i): the value of a run on it, null where it has none. */
function axisOf(column, from, to, count) {
  const values = valuesOf(column);
  const known = values.filter((v) => v != null);
  if (known.length && known.every((v) => typeof v === "number")) {
    const make = spansDecades(known) ? logarithmic : linear;
    const scale = make(...extent(known), from, to, { pad: 0.05, count });
    const distinct = [...new Set(known)].sort((a, b) => a - b);
    const ticks = distinct.length <= 6 ? distinct.map((v) => [v, number(v)]) : scale.ticks;
    return { ...scale, ticks, of: (i) => values[i] };
  }
  const texts = [...new Set(column.cells)].sort((a, b) => compare(sortable(a), sortable(b), false));
  return { ...named(texts, from, to), of: (i) => column.cells[i] };
}

/* How good each run is by a metric: 0 the worst, 1 the best, null where it has no value. By rank among different
   values, half, and by size, half: one run far off does not make all others alike. */
function goodness(column) {
  const values = valuesOf(column).map((v) => (typeof v === "number" ? v : null));
  const distinct = [...new Set(values.filter((v) => v != null))].sort((a, b) => a - b);
  const place = new Map(distinct.map((v, i) => [v, distinct.length > 1 ? i / (distinct.length - 1) : 1]));
  const [low, high] = [distinct[0], distinct.at(-1)];
  return values.map((v) => {
    if (v == null) return null;
    const share = (place.get(v) + (high > low ? (v - low) / (high - low) : 1)) / 2;
    return column.better === "min" ? 1 - share : share;
  });
}

function parallelFigure(keys, metric, width) {
  const columns = [...keys, metric];
  width = Math.max(width, 110 * columns.length);
  const [top, bottom] = [44, HEIGHT - 14];
  const place = (k) => 74 + (k / (columns.length - 1)) * (width - 164);
  const scales = columns.map((column) => axisOf(column, bottom, top, 6));
  const good = goodness(metric);
  const order = good.map((g, i) => [g, i]).filter(([g]) => g != null).sort((a, b) => a[0] - b[0]);
  const figure = canvas(width, HEIGHT, `Parallel coordinates of ${columns.map((c) => c.name).join(", ")}: ${order.length} runs`);
  const lines = order.map(([share, i]) => {
    const points = scales.map((scale, k) => {
      const value = scale.of(i);
      // Runs that share a value fan out, the better ones higher.
      return value == null ? null : [place(k), scale.at(value) - (scale.step ? (share - 0.5) * Math.min(scale.step * 0.5, 30) : 0)];
    });
    return shaded(svg("path", { class: `run${runs.counted[i] ? "" : " dashed"}`, d: path(points), "data-run": i }), share);
  });
  const rules = columns.map((column, k) => svg("g", { class: "axes" },
    svg("line", { class: "rule", x1: place(k), x2: place(k), y1: top - 8, y2: bottom + 8 }),
    svg("text", { class: "name", x: place(k), y: 18, "text-anchor": "middle" }, svg("title", {}, column.key), cut(column.name, 18)),
    apart(scales[k], 16).map(([value, text]) =>
      svg("text", { class: "halo", x: place(k) + 6, y: scales[k].at(value) + 4 }, cut(text, 14)))));
  figure.append(svg("g", { class: lines.length > CROWD && "crowd" }, lines), ...rules);
  point(figure, columns, metric);
  return figure;
}

function scatterFigure(key, metric, width) {
  const box = { left: 58, right: width - 14, top: 26, bottom: HEIGHT - 38 };
  const x = axisOf(key, box.left, box.right, width / 110);
  const shown = valuesOf(metric).flatMap((v, i) => (typeof v === "number" && x.of(i) != null ? [i] : []));
  const figure = canvas(width, HEIGHT, `${metric.name} against ${key.name}: ${shown.length} runs`);
  const scale = axisOf(metric, box.bottom, box.top, 5);
  const y = { ...scale, ticks: (spansDecades(numbers(metric)) ? logarithmic : linear)(
    ...extent(numbers(metric)), box.bottom, box.top, { pad: 0.05 }).ticks };
  const good = goodness(metric);
  const dots = shown.sort((a, b) => good[a] - good[b]).map((i) => {
    // Of runs with one value of a choice each has its own place: by its number, not by chance.
    const aside = x.step ? ((((i * 0.618) % 1) - 0.5) * Math.min(x.step * 0.6, 60)) : 0;
    const at = { cx: (x.at(x.of(i)) + aside).toFixed(1), cy: y.at(valuesOf(metric)[i]).toFixed(1) };
    return shaded(svg("circle", { class: `run dot${runs.counted[i] ? "" : " hollow"}`, ...at, r: 4, "data-run": i }), good[i]);
  });
  figure.append(axes(box, x, y, key.name, metric.name), svg("g", {}, dots));
  point(figure, [key, metric], metric);
  return figure;
}

/* Gives a mark the colour of how good its run is. */
function shaded(mark, share) {
  mark.style.setProperty("--share", `${(share * 100).toFixed(0)}%`);
  return mark;
}

function scaleOfShades() {
  const steps = Array.from({ length: 12 }, (_, i) => shaded(html("i"), i / 11));
  return html("span", { class: "shades" }, "worst ", steps, " best.");
}

/* Tells about the run under the pointer. */
function point(figure, columns, metric) {
  let last = null;
  figure.addEventListener("pointerleave", () => tell(null, last?.classList.remove("on")));
  figure.addEventListener("pointermove", (event) => {
    last?.classList.remove("on");
    last = document.elementsFromPoint(event.clientX, event.clientY).find((e) => e.dataset?.run && figure.contains(e));
    if (!last) return tell(null, []);
    last.classList.add("on");
    const i = Number(last.dataset.run);
    tell(event, [{ text: runName(i), strong: true },
      ...columns.map((column) => ({ text: `${column.name}  ${column.cells[i]}`, strong: column === metric }))]);
  });
}
