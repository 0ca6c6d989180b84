/* Maps values to pixels: on a line, on a logarithm's, or in even steps for what is no number. */

/* Gives at(value), the pixel, and ticks, pairs of value and text. pad: of the range, left free at either end. */
function linear(low, high, from, to, { pad = 0, count = 5 } = {}) {
  if (low === high) [low, high] = [low - (Math.abs(low) * 0.05 || 0.5), high + (Math.abs(high) * 0.05 || 0.5)];
  const free = (high - low) * pad;
  [low, high] = [low - free, high + free];
  const at = (value) => from + ((value - low) / (high - low)) * (to - from);
  return { at, low, high, ticks: marks(low, high, count).map((v) => [v, number(v)]) };
}

function logarithmic(low, high, from, to, { pad = 0, count = 5 } = {}) {
  const inner = linear(Math.log10(low), Math.log10(high), from, to, { pad });
  const [first, last] = [Math.ceil(inner.low), Math.floor(inner.high)];
  let values = [];
  const every = Math.max(Math.ceil((last - first + 1) / count), 1);
  for (let k = first; k <= last; k += every) values.push(10 ** k);
  if (values.length < 2) {
    values = [1, 2, 5].flatMap((m) => [first - 1, first, last].map((k) => m * 10 ** k));
    values = [...new Set(values)].filter((v) => v >= 10 ** inner.low && v <= 10 ** inner.high).sort((a, b) => a - b);
  }
  const at = (value) => inner.at(value > 0 ? Math.log10(value) : inner.low);
  return { at, low: 10 ** inner.low, high: 10 ** inner.high, ticks: values.map((v) => [v, number(v)]) };
}

function named(texts, from, to) {
  const place = new Map(texts.map((text, i) => [text, from + ((i + 0.5) / texts.length) * (to - from)]));
  return { at: (text) => place.get(text), ticks: texts.map((t) => [t, t]), step: Math.abs(to - from) / texts.length };
}

/* Round numbers between two. */
function marks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-12) && found.length < 50; k++) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
}

/* All positive, and over more than two decades. */
function spansDecades(values) {
  const [low, high] = extent(values);
  return low > 0 && high > 100 * low;
}

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return [low, high];
}
