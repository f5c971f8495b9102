// Picked runs side by side: numbers, settings that differ, curves; and a board's best over time.

const HIGHER = new Set(data.higher);
const GROUPS = [
  /(^|\/)val\/nrmse$/,
  /^eval\/nrmse$/,
  /^eval\/[^/]+$/,
  /^eval\/physics\//,
  /^eval\//,
  /^wall\//,
  /^params\//,
  /./,
];

const isHigher = (metric) => HIGHER.has(metric.split("/").pop().split("@")[0]);
const isCount = (metric) => /^params\/|\/calls$/.test(metric);

function compared(head, runs, ...bodies) {
  const corner = el("th", { scope: "col", class: "text" }, head);
  const names = runs.map((run) =>
    el("th", { scope: "col", title: run.label }, el("div", { class: "clamp" }, run.label)),
  );
  return el(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": head },
    el(
      "table",
      { class: "compared" },
      el("thead", null, el("tr", null, corner, ...names)),
      ...bodies,
    ),
  );
}

/** A dotted or slashed name that a narrow screen may break where its parts meet. */
function breakable(name) {
  return name.split(/(?<=[/._])/).flatMap((part) => [part, document.createElement("wbr")]);
}

function line(name, cells) {
  return el(
    "tr",
    null,
    el("th", { scope: "row" }, ...breakable(name)),
    ...cells.map((cell) => el("td", null, ...[cell].flat())),
  );
}

/** What is said of runs beside their metrics, where any of them says it. */
function facts(runs) {
  const list = (names) => (Array.isArray(names) && names.length ? names.join(", ") : "none");
  const versions = [...new Set(runs.flatMap((run) => Object.keys(run.row.versions ?? {})))];
  const version = (run, name) => run.row.versions?.[name];
  const rows = [
    ["rank on validation", (run) => run.rank && String(run.rank)],
    ["date (UTC)", (run) => date(run.time)],
    ["shipped mode", (run) => run.row.ship],
    ["seed", (run) => run.row.seed],
    ["device", (run) => run.row.device],
    ["git", (run) => run.row.git_sha && String(run.row.git_sha).slice(0, 10)],
    ["gates failed", (run) => run.row.gates && list(run.row.gates.failed)],
    ["regressed", (run) => run.row.regressions && list(run.row.regressions.regressed)],
    ...versions
      .filter((name) => new Set(runs.map((run) => version(run, name))).size > 1)
      .map((name) => [`version of ${name}`, (run) => version(run, name)]),
  ];
  return rows
    .map(([name, get]) => [name, runs.map((run) => get(run) ?? DASH)])
    .filter(([, cells]) => cells.some((cell) => cell !== DASH))
    .map(([name, cells]) => line(name, cells.map(String)));
}

function metricRows(runs) {
  const group = (name) => GROUPS.findIndex((pattern) => pattern.test(name));
  const names = data.metrics
    .filter((name) => runs.some((run) => run.metric.has(name)))
    .sort((a, b) => group(a) - group(b) || order(a, b));
  return names.map((name) => {
    const values = runs.map((run) => run.metric.get(name));
    const known = values.filter(isNumber);
    const best = isHigher(name) ? Math.max(...known) : Math.min(...known);
    const told = known.length > 1 && known.some((value) => value !== best);
    const cells = values.map((value) => {
      const text = isCount(name) ? count(value) : number(value);
      if (!told || value !== best) return [text, el("span", { class: "mark" })];
      return [el("strong", null, text), el("span", { class: "mark", "aria-label": "best" }, "*")];
    });
    return line(isHigher(name) ? `${name} (higher is better)` : name, cells);
  });
}

/** Dotted names of settings in which runs differ, with each run's value. */
function changes(runs) {
  const configs = runs.map(settings);
  const names = [...new Set(configs.flatMap((config) => [...config.keys()]))].sort();
  return names
    .map((name) => [name, configs.map((config) => say(config, name))])
    .filter(([, texts]) => new Set(texts).size > 1);
}

