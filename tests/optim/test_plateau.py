"""The schedule that follows validation: its counting by hand, and in a run, also a resumed one."""

import pytest

from dlrun.train.position import Position

SCHEDULE = ("schedule=plateau", "schedule.patience=1", "schedule.factor=0.5", "schedule.min_scale=0.2")


def test_counting() -> None:
    at, scales = Position(), []
    for score in (1.0, 2.0, 2.0, 1.5, 3.0, 3.0, 2.9, 2.8, 2.7):
        at = at.on_plateau(score, factor=0.1, patience=2, min_scale=1e-3)
        scales.append(at.lr_scale)
    # Equal is no better; after a drop the counting starts anew, and the floor holds.
    assert scales == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 1e-3])


def rates(run) -> list[float]:
    return [round(r["lr"] / 0.01, 4) for r in run.rows if r["split"] == "train"]


def test_the_rate_of_a_run_follows_validation_and_so_does_a_resumed_one(dlrun) -> None:
    # A patience of one evaluation, and a rate so large that validation gets worse now and then.
    words = ("model.widths=[16]", "log.plot=false", "log.every=20", "optim.lr=0.01", *SCHEDULE)
    whole = dlrun(*words, "epochs=10")
    assert whole.code == 0, whole.err
    values = [r["accuracy"] for r in whole.rows if r["split"] == "val"]
    expected, at = [], Position()
    for value in values:  # the rate of an epoch follows from the evaluations before it
        expected.append(round(at.lr_scale, 4))
        at = at.on_plateau(value, factor=0.5, patience=1, min_scale=0.2)
    assert rates(whole) == expected
    assert min(expected) < 1

    part = dlrun(*words, "epochs=6")
    resumed = dlrun("resume", str(part.directory), "epochs=10")
    assert resumed.code == 0, resumed.err
    assert rates(resumed) == expected
