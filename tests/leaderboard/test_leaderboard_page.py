"""The leaderboard page: what it embeds, and what a reader with a real browser gets from it."""

import json
import math
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import pytest

from ups_jax.leaderboard.page import page

BURGERS, KURAMOTO = "burgers-p1-3fa29c01d2", "kuramoto-p1-77aa01bc55"
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><b>&amp;\u2028'"
STAGES = ("operator", "control", "diffusion", "student", "ensemble")


def settings(lr: float, width: int) -> dict[str, Any]:
    """A config of about 150 leaves, as deep as the real ones."""
    fit = {
        stage: {
            "lr": lr, "steps": 20000, "batch": 8, "steps_per_call": 100, "clip_norm": 1.0,
            "start_bias": 2.0, "ema_decay": 0.998, "loss_floor": 0.0,
            "loss": "nrmse", "match_flops_of": None, "members": 2,
            "schedule": "cosine", "phase_fractions": [0.32, 0.39, 0.29], "unroll": [1, 2, 4],
            "val_every": 4000, "num_rollouts": 1024, "warmup": 500, "weight_decay": 1e-05,
            "augment": True, **{f"option_{i}": i / 7 for i in range(6)},
        }
        for stage in STAGES
    }  # fmt: skip
    operator = {"name": "resnet", "width": width, "dilations": [1, 2, 4, 8, 2], "blocks": 3}
    data = {"path": None, **{f"data_{i}": i for i in range(16)}}
    return {"fit": fit, "operator": operator, "data": data, "pde": {"name": "burgers", "nu": 0.001}}


def run(i: int, board: str = BURGERS, **more: Any) -> dict[str, Any]:
    """A finished run, better the higher its number, with 40 metrics and both curves."""
    rng = random.Random(f"{board}{i}")
    error = 0.03 / (1 + i / 12) * rng.uniform(0.8, 1.2)
    names = [f"eval/statistic_{k}" for k in range(24)]
    clock = [45.0 * (k + 1) for k in range(10)]
    row = {
        "schema": 2, "kind": "run", "id": f"run{i:04d}", "board": board,
        "time": f"2026-{1 + i // 28 % 12:02d}-{1 + i % 28:02d}T{i % 24:02d}:30:00+00:00",
        "name": f"{board.split('-')[0]}-seed{i}", "protocol": "p1",
        "task": f"{board.split('-')[0]}, 256 points, 40 steps",
        "data": {"origin": "regenerated", "train": "a" * 32, "val": "b" * 32, "test": "c" * 32},
        "selected": "ensemble" if i % 3 == 2 else "operator", "seed": i, "num_seeds": 1,
        "spread": None,
        "metrics": {
            "eval/val/nrmse": error, "eval/nrmse": error * rng.uniform(0.9, 1.1),
            "eval/mae": error / 9, "eval/p10/nrmse": error / 3,
            "eval/correlation_time": 2 - 20 * error,
            "eval/physics/conservation_gap": rng.uniform(1e-4, 9e-4), "eval/calls": 40,
            "eval/coverage_90": 0.7 + i / 100,
            "eval/ms": rng.uniform(9, 20), "wall/train_s": rng.uniform(400, 500),
            "wall/verdict_s": rng.uniform(600, 900), "params/operator": 199490,
            **{name: rng.uniform(0, 1) for name in names},
        },
        "curves": {
            "time": [0.05 * (k + 1) for k in range(40)],
            "nrmse": [error * (0.3 + 0.05 * k) * rng.uniform(0.97, 1.03) for k in range(40)],
            "seconds": clock, "val_nrmse": [error * (1 + 900 / s) for s in clock],
        },
        "device": "2 CPU cores" if i % 4 else "NVIDIA H100",
        "versions": {"jax": "0.10.2", "flax": "0.12.1", "python": "3.11.7"},
        "git_sha": f"{rng.getrandbits(160):040x}",
        "wandb": {"id": "x", "url": f"https://wandb.ai/example/ups_jax/runs/{i}"},
        "fingerprint": "f" * 64, "config": settings(0.003 if i % 2 else 0.001, 64 + 16 * (i % 3)),
        "gates": {"met": 6, "total": 7, "failed": ["eval/nrmse"]} if i % 5 == 0
        else {"met": 7, "total": 7, "failed": []},
        "regressions": {"regressed": ["eval/mae"] * (i % 2), "improved": [], "baseline": "run0001"},
        "report": f"burgers-seed{i}/report.html",
    }  # fmt: skip
    return {**row, **more}


