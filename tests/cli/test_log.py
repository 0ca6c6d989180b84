"""log.txt holds what the person was told, whatever it was told on."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from dlrun.display.terminal import TerminalProgress
from dlrun.display.units import number
from tests.conftest import QUICK
from tests.sweeps import SMALL, runs, summary


def logged(run: Path) -> list[str]:
    """The lines of log.txt without time and place, warnings marked as on the terminal."""
    lines = (run / "log.txt").read_text().splitlines()
    found = [re.fullmatch(r"\d{4}-\d\d-\d\d [\d:,]+ (INFO|WARNING|ERROR) dlrun\.[\w.]+: (.*)", line) for line in lines]
    assert all(found), lines
    return [("warning: " if f[1] == "WARNING" else "") + f[2] for f in found if f]


def test_a_run_logs_what_it_tells_and_a_resumed_one_goes_on(dlrun):
    run = dlrun(*QUICK, "model.widths=[4]", "batch_size=4")
    assert run.code == 0, run.err
    assert run.out == f"{run.directory}\n"
    told = run.err.splitlines()
    assert told[0] == "data digits: 1,294 train, 144 val, 359 test rows; 10 classes"
    parameters = run.run["parameters"]
    assert told[1] == f"model mlp: {parameters:,} parameters, float32 on cpu; 323 steps of 4 rows"
    assert told[2].startswith("warning: batch normalisation is unstable")
    assert told[-1].startswith("test  accuracy ")
    assert logged(run.directory) == told

    resumed = dlrun("resume", str(run.directory), "epochs=2")
    assert resumed.code == 0, resumed.err
    more = resumed.err.splitlines()
    assert more[0] == "resumed with epochs=2"
    assert "going on from step 323 of 646" in more
    assert logged(run.directory) == told + more


def test_a_worker_process_logs_by_the_same_names(dlrun):
    done = dlrun("-m", *SMALL, "epochs=1", "optim.lr=0.1,0.2", "launcher.workers=2")
    assert done.code == 0, done.err
    for run in runs(done.directory):
        assert logged(run)[-1].startswith("test  accuracy ")
        assert "__main__" not in (run / "log.txt").read_text()


def test_one_of_a_thing_is_told_in_the_singular(dlrun, own_folder):
    x = np.linspace(0, 1, 24)[:, None]
    np.savez("one.npz", x=x, y=x[:, 0] ** 2)
    words = ("data=arrays", "data.path=one.npz", "model.widths=[4]", "norm=none", "batch_size=1", "steps=1")
    told = dlrun(*words).err.splitlines()
    assert told[0].endswith(" rows; 1 number")
    assert told[1].endswith("; 1 step of 1 row")


def test_each_run_of_a_sweep_has_its_own_lines_alone(dlrun):
    done = dlrun("-m", *SMALL, "epochs=2", "optim.lr=0.1,1e30,0.2", "log.every=5")
    assert "data digits" not in done.err, "which would come once a run"
    for i, run in enumerate(runs(done.directory)):
        lines = logged(run)
        assert [line.split(":")[0] for line in lines[:2]] == ["data digits", "model mlp"]
        if i == 1:
            assert lines[-1].startswith("diverged: ")
            continue
        assert [line.split()[1] for line in lines if line.startswith("step")] == ["20/40", "40/40"]
        assert sum("steps/s x 3 runs" in line for line in lines) >= 1
        assert not any("stopped early" in line for line in lines)
        accuracy = number(summary(run)["test/accuracy"])
        assert [line for line in lines if line.startswith("test")] == [lines[-1]]
        assert lines[-1].startswith(f"test  accuracy {accuracy} ")


def test_a_line_that_is_cut_for_the_terminal_is_whole_in_the_log(caplog):
    shown = []
    console = SimpleNamespace(width=30, print=lambda text, **how: shown.append(text))
    p = TerminalProgress("val/accuracy")
    p.start(0, 100)
    p.live = SimpleNamespace(console=console, stop=lambda: None)
    with caplog.at_level(logging.INFO):
        p.row({"step": 10, "epoch": 1.0, "split": "val", "accuracy": 0.5, "loss": 0.25, "time": 1.0})
    assert shown == ["step  10/100  loss 0.2500"], "what does not fit is left out"
    assert caplog.messages == ["step  10/100  epoch 1     val accuracy 0.5000  loss 0.2500"]
