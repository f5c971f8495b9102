// Line charts as SVG.

const PENS = [
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

/** The curve as path data; what is not drawable leaves a gap. */
function trace(series, at) {
  let down = false;
  return series.points
    .map(([x, y], i) => {
      if (!series.drawn[i]) {
        down = false;
        return "";
      }
      const [px, py] = at(x, y).map((v) => v.toFixed(2));
      const move = !down ? `M${px} ${py}` : series.step ? `H${px}V${py}` : `L${px} ${py}`;
      down = true;
      return move;
    })
    .join("");
}

function marker(pen, x, y, r, kind = "point") {
  return svg("path", {
    d: MARKERS[PENS[pen].marker](r),
    class: kind,
    transform: `translate(${x.toFixed(2)} ${y.toFixed(2)})`,
  });
}

function swatch(series) {
  const line = svg("path", {
    d: "M1 8H43",
    class: "curve",
    "stroke-dasharray": PENS[series.pen].dash,
  });
  return svg(
    "svg",
    { class: `pen${series.pen}`, "aria-hidden": "true", viewBox: "0 0 44 16" },
    ...(series.dots ? [] : [line]),
    ...(series.bare ? [] : [marker(series.pen, 22, 8, 3.2)]),
  );
}

/**
 * A figure: title, x and y {label, kind: linear | log | time, short}, and series of {name, id,
 * points [[x, y]], pen, step, dots, bare}. Pointer or arrow keys read the values into the legend.
 */
function chart({ title, x, y, series, width }) {
  const good = (kind, v) => isNumber(v) && (kind !== "log" || v > 0);
  for (const each of series) {
    each.drawn = each.points.map(([a, b]) => good(x.kind, a) && good(y.kind, b));
  }
  const shown = series.filter((each) => each.drawn.includes(true));
  const caption = el("figcaption", null, title);
  if (!shown.length)
    return el("figure", null, caption, el("p", { class: "quiet" }, "Not recorded."));

  const W = Math.round(Math.max(260, Math.min(width, 736)));
  const H = Math.round(Math.max(230, W * 0.52));
  const [left, right, top, bottom] = [58, W - 12, 30, H - 42];
  const values = (axis) =>
    shown.flatMap((s) => s.points.filter((_, i) => s.drawn[i]).map((p) => p[axis]));
  const sx = scale(x.kind, values(0), left, right);
  const sy = scale(y.kind, values(1), bottom, top);
  const at = (a, b) => [sx.at(a), sy.at(b)];

  const key = `chart${(chart.made = (chart.made ?? 0) + 1)}`;
  const said = shown
    .map(
      (s) =>
        `${s.name}: ${s.drawn.filter(Boolean).length} points, last ` +
        sy.say(s.points[s.drawn.lastIndexOf(true)][1]),
    )
    .join("; ");
  const root = svg(
    "svg",
    { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-labelledby": `${key}t ${key}d` },
    svg("title", { id: `${key}t` }, title),
    svg("desc", { id: `${key}d` }, `${y.label} against ${x.label}. ${said}.`),
    ...axes(sx, sy, { left, right, top, bottom, W, H }, x, y),
  );
  for (const each of shown) {
    const group = svg("g", { class: `series pen${each.pen}`, "data-run": each.id });
    if (!each.dots) {
      group.append(
        svg("path", {
          d: trace(each, at),
          class: "curve",
          "stroke-dasharray": PENS[each.pen].dash,
        }),
      );
    }
    const every = each.dots ? 1 : Math.max(1, Math.floor(each.points.length / 8));
    each.points.forEach(([a, b], i) => {
      const alone = !each.drawn[i - 1] && !each.drawn[i + 1];
      const marked = !each.bare && (i % every === Math.floor(every / 2) || alone);
      if (each.drawn[i] && marked)
        group.append(marker(each.pen, ...at(a, b), each.dots ? 2.2 : 3.2));
    });
    const end = each.drawn.lastIndexOf(true);
    each.broken = !each.step && !each.dots && end < each.points.length - 1;
    if (each.broken) {
      const [px, py] = at(...each.points[end]);
      group.append(
        svg("path", { d: MARKERS.cross(5), class: "broken", transform: `translate(${px} ${py})` }),
      );
    }
    root.append(group);
  }
  const plot = el(
    "div",
    {
      class: "plot",
      tabindex: "0",
      role: "group",
      "aria-label": `${title}. Arrow keys read its values.`,
    },
    root,
  );
  const legend = el("ul", { class: "legend", "aria-live": "polite", "aria-atomic": "true" });
  reading({ plot, root, legend, shown, sx, sy, at, x, top, bottom, W });
  return el("figure", null, caption, plot, legend);
}

function axes(sx, sy, { left, right, top, bottom, W, H }, x, y) {
  const parts = [];
  const label = (text, v, where) =>
    svg("text", { ...where, class: "tick", "data-at": v.toFixed(2) }, text);
  for (const tick of sy.ticks) {
    const v = sy.at(tick);
    parts.push(
      svg("line", { x1: left, x2: right, y1: v, y2: v, class: "grid" }),
      label(sy.text(tick), v, { x: left - 7, y: v + 4, "text-anchor": "end" }),
    );
  }
  let free = -Infinity;
  for (const tick of sx.ticks) {
    const v = sx.at(tick);
    const half = 3.6 * sx.text(tick).length;
    parts.push(svg("line", { x1: v, x2: v, y1: bottom, y2: bottom + 5, class: "axis" }));
    if (v - half < free || v + half > W) continue;
    free = v + half + 8;
    parts.push(label(sx.text(tick), v, { x: v, y: bottom + 18, "text-anchor": "middle" }));
  }
  parts.push(
    svg("path", { d: `M${left} ${top}V${bottom}H${right}`, class: "axis" }),
    svg("text", { x: (left + right) / 2, y: H - 6, "text-anchor": "middle" }, x.label),
    svg("text", { x: 4, y: 14 }, y.label),
  );
  return parts;
}

/** Fill the legend, and let pointer and arrow keys choose where its values are read. */
function reading({ plot, root, legend, shown, sx, sy, at, x, top, bottom, W }) {
  const stops = [
    ...new Set(shown.flatMap((s) => s.points.filter((_, i) => s.drawn[i]).map((p) => p[0]))),
  ].sort((a, b) => a - b);
  const where = el(
    "li",
    { class: "at" },
    "Point at the chart, or focus it and press the arrow keys.",
  );
  const outputs = shown.map(() => el("span", { class: "value" }));
  legend.append(
    ...shown.map((s, i) =>
      el("li", null, swatch(s), el("span", { class: "who", title: s.name }, s.name), outputs[i]),
    ),
    where,
  );
  if (shown.some((s) => s.broken))
    where.before(el("li", { class: "note" }, "\u2715: not finite from there on"));
  const cursor = svg("g", { "aria-hidden": "true" });
  root.append(cursor);
  let now = -1;

  function read(index) {
    now = Math.max(0, Math.min(stops.length - 1, index));
    const px = sx.at(stops[now]);
    cursor.replaceChildren(svg("line", { x1: px, x2: px, y1: top, y2: bottom, class: "cursor" }));
    where.textContent = `at ${x.short} = ${sx.say(stops[now])}; Escape ends the reading`;
    shown.forEach((s, i) => {
      const point = s.points[nearest(s, stops[now], sx)];
      outputs[i].textContent = point ? sy.say(point[1]) : DASH;
      if (point && point[0] !== stops[now] && !s.step)
        outputs[i].append(` (at ${sx.say(point[0])})`);
      if (!point) return;
      const [a, b] = at(s.step ? stops[now] : point[0], point[1]);
      cursor.append(svg("g", { class: `pen${s.pen}` }, marker(s.pen, a, b, 4, "ring")));
    });
  }
  function end() {
    now = -1;
    cursor.replaceChildren();
    where.textContent = "Point at the chart, or focus it and press the arrow keys.";
    for (const output of outputs) output.textContent = "";
  }
  function follow(event) {
    const box = root.getBoundingClientRect();
    const px = (event.clientX - box.left) * (W / box.width);
    const gaps = stops.map((stop) => Math.abs(sx.at(stop) - px));
    read(gaps.indexOf(Math.min(...gaps)));
  }
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", () => document.activeElement !== plot && end());
  plot.addEventListener("focus", () => now < 0 && read(stops.length - 1));
  plot.addEventListener("blur", end);
  plot.addEventListener("keydown", (event) => {
    const last = stops.length - 1;
    const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last };
    if (event.key === "Escape") end();
    else if (event.key in moves) {
      read(now < 0 ? last : moves[event.key]);
      event.preventDefault();
    }
  });
}

/** Index of the drawn point nearest to x on the screen; of a step, the one in force there. */
function nearest(series, stop, sx) {
  let best = -1;
  series.points.forEach(([a], i) => {
    if (series.step ? a > stop : !series.drawn[i]) return;
    const closer =
      best < 0 ||
      Math.abs(sx.at(a) - sx.at(stop)) < Math.abs(sx.at(series.points[best][0]) - sx.at(stop));
    if (series.step || closer) best = i;
  });
  return best >= 0 && series.drawn[best] ? best : -1;
}