def event(kind: str, i: int, **more: Any) -> dict[str, Any]:
    reason = "all gates met" if kind == "promote" else "withdrawn"
    own = {"board": BURGERS, "id": f"run{i:04d}", "time": run(i)["time"], "kind": kind}
    return {**own, "by": "run", "reason": reason, **more}


def board() -> tuple[list[dict[str, Any]], dict[str, str], list[dict[str, Any]]]:
    """Two boards; on one a failed gate, a run of no numbers, an old row and a hostile name."""
    rows = [run(i) for i in range(1, 13)]
    rows[4]["metrics"]["eval/val/nrmse"] = math.nan
    rows[6]["name"] = HOSTILE
    rows[6]["report"] = "javascript:alert(1)"
    rows[6]["wandb"] = {"id": "x", "url": "javascript:alert(1)"}
    del rows[11]["config"]["pde"]["nu"]
    rows.insert(1, {"id": "old1", "board": BURGERS})
    rows += [run(i, KURAMOTO, id=f"ks{i}", time=f"2025-03-0{i}T00:00:00+00:00") for i in (1, 2, 3)]
    history = [event("promote", 2), event("promote", 6), event("demote", 6), event("promote", 11)]
    history[2] |= {"by": "user", "time": "2026-01-09T12:00:00+00:00"}
    return rows, {BURGERS: "run0011", KURAMOTO: "ks2"}, history


def embedded(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def restored(data: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """A run's settings as the page puts them together."""
    changes = row["config"]
    return {k: v for k, v in data["config"].items() if k not in changes["gone"]} | changes["set"]


def test_no_text_of_a_row_is_markup():
    rows, champions, history = board()
    rows[0]["config"] = {HOSTILE: HOSTILE}
    rows[0]["metrics"][HOSTILE] = 1.0
    history[0]["reason"] = HOSTILE
    text = page(rows, champions, history, title=HOSTILE)
    assert text.count("</script>") == 2 and "<img" not in text
    assert text.split('id="data">')[1].split("</script>")[0].isascii()
    data = embedded(text)
    assert data["rows"][7]["name"] == HOSTILE and data["history"][0]["reason"] == HOSTILE


def test_the_page_refers_to_nothing_outside_itself():
    text = page(*board())
    outside = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.S)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:,)", outside)
    assert not re.findall(r"@import|url\(|fetch\(|XMLHttpRequest|localStorage|innerHTML", outside)
    assert "default-src 'none'" in outside


def test_settings_come_back_whole_from_their_differences():
    rows = [run(i, KURAMOTO if i % 4 == 0 else BURGERS) for i in range(20)]
    del rows[3]["config"]["pde"]["nu"]
    rows[5]["config"]["extra"] = {"deep": {"list": [1, 2], "empty": {}}}
    rows[8]["config"]["only_here"] = True
    data = embedded(page(rows, {}, []))
    for row, stored in zip(rows, data["rows"], strict=True):
        whole = restored(data, stored)
        assert whole["fit.ensemble.lr"] == row["config"]["fit"]["ensemble"]["lr"]
        assert whole.get("pde.nu") == row["config"]["pde"].get("nu")
        assert ("pde.nu" in whole) == ("nu" in row["config"]["pde"])
        assert ("only_here" in whole) == ("only_here" in row["config"])
    assert restored(data, data["rows"][5])["extra.deep.list"] == [1, 2]
    assert len(json.dumps(data["rows"][10]["config"])) < 1000


def test_what_json_cannot_hold_is_null_and_numbers_are_short():
    row = run(1)
    row["metrics"] |= {
        "eval/mae": math.inf,
        "eval/nrmse": 0.00123456789,
        "eval/val/nrmse": 0.0123456789,
    }
    row["curves"]["nrmse"][3] = math.nan
    data = embedded(page([row], {}, []))
    values = dict(zip(data["metrics"], data["rows"][0]["metrics"], strict=True))
    assert values["eval/mae"] is None and values["eval/nrmse"] == 0.0012346
    assert values["eval/val/nrmse"] == 0.0123456789, "a rank is of the error as measured"
    assert data["rows"][0]["curves"]["nrmse"][3] is None


