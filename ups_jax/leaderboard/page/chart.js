// Line charts as SVG.

const LINE_STYLES = [
  { dash: "", marker: "circle" },
  { dash: "7 3", marker: "square" },
  { dash: "2 3", marker: "triangle" },
  { dash: "10 3 2 3", marker: "diamond" },
  { dash: "14 5", marker: "wedge" },
  { dash: "5 2 1 2 1 2", marker: "cross" },
];
const MARKERS = {
  circle: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  square: (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  triangle: (r) => `M0 ${-1.2 * r}L${1.2 * r} ${r}H${-1.2 * r}z`,
  diamond: (r) => `M0 ${-1.4 * r}L${1.4 * r} 0L0 ${1.4 * r}L${-1.4 * r} 0z`,
  wedge: (r) => `M0 ${1.2 * r}L${1.2 * r} ${-r}H${-1.2 * r}z`,
  cross: (r) => `M${-r} ${-r}L${r} ${r}M${-r} ${r}L${r} ${-r}`,
};

/** Return a curve as path data; points that are not drawable leave a gap. */
function trace(series, at) {
  const move = ([x, y], i) => {
    if (!series.drawn[i]) return "";
    const [px, py] = at(x, y).map((v) => v.toFixed(2));
    if (!series.drawn[i - 1]) return `M${px} ${py}`;
    return series.step ? `H${px}V${py}` : `L${px} ${py}`;
  };
  return series.points.map(move).join("");
}

const curvePath = (style, d) =>
  svg("path", { d, class: "curve", "stroke-dasharray": LINE_STYLES[style].dash });

function marker(style, x, y, r, kind = "point") {
  const transform = `translate(${x.toFixed(2)} ${y.toFixed(2)})`;
  return svg("path", { d: MARKERS[LINE_STYLES[style].marker](r), class: kind, transform });
}

function swatch({ style, dots, bare }) {
  const attributes = { class: `style${style}`, "aria-hidden": "true", viewBox: "0 0 44 16" };
  const root = svg("svg", attributes);
  if (!dots) root.append(curvePath(style, "M1 8H43"));
  if (!bare) root.append(marker(style, 22, 8, 3.2));
  return root;
}

/**
 * Return a figure with a title, axes x and y {label, kind: linear | log | time, short}, and series
 * {name, id, points [[x, y]], style, step, dots, bare}. `step` draws steps, `dots` draws points
 * without a line, `bare` a line without points. The legend shows the values at the pointer, or at
 * the position chosen with the arrow keys.
 */
function chart({ title, x, y, series, width }) {
  const drawable = (kind, v) => isNumber(v) && (kind !== "log" || v > 0);
  for (const curve of series) {
    curve.drawn = curve.points.map(([a, b]) => drawable(x.kind, a) && drawable(y.kind, b));
  }
  const shown = series.filter((curve) => curve.drawn.includes(true));
  const caption = el("figcaption", null, title);
  if (!shown.length) return el("figure", null, caption, quiet("Not recorded."));

  const W = Math.round(Math.max(260, Math.min(width, 736)));
  const H = Math.round(Math.max(230, W * 0.52));
  const [left, right, top, bottom] = [58, W - 12, 30, H - 42];
  const values = (axis) =>
    shown.flatMap((s) => s.points.filter((_, i) => s.drawn[i]).map((p) => p[axis]));
  const sx = scale(x.kind, values(0), left, right);
  const sy = scale(y.kind, values(1), bottom, top);
  const at = (a, b) => [sx.at(a), sy.at(b)];

  const key = `chart${(chart.made = (chart.made ?? 0) + 1)}`;
  const summary = shown.map((s) => {
    const last = s.points[s.drawn.lastIndexOf(true)][1];
    return `${s.name}: ${s.drawn.filter(Boolean).length} points, last ${sy.text(last)}`;
  });
  const root = svg(
    "svg",
    { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-labelledby": `${key}t ${key}d` },
    svg("title", { id: `${key}t` }, title),
    svg("desc", { id: `${key}d` }, `${y.label} against ${x.label}. ${summary.join("; ")}.`),
    ...axes(sx, sy, { left, right, top, bottom, W, H }, x, y),
  );
  for (const curve of shown) {
    const group = svg("g", { class: `series style${curve.style}`, "data-run": curve.id });
    if (!curve.dots) group.append(curvePath(curve.style, trace(curve, at)));
    const interval = curve.dots ? 1 : Math.max(1, Math.floor(curve.points.length / 8));
    curve.points.forEach(([a, b], i) => {
      const isolated = !curve.drawn[i - 1] && !curve.drawn[i + 1];
      const marked = !curve.bare && (i % interval === Math.floor(interval / 2) || isolated);
      const size = curve.dots ? 2.2 : 3.2;
      if (curve.drawn[i] && marked) group.append(marker(curve.style, ...at(a, b), size));
    });
    const end = curve.drawn.lastIndexOf(true);
    curve.broken = !curve.step && !curve.dots && end < curve.points.length - 1;
    if (curve.broken) {
      const transform = `translate(${at(...curve.points[end]).join(" ")})`;
      group.append(svg("path", { d: MARKERS.cross(5), class: "broken", transform }));
    }
    root.append(group);
  }
  const aria = { role: "group", "aria-label": `${title}. Arrow keys read its values.` };
  const plot = el("div", { class: "plot", tabindex: "0", ...aria }, root);
  const legend = el("ul", { class: "legend", "aria-live": "polite", "aria-atomic": "true" });
  addReadout({ plot, root, legend, shown, sx, sy, at, x, top, bottom, W });
  return el("figure", null, caption, plot, legend);
}

function axes(sx, sy, { left, right, top, bottom, W, H }, x, y) {
  const parts = [];
  const label = (text, v, place) =>
    svg("text", { ...place, class: "tick", "data-at": v.toFixed(2) }, text);
  for (const tick of sy.ticks) {
    const v = sy.at(tick);
    parts.push(
      svg("line", { x1: left, x2: right, y1: v, y2: v, class: "grid" }),
      label(sy.tickText(tick), v, { x: left - 7, y: v + 4, "text-anchor": "end" }),
    );
  }
  let free = -Infinity;
  for (const tick of sx.ticks) {
    const v = sx.at(tick);
    const half = 3.6 * sx.tickText(tick).length;
    parts.push(svg("line", { x1: v, x2: v, y1: bottom, y2: bottom + 5, class: "axis" }));
    if (v - half < free || v + half > W) continue;
    free = v + half + 8;
    parts.push(label(sx.tickText(tick), v, { x: v, y: bottom + 18, "text-anchor": "middle" }));
  }
  parts.push(
    svg("path", { d: `M${left} ${top}V${bottom}H${right}`, class: "axis" }),
    svg("text", { x: (left + right) / 2, y: H - 6, "text-anchor": "middle" }, x.label),
    svg("text", { x: 4, y: 14 }, y.label),
  );
  return parts;
}

/** Fill the legend, and show in it the values at the pointer or at the chosen position. */
function addReadout({ plot, root, legend, shown, sx, sy, at, x, top, bottom, W }) {
  const drawn = shown.flatMap((s) => s.points.filter((_, i) => s.drawn[i]));
  const positions = [...new Set(drawn.map((p) => p[0]))].sort((a, b) => a - b);
  const help = "Point at the chart, or focus it and press the arrow keys.";
  const hint = el("li", { class: "at" }, help);
  const outputs = shown.map(() => el("span", { class: "value" }));
  shown.forEach((s, i) => {
    const name = el("span", { class: "name", title: s.name }, s.name);
    legend.append(el("li", null, swatch(s), name, outputs[i]));
  });
  if (shown.some((s) => s.broken))
    legend.append(el("li", { class: "note" }, "\u2715: not finite from there on"));
  legend.append(hint);
  const cursor = svg("g", { "aria-hidden": "true" });
  root.append(cursor);
  let current = -1;

  function read(index) {
    current = Math.max(0, Math.min(positions.length - 1, index));
    const px = sx.at(positions[current]);
    cursor.replaceChildren(svg("line", { x1: px, x2: px, y1: top, y2: bottom, class: "cursor" }));
    hint.textContent = `at ${x.short} = ${sx.text(positions[current])}; Escape ends the reading`;
    shown.forEach((s, i) => {
      const point = s.points[nearest(s, positions[current], sx)];
      outputs[i].textContent = point ? sy.text(point[1]) : DASH;
      if (!point) return;
      const exact = s.step || point[0] === positions[current];
      if (!exact) outputs[i].append(` (at ${sx.text(point[0])})`);
      const [a, b] = at(s.step ? positions[current] : point[0], point[1]);
      cursor.append(svg("g", { class: `style${s.style}` }, marker(s.style, a, b, 4, "ring")));
    });
  }
  function end() {
    current = -1;
    cursor.replaceChildren();
    hint.textContent = help;
    for (const output of outputs) output.textContent = "";
  }
  function follow(event) {
    const box = root.getBoundingClientRect();
    const px = (event.clientX - box.left) * (W / box.width);
    const gaps = positions.map((position) => Math.abs(sx.at(position) - px));
    read(gaps.indexOf(Math.min(...gaps)));
  }
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", () => document.activeElement !== plot && end());
  plot.addEventListener("focus", () => current < 0 && read(positions.length - 1));
  plot.addEventListener("blur", end);
  plot.addEventListener("keydown", (event) => {
    const last = positions.length - 1;
    const moves = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: last };
    if (event.key === "Escape") end();
    else if (event.key in moves) {
      read(current < 0 ? last : moves[event.key]);
      event.preventDefault();
    }
  });
}

/** Index of the drawn point nearest to x; for a step, the last one at or before x. */
function nearest(series, position, sx) {
  let best = -1;
  series.points.forEach(([a], i) => {
    if (series.step ? a > position : !series.drawn[i]) return;
    const distance = (value) => Math.abs(sx.at(value) - sx.at(position));
    const closer = best < 0 || distance(a) < distance(series.points[best][0]);
    if (series.step || closer) best = i;
  });
  return best >= 0 && series.drawn[best] ? best : -1;
}
