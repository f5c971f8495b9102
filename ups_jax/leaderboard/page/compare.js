// Comparison of the picked runs: metrics, settings that differ, curves. History of a board's best.

const GROUPS = [/(^|\/)val\/nrmse$/, /^eval\/nrmse$/, /^eval\/[^/]+$/, /^eval\/physics\//];
GROUPS.push(/^eval\//, /^wall\//, /^params\//, /./);

/** Number that is lower for better values of a metric; its direction comes from the library. */
function cost(metric, value) {
  const direction = data.directions[metric];
  if (direction === "none") return 0;
  if (direction === "higher") return -value;
  return isNumber(direction) ? Math.abs(value - direction) : value;
}

/** Name of a metric with its direction, unless lower is better. */
function labelOf(metric) {
  const direction = data.directions[metric];
  if (direction === "higher") return `${metric} (higher is better)`;
  return isNumber(direction) ? `${metric} (ideal ${direction})` : metric;
}

const isCount = (metric) => /^params\/|\/calls$/.test(metric);

function comparisonTable(head, runs, ...bodies) {
  const corner = el("th", { scope: "col", class: "text" }, head);
  const names = runs.map((run) =>
    el("th", { scope: "col", title: run.label }, el("div", { class: "clamp" }, run.label)),
  );
  const header = el("thead", null, el("tr", null, corner, ...names));
  const box = { class: "scroll", role: "region", tabindex: "0", "aria-label": head };
  return el("div", box, el("table", { class: "compared" }, header, ...bodies));
}

/** Allow a line break after every part of a dotted or slashed name. */
function breakable(name) {
  return name.split(/(?<=[/._])/).flatMap((part) => [part, document.createElement("wbr")]);
}

function tableRow(name, cells) {
  const head = el("th", { scope: "row" }, ...breakable(name));
  return el("tr", null, head, ...cells.map((cell) => el("td", null, ...[cell].flat())));
}

/** Rows of the properties other than metrics that at least one run has. */
function factRows(runs) {
  const list = (names) => (Array.isArray(names) && names.length ? names.join(", ") : "none");
  const versions = [...new Set(runs.flatMap((run) => Object.keys(run.row.versions ?? {})))];
  const version = (run, name) => run.row.versions?.[name];
  const rows = [
    ["rank on validation", (run) => run.rank && String(run.rank)],
    ["date (UTC)", (run) => date(run.time)],
    ["selected forecaster", (run) => run.row.selected],
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
    .map(([name, cells]) => tableRow(name, cells.map(String)));
}

function metricRows(runs) {
  const group = (name) => GROUPS.findIndex((pattern) => pattern.test(name));
  const names = data.metrics
    .filter((name) => runs.some((run) => run.metric.has(name)))
    .sort((a, b) => group(a) - group(b) || compareText(a, b));
  return names.map((name) => {
    const values = runs.map((run) => run.metric.get(name));
    const costs = values.map((value) => (isNumber(value) ? cost(name, value) : Infinity));
    const best = Math.min(...costs);
    const differ = costs.some((value) => value !== best && value !== Infinity);
    const cells = values.map((value, i) => {
      const text = isCount(name) ? count(value) : number(value);
      if (!differ || costs[i] !== best) return [text, el("span", { class: "mark" })];
      return [el("strong", null, text), el("span", { class: "mark", "aria-label": "best" }, "*")];
    });
    return tableRow(labelOf(name), cells);
  });
}

/** Settings in which runs differ: dotted name and the value of every run. */
function differingSettings(runs) {
  const configs = runs.map(settings);
  const names = [...new Set(configs.flatMap((config) => [...config.keys()]))].sort();
  return names
    .map((name) => [name, configs.map((config) => settingText(config, name))])
    .filter(([, texts]) => new Set(texts).size > 1);
}

function settingText(config, name) {
  if (!config.has(name)) return "(absent)";
  const value = config.get(name);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function settingsSection(runs) {
  const known = runs.filter((run) => run.row.config);
  const unknown = runs.filter((run) => !run.row.config);
  const differing = differingSettings(known);
  const notes = unknown.map((run) => `${run.label} has no recorded settings.`);
  if (known.length > 1 && !differing.length) notes.unshift("Their settings are the same.");
  const rows = differing.map(([name, texts]) => tableRow(name, texts));
  const table = comparisonTable("setting", known, el("tbody", { class: "changes" }, ...rows));
  return [...(differing.length ? [table] : []), ...notes.map(quiet)];
}

function points(run, x, y) {
  const [a, b] = [run.row.curves?.[x], run.row.curves?.[y]];
  if (!Array.isArray(a) || !Array.isArray(b)) return [];
  return a.slice(0, b.length).map((value, i) => [value, b[i]]);
}

function curves(runs, width) {
  const series = (x, y) =>
    runs.map((run, style) => ({ name: run.label, id: run.id, style, points: points(run, x, y) }));
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
  if (!runs.length) return [quiet("No run is picked. Tick up to six runs in the table.")];
  const several = runs.length > 1;
  const small = { class: "quiet small" };
  const note = el("p", small, "The best of the picked runs is bold with a star.");
  const metrics = el("tbody", { class: "metrics" }, ...metricRows(runs));
  const facts = el("tbody", { class: "facts" }, ...factRows(runs));
  return [
    el("div", { class: "charts" }, ...curves(runs, column(width))),
    ...(several ? [el("h3", null, "Settings that differ"), ...settingsSection(runs)] : []),
    el("h3", null, "Metrics"),
    ...(several ? [note] : []),
    comparisonTable("metric", runs, metrics, facts),
  ];
}

/** Chart of a board's champion and best run over time, and the list of promotions. */
function bestOverTime(runs, events, width) {
  const runById = new Map(runs.map((run) => [run.id, run]));
  const dated = runs.filter((run) => isNumber(run.time) && isNumber(run.error));
  dated.sort((a, b) => a.time - b.time);
  const promotions = events.map((event) => ({ ...event, at: Date.parse(event.time) }));
  const times = [...dated.map((run) => run.time), ...promotions.map((event) => event.at)];
  const end = Math.max(...times.filter(isNumber));
  const lead = [];
  let leader = null;
  for (const event of promotions) {
    if (event.kind === "promote") leader = event.id;
    else if (leader === event.id) leader = null;
    else continue;
    // A gap in the line means that the board had no champion.
    if (leader === null && lead.length) lead.push([event.at, lead.at(-1)[1]]);
    lead.push([event.at, runById.get(leader)?.error ?? null]);
  }
  const best = [];
  for (const run of dated.filter((run) => run.passed)) {
    if (!best.length || run.error < best.at(-1)[1]) best.push([run.time, run.error]);
  }
  for (const steps of [lead, best]) if (steps.length) steps.push([end, steps.at(-1)[1]]);
  const measured = dated.map((run) => [run.time, run.error]);
  const line = { step: true, bare: true };
  const figure = chart({
    title: "Lowest validation error so far",
    width: column(width),
    x: { label: "date (UTC)", kind: "time", short: "date" },
    y: { label: "validation nRMSE (dimensionless)", kind: "log" },
    series: [
      { name: "champion", id: "champion", style: 0, ...line, points: lead },
      { name: "best so far without a failed gate", id: "best", style: 1, ...line, points: best },
      { name: "runs", id: "runs", style: 5, dots: true, points: measured },
    ],
  });
  const heading = el("h3", null, "Promotions and demotions");
  const list = el("div", null, heading, eventList(promotions, runById));
  return [el("div", { class: "charts" }, figure, list)];
}

function eventList(events, runById) {
  if (!events.length) return quiet("None so far.");
  const items = events.map((event) => {
    const run = runById.get(String(event.id));
    const verb = event.kind === "promote" ? "promoted" : "demoted";
    const what = `${verb} ${run?.label ?? event.id ?? DASH}`;
    const value = run ? `, validation nRMSE ${number(run.error)}` : "";
    const by = event.by ? ` (by ${event.by === "run" ? "the run itself" : `a ${event.by}`})` : "";
    const reason = event.reason ? `: ${event.reason}` : "";
    return el("li", null, el("time", null, date(event.at)), `${what}${value}${by}${reason}`);
  });
  return el("ol", { class: "events" }, ...items);
}