@pytest.mark.parametrize("rows", [[], [{"id": "a", "board": None}], [{"id": "a", "board": "b"}]])
def test_rows_of_any_age_make_a_page(rows: list[dict[str, Any]]):
    every = [dict.fromkeys(run(1)) | {"id": "nulls", "board": BURGERS}]
    data = embedded(page([*rows, *every], {}, []))
    assert [row["id"] for row in data["rows"]] == [*(row["id"] for row in rows), "nulls"]


@pytest.fixture(scope="module")
def thousand() -> str:
    return page([run(i) for i in range(1000)], {BURGERS: "run0900"}, [event("promote", 900)])


def test_a_thousand_runs_stay_small(thousand: str):
    assert len(embedded(thousand)["rows"]) == 1000
    assert len(thousand.encode()) < 5_000_000


# From here on a real browser reads the page.


def by(selector: str) -> tuple[str, str]:
    return "css selector", selector


class Reader:
    """Someone at a browser: opens pages, clicks, types, looks."""

    def __init__(self, driver: Any, folder: Path):
        self.driver, self.folder = driver, folder

    def open(self, text: str, name: str = "board.html") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")
        self.driver.get((self.folder / name).as_uri())

    def js(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *values)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(*by(selector))

    def each(self, selector: str, value: str) -> list[Any]:
        """`value`, an expression in e, for every element e that matches."""
        return self.js(f"[...document.querySelectorAll(arguments[0])].map(e => {value})", selector)

    def count(self, selector: str) -> int:
        return len(self.each(selector, "0"))

    def texts(self, selector: str) -> list[str]:
        return self.each(selector, "e.innerText")

    def ids(self) -> list[str]:
        return self.each("#runs tbody tr", "e.dataset.id")

    def wait(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not true():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)

    def column(self, key: str) -> list[str]:
        place = self.each("#runs thead th", "e.dataset.key").index(key)
        return self.texts(f"#runs tbody td:nth-child({place + 1})")

    def filter(self, text: str) -> list[str]:
        field = self.find("#filter")
        field.clear()
        field.send_keys(text or " ")
        return self.ids()

    def pick(self, *ids: str) -> None:
        for each in ids:
            self.find(f"tr[data-id={each}] input").click()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One headless Chromium for all tests of the page."""
    binary = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    helper = shutil.which("chromedriver")
    if not binary or not helper:
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    folder = tmp_path_factory.mktemp("page")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "window-size=1400,900",
        "disable-dev-shm-usage",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(helper))
    try:
        yield Reader(driver, folder)
    finally:
        driver.quit()


@pytest.fixture
def reader(browser: Reader) -> Iterator[Reader]:
    """The board of `board()` opened at a desk; afterwards the console must be silent."""
    browser.driver.set_window_size(1400, 900)
    browser.open(page(*board()))
    yield browser
    assert browser.driver.get_log("browser") == []


def test_runs_are_ranked_and_the_champion_is_named(reader: Reader):
    errors = {
        row["id"]: row.get("metrics", {}).get("eval/val/nrmse", math.nan) for row in board()[0]
    }
    ids = reader.ids()
    known = [errors[i] for i in ids if math.isfinite(errors[i])]
    assert known == sorted(known) and len(known) == 11
    assert set(ids[11:]) == {"run0005", "old1"}, "what was not measured stands last"
    assert reader.column("rank") == [*map(str, range(1, 12)), "\u2013", "\u2013"]
    crowned = [i for i, name in zip(ids, reader.column("name"), strict=True) if "champion" in name]
    assert crowned == ["run0011"] and "\u2605" in reader.find("tr.champion .name").text
    assert "NaN" not in reader.find("body").text
    failed = reader.find("tr[data-id=run0010] td.bad")
    assert "6/7 \u2717" in failed.text and "eval/nrmse" in failed.get_attribute("textContent")
    assert reader.column("val")[0] == f"{known[0]:.4g}"


def test_sorting_by_mouse_and_by_keyboard(reader: Reader):
    from selenium.webdriver.common.keys import Keys

    def order() -> list[float]:
        return [float(v) for v in reader.column("test") if v != "\u2013"]

    head = reader.find("th[data-key=test]")
    head.find_element(*by("button")).click()
    assert order() == sorted(order()) and head.get_attribute("aria-sort") == "ascending"
    assert reader.column("test")[-1] == "\u2013"
    head.find_element(*by("button")).send_keys(Keys.ENTER)
    assert order() == sorted(order(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    assert reader.column("test")[-1] == "\u2013", "what is missing stands last either way"
    reader.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert reader.js("document.activeElement.closest('th').dataset.key") == "p10"
    reader.driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert reader.texts("th[aria-sort]") == ["P10 nRMSE"]


def test_filtering_by_text_settings_and_gates(reader: Reader):
    rows = {row["id"]: row for row in board()[0] if row["board"] == BURGERS}
    slow = {
        i
        for i, row in rows.items()
        if "config" in row and row["config"]["fit"]["operator"]["lr"] == 0.001
    }
    assert (
        set(reader.filter("fit.operator.lr=0.001"))
        == slow
        == set(reader.filter("fit.operator.lr=1e-3"))
    )
    assert set(reader.filter("fit.operator.unroll=[1,2,4]")) == set(rows) - {"old1"}
    assert reader.filter("fit.operator.lr=0.00") == [] and reader.filter("operator.lr=") == []
    assert set(reader.filter("h100")) == {
        i for i, row in rows.items() if row.get("device") == "NVIDIA H100"
    }
    assert reader.filter(rows["run0003"]["git_sha"][:12]) == ["run0003"]
    both = reader.filter("ensemble fit.ensemble.lr=0.001")
    assert set(both) == {i for i in slow if rows[i]["selected"] == "ensemble"} and both
    assert f"{len(both)} of 13" in reader.find("#status").text
    reader.filter("")
    reader.find("#met").click()
    assert set(reader.ids()) == set(rows) - {"run0005", "run0010", "old1"}


def series(reader: Reader, place: int) -> dict[str, list[tuple[float, float]]]:
    """Points in pixels of every curve of the chart at `place`, by the run's id."""
    drawn = reader.js(
        "[...document.querySelectorAll('figure')][arguments[0]].querySelectorAll('.series')", place
    )
    found = {}
    for group in drawn:
        path = group.find_element(*by(".curve")).get_attribute("d")
        pairs = re.findall(r"[ML]([\d.]+) ([\d.]+)", path)
        found[group.get_attribute("data-run")] = [(float(x), float(y)) for x, y in pairs]
    return found


