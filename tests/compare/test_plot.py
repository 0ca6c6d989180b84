"""Curves of groups: what is averaged, what is drawn, and that names find room beside their lines."""

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dlrun.cli import compare
from dlrun.compare.axes import Axis
from dlrun.compare.plot import against, panels
from dlrun.compare.plot.lines import Line, mean_line
from dlrun.compare.plot.panels import BASELINE, COLORS, OTHERS
from tests.runs.test_loading import SUMMARY, made

STEPS = (10, 20, 30, 40)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))


def trained(
    name: str, values, metric: str = "accuracy", steps=STEPS, status: str = "completed", **changes: Any
) -> None:
    """A run whose metric took some values at some steps."""
    rows = [{"step": s, "split": "val", "time": s / 10, metric: v} for s, v in zip(steps, values, strict=False)]
    known = [value for value in values if value is not None]
    last = {f"val/{metric}": known[-1], f"best/val/{metric}": known[-1]} if known else {}
    made(name, status=status, rows=rows, summary={**SUMMARY, **last}, **changes)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Draws what is in outputs/, and gives the figure."""
    figures: list[Figure] = []
    save = panels.save
    monkeypatch.setattr(panels, "save", lambda figure, *a, **how: (figures.append(figure), save(figure, *a, **how)))

    def draw(*flags: str, file: str = "curves.png") -> Figure:
        assert compare.main(["--plot", file, *flags]) == 0
        assert f"written: {file}" in capsys.readouterr().err
        return figures[-1]

    return draw


def lines(figure: Figure, color: str, dashed: bool = False) -> list[Any]:
    """The curves of a colour, without the threads to labels."""
    (panel, *_) = figure.axes
    here = [line for line in panel.lines if to_hex(line.get_color()) == color and line.get_clip_on()]
    return [line for line in here if (line.get_linestyle() == "--") == dashed]


def test_the_mean_is_over_the_runs_that_are_there():
    def line(steps, values) -> Line:
        return Line(np.array(steps, float), np.array(values, float), np.zeros(len(steps)), np.ones(len(steps)))

    found = mean_line([line([0, 10, 20], [0, 1, 2]), line([0, 20, 40], [4, 8, 12]), line([10], [3])])
    assert found.x.tolist() == [0, 10, 20, 40]
    assert found.values.tolist() == pytest.approx([2, (1 + 6 + 3) / 3, 5, 12])
    spreads = [np.std([0, 4], ddof=1), np.std([1, 6, 3], ddof=1), np.std([2, 8], ddof=1), 0]
    assert found.spread.tolist() == pytest.approx(spreads)
    assert (found.n.tolist(), found.most) == ([2, 3, 2, 1], 3)
    apart = mean_line([line([0, 1], [1, 1]), line([5, 6], [2, 2])])
    assert apart.values.tolist() == [1, 1, 2, 2]
    assert mean_line([]).x.size == 0


def test_means_bands_and_runs_that_did_not_complete(drawn):
    for seed, shift in enumerate((0.0, 0.02)):
        trained(f"relu{seed}", [0.1, 0.5, 0.6, 0.7 + shift], act__name="relu", seed=seed)
        trained(f"gelu{seed}", [0.2, 0.6, 0.8, 0.9 + shift], act__name="gelu", seed=seed)
    trained("gelu2", [0.1, 1e30], act__name="gelu", seed=2, status="diverged")
    figure = drawn()
    (panel,) = figure.axes
    (relu,), (gelu,) = lines(figure, BASELINE), lines(figure, COLORS[0])
    assert relu.get_ydata().tolist() == pytest.approx([0.2, 0.6, 0.8, 0.91]), "the first group found is the baseline"
    assert gelu.get_ydata().tolist() == pytest.approx([0.1, 0.5, 0.6, 0.71])
    assert len(lines(figure, BASELINE, dashed=True)) == 1
    assert len(panel.collections) == 2
    assert panel.get_ylim()[1] < 1, "what diverges does not choose the axis"
    assert [text.get_text() for text in panel.texts] == ["relu  n=2", "gelu  n=2"]
    assert [text.get_text() for text in figure.texts] == [
        "mean ± standard deviation over 4 completed runs in 2 groups\ndashed: 1 not completed"
    ]
    assert not list(Path().glob(".curves*"))


def test_runs_of_a_seed_are_one_curve(drawn):
    for act in ("relu", "gelu"):
        for seed in range(3):
            for rate in range(2):
                end = 0.5 + 0.01 * seed + 0.1 * rate
                trained(f"{act}{seed}{rate}", [0.1, 0.3, 0.4, end], act__name=act, optim__lr=0.1**rate, seed=seed)
    figure = drawn("--group-by", "act")
    (line,) = lines(figure, BASELINE)
    assert line.get_ydata()[-1] == pytest.approx(0.56)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert np.ptp(band[band[:, 0] == 40, 1]) == pytest.approx(2 * 0.01)
    assert figure.texts[0].get_text().startswith("mean ± standard deviation over the seeds of 12 completed runs")


def test_many_groups(drawn):
    for i in range(200):
        trained(f"{i:03}", [0.1, 0.2, 0.3, 0.5 + i / 1000], optim__lr=0.1 + i)
    figure = drawn("--metric", "val/accuracy")
    assert len(lines(figure, OTHERS)) == 192
    best = [lines(figure, color)[0].get_ydata()[-1] for color in COLORS]
    assert best == pytest.approx([0.699 - i / 1000 for i in range(7)])
    assert lines(figure, BASELINE)[0].get_ydata()[-1] == pytest.approx(0.5)
    assert "8 of 200 groups in colour" in figure.texts[0].get_text()


def test_labels_do_not_overlap_and_stay_inside(drawn):
    for i in range(8):
        trained(f"{i}", [0.1, 0.2, 0.3, 0.5 + i / 10_000], act__name=f"an-activation-with-a-{i}-long-name" * 2)
    figure = drawn()
    boxes = sorted(
        (t.get_window_extent(figure.canvas.get_renderer()) for t in figure.axes[0].texts), key=lambda box: box.y0
    )
    assert len(boxes) == 8
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
    assert boxes[0].y0 >= 0
    assert boxes[-1].y1 <= figure.bbox.y1


def test_one_run_with_training_beside(drawn):
    made("a")
    figure = drawn("--metric", "val/loss,val/accuracy")
    loss, accuracy = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[0.9, 0.4, 0.6], [0.3, 0.1]]
    assert not loss.texts, "one group needs no name"
    assert len(accuracy.lines) == 1
    assert figure.texts[0].get_text() == "1 completed run\nthin: training"


def test_a_loss_over_decades_is_drawn_by_its_logarithm(drawn):
    trained("a", [50.0, 3.0, 0.2, 0.1], metric="loss", checkpoint__metric="val/loss")
    trained("b", [40.0, None, 0.3, 0.2], metric="loss", checkpoint__metric="val/loss", act__name="gelu")
    figure = drawn("--metric", "val/loss")
    assert figure.axes[0].get_yscale() == "log"
    assert lines(figure, COLORS[0])[0].get_xdata().tolist() == [10, 30, 40], "null is left out"


def test_a_metric_that_some_or_none_have(drawn):
    trained("a", [0.1, 0.2], metric="top5")
    trained("b", [0.1, 0.2], act__name="gelu")
    figure = drawn("--metric", "val/top5,test/accuracy,train/loss")
    top5, accuracy, nothing = figure.axes
    assert len([line for line in top5.lines if line.get_clip_on()]) == 1
    assert accuracy.get_title(loc="left") == "val/accuracy", "the test is a point, no curve"
    assert [text.get_text() for text in nothing.texts] == ["no run has it in its rows"]


@pytest.mark.parametrize(("file", "head"), [("c.png", b"\x89PNG"), ("c.pdf", b"%PDF"), ("c.SVG", b"<?xml")])
def test_formats_and_names_that_mean_something_to_the_painter(drawn, file: str, head: bytes):
    trained("a", [0.1, 0.2], act__name=r"$\frac{$ <&> 漢字")
    trained("b", [0.1, 0.2], act__name="gelu")
    drawn(file=file)
    assert Path(file).read_bytes().startswith(head)
    if file.endswith("SVG"):
        ET.parse(file)


def test_a_picture_that_can_not_be_written_leaves_the_old_one(drawn, monkeypatch: pytest.MonkeyPatch):
    trained("a", [0.1, 0.2])
    Path("curves.png").write_text("old")
    monkeypatch.setattr(Figure, "savefig", lambda self, part, **how: (part.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        drawn()
    assert Path("curves.png").read_text() == "old"
    assert not list(Path().glob(".curves*"))


def test_a_band_ends_where_the_first_of_its_seeds_ends(drawn):
    for seed, steps in enumerate(((10, 20, 30, 40), (10, 20, 30), (10, 20, 30, 40))):
        trained(f"relu{seed}", [0.1, 0.5, 0.6 + seed / 10, 0.7], steps=steps, act__name="relu", seed=seed)
        trained(f"gelu{seed}", [0.2, 0.6, 0.7 + seed / 10, 0.9], act__name="gelu", seed=seed)
    figure = drawn()
    (panel,) = figure.axes
    (whole,), (fewer,) = (lines(figure, COLORS[0], dashed) for dashed in (False, True))
    assert np.isfinite(whole.get_ydata()).tolist() == [True, True, True, False]
    assert np.isfinite(fewer.get_ydata()).tolist() == [False, False, True, True]
    ends = sorted(path.vertices[:, 0].max() for band in panel.collections for path in band.get_paths())
    assert ends == [30, 40]
    assert figure.texts[0].get_text().endswith("\ndotted: fewer than n seeds reach this far")
    assert {text.get_text() for text in panel.texts} == {"relu  n=3", "gelu  n=3"}


def test_the_band_of_a_share_stays_within_0_and_1(drawn):
    for seed, end in enumerate((0.9, 1.0, 1.0)):
        trained(f"{seed}", [0.0, end], act__name="relu", seed=seed)
    panel = drawn().axes[0]
    (band,) = [path.vertices[:, 1] for part in panel.collections for path in part.get_paths()]
    assert (band.min(), band.max()) == (0, 1)
    assert panel.get_ylim()[1] < 1.05


def test_names_are_at_the_ends_and_no_line_leads_across(drawn):
    for i, steps in enumerate(((10, 20), (10, 20, 30), (10, 20, 30, 40), (10, 20))):
        trained(f"{i}", [0.1, 0.5, 0.6, 0.7], steps=steps, act__name=f"activation{i}")
    (panel,) = drawn().axes
    leaders = [line for line in panel.lines if not line.get_clip_on()]
    assert len(leaders) == 1, "to the one that reaches the edge"
    assert min(leaders[0].get_xdata()) >= 0.94
    to_data = (panel.transAxes + panel.transData.inverted()).transform
    starts = {text.get_text(): to_data(text.get_position())[0] for text in panel.texts}
    assert {name: round(x) for name, x in starts.items() if x < 40} == {
        "activation0": 20, "activation1": 30, "activation3": 20,
    }  # fmt: skip
    boxes = sorted((t.get_window_extent() for t in panel.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_data_sets_never_share_a_panel(drawn):
    for data, high in (("digits", 0.9), ("iris", 0.5)):
        for seed in range(3):
            for act, by in (("relu", 0.0), ("gelu", 0.05)):
                end = high + by + seed / 100
                trained(f"{data}{act}{seed}", [0.1, end], act__name=act, seed=seed, data__name=data)
    both = {"act=relu data=digits  n=3", "act=gelu data=digits  n=3"}
    for flags, names in (((), both), (("--group-by", "act"), both)):
        figure = drawn(*flags)
        assert [panel.get_title(loc="left") for panel in figure.axes] == ["val/accuracy, digits", "val/accuracy, iris"]
        ends = [{round(y.get_ydata()[-1], 2) for y in panel.lines if y.get_clip_on()} for panel in figure.axes]
        assert ends == [{0.91, 0.96}, {0.51, 0.56}]
        assert names <= {text.get_text() for text in figure.axes[0].texts}
    assert len(drawn("--where", "data=iris").axes) == 1


def test_a_panel_of_one_group_names_it(drawn):
    for data, high in (("digits", 0.8), ("iris", 0.5)):
        for seed in range(3):
            for rate in (0.01, 0.1):
                end = high + rate + seed / 100
                trained(f"{data}{rate}{seed}", [0.1, end], seed=seed, data__name=data, optim__lr=rate)
    for flags in ((), ("--x", "optim.lr")):
        panels = drawn("--group-by", "data", *flags).axes
        assert [[text.get_text() for text in panel.texts] for panel in panels] == [["digits  n=3"], ["iris  n=3"]]


@pytest.mark.parametrize(
    ("axis", "name", "ends"),
    [
        ("epoch", "epoch", [2.0, 4.0]), ("examples", "examples trained on", [1280, 2560]),
        ("seconds", "seconds of training", [4, 4]), ("step", "step", [40, 40]),
    ],
)  # fmt: skip
def test_curves_along_other_axes(drawn, axis: str, name: str, ends: list[float]):
    for size in (32, 64):
        trained(f"{size}", [0.1, 0.2, 0.3, size / 100], batch_size=size)
        rows = Path(f"outputs/{size}/metrics.jsonl")
        told = [
            f'{line[:-1]}, "epoch": {size / 32 * i / 2}}}' for i, line in enumerate(rows.read_text().split("\n"), 1)
        ]
        rows.write_text("\n".join([*told[:4], ""]))
    (panel,) = drawn("--x", axis).axes
    assert sorted(max(line.get_xdata()) for line in panel.lines if line.get_clip_on()) == pytest.approx(ends)
    assert panel.get_xlabel() == name


def test_metrics_against_a_number_that_was_swept(drawn):
    for act, better in (("relu", 0.0), ("gelu", 0.01)):
        for lr in (1e-3, 1e-2, 1e-1):
            for seed in range(3):
                end = 0.9 + better - 2 * lr + seed / 100
                trained(f"{act}{lr}{seed}", [0.1, end], act__name=act, optim__lr=lr, seed=seed)
    trained("lost", [0.1], act__name="gelu", optim__lr=1.0, seed=0, status="diverged")
    figure = drawn("--x", "optim.lr", "--metric", "val/accuracy,test/accuracy")
    panel = figure.axes[0]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["val/accuracy", "test/accuracy"]
    assert (panel.get_xscale(), panel.get_xlabel()) == ("log", "optim.lr")
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0.001", "0.01", "0.1", "1"]
    curves = {to_hex(c[0].get_color()): c for c in panel.containers}
    first = curves[BASELINE]
    assert first[0].get_ydata().tolist() == pytest.approx([0.918, 0.9, 0.72]), "of gelu"
    low, high = first[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 0.01)
    assert sorted(text.get_text() for text in panel.texts) == ["gelu  n=3", "relu  n=3"]
    assert figure.texts[0].get_text().splitlines() == [
        "mean ± standard deviation over seeds, of 18 completed runs", "×: runs that did not complete",
    ]  # fmt: skip
    (marks,) = [line for line in panel.lines if line.get_marker() == "x"]
    assert marks.get_xdata() == [1.0]


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ((1e-3, 3e-3, 1e-2), True), ((16, 32, 64), True), ((1, 2, 3, 4), False), ((0, 0.1, 0.2), False),
        ((0.1, 0.2), False), ((0.01, 0.1), True), ((5,), False), ((0.1, 0.3, 0.5), False), ((0, 1, 1000), False),
    ],
)  # fmt: skip
def test_the_axis_is_logarithmic_where_that_suits(values: tuple[float, ...], log: bool):
    assert against.suits_logarithm(np.array(values)) == log


def test_what_is_no_axis(dlrun):
    for act in ("relu", "gelu"):
        for seed in range(2):
            trained(f"{act}{seed}", [0.1, 0.2], act__name=act, seed=seed, optim__lr=0.1 * (seed + 1), batch_size=32)
    allowed = "allowed: step, epoch, examples, seconds, seed, optim.lr"
    for word, said in {
        "act": f"--x act: not a number that was swept; {allowed}",
        "batch_size": f"--x batch_size: not a number that was swept; {allowed}",  # of one value
        "optim.rl": f"--x optim.rl: no such column (did you mean 'optim.lr'?); {allowed}",
        "epochs ": f"--x epochs : no such column (did you mean 'epoch'?); {allowed}",
        "val/accuracy": "--x val/accuracy: not a number that was swept",
    }.items():
        outcome = dlrun("compare", "--plot", "c.png", "--x", word)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith(f"error: {said}"), outcome.err
    assert dlrun("compare", "--x", "epoch").err == "error: --x epoch: needs --plot FILE\n"
    assert not Path("c.png").exists()
    assert get_args(Axis) == compare.AXES
