/* Frames of charts, and the note that follows the pointer. */

const HEIGHT = 360;

/* An SVG of a width, with a description for those who can't see it. */
function canvas(width, height, label) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
}

/* Axes of a rectangle {left, right, top, bottom}: grid lines, texts of ticks, names. */
function axes(box, x, y, xName, yName) {
  const { left, right, top, bottom } = box;
  return svg("g", { class: "axes" },
    apart(y, 14).map(([value, text]) => [
      svg("line", { class: "grid", x1: left, x2: right, y1: y.at(value), y2: y.at(value) }),
      svg("text", { x: left - 6, y: y.at(value) + 4, "text-anchor": "end" }, cut(text, 16)),
    ]),
    apart(x, x.step ? 30 : 44).map(([value, text]) => [
      svg("line", { class: "grid", x1: x.at(value), x2: x.at(value), y1: top, y2: bottom }),
      svg("text", { x: x.at(value), y: bottom + 16, "text-anchor": "middle" }, cut(text, x.step ? x.step / 6.5 : 16)),
    ]),
    svg("path", { class: "frame", d: `M${left} ${top}V${bottom}H${right}` }),
    svg("text", { class: "name", x: right, y: bottom + 32, "text-anchor": "end" }, xName),
    svg("text", { class: "name", x: left, y: top - 8, "text-anchor": "start" }, yName));
}

/* The ticks of a scale that are as many pixels from each other. */
function apart(scale, pixels) {
  let last = -Infinity;
  return scale.ticks.filter(([value]) => {
    const far = Math.abs(scale.at(value) - last) >= pixels;
    if (far) last = scale.at(value);
    return far;
  });
}

function cut(text, most) {
  most = Math.max(Math.floor(most), 3);
  return text.length <= most ? text : text.slice(0, most - 1) + "…";
}

/* The d of a path through points, moved to anew after a gap (null). */
function path(points) {
  let text = "";
  let letter = "M";
  for (const point of points) {
    if (point) text += `${letter}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    letter = point ? "L" : "M";
  }
  return text;
}

const note = html("div", { class: "note", hidden: true, role: "status" });
document.body.append(note);

/* Shows lines of text beside the pointer; none hides the note. Lines: {text, strong?, colour?}. */
function tell(event, lines) {
  note.hidden = !lines?.length;
  if (note.hidden) return;
  const swatch = (line) => (line.colour ? [html("i", { class: `swatch ${line.colour}` }), " "] : []);
  note.replaceChildren(...lines.map((l) => html("div", { class: l.strong ? "strong" : null }, swatch(l), l.text)));
  const { offsetWidth: w, offsetHeight: h } = note;
  const x = event.clientX + 16 + w > innerWidth ? Math.max(event.clientX - w - 12, 4) : event.clientX + 16;
  const y = Math.max(Math.min(event.clientY + 14, innerHeight - h - 4), 4);
  note.style.left = `${x}px`;
  note.style.top = `${y}px`;
}

/* Where the pointer is, in the units of an SVG. */
function pointer(event, figure) {
  const at = figure.getBoundingClientRect();
  const scale = figure.viewBox.baseVal.width / at.width;
  return [(event.clientX - at.left) * scale, (event.clientY - at.top) * scale];
}