def departure(values: list[float], pixels: list[float]) -> float:
    """How far pixels are from the straight line through the first and the last value."""
    a, b = min(values), max(values)
    at, to = pixels[values.index(a)], pixels[values.index(b)]
    line = [at + (v - a) / (b - a) * (to - at) for v in values]
    return max(abs(p - q) for p, q in zip(line, pixels, strict=True))


def test_picked_runs_are_overlaid_on_true_scales(reader: Reader):
    rows = {row["id"]: row for row in board()[0]}
    reader.pick("run0001", "run0012")
    for place, (x, y), points in ((0, ("time", "nrmse"), 40), (1, ("seconds", "val_nrmse"), 10)):
        curves = series(reader, place)
        assert {name: len(curve) for name, curve in curves.items()} == {
            "run0001": points,
            "run0012": points,
        }
        across = [p[0] for curve in curves.values() for p in curve]
        down = [p[1] for curve in curves.values() for p in curve]
        xs = [v for i in curves for v in rows[i]["curves"][x]]
        ys = [math.log10(v) for i in curves for v in rows[i]["curves"][y]]
        for name, labels, places in (("middle", xs, across), ("end", ys, down)):
            ticks = reader.each(
                f"#compare figure:nth-child({place + 1}) .plot text[text-anchor={name}].tick",
                "[+e.textContent, +e.dataset.at]",
            )
            assert len(ticks) > 2
            labels += [v if name == "middle" else math.log10(v) for v, _ in ticks]
            places += [at for _, at in ticks]
        assert departure([math.log10(v) for v in xs] if place else xs, across) < 0.05
        assert departure(ys, down) < 0.05
        assert down[ys.index(max(ys))] < down[ys.index(min(ys))], "more error is higher up"
    dashes = reader.each("#compare .curve", "e.getAttribute('stroke-dasharray')")
    assert len(set(dashes)) == 2, "curves differ without colour"
    assert "(s)" in " ".join(reader.each("#compare svg", "e.textContent"))


