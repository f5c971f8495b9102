// Axes: what maps values to pixels, where ticks stand and how they are written.

const DAY = 864e5;
const SPANS = [
  6e4,
  3e5,
  9e5,
  36e5,
  108e5,
  216e5,
  432e5,
  DAY,
  2 * DAY,
  7 * DAY,
  14 * DAY,
  30 * DAY,
  91 * DAY,
  182 * DAY,
  365 * DAY,
];

/** What maps a value to pixels from `start` to `end`, its ticks and how it is written. */
function scale(kind, values, start, end) {
  const log = kind === "log";
  const to = log ? Math.log10 : (v) => v;
  let low = values.reduce((a, b) => Math.min(a, b), Infinity);
  let high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (kind === "linear" && low > 0) low = 0;
  if (low === high) {
    const room = kind === "time" ? DAY / 2 : 0.5;
    [low, high] = log ? [low / 1.5, high * 1.5] : [low - room, high + room];
  }
  const from = to(low);
  const margin = kind === "linear" ? 0 : 0.04 * (to(high) - from);
  const unit = (end - start) / (to(high) - from + 2 * margin);
  const at = (value) => start + (to(value) - from + margin) * unit;
  const inside = (value) => (at(value) - start) * (at(value) - end) <= 1e-6;
  if (kind === "time") {
    const step = SPANS.find((span) => (high - low) / span <= 7) ?? 365 * DAY;
    const ticks = multiples(low, high, step).filter(inside);
    return { at, ticks, text: (v) => (step < DAY ? date(v).slice(5) : date(v, 10)), say: date };
  }
  const ticks = (log ? decades(low, high) : rounds(low, high)).filter(inside);
  return { at, ticks, text: (v) => short(v), say: number };
}

function multiples(low, high, step) {
  const first = Math.floor(low / step);
  const last = Math.ceil(high / step);
  return Array.from({ length: Math.min(last - first + 1, 100) }, (_, i) => (first + i) * step);
}

function rounds(low, high) {
  const rough = (high - low) / 5;
  const unit = 10 ** Math.floor(Math.log10(rough));
  return multiples(low, high, unit * [1, 2, 5, 10].find((m) => m * unit >= rough));
}

/** Ticks of a logarithmic axis: decades, or finer where those would be fewer than three. */
function decades(low, high) {
  const first = Math.floor(Math.log10(low)) - 1;
  const powers = Array.from(
    { length: Math.ceil(Math.log10(high)) - first + 2 },
    (_, i) => first + i,
  );
  for (const steps of [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 8]]) {
    const ticks = powers.flatMap((power) => steps.map((step) => Number(`${step}e${power}`)));
    const within = ticks.filter((tick) => tick >= low && tick <= high).length;
    if (within >= 3) return ticks.filter((_, i) => within <= 9 || i % Math.ceil(within / 9) === 0);
  }
  return rounds(low, high);
}

function short(value) {
  const tidy = Number(value.toPrecision(4));
  const size = Math.abs(tidy);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? tidy.toExponential() : String(tidy);
}
