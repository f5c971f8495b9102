// The page: choose a board, rank, sort and filter its runs, pick some to compare.

const MOST = 6;
const AT_ONCE = 100;
const node = (id) => document.getElementById(id);
const order = new Intl.Collator("en", { numeric: true }).compare;
const champions = new Map(Object.entries(data.champions));
const bases = new Map(Object.entries(data.boards));
const state = { board: null, sort: "rank", down: false, picked: [], shown: 0, later: 0 };

/** Settings of a run as a map of dotted names: common to all, then its board's, then its own. */
function settings(run) {
  if (!run.settings) {
    run.settings = new Map(Object.entries(data.config));
    for (const { set, gone } of [bases.get(run.board), run.row.config].filter(Boolean)) {
      for (const name of gone) run.settings.delete(name);
      for (const [name, value] of Object.entries(set)) run.settings.set(name, value);
    }
  }
  return run.settings;
}

function understood(row, index) {
  const metric = new Map();
  row.metrics.forEach((value, i) => isNumber(value) && metric.set(data.metrics[i], value));
  const first = (...names) => names.map((name) => metric.get(name)).find(isNumber) ?? null;
  const [id, board] = [String(row.id ?? DASH), String(row.board ?? "null")];
  const name = String(row.name ?? id);
  const { met, of, failed } = row.gates ?? {};
  const parameters = [...metric].filter(([key]) => key.startsWith("params/"));
  const time = Date.parse(row.time);
  return {
    row,
    index,
    id,
    board,
    name,
    metric,
    label: name === id ? name : `${name} (${id})`,
    time: isNumber(time) ? time : null,
    judged: first(...data.judged),
    test: first("eval/nrmse"),
    p10: first("eval/p10/nrmse", `eval/${row.ship}/p10/nrmse`),
    gap: first("eval/physics/conservation_gap"),
    train: first("wall/train_s"),
    total: first("wall/verdict_s", "wall/total_s"),
    parameters:
      first("params/shipped", `params/${row.ship}`) ??
      (parameters.length ? parameters.reduce((sum, [, value]) => sum + value, 0) : null),
    passed: isNumber(met) && isNumber(of) && met >= of && !failed?.length,
    failed: isNumber(met) && isNumber(of) && (met < of || Boolean(failed?.length)),
    champion: row.board != null && champions.get(board) === row.id,
    text: [name, id, row.ship, row.device, row.git_sha]
      .filter((v) => v != null)
      .join("\n")
      .toLowerCase(),
  };
}

const runs = data.rows.map(understood);
const boards = new Map();
for (const run of runs) {
  if (!boards.has(run.board)) boards.set(run.board, []);
  boards.get(run.board).push(run);
}
for (const own of boards.values()) rank(own);

/** Ranks within one board; ties share a rank. A run without a board, or a number, has none. */
function rank(own) {
  const judged = own.filter((run) => run.row.board != null && run.judged !== null);
  judged.sort((a, b) => a.judged - b.judged);
  judged.forEach((run, i) => {
    const tied = i > 0 && judged[i - 1].judged === run.judged;
    run.rank = tied ? judged[i - 1].rank : i + 1;
  });
}

function sortBy(key) {
  state.down = state.sort === key && !state.down;
  state.sort = key;
  list();
}

/** Lowest first, or highest; what is missing stands last either way, and ties keep their rank. */
function sorted(own) {
  const { value, text } = COLUMNS.find((column) => column.key === state.sort);
  const missing = (v) => (text ? v === null || v === undefined || v === "" : !isNumber(v));
  const sign = state.down ? -1 : 1;
  const keyed = own.map((run) => [value(run), run]);
  keyed.sort(([a, one], [b, two]) => {
    const gone = missing(a) - missing(b);
    const apart = gone || missing(a) ? gone : sign * (text ? order(a, b) : a - b);
    return apart || (one.rank ?? Infinity) - (two.rank ?? Infinity) || one.index - two.index;
  });
  return keyed.map(([, run]) => run);
}

