// The table of runs: its columns, and the cells of a run.

const COLUMNS = [
  { key: "rank", label: "rank", value: (run) => run.rank ?? null, show: count },
  { key: "name", label: "name", text: true, value: (run) => run.name, cell: nameCell },
  { key: "id", label: "id", text: true, value: (run) => run.id },
  { key: "selected", label: "selected", text: true, value: (run) => run.row.selected },
  { key: "val", label: "val nRMSE", value: (run) => run.error },
  { key: "spread", label: "\u00b1 over seeds", value: (run) => run.row.spread, optional: true },
  { key: "test", label: "test nRMSE", value: (run) => run.test },
  { key: "p10", label: "P10 nRMSE", value: (run) => run.p10, optional: true },
  { key: "gap", label: "physics gap", value: (run) => run.gap },
  { key: "train", label: "train (s)", value: (run) => run.train },
  { key: "total", label: "to verdict (s)", value: (run) => run.total },
  { key: "parameters", label: "parameters", value: (run) => run.parameters, show: count },
  { key: "gates", label: "gates met", value: (run) => gateShare(run.row.gates), cell: gatesCell },
  { key: "regressions", label: "regressed", value: numRegressed, cell: regressionsCell },
  { key: "device", label: "device", text: true, value: (run) => run.row.device },
  { key: "date", label: "date (UTC)", value: (run) => run.time, show: date },
];

function gateShare(gates) {
  if (!isNumber(gates?.met) || !isNumber(gates.total)) return null;
  return gates.total ? gates.met / gates.total : null;
}

function numRegressed(run) {
  const { regressed: names, baseline } = run.row.regressions ?? {};
  return Array.isArray(names) && (baseline || names.length) ? names.length : null;
}

function nameCell(run, cell) {
  cell.title = run.name;
  const lead = el("span", { class: "lead" }, "\u2605 champion");
  cell.append(
    run.champion ? el("div", { class: "crowned" }, el("span", null, run.name), lead) : run.name,
  );
}

function gatesCell(run, cell) {
  if (gateShare(run.row.gates) === null)
    return cell.append(run.row.gates?.total === 0 ? "none" : DASH);
  const { met, total, failed } = run.row.gates;
  cell.append(`${met}/${total}`);
  if (!run.failed) return undefined;
  const named = Array.isArray(failed) && failed.length;
  cell.classList.add("bad");
  cell.title = named ? `failed: ${failed.join(", ")}` : "not all met";
  return cell.append(" \u2717", el("span", { class: "hidden" }, ` ${cell.title}`));
}

function regressionsCell(run, cell) {
  const regressed = numRegressed(run);
  cell.append(count(regressed));
  if (regressed) {
    cell.title = run.row.regressions.regressed.join(", ");
    cell.append(el("span", { class: "hidden" }, `: ${cell.title}`));
  }
}

/** Links to a run's report and W&B page; addresses of any other form are left out. */
function links(run) {
  const { report, wandb } = run.row;
  const addresses = [];
  if (typeof report === "string" && report) {
    const parts = report.replace(/^[/\\]+/, "").split("/");
    addresses.push(["report", parts.map(encodeURIComponent).join("/")]);
  }
  if (typeof wandb?.url === "string" && /^https?:\/\//i.test(wandb.url))
    addresses.push(["W&B", wandb.url]);
  return addresses.flatMap(([text, href]) => {
    const target = { href, target: "_blank", rel: "noopener" };
    return [el("a", { ...target, "aria-label": `${text} of ${run.label}` }, text), " "];
  });
}

/** Build the table row of a run. */
function buildRow(run, columns) {
  const box = el("input", { type: "checkbox", "aria-label": `compare ${run.label}` });
  box.disabled = state.picked.length >= MAX_PICKED;
  box.addEventListener("change", () => pick(run, box.checked));
  run.box = box;
  const cells = columns.map((column) => {
    const cell = el("td", { class: classOf(column) });
    const value = column.value(run);
    if (column.cell) column.cell(run, cell);
    else cell.textContent = column.text ? (value ?? DASH) : (column.show ?? number)(value);
    return cell;
  });
  return el(
    "tr",
    { "data-id": run.id, class: run.champion ? "champion" : null },
    el("td", { class: "pick" }, box),
    ...cells,
    el("td", { class: "text" }, ...links(run)),
  );
}

const classOf = ({ key, text }) => (key === "name" ? "text name" : text ? "text" : null);

const shownColumns = (boardRuns) =>
  COLUMNS.filter(({ optional, value }) => !optional || boardRuns.map(value).some(isNumber));

function header(columns) {
  const cells = columns.map((column) => {
    const button = el("button", { type: "button" }, column.label);
    button.addEventListener("click", () => sortBy(column.key));
    return el("th", { scope: "col", class: classOf(column), "data-key": column.key }, button);
  });
  return [
    el("th", { scope: "col", class: "pick" }, el("span", { class: "hidden" }, "compare")),
    ...cells,
    el("th", { scope: "col", class: "text" }, "links"),
  ];
}
