"""The report: what it says, and how it behaves in a browser."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.cli import compare
from dlrun.compare import confusion, curve_points, report
from dlrun.runs import rundir
from dlrun.runs.loading import load
from tests.browser import chromium
from tests.runs.test_loading import CONFIG, SUMMARY, made

HOSTILE = '</script><img src=x onerror="window.hurt=1">'
ACCURACY = {"relu": 0.70, "gelu": 0.90, "tanh": 0.80}
STEEP = {"relu": 0.01, "gelu": 0.012, "tanh": 0.011}  # by which an accuracy grows from seed to seed
LIGHT, DARK = "light", "dark"


def trained(name: str, end: float, *, status: str = "completed", rows: int = 10, **changes: Any) -> Path:
    """A run that came to an accuracy, by even steps."""
    curve = [
        {"step": 20 * i, "split": split, "time": i / 4, "accuracy": end * i / rows, "loss": 100.0 ** (1 - 2 * i / rows)}
        for i in range(1, rows + 1)
        for split in ("val", "train")
    ]
    summary = {**SUMMARY, "best/val/accuracy": end, "val/accuracy": end, "test/accuracy": end - 0.01}
    return made(name, status=status, rows=curve, summary={**summary, "confusion": [[7, 1], [2, 10]]}, **changes)


def sweep() -> None:
    """Three activations with four seeds each; one more run diverged, one ended early."""
    for act, accuracy in ACCURACY.items():
        for seed in range(4):
            trained(
                f"{act}/{seed}", accuracy + seed * STEEP[act], act__name=act, optim__lr=10.0 ** -(seed + 1), seed=seed
            )
    trained("tanh/4", 0.3, rows=4, status="diverged", act__name="tanh", optim__lr=1e-5, seed=4)


def hurtful() -> None:
    """Names that would be markup, were they written as such."""
    for seed in range(3):
        for value in (HOSTILE, "b'\"&<b>é漢\u2028"):
            folder = trained(f"{HOSTILE}/{len(value)}{seed}", 0.5 + seed / 100, act__name=value, seed=seed)
            row = {"step": 10, "split": "val", "time": 1.0, HOSTILE: 1.0, "accuracy": 0.4}
            (folder / rundir.METRICS).write_text(json.dumps(row) + "\n")
            config = {
                **CONFIG,
                "act": {"name": f"{value}{'long' * 30}", HOSTILE: 0.1 * seed, 'a"b': None},
                "seed": seed,
            }
            rundir.update_run(folder, config=config, classes=[HOSTILE, "<i>"])


def written(make: Callable[[], None], folder: Path, *flags: str) -> Path:
    """The report of the runs that ``make`` makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / ".cache"))
        make()
        assert compare.main(["--report", "report.html", *flags]) == 0
    return folder / "report.html"


def said(page: Path) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert match
    return json.loads(match[1])


# What goes in


def test_it_says_what_the_command_says(tmp_path: Path):
    found = said(written(sweep, tmp_path, "--metric", "accuracy,val/loss"))
    assert dict(found["facts"])["runs"] == "13: 12 completed, 1 diverged"
    assert found["quantities"] == ["val/accuracy", "val/loss"]
    assert found["groups"]["names"][0] == "act=gelu optim.lr=0.0001"
    assert found["groups"]["table"] is None, "a group a run is no group"
    assert found["runs"]["names"][0] == "gelu/3"
    assert found["runs"]["links"][0] == "outputs/gelu/3/"
    assert found["runs"]["status"].count("diverged") == 1
    assert found["runs"]["counted"].count(False) == 1
    kinds = {column["key"]: column["kind"] for column in found["runs"]["columns"]}
    assert kinds["act.name"] == kinds["optim.lr"] == "key"
    assert kinds["seed"] == "fact"
    assert kinds["val/accuracy"] == kinds["test/accuracy"] == "metric"
    assert "train/accuracy" not in kinds


def test_runs_of_a_seed_are_told(tmp_path: Path):
    runs = said(written(at_rates, tmp_path, "--group-by", "act"))["runs"]
    shared = {name[:-1]: number for name, number in zip(runs["names"], runs["seed"], strict=True)}
    assert sorted(shared.values()) == list(range(6))
    assert all(shared[name[:-1]] == number for name, number in zip(runs["names"], runs["seed"], strict=True))