/** Whether a run has a word of the filter: in its text, or as the value of a setting. */
function has(run, word) {
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

/** The table's row of a run, made when it is first shown. */
const lineOf = (run) => (run.line ??= rowOf(run, state.columns));

/** Show the board's runs that pass the filters, in the chosen order: a screenful at once, so that
 * a thousand never keep a key waiting, and the rest right after it. */
function list() {
  const own = boards.get(state.board) ?? [];
  const words = node("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = sorted(
    own.filter(
      (run) => (!node("met").checked || run.passed) && words.every((word) => has(run, word)),
    ),
  );
  const body = node("runs").querySelector("tbody");
  clearTimeout(state.later);
  body.replaceChildren(...shown.slice(0, AT_ONCE).map(lineOf));
  if (shown.length > AT_ONCE) {
    state.later = setTimeout(() => body.append(...shown.slice(AT_ONCE).map(lineOf)));
  }
  for (const th of node("runs").querySelectorAll("th[data-key]")) {
    if (th.dataset.key !== state.sort) th.removeAttribute("aria-sort");
    else th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
  }
  state.shown = shown.length;
  tell();
}

function tell() {
  const picked = state.picked.length ? `; ${state.picked.length} of at most ${MOST} picked` : "";
  const all = boards.get(state.board)?.length ?? 0;
  node("status").textContent = `${state.shown} of ${all} runs shown${picked}`;
}

function pick(run, on) {
  state.picked = state.picked.filter((each) => each !== run);
  if (on) state.picked.push(run);
  picks();
}

function picks() {
  const full = state.picked.length >= MOST;
  for (const { box } of boards.get(state.board) ?? []) if (box) box.disabled = full && !box.checked;
  node("clear").disabled = !state.picked.length;
  tell();
  compareNow();
}

const compareNow = () => node("compare").replaceChildren(...comparison(state.picked, room()));
const room = () => document.querySelector("main").clientWidth;

function historyNow() {
  const events = data.history.filter((event) => String(event.board ?? "null") === state.board);
  node("history").replaceChildren(...bestOverTime(boards.get(state.board) ?? [], events, room()));
}

/** Another board: nothing of the one before stays picked, filtered or sorted with it. */
function open(board) {
  const own = boards.get(board) ?? [];
  for (const { box } of state.picked) box.checked = false;
  Object.assign(state, {
    board,
    sort: "rank",
    down: false,
    picked: [],
    columns: shownColumns(own),
  });
  node("runs")
    .querySelector("thead tr")
    .replaceChildren(...header(state.columns));
  const { task, data: hashes, protocol } = newest(own)?.row ?? {};
  node("about").textContent = !own.length
    ? "No runs yet."
    : [
        own[0].row.board ?? "Runs that name no board: shown, not ranked",
        task,
        protocol?.toUpperCase?.(),
        hashes?.origin && `data ${hashes.origin}`,
        hashes?.test && `test set ${String(hashes.test).slice(0, 10)}`,
      ]
        .filter(Boolean)
        .join(" \u00b7 ");
  list();
  picks();
  historyNow();
}

const newest = (own) =>
  own.reduce((a, b) => ((b.time ?? -1) >= (a?.time ?? -1) ? b : a), undefined);

function titleOf(board, own) {
  const { task, protocol } = newest(own).row;
  const name =
    own[0].row.board == null
      ? "no board"
      : [task, protocol?.toUpperCase?.()].filter(Boolean).join(", ");
  return [
    name,
    own[0].row.board != null && board,
    `${own.length} ${own.length === 1 ? "run" : "runs"}`,
  ]
    .filter(Boolean)
    .join(" \u00b7 ");
}

function start() {
  const latest = [...boards].sort(
    ([, a], [, b]) => (newest(b).time ?? -1) - (newest(a).time ?? -1),
  );
  node("board").append(
    ...latest.map(([board, own]) => el("option", { value: board }, titleOf(board, own))),
  );
  node("board").addEventListener("change", () => open(node("board").value));
  node("filter").addEventListener("input", list);
  node("met").addEventListener("change", list);
  node("clear").addEventListener("click", () => {
    for (const run of state.picked) run.box.checked = false;
    state.picked = [];
    picks();
    node("filter").focus();
  });
  let width = room();
  window.addEventListener("resize", () => {
    if (room() === width) return;
    width = room();
    compareNow();
    historyNow();
  });
  open(latest[0]?.[0] ?? null);
  // Reading a height lays the page out: ready means drawn, not just parsed.
  document.documentElement.dataset.height = document.body.offsetHeight;
  document.documentElement.dataset.ready = Math.round(performance.now());
}

start();
