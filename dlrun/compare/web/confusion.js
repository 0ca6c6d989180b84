/* Which classes are taken for which, on the test data: a mean over a group's completed runs. */

const NUMBERED = 20; // up to so many classes the cells have numbers

function showConfusion(section) {
  const matrices = data.confusion;
  if (!matrices.length) return section.remove();
  const place = html("div");
  const named = matrices.map((m) => `${groupNames[m.group]} (${m.runs} ${m.runs === 1 ? "run" : "runs"})`);
  const show = (i) => place.replaceChildren(matrix(matrices[i], named[i]));
  section.append(html("div", { class: "controls" }, matrices.length > 1 ? chooser("group", named, 0, show) : named[0]), place);
  show(0);
}

function matrix({ classes, counts, runs: n }, name) {
  const many = classes.length > NUMBERED;
  const totals = counts.map((row) => row.reduce((a, b) => a + b));
  const right = counts.reduce((sum, row, i) => sum + row[i], 0);
  const all = totals.reduce((a, b) => a + b);
  const head = html("tr", {}, html("td", { class: "corner" }, "true ↓  predicted →"),
    classes.map((text) => html("th", { scope: "col", title: text }, html("span", {}, many ? "" : cut(text, 14)))),
    html("th", { scope: "col" }, "recall"));
  const rows = counts.map((row, i) => html("tr", {},
    html("th", { scope: "row", title: classes[i] }, cut(classes[i], many ? 9 : 18)),
    row.map((count, j) => cell(count, totals[i], i === j, n, many, `${classes[i]} taken for ${classes[j]}`)),
    html("td", { class: "number" }, totals[i] ? (row[i] / totals[i]).toFixed(3) : NONE)));
  const said = `${mean1(right / n)} of ${mean1(all / n)} right${n > 1 ? ", means over the runs" : ""}`;
  return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Confusion of ${name}` },
    html("table", { class: `matrix${many ? " many" : ""}` }, html("caption", {}, said), html("thead", {}, head), html("tbody", {}, rows)));
}

/* A cell, shaded by its share of the true class; the root shows rare mistakes beside frequent hits. */
function cell(count, total, hit, n, many, title) {
  const share = total ? Math.sqrt(count / total) : 0;
  const mean = mean1(count / n);
  const kind = [hit ? "hit" : "miss", share > 0.6 && "strong"].filter(Boolean).join(" ");
  const node = html("td", { class: kind, title: `${title}: ${mean}` }, many || !count ? "" : mean);
  node.style.setProperty("--share", `${(share * 100).toFixed(0)}%`);
  return node;
}

function mean1(x) {
  return Number.isInteger(x) ? String(x) : x < 10 ? x.toFixed(1) : x.toFixed(0);
}