function say(config, name) {
  if (!config.has(name)) return "(absent)";
  const value = config.get(name);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function changed(runs) {
  const known = runs.filter((run) => run.row.config);
  const silent = runs.filter((run) => !run.row.config);
  const found = changes(known);
  const notes = silent.map((run) => `${run.label} recorded no settings.`);
  if (known.length > 1 && !found.length) notes.unshift("Their settings are the same.");
  const table = compared(
    "setting",
    known,
    el("tbody", { class: "changes" }, ...found.map(([name, texts]) => line(name, texts))),
  );
  return [
    ...(found.length ? [table] : []),
    ...notes.map((note) => el("p", { class: "quiet" }, note)),
  ];
}

function pairs(run, x, y) {
  const [a, b] = [run.row.curves?.[x], run.row.curves?.[y]];
  if (!Array.isArray(a) || !Array.isArray(b)) return [];
  return a.slice(0, b.length).map((value, i) => [value, b[i]]);
}

function curves(runs, width) {
  const series = (x, y) =>
    runs.map((run, pen) => ({ name: run.label, id: run.id, pen, points: pairs(run, x, y) }));
  return [
    chart({
      title: "Test error against forecast time",
      width,
      series: series("time", "nrmse"),
      x: { label: "forecast time t (dimensionless)", kind: "linear", short: "t" },
      y: { label: "test nRMSE (dimensionless)", kind: "log" },
    }),
    chart({
      title: "Validation error against training time",
      width,
      series: series("seconds", "val_nrmse"),
      x: { label: "training time (s)", kind: "log", short: "seconds" },
      y: { label: "validation nRMSE (dimensionless)", kind: "log" },
    }),
  ];
}

const column = (width) => (width >= 900 ? width / 2 - 16 : width);

function comparison(runs, width) {
  if (!runs.length)
    return [el("p", { class: "quiet" }, "No run is picked: tick up to six in the table.")];
  const differing =
    runs.length > 1 ? [el("h3", null, "Settings that differ"), ...changed(runs)] : [];
  const legend = el(
    "p",
    { class: "quiet small" },
    "Bold with a star: the best of the picked runs.",
  );
  return [
    el("div", { class: "charts" }, ...curves(runs, column(width))),
    ...differing,
    el("h3", null, "Metrics"),
    ...(runs.length > 1 ? [legend] : []),
    compared(
      "metric",
      runs,
      el("tbody", { class: "metrics" }, ...metricRows(runs)),
      el("tbody", { class: "facts" }, ...facts(runs)),
    ),
  ];
}

/** A board's champion and the best run so far, as steps over dates; promotions in words. */
function bestOverTime(runs, events, width) {
  const byId = new Map(runs.map((run) => [run.id, run]));
  const dated = runs
    .filter((run) => isNumber(run.time) && isNumber(run.judged))
    .sort((a, b) => a.time - b.time);
  const happened = events.map((event) => ({ ...event, at: Date.parse(event.time) }));
  const end = Math.max(
    ...dated.map((run) => run.time),
    ...happened.map((e) => e.at).filter(isNumber),
  );
  const lead = [];
  let leader = null;
  for (const event of happened) {
    if (event.kind === "promote") leader = event.id;
    else if (leader === event.id) leader = null;
    else continue;
    // A reign ends where the next begins, so that a gap is seen only where nobody led.
    if (leader === null && lead.length) lead.push([event.at, lead.at(-1)[1]]);
    lead.push([event.at, byId.get(leader)?.judged ?? null]);
  }
  const best = [];
  for (const run of dated.filter((each) => each.passed)) {
    if (!best.length || run.judged < best.at(-1)[1]) best.push([run.time, run.judged]);
  }
  for (const steps of [lead, best]) if (steps.length) steps.push([end, steps.at(-1)[1]]);
  const figure = chart({
    title: "Lowest validation error so far",
    width: column(width),
    x: { label: "date (UTC)", kind: "time", short: "date" },
    y: { label: "validation nRMSE (dimensionless)", kind: "log" },
    series: [
      { name: "champion", id: "champion", pen: 0, step: true, bare: true, points: lead },
      {
        name: "best so far with all gates met",
        id: "best",
        pen: 1,
        step: true,
        bare: true,
        points: best,
      },
      {
        name: "runs",
        id: "runs",
        pen: 5,
        dots: true,
        points: dated.map((run) => [run.time, run.judged]),
      },
    ],
  });
  const words = el("div", null, el("h3", null, "Promotions and demotions"), told(happened, byId));
  return [el("div", { class: "charts" }, figure, words)];
}

function told(events, byId) {
  if (!events.length) return el("p", { class: "quiet" }, "None so far.");
  return el(
    "ol",
    { class: "events" },
    ...events.map((event) => {
      const run = byId.get(String(event.id));
      const verb = event.kind === "promote" ? "promoted" : "demoted";
      const what = `${verb} ${run?.label ?? event.id ?? DASH}`;
      const value = run ? `, validation nRMSE ${number(run.judged)}` : "";
      const by = event.by ? ` (by ${event.by === "run" ? "the run itself" : `a ${event.by}`})` : "";
      return el(
        "li",
        null,
        el("time", null, date(event.at)),
        `${what}${value}${by}`,
        event.reason ? `: ${event.reason}` : "",
      );
    }),
  );
}