def test_a_chart_reads_its_values_by_keyboard_and_pointer(reader: Reader):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    reader.pick("run0001", "run0012")
    row = next(row for row in board()[0] if row["id"] == "run0001")
    plot = reader.find("#compare .plot")
    plot.send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "at t = 0.15" in reader.find("#compare .legend").text
    read = float(reader.find("#compare .legend .value").text)
    assert read == pytest.approx(row["curves"]["nrmse"][2], rel=1e-3)
    plot.send_keys(Keys.ESCAPE)
    assert reader.find("#compare .legend .value").text == ""
    ActionChains(reader.driver).move_to_element(
        reader.find("#compare figure:nth-child(2) svg")
    ).perform()
    assert float(reader.find("#compare figure:nth-child(2) .value").text.split()[0]) > 0
    assert reader.js("document.querySelector('#compare svg').getAttribute('role')") == "img"
    assert "run0001" in reader.js("document.querySelector('#compare svg desc').textContent")


def test_the_comparison_marks_the_best_and_lists_settings_that_differ(reader: Reader):
    reader.pick("run0001", "run0012", "old1")
    cells = {row.split("\t")[0]: row.split("\t")[1:] for row in reader.texts(".metrics tr")}
    assert cells["eval/nrmse"][1].endswith("*") and not cells["eval/nrmse"][0].endswith("*")
    assert cells["eval/correlation_time (higher is better)"][1].endswith("*")
    assert [c.endswith("*") for c in cells["eval/coverage_90 (ideal 0.9)"]] == [False, True, False]
    assert not any(cell.endswith("*") for cell in cells["eval/calls"]), "all alike: none is best"
    assert {cells[name][2] for name in cells} == {"\u2013"}
    changes = [row.split("\t") for row in reader.texts(".changes tr")]
    lr = [[f"fit.{stage}.lr", "0.003", "0.001"] for stage in sorted(STAGES)]
    assert changes == [*lr, ["operator.width", "80", "64"], ["pde.nu", "0.001", "(absent)"]]
    assert "old1 has no recorded settings" in reader.find("#compare").text


def test_picking_by_keyboard_keeps_the_place(reader: Reader):
    from selenium.webdriver.common.keys import Keys

    box = reader.find("tr[data-id=run0008] input")
    box.send_keys(Keys.SPACE)
    assert box.is_selected() and reader.driver.switch_to.active_element == box
    assert reader.count("#compare figure") == 2


def test_no_more_than_six_are_picked(reader: Reader):
    reader.pick(*reader.ids()[:6])
    closed = reader.count("#runs tbody input:disabled")
    assert closed == 7 and "6 of at most 6" in reader.find("#status").text
    assert reader.count("#compare figure:first-child .series") == 6
    reader.find("#clear").click()
    assert reader.count("#runs input:checked, #runs input:disabled") == 0
    assert "No run is picked" in reader.find("#compare").text


def test_boards_are_never_ranked_together(reader: Reader):
    from selenium.webdriver.support.ui import Select

    choice = Select(reader.find("#board"))
    assert choice.first_selected_option.get_attribute("value") == BURGERS, "the newest run's board"
    reader.pick("run0001")
    choice.select_by_value(KURAMOTO)
    assert set(reader.ids()) == {"ks1", "ks2", "ks3"}
    assert reader.column("rank") == ["1", "2", "3"]
    assert reader.find("tr.champion").get_attribute("data-id") == "ks2"
    assert "No run is picked" in reader.find("#compare").text
    assert "burgers" not in reader.find("main").text


def test_the_history_of_the_best_is_drawn_and_listed(reader: Reader):
    events = reader.texts(".events li")
    assert len(events) == 4 and "demoted burgers-seed6 (run0006)" in events[2]
    assert "a user" in events[2]
    assert "all gates met" in events[3]
    champion, best = reader.each("#history .series .curve", "e.getAttribute('d')")
    assert re.sub(r"[^A-Z]", "", champion) == "MHVHVMHV", "a gap where nobody led"
    heights = [float(v) for v in re.findall(r"V([\d.]+)", best)]
    assert heights == sorted(heights) and len(heights) > 2, "the best only gets lower"
    assert reader.count("#history [data-run=runs] .point") == 11


