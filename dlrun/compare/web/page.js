/* The page: what it says, in order. */

function showFacts(list) {
  for (const [name, value] of data.facts) {
    list.append(html("div", {}, html("dt", {}, name), html("dd", {}, name === "command" ? html("code", {}, value) : value)));
  }
  if (data.skipped.length) {
    const items = data.skipped.map(([path, why]) => html("li", {}, `${path}: ${why}`));
    list.after(html("details", {}, html("summary", {}, `${items.length} folders were left out`), html("ul", {}, items)));
  }
  const folders = data.facts.find(([name]) => name === "folders");
  const title = `${runs.names.length} runs of ${folders[1]}`;
  document.querySelector("h1").textContent = title;
  document.title = `${title}: dlrun compare`;
}

const AT_FIRST = 12; // verdicts of a metric

function showVerdicts(section) {
  if (!data.verdicts.length && !data.methods.length) return section.remove();
  for (const quantity of data.quantities) {
    const found = data.verdicts.filter((v) => v.quantity === quantity);
    if (!found.length) continue;
    const sign = { better: "▲", worse: "▼", "": "·" };
    const item = (v) => html("li", { class: v.side || null }, html("span", { class: "sign", "aria-hidden": "true" }, sign[v.side]), html("span", {}, shortened(v.text)));
    const list = (some) => html("ul", { class: "verdicts" }, some.map(item));
    const [first, more] = [found.slice(0, AT_FIRST), found.slice(AT_FIRST)];
    section.append(html("h3", {}, quantity), list(first));
    if (more.length) section.append(html("details", {}, html("summary", {}, `${more.length} more`), list(more)));
  }
  section.append(...data.methods.map((text) => html("p", { class: "aside" }, text)));
}

function showGroups(section) {
  if (!groups.table) return section.remove();
  const short = (column) => ({ ...column, cells: column.cells.map(shortened) });
  const columns = groups.table.map((column) => (column.name ? short(column) : pictures()));
  const whole = table("Groups", columns, groups.names.length, (g) => (g === groups.baseline ? "baseline" : null));
  const bold = groups.baseline == null ? "" : " The baseline is bold.";
  section.append(whole.element, html("p", { class: "aside" },
    `Mean ± standard deviation over the seeds of completed runs; bars: 95% interval of the mean, dots: runs.${bold}`));
}

/* A column of means with their intervals, and the runs as dots, on one scale. */
function pictures() {
  const [width, height] = [220, 16];
  const main = runs.columns.find((column) => column.key === data.quantities[0]);
  const dots = groups.names.map((_, g) => membersOf[g].filter((r) => runs.counted[r]).map((r) => valuesOf(main)[r]));
  const ends = [...dots.flat(), ...groups.means.flat()].filter((v) => typeof v === "number");
  const x = linear(...extent(ends), 4, width - 4);
  const draw = (g) => {
    const [mean, low, high] = groups.means[g];
    const bar = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: `bar ${colour[g]}`, "aria-hidden": "true" });
    bar.append(...dots[g].filter((v) => v != null).map((v) => svg("circle", { class: "each", cx: x.at(v), cy: 8, r: 2.5 })));
    if (low != null) bar.append(svg("path", { class: "interval", d: `M${x.at(low)} 4V12M${x.at(low)} 8H${x.at(high)}M${x.at(high)} 4V12` }));
    if (mean != null) bar.append(svg("path", { class: "mean", d: `M${x.at(mean)} 2V14` }));
    return bar;
  };
  return { name: "", draw };
}

function showRuns(section) {
  const count = runs.names.length;
  const link = (i) => html("a", { href: runs.links[i] }, runs.names[i]);
  const columns = [
    { name: "run", key: "directory", cells: runs.names, draw: link },
    { name: "status", key: "status", cells: runs.status, cellClass: (i) => `status ${runs.counted[i] ? "" : runs.status[i]}` },
    ...runs.columns,
  ];
  const whole = table("Runs", columns, count);
  const said = html("output", {}, `${count} runs`);
  const help = "as with --where: act=relu and lr<0.01; or words";
  const box = html("input", { type: "search", placeholder: help, size: 40, "aria-label": `filter runs: ${help}`, input: () => {
    const { test, wrong } = condition(box.value, columns);
    const left = whole.show(test);
    said.textContent = wrong ? `not understood: ${wrong}` : `${left} of ${count} runs`;
    box.toggleAttribute("aria-invalid", wrong !== "");
  } });
  const below = runs.below ? html("span", { class: "aside" }, `below ${runs.below}`) : "";
  section.append(html("div", { class: "controls" }, html("label", {}, "filter ", box), said, below), whole.element);
}

showFacts(document.getElementById("facts"));
for (const [name, show] of Object.entries({
  verdicts: showVerdicts, groups: showGroups, curves: showCurves, effects: showEffects, confusion: showConfusion, runs: showRuns,
})) show(document.getElementById(name));
document.documentElement.dataset.ready = "";
