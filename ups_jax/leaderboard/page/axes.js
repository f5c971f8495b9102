// Axes: scales from values to pixels, positions of ticks, and their labels.

const DAY = 864e5;
const TICK_DAYS = [1, 2, 7, 14, 30, 91, 182, 365];
const TICK_STEPS = [6e4, 3e5, 9e5, 36e5, 108e5, 216e5, 432e5, ...TICK_DAYS.map((n) => n * DAY)];

/** Return a map from values to pixels in [start, end], its ticks, and its text formats. */
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
    const step = TICK_STEPS.find((length) => (high - low) / length <= 7) ?? 365 * DAY;
    const ticks = multiples(low, high, step).filter(inside);
    const tickText = (v) => (step < DAY ? date(v).slice(5) : date(v, 10));
    return { at, ticks, tickText, text: date };
  }
  const ticks = (log ? decades(low, high) : rounds(low, high)).filter(inside);
  return { at, ticks, tickText: short, text: number };
}

function multiples(low, high, step) {
  const first = Math.floor(low / step);
  const length = Math.min(Math.ceil(high / step) - first + 1, 100);
  return Array.from({ length }, (_, i) => (first + i) * step);
}

function rounds(low, high) {
  const target = (high - low) / 5;
  const unit = 10 ** Math.floor(Math.log10(target));
  return multiples(low, high, unit * [1, 2, 5, 10].find((m) => m * unit >= target));
}

/** Ticks of a logarithmic axis: decades, or finer steps if those are fewer than three. */
function decades(low, high) {
  const first = Math.floor(Math.log10(low)) - 1;
  const length = Math.ceil(Math.log10(high)) - first + 2;
  const powers = Array.from({ length }, (_, i) => first + i);
  for (const steps of [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 8]]) {
    const ticks = powers.flatMap((power) => steps.map((step) => Number(`${step}e${power}`)));
    const within = ticks.filter((tick) => tick >= low && tick <= high).length;
    if (within >= 3) return ticks.filter((_, i) => within <= 9 || i % Math.ceil(within / 9) === 0);
  }
  return rounds(low, high);
}

function short(value) {
  const rounded = Number(value.toPrecision(4));
  const size = Math.abs(rounded);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? rounded.toExponential() : String(rounded);
}
