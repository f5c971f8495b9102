// The page: choose a board; rank, sort and filter its runs; pick runs to compare.

const MAX_PICKED = 6;
const FIRST_BATCH = 100;
const byId = (id) => document.getElementById(id);
const compareText = new Intl.Collator("en", { numeric: true }).compare;
const champions = new Map(Object.entries(data.champions));
const state = { runs: [], sort: "rank", descending: false, picked: [], shown: 0, later: 0 };

/** Settings of a run by dotted name: those of the last run, changed by the run's differences. */
function settings(run) {
  if (!run.settings) {
    const { set, gone } = run.row.config;
    run.settings = new Map(Object.entries({ ...data.config, ...set }));
    for (const name of gone) run.settings.delete(name);
  }
  return run.settings;
}

function parseRow(row, index) {
  const metric = new Map();
  row.metrics.forEach((value, i) => isNumber(value) && metric.set(data.metrics[i], value));
  const firstOf = (...names) => names.map((name) => metric.get(name)).find(isNumber) ?? null;
  const [id, board] = [String(row.id ?? DASH), String(row.board ?? "null")];
  const name = String(row.name ?? id);
  const { met, total, failed } = row.gates ?? {};
  const parameters = [...metric].filter(([key]) => key.startsWith("params/"));
  const time = Date.parse(row.time);
  return {
    row, index, id, board, name, metric,
    label: name === id ? name : `${name} (${id})`,
    time: isNumber(time) ? time : null,
    error: firstOf(data.ranking),
    test: firstOf("eval/nrmse"),
    p10: firstOf("eval/p10/nrmse", `eval/${row.selected}/p10/nrmse`),
    gap: firstOf("eval/physics/conservation_gap"),
    train: firstOf("wall/train_s"),
    total: firstOf("wall/verdict_s", "wall/total_s"),
    parameters:
      firstOf("params/selected", `params/${row.selected}`) ??
      (parameters.length ? parameters.reduce((sum, [, value]) => sum + value, 0) : null),
    passed: isNumber(met) && isNumber(total) && met >= total && !failed?.length,
    failed: isNumber(met) && isNumber(total) && (met < total || Boolean(failed?.length)),
    champion: row.board != null && champions.get(board) === row.id,
    text: [name, id, row.selected, row.device, row.git_sha].join("\n").toLowerCase(),
  };
}

const runs = data.rows.map(parseRow);
const boards = new Map(runs.map((run) => [run.board, []]));
for (const run of runs) boards.get(run.board).push(run);
for (const boardRuns of boards.values()) rank(boardRuns);

/** Rank the runs of one board; ties share a rank. A run without a board or an error has none. */
function rank(boardRuns) {
  const ranked = boardRuns.filter((run) => run.row.board != null && run.error !== null);
  ranked.sort((a, b) => cost(data.ranking, a.error) - cost(data.ranking, b.error));
  ranked.forEach((run, i) => {
    const tied = i > 0 && ranked[i - 1].error === run.error;
    run.rank = tied ? ranked[i - 1].rank : i + 1;
  });
}

function sortBy(key) {
  state.descending = state.sort === key && !state.descending;
  state.sort = key;
  list();
}

/** Sort by the chosen column. Missing values are last in both orders; ties keep their rank. */
function sorted(boardRuns) {
  const { value, text } = COLUMNS.find((column) => column.key === state.sort);
  const missing = (v) => (text ? v === null || v === undefined || v === "" : !isNumber(v));
  const sign = state.descending ? -1 : 1;
  const keyed = boardRuns.map((run) => [value(run), run]);
  keyed.sort(([a, one], [b, two]) => {
    const absent = missing(a) - missing(b);
    const difference = absent || missing(a) ? absent : sign * (text ? compareText(a, b) : a - b);
    return difference || (one.rank ?? Infinity) - (two.rank ?? Infinity) || one.index - two.index;
  });
  return keyed.map(([, run]) => run);
}

/** Match a word of the filter with the text of a run, or with the value of a setting. */
function matches(run, word) {
  if (run.text.includes(word)) return true;
  const [name, wanted] = [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)];
  if (!word.includes("=") || !name || !run.row.config) return false;
  for (const [key, value] of settings(run)) {
    const lower = key.toLowerCase();
    if ((lower === name || lower.endsWith(`.${name}`)) && equals(value, wanted)) return true;
  }
  return false;
}