def test_hostile_names_stay_text_and_hostile_links_are_none(reader: Reader):
    line = reader.find("tr[data-id=run0007]")
    assert line.find_element(*by(".name")).get_attribute("title") == HOSTILE
    reader.pick("run0007", "run0001")
    assert reader.count("img, b") == 0
    assert reader.driver.title == "Leaderboard"
    schemes = reader.each("#runs a", "[e.protocol, e.target, e.rel]")
    assert {tuple(s) for s in schemes} == {
        ("file:", "_blank", "noopener"), ("https:", "_blank", "noopener"),
    }  # fmt: skip


@pytest.mark.parametrize("source", ["src", "srcdoc"])
def test_it_works_in_a_sandboxed_frame(reader: Reader, source: str):
    inside = "board.html" if source == "src" else escape(page(*board()))
    frame = f'<iframe sandbox="allow-scripts" width="1200" height="800" {source}="{inside}">'
    reader.open(f"<!doctype html>{frame}</iframe>", "host.html")
    reader.driver.switch_to.frame(0)
    assert reader.js("origin") == "null"
    assert len(reader.ids()) == 13 and reader.filter("h100")
    reader.pick(reader.ids()[0])
    assert len(series(reader, 0)) == 1
    reader.driver.switch_to.default_content()


def test_a_curve_that_breaks_off_says_so(reader: Reader):
    broken = run(1)
    broken["curves"]["nrmse"][25:] = [math.nan] * 15
    reader.open(page([broken, run(2)], {}, []))
    assert "not finite" not in reader.find("#compare").text
    reader.pick("run0001", "run0002")
    assert {name: len(curve) for name, curve in series(reader, 0).items()} == {
        "run0001": 25, "run0002": 40,
    }  # fmt: skip
    crosses = reader.each(".broken", "e.parentNode.dataset.run")
    assert crosses == ["run0001"]
    assert "not finite from there on" in reader.find("#compare .legend").text


def test_a_phone_shows_it_without_scrolling_sideways(reader: Reader):
    device = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    try:
        reader.open(page(*board()))
        reader.pick("run0001", "run0007", "run0012", "run0003", "run0004")
        assert reader.js("innerWidth") == 360
        assert max(reader.each(".compared", "e.scrollWidth")) > 360, "wide enough to tell"
        assert reader.js("document.documentElement.scrollWidth") == 360
        assert reader.js("document.querySelector('#runs').scrollWidth") > 700
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("case", ["none", "no board", "nulls", "odd"])
def test_poor_rows_do_not_stop_it(reader: Reader, case: str):
    nulls = dict.fromkeys(run(1)) | {"id": "a", "board": BURGERS}
    odd = run(1, gates={"met": None}, regressions={}, wandb=None, versions=None, time="yesterday")
    odd |= {
        "curves": {"time": [1], "nrmse": None},
        "metrics": {"eval/val/nrmse": 0.0},
        "git_sha": 7,
    }
    rows = {
        "none": [],
        "no board": [{"id": "b", "board": None}, run(1) | {"board": None}],
        "nulls": [nulls],
        "odd": [odd, run(2)],
    }[case]
    reader.open(page(rows, {BURGERS: "gone"}, [event("promote", 900)]))
    assert len(reader.ids()) == len(rows)
    for box in reader.driver.find_elements(*by("#runs tbody input")):
        box.click()
    reader.filter("fit.operator.lr=0.003")
    if case == "no board":
        assert set(reader.column("rank")) == {"\u2013"}, "shown, not ranked"
    assert "NaN" not in reader.find("body").text


def test_a_thousand_runs_are_ready_with_a_screenful_and_complete_later(
    reader: Reader, thousand: str
):
    count = 'window.drawn ??= document.querySelectorAll("#runs tbody tr").length'
    options = '{subtree: true, attributeFilter: ["data-ready"]}'
    watch = f"new MutationObserver(() => {{ {count} }}).observe(document, {options})"
    command = reader.driver.execute_cdp_cmd
    script = command("Page.addScriptToEvaluateOnNewDocument", {"source": watch})
    try:
        reader.open(thousand)
        assert reader.js("window.drawn") == 100
    finally:
        command("Page.removeScriptToEvaluateOnNewDocument", script)
    reader.wait(lambda: len(reader.ids()) == 1000)
    assert reader.column("rank") == [str(i) for i in range(1, 1001)]
    reader.filter("fit.operator.lr=0.001")
    reader.wait(lambda: len(reader.ids()) == 500)