def test_a_time_is_a_number(tmp_path: Path):
    runs = said(written(at_rates, tmp_path, "--columns", "start", "--group-by", "act"))["runs"]
    (start,) = [column for column in runs["columns"] if column["key"] == "start"]
    assert start["kind"] == "time"
    assert start["values"] == [datetime.fromisoformat(text).timestamp() for text in start["cells"]]


def test_verdicts_and_their_side(tmp_path: Path):
    found = said(written(sweep, tmp_path, "--group-by", "act", "--baseline", "tanh"))
    sides = {verdict["text"].split()[0]: verdict["side"] for verdict in found["verdicts"]}
    assert sides == {"gelu": "better", "relu": "worse"}
    assert found["groups"]["names"][found["groups"]["baseline"]] == "tanh"
    assert found["methods"][0].startswith("within groups, runs differ in optim.lr")
    assert "paired t (scipy.stats.ttest_rel)" in found["methods"][1]
    assert found["groups"]["means"][0] == pytest.approx([0.918, 0.88973, 0.93951], abs=1e-5)
    assert found["confusion"][0] == {"group": 0, "runs": 4, "classes": ["a", "b"], "counts": [[28, 4], [8, 40]]}


def test_nothing_but_json_comes_from_the_runs(tmp_path: Path):
    page = written(hurtful, tmp_path)
    text = page.read_text()
    assert text.count("<script") == text.count("</script>") == 2
    assert "onerror=" not in text.split('id="data">')[0]
    assert "<img" not in text
    assert any(HOSTILE in cell for cell in said(page)["runs"]["columns"][0]["cells"])
    script = re.search(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in text


@pytest.mark.parametrize("damage", ["", "{}", '{"confusion": 3}', '{"confusion": [[1, 2]]}', '{"confusion": [["a"]]}'])
def test_runs_in_any_state(tmp_path: Path, damage: str):
    def make() -> None:
        trained("a", 0.5)
        made("b", rows=[{"step": None}, {"split": 3}, {"step": 1, "split": "val", "accuracy": None, "time": "x"}])
        made("c", status="running", rows=[])
        made("d", optim__lr=float("inf"), act__name=[1, {"a": None}])
        (Path("outputs/d") / rundir.SUMMARY).write_text(damage)
        os.rename(made("e"), b"outputs/\xff\xfe")

    found = said(written(make, tmp_path))
    assert len(found["runs"]["names"]) == 5
    assert [m["runs"] for m in found["confusion"]] == [3], "a, b and e are a group"


def test_no_run_has_a_metric_yet(tmp_path: Path):
    found = said(written(lambda: [made(str(i), status="running", rows=[], seed=i) for i in range(2)], tmp_path))
    assert found["quantities"] == found["verdicts"] == found["curves"]["metrics"] == []


def test_the_curves_of_what_was_asked_for(tmp_path: Path):
    flags = ("--metric", "test/accuracy,val/loss", "--until", "val/accuracy=0.5")
    found = said(written(sweep, tmp_path, *flags))
    assert found["quantities"][2:] == ["steps to val/accuracy ≥ 0.5", "seconds to val/accuracy ≥ 0.5"]
    assert found["metrics"] == ["val/accuracy", "val/loss", "val/accuracy", "val/accuracy"]


def test_links(tmp_path: Path):
    here = tmp_path / "a folder" / "r.html"
    assert report.link(str(tmp_path / "runs" / "a#1:%?"), here) == "../runs/a%231%3A%25%3F/"
    assert report.link("/elsewhere/x y", here) == "file:///elsewhere/x%20y"


def test_matrices_of_many_classes_are_few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(confusion, "CELLS", 8)
    assert [m["group"] for m in said(written(sweep, tmp_path, "--group-by", "act"))["confusion"]] == [0, 1]


def test_points_that_are_kept():
    values = [float(i % 7) for i in range(1000)]
    values[333], values[777] = -1e9, 1e9
    rows = curve_points.kept([values, [None] * 999 + [1.0]], 1000, 50)
    assert {0, 333, 777, 999} <= set(rows)
    assert len(rows) <= 50
    assert rows == sorted(rows)
    assert max(np.diff(rows)) < 30
    assert curve_points.kept([values], 1000, 1000) == list(range(1000))


def test_curves_share_their_steps(monkeypatch: pytest.MonkeyPatch):
    for seed in range(3):
        trained(str(seed), 0.123456789, rows=100, seed=seed)
    found = curve_points.curves(load())
    assert found["metrics"] == ["train/accuracy", "train/loss", "val/accuracy", "val/loss"]
    assert len(found["x"]) == 2, "steps and seconds, once"
    steps, seconds, values = found["runs"][2]["val/accuracy"]
    assert found["x"][steps][:2] == (20, 40)
    assert found["x"][seconds][:2] == (0.25, 0.5)
    assert values[-1] == 0.12346
    monkeypatch.setattr(curve_points, "POINTS", 3 * len(load().metrics) * 20)
    thin = curve_points.curves(load())["runs"][0]["val/loss"]
    assert 15 <= len(thin[2]) <= 40
    assert (thin[2][0], thin[2][-1]) == pytest.approx((100.0**0.98, 0.01), rel=1e-4)


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def at_rates() -> None:
    """Two activations, each with three seeds at two learning rates."""
    for act, accuracy in (("relu", 0.6), ("gelu", 0.8)):
        for seed in range(3):
            for rate in range(2):
                end = accuracy + 0.01 * seed + 0.1 * rate
                folder = trained(f"{act}/{seed}{rate}", end, act__name=act, optim__lr=10.0**-rate, seed=seed)
                # The later it began, the further to the west: the text says the opposite.
                hour = seed + 3 * rate + 6 * (act == "gelu")
                rundir.update_run(folder, start=f"2026-11-23T{22 - hour}:00:00{11 - 2 * hour:+03}00")


def of_two_sets() -> None:
    """Two activations with three seeds each on two data sets; on one of them a seed ended early."""
    for data, high in (("digits", 0.6), ("iris", 0.3)):
        for act in ("gelu", "relu"):
            for seed in range(3):
                rows = 5 if (data, act, seed) == ("iris", "gelu", 1) else 10
                folder = trained(
                    f"{data}/{act}{seed}", high + seed / 100, rows=rows, act__name=act, seed=seed, data__name=data,
                    batch_size=32, optim__lr=0.1 + seed,
                )  # fmt: skip
                told = [json.loads(line) for line in (folder / rundir.METRICS).read_text().splitlines()]
                lines = [json.dumps({**row, "epoch": row["step"] / 20}) + "\n" for row in told]
                (folder / rundir.METRICS).write_text("".join(lines))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    flags = {"sweep": ("--group-by", "act", "--baseline", "tanh"), "search": (), "hurtful": ()}
    flags["rates"] = ("--group-by", "act", "--columns", "start,seed")
    flags["sets"] = ("--group-by", "act")
    make = {"sweep": sweep, "search": sweep, "hurtful": hurtful, "rates": at_rates, "sets": of_two_sets}
    return {name: written(make[name], tmp_path_factory.mktemp(name), *flags[name]) for name in flags}


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Opens a page; at the end it must have asked no network and reported no error."""

    def open_(name: str = "sweep", scheme: str = LIGHT, width: int = 1280) -> Any:
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(pages[name].as_uri())
        # Charts are drawn when their width is known, a frame later.
        browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => setTimeout(done, 20))")
        assert browser.execute_script("return 'ready' in document.documentElement.dataset")
        return browser

    browser.get_log("browser")
    browser.get_log("performance")
    yield open_
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert asked, "the log is on"
    outside = {url for url in asked if not url.startswith(("data:", "chrome://"))}  # the browser's own pictures
    assert outside <= {page.as_uri() for page in pages.values()}


def texts(browser: Any, selector: str) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector
    )


def column(browser: Any, name: str) -> list[str]:
    heads = texts(browser, "#runs thead th")
    return texts(browser, f"#runs tbody tr > :nth-child({heads.index(name) + 1})")


def click(browser: Any, selector: str, text: str = "") -> None:
    script = "[...document.querySelectorAll(arguments[0])].find((e) => e.textContent.includes(arguments[1])).click()"
    browser.execute_script(script, selector, text)


def choose(browser: Any, section: str, label: str, text: str) -> None:
    browser.execute_script(
        """const [section, label, text] = arguments;
        const labels = [...document.querySelectorAll(section + " label")];
        const select = labels.find((l) => l.textContent.startsWith(label + " ")).querySelector("select");
        select.value = [...select.options].find((o) => o.text === text).value;
        select.dispatchEvent(new Event("change"));""",
        section, label, text,
    )  # fmt: skip


def paths(browser: Any, selector: str = "#curves .line") -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.getAttribute('d'))", selector
    )


def typed(browser: Any, text: str) -> None:
    box = browser.find_element("css selector", "#runs input")
    box.clear()
    box.send_keys(text)


def test_the_table_sorts_numbers_by_size(opened):
    browser = opened()
    assert [float(x) for x in column(browser, "optim.lr")].count(0.1) == 3
    click(browser, "#runs thead button", "optim.lr")
    up = [float(x) for x in column(browser, "optim.lr")]
    assert up == sorted(up)
    assert up[0] == 1e-05, "no text: that would come after 0.1"
    heads = "#runs th[aria-sort]"
    assert browser.find_element("css selector", heads).get_attribute("aria-sort") == "ascending"
    head = browser.find_element("css selector", f"{heads} button")
    head.send_keys("\ue007")  # the enter key
    assert [float(x) for x in column(browser, "optim.lr")] == up[::-1]
    click(browser, "#runs thead button", "test/accuracy")
    assert column(browser, "test/accuracy")[-1] == "–", "what is absent comes last"
    click(browser, "#runs thead button", "test/accuracy")
    assert column(browser, "test/accuracy")[0] == "0.9260"
    assert column(browser, "test/accuracy")[-1] == "–"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("act=gelu", ["gelu/3", "gelu/2", "gelu/1", "gelu/0"]),
        ("act=gelu lr<0.01", ["gelu/3", "gelu/2"]),
        ("GELU seed!=0 optim.lr>=1e-3", ["gelu/2", "gelu/1"]),
        ("diverged", ["tanh/4"]),
        ("status=completed val/accuracy<=0.71", ["relu/1", "relu/0"]),
        ("test/accuracy<1e9 relu/3", ["relu/3"]),
        ('"no such words"', []),
        ("act in (gelu, relu) and optim.lr<=0.001", ["gelu/3", "gelu/2", "relu/3", "relu/2"]),
        ("act=gelu and seed=0 or not act!=tanh and seed>=4", ["gelu/0", "tanh/4"]),
        ("not (act=gelu or act in [tanh]) and accuracy>0.715", ["relu/3", "relu/2"]),
        ("'act'=\"relu\" and seed in 1,2", ["relu/2", "relu/1"]),
        ("test/accuracy=null", ["tanh/4"]),
        ("act<gelv and optim.lr > 1e-3 and status!=failed", ["gelu/1", "gelu/0"]),
        ("", None),
    ],
)
def test_the_filter(opened, words: str, expected: list[str] | None):
    browser = opened()
    typed(browser, words)
    rows = texts(browser, "#runs tbody th")
    assert len(rows) == 13 if expected is None else rows == expected
    if words:
        assert texts(browser, "#runs output") == [f"{len(rows)} of 13 runs"]


def test_a_filter_of_no_column_says_so(opened):
    browser = opened()
    typed(browser, "lrr<3")
    assert texts(browser, "#runs output") == ["not understood: no column lrr"]
    assert browser.find_elements("css selector", "#runs input[aria-invalid]")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("act=", "the end after =: expected a value"),
        ("act in (gelu", "the end after gelu: expected a comma or )"),
        ("(act=gelu", "the end after gelu: expected and, or, )"),
        ("act=gelu or", "the end after or: expected a column or a word"),
        ('act="gelu', '"gelu: not closed'),
        ("act=gelu)", ") after gelu: expected and, or"),
        ("act!gelu", "!gelu: ! is not part of a condition"),
        ("not " * 51 + "act=gelu", "more than 50 nested parentheses or nots"),
    ],
)
def test_a_filter_that_is_no_condition_says_what_it_expected(opened, words: str, said: str):
    browser = opened()
    typed(browser, words)
    assert texts(browser, "#runs output") == [f"not understood: {said}"]
    assert len(texts(browser, "#runs tbody th")) == 13


def test_the_filter_and_where_choose_the_same(opened, pages, monkeypatch: pytest.MonkeyPatch):
    browser = opened()
    monkeypatch.chdir(pages["sweep"].parent)
    runs = load(["outputs"])
    for words in (
        "act=gelu", "act==gelu and seed!=1", "seed in (0, 2) or act=tanh", "optim.lr<1e-2",
        "optim.lr>=.01 and not seed=0",
        "val/accuracy>0.8 and test/accuracy<0.92", "accuracy=null", "status in completed,failed", "act>relu",
        "not (act=relu or (seed=3 and act=gelu))", "seed=none", "optim.lr=0.10", "seed=true",
        "act in ['relu', \"tanh\"]",
    ):  # fmt: skip
        typed(browser, words)
        chosen = [run.path.removeprefix("outputs/") for run in runs.where(words)]
        assert sorted(texts(browser, "#runs tbody th")) == sorted(chosen), words


def test_runs_are_linked(opened, pages):
    browser = opened()
    links = browser.execute_script("return [...document.querySelectorAll('#runs a')].map((a) => a.href)")
    assert links[0] == (pages["sweep"].parent / "outputs/gelu/3").as_uri() + "/"
    assert all(Path(link.removeprefix("file://")).is_dir() for link in links)


def test_curves_are_drawn_and_follow_the_choices(opened):
    browser = opened()
    lines = paths(browser)
    assert len(lines) == 4, "three means, and the run that diverged"
    assert all(line.count("L") == 9 for line in lines[1:])
    assert len(paths(browser, "#curves .band")) == 3
    assert texts(browser, "#curves svg .name") == ["step", "val/accuracy"]
    choose(browser, "#curves", "metric", "val/loss")
    other = paths(browser)
    assert len(other) == 4
    assert other != lines
    assert texts(browser, "#curves svg .name") == ["step", "val/loss"]
    assert browser.execute_script("return document.querySelector('#curves input').checked"), "over decades: log"
    click(browser, "#curves input")
    assert paths(browser) != other
    choose(browser, "#curves", "over", "seconds of training")
    assert texts(browser, "#curves svg .name") == ["seconds of training", "val/loss"]
    choose(browser, "#curves", "show", "each run")
    assert len(paths(browser)) == 13
    assert not paths(browser, "#curves .band")


def test_a_band_ends_where_the_first_of_its_seeds_ends(opened):
    browser = opened("sets")
    choose(browser, "#curves", "data", "iris")
    lengths = lambda selector: [d.count("L") for d in paths(browser, f"#curves .curve[data-group='2'] {selector}")]  # noqa: E731
    assert lengths(".line:not(.fewer)") == [4], "five points that all three seeds reach"
    assert lengths(".line.fewer") == [5], "from the last of these to the end of the others"
    assert lengths(".band") == [9]
    assert "Dotted: fewer than n seeds reach this far." in texts(browser, "#curves > p.aside")
    assert [text.strip() for text in texts(browser, "#curves .legend button:not(.all)")] == [
        "act=gelu data=digits n=3 baseline",
        "act=relu data=digits n=3",
        "act=gelu data=iris n=3",
        "act=relu data=iris n=3",
    ]


def test_data_sets_never_share_a_picture(opened):
    browser = opened("sets")
    assert len(paths(browser)) == 2, "of digits"
    dots = "return [...document.querySelectorAll('#effects circle')].length"
    assert browser.execute_script(dots) == len(paths(browser, "#effects .parallel path.run")) == 6
    choose(browser, "#effects", "data", "iris")
    assert browser.execute_script(dots) == 6
    assert not browser.find_elements("css selector", "#groups .interval"), "nor one scale"


def test_curves_along_epochs_and_examples(opened):
    browser = opened("sets")
    ends = """return [...document.querySelectorAll("#curves .axes text")].map((e) => e.textContent)"""
    for axis, name, last in (("epochs", "epoch", "10"), ("examples", "examples trained on", "6000")):
        choose(browser, "#curves", "over", axis)
        assert texts(browser, "#curves svg .name") == [name, "val/accuracy"]
        assert last in browser.execute_script(ends)


def test_a_group_hides_and_comes_back(opened):
    browser = opened()
    count = lambda: len(browser.find_elements("css selector", "#curves .curve.base"))  # noqa: E731
    assert count() == 2
    click(browser, "#curves .legend button", "tanh")
    assert count() == 0
    assert browser.find_element("css selector", ".legend [aria-pressed=false]").text.startswith("tanh")
    click(browser, "#curves .legend button", "tanh")
    assert count() == 2
    click(browser, "#curves .all")
    assert "Nothing to draw." in texts(browser, "#curves p")
    click(browser, "#curves .all")
    assert len(paths(browser)) == 4


def test_the_pointer_shows_the_mean_of_the_runs_that_are_there(opened):
    browser = opened()
    browser.execute_script(
        """const line = document.querySelector("#curves .curve.c0 .line");
        const middle = line.getPointAtLength(line.getTotalLength() * 0.5);
        const at = middle.matrixTransform(line.getScreenCTM());
        const event = new PointerEvent("pointermove", { clientX: at.x, clientY: at.y, bubbles: true });
        line.ownerSVGElement.dispatchEvent(event);"""
    )
    where, *rows = texts(browser, ".note div")
    step = int(where.removeprefix("step "))
    values = [(0.9 + seed * 0.012) * step / 200 for seed in range(4)]
    assert rows[0].strip() == f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.4g} (4)  gelu"
    assert [row.split()[-1] for row in rows] == ["gelu", "tanh", "relu"]
    assert browser.execute_script("return document.querySelector('#curves .on').classList.contains('c0')")
    leave = "document.querySelector('#curves svg').dispatchEvent(new PointerEvent('pointerleave'))"
    browser.execute_script(leave)
    assert not browser.find_element("css selector", ".note").is_displayed()


def test_a_band_is_over_seeds_not_over_runs(opened):
    browser = opened("rates")
    browser.execute_script(
        """const line = document.querySelector("#curves .curve.c0 .line");
        const at = line.getPointAtLength(line.getTotalLength()).matrixTransform(line.getScreenCTM());
        const event = new PointerEvent("pointermove", { clientX: at.x, clientY: at.y, bubbles: true });
        line.ownerSVGElement.dispatchEvent(event);"""
    )
    values = [0.8 + 0.01 * seed + 0.05 for seed in range(3)]
    rows = [row.strip() for row in texts(browser, ".note div")]
    assert f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.4g} (3)  gelu" in rows


def test_times_are_instants(opened):
    browser = opened("rates")
    click(browser, "#runs thead button", "start")
    assert texts(browser, "#runs tbody th") == [
        f"{a}/{s}{r}" for a in ("relu", "gelu") for r in (0, 1) for s in range(3)
    ]
    for words, left in {"start<2026-11-23T11:30Z": 1, "start>=2026-11-23T11:30Z": 11, "start>2027": 0}.items():
        typed(browser, words)
        assert texts(browser, "#runs output") == [f"{left} of 12 runs"], words
    typed(browser, "start>soon")
    assert texts(browser, "#runs output") == ["not understood: soon: not a time"]


def test_hyperparameters(opened):
    browser = opened("search")
    assert len(paths(browser, "#effects .parallel path.run")) == 13
    assert len(browser.find_elements("css selector", "#effects .scatter circle")) == 13
    assert len(browser.find_elements("css selector", "#effects circle.hollow")) == 1
    before = browser.execute_script("return document.querySelector('#effects .scatter circle').getAttribute('cx')")
    assert texts(browser, "#effects .scatter .name") == ["optim.lr", "val/accuracy"]
    across = (
        "return [...document.querySelectorAll('#effects .scatter circle')].map((c) => Number(c.getAttribute('cx')))"
    )
    places = sorted(set(browser.execute_script(across)))
    assert len(places) == 5
    assert np.diff(places) == pytest.approx(np.diff(places)[0], abs=0.2), "decades are as far from each other"
    choose(browser, "#effects", "key", "act")
    assert texts(browser, "#effects .scatter .axes text")[-5:-2] == ["gelu", "relu", "tanh"]
    after = browser.execute_script("return document.querySelector('#effects .scatter circle').getAttribute('cx')")
    assert before != after
    choose(browser, "#effects", "metric", "test/accuracy")
    assert texts(browser, "#effects .scatter .name") == ["act", "test/accuracy"]
    assert len(paths(browser, "#effects .parallel path.run")) == 12, "the run that diverged has no test"


def test_confusion_by_group(opened):
    browser = opened()
    assert texts(browser, "#confusion caption") == ["17 of 20 right, means over the runs"]
    assert texts(browser, "#confusion tbody tr:first-child td") == ["7", "1", "0.875"]
    choose(browser, "#confusion", "group", "relu (4 runs)")
    assert texts(browser, "#confusion tbody tr:last-child td") == ["2", "10", "0.833"]


def test_groups_and_verdicts(opened):
    browser = opened()
    assert texts(browser, "#groups tbody th") == ["gelu", "tanh", "relu"]
    assert texts(browser, "#groups .baseline th") == ["tanh"]
    assert len(browser.find_elements("css selector", "#groups .interval")) == 3
    assert len(browser.find_elements("css selector", "#groups .each")) == 12
    assert [text[:10] for text in texts(browser, "#verdicts li.better span:last-child")] == ["gelu beats"]
    click(browser, "#groups thead button", "val/accuracy")
    assert texts(browser, "#groups tbody th") == ["relu", "tanh", "gelu"]


def test_names_that_look_like_markup_are_text(opened):
    browser = opened("hurtful")
    choose(browser, "#curves", "metric", f"val/{HOSTILE}")
    typed(browser, HOSTILE)
    assert browser.execute_script("return window.hurt") is None
    assert not browser.find_elements("css selector", "img, i:not([class]):not([style]), b")
    assert any(HOSTILE in text for text in texts(browser, "#runs tbody td"))
    assert HOSTILE in browser.execute_script(
        "return [...document.querySelectorAll('#confusion th')].map((e) => e.title)"
    )
    assert any(HOSTILE in text for text in texts(browser, "#curves option"))


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_everything_stands_out_from_the_paper(opened, scheme: str):
    browser = opened(scheme=scheme)
    browser.execute_script("document.querySelector('#runs input').focus()")
    colors = browser.execute_script(
        """const rgb = (text) => { // as the browser paints it
          const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
          pen.fillStyle = text; pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3); };
        const all = (selector) => [...document.querySelectorAll(selector)];
        const of = (selector, what) => all(selector).map((e) => rgb(getComputedStyle(e)[what]));
        return { paper: of("body", "backgroundColor"), text: of("body, td, th, a, .aside, button, select", "color"),
          cells: of(".hit, .miss", "color"), shades: of(".hit, .miss", "backgroundColor"),
          ticks: of("svg text", "fill"), lines: of(".line", "stroke"), runs: of("path.run", "stroke") };"""
    )
    (paper,) = colors.pop("paper")
    assert (sum(paper) < 150) == (scheme == DARK)
    on_shades = zip(colors.pop("cells"), colors.pop("shades"), strict=True)
    assert min(contrast(color, shade) for color, shade in on_shades) >= 4.5
    least = {"text": 4.5, "ticks": 4.5, "lines": 2.2, "runs": 1.6}  # of text, what the WCAG asks for
    for what, found in colors.items():
        assert found
        assert min(contrast(color, paper) for color in found) >= least[what], what


def contrast(a: list[int], b: list[int]) -> float:
    """As the Web Content Accessibility Guidelines 2.2 define it."""

    def luminance(color: list[int]) -> float:
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in np.array(color) / 255]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["sweep", "search", "hurtful"])
def test_a_narrow_screen_scrolls_tables_not_the_page(opened, name: str):
    browser = opened(name, width=400)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    assert browser.execute_script("return document.querySelector('#runs .scroll').scrollWidth") > 400
    assert browser.execute_script("return document.querySelector('#curves svg').getBoundingClientRect().width") < 400


def test_labels_for_those_who_hear_the_page(opened):
    browser = opened("search")
    bare = """return [...document.querySelectorAll("select, input, button, svg[role=img], [role=region]")]
      .filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel || e.hidden)).length"""
    assert browser.execute_script(bare) == 0
    assert texts(browser, "#runs caption") == ["Runs"]
    heads = browser.execute_script("return document.querySelectorAll('#runs thead th[scope=col] button').length")
    assert heads == len(texts(browser, "#runs thead th"))


def test_five_hundred_runs_are_small_and_open_quickly(browser: Any, tmp_path: Path):
    def make() -> None:
        random = np.random.default_rng(0)
        for i in range(500):
            folder = made(str(i), rows=[], seed=i % 5, optim__lr=round(0.1 / (1 + i // 5), 6))
            values = random.random((100, 6))
            rows = [
                {"step": 10 * s, "split": split, "time": s * 0.1234 + i, **dict(zip("abc", v[part], strict=True))}
                for s, v in enumerate(values)
                for split, part in (("val", slice(3)), ("train", slice(3, 6)))
            ]
            (folder / rundir.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))

    page = written(make, tmp_path)
    assert page.stat().st_size < 5_000_000
    assert len(said(page)["curves"]["runs"][0]["val/a"][2]) == 100, "none left out"
    times = []
    for _ in range(3):
        browser.get(page.as_uri())
        browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => setTimeout(done))")
        times.append(browser.execute_script("return performance.now()"))
    assert min(times) < 2000, times
    assert len(texts(browser, "#runs tbody tr")) == 500
    assert len(paths(browser)) == 100