function equals(value, wanted) {
  if (isNumber(value)) return wanted !== "" && Number(wanted) === value;
  const bare = (text) => text.toLowerCase().replace(/[[\]"\s]/g, "");
  return bare(typeof value === "string" ? value : JSON.stringify(value)) === bare(wanted);
}

/** Table row of a run, built once. */
const tableRowOf = (run) => (run.tableRow ??= buildRow(run, state.columns));

/** Show the runs that pass the filters. The first screenful is added at once and the others right
 * after it, so that typing stays fast with a thousand runs. */
function list() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const candidates = byId("met").checked ? state.runs.filter((run) => run.passed) : state.runs;
  const shown = sorted(candidates.filter((run) => words.every((word) => matches(run, word))));
  const body = byId("runs").querySelector("tbody");
  clearTimeout(state.later);
  body.replaceChildren(...shown.slice(0, FIRST_BATCH).map(tableRowOf));
  if (shown.length > FIRST_BATCH) {
    state.later = setTimeout(() => body.append(...shown.slice(FIRST_BATCH).map(tableRowOf)));
  }
  for (const th of byId("runs").querySelectorAll("th[data-key]")) {
    if (th.dataset.key !== state.sort) th.removeAttribute("aria-sort");
    else th.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
  }
  state.shown = shown.length;
  showStatus();
}

function showStatus() {
  const { length } = state.picked;
  const picked = length ? `; ${length} of at most ${MAX_PICKED} picked` : "";
  byId("status").textContent = `${state.shown} of ${state.runs.length} runs shown${picked}`;
}

function pick(run, on) {
  state.picked = state.picked.filter((other) => other !== run);
  if (on) state.picked.push(run);
  updatePicks();
}

function updatePicks() {
  const full = state.picked.length >= MAX_PICKED;
  for (const { box } of state.runs) if (box) box.disabled = full && !box.checked;
  byId("clear").disabled = !state.picked.length;
  showStatus();
  compareNow();
}

const compareNow = () => byId("compare").replaceChildren(...comparison(state.picked, room()));
const room = () => document.querySelector("main").clientWidth;

function historyNow() {
  const events = data.history.filter((event) => String(event.board ?? "null") === state.board);
  byId("history").replaceChildren(...bestOverTime(state.runs, events, room()));
}

/** Open a board, with no picks and sorted by rank. */
function open(board) {
  const boardRuns = boards.get(board) ?? [];
  for (const { box } of state.picked) box.checked = false;
  Object.assign(state, { board, runs: boardRuns, sort: "rank", descending: false, picked: [] });
  state.columns = shownColumns(boardRuns);
  byId("runs").querySelector("thead tr").replaceChildren(...header(state.columns));
  const { task, data: hashes, protocol } = newest(boardRuns)?.row ?? {};
  const unranked = "Runs without a board: shown, not ranked";
  const about = [
    boardRuns.length ? (boardRuns[0].row.board ?? unranked) : "No runs yet.",
    task,
    protocol?.toUpperCase?.(),
    hashes?.origin && `data ${hashes.origin}`,
    hashes?.test && `test set ${String(hashes.test).slice(0, 10)}`,
  ];
  byId("about").textContent = dotted(about);
  list();
  updatePicks();
  historyNow();
}

const newest = (boardRuns) =>
  boardRuns.reduce((a, b) => ((b.time ?? -1) >= (a?.time ?? -1) ? b : a), undefined);

function titleOf(board, boardRuns) {
  const { task, protocol } = newest(boardRuns).row;
  const size = `${boardRuns.length} ${boardRuns.length === 1 ? "run" : "runs"}`;
  if (boardRuns[0].row.board == null) return dotted(["no board", size]);
  const name = [task, protocol?.toUpperCase?.()].filter(Boolean).join(", ");
  return dotted([name, board, size]);
}

function start() {
  const age = ([, group]) => -(newest(group).time ?? -1);
  const latest = [...boards].sort((a, b) => age(a) - age(b));
  for (const [board, group] of latest)
    byId("board").append(el("option", { value: board }, titleOf(board, group)));
  byId("board").addEventListener("change", () => open(byId("board").value));
  byId("filter").addEventListener("input", list);
  byId("met").addEventListener("change", list);
  byId("clear").addEventListener("click", () => {
    for (const run of state.picked) run.box.checked = false;
    state.picked = [];
    updatePicks();
    byId("filter").focus();
  });
  let width = room();
  window.addEventListener("resize", () => {
    if (room() === width) return;
    width = room();
    compareNow();
    historyNow();
  });
  open(latest[0]?.[0] ?? null);
  // Reading the height forces a layout, so that ready means drawn.
  document.documentElement.dataset.height = document.body.offsetHeight;
  document.documentElement.dataset.ready = Math.round(performance.now());
}

start();
