"""From the command line to a configuration, to a run's or a sweep's directory."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dlrun.config import catalogue, composition, plan
from tests.conftest import QUICK


def planned(*overrides: str) -> plan.Plan:
    cfg, found = composition.compose(composition.loader([]), list(overrides))
    values, unresolved = composition.plain(cfg)
    return plan.plan(values, (), [*found, *unresolved])


def test_print_of_the_configuration_creates_nothing(dlrun: Callable, own_folder: Path) -> None:
    done = dlrun("model=resnet", "--cfg", "job", "optim.lr=3e-3", "+note=x", "seed=${batch_size}")
    values = yaml.safe_load(done.out)
    assert done.code == 0
    assert (values["model"]["name"], values["optim"]["lr"], values["seed"]) == ("resnet", 0.003, "${batch_size}")
    assert "hydra" not in values
    assert yaml.safe_load(dlrun("--cfg=job", "--resolve", "seed=${batch_size}").out)["seed"] == 64
    assert yaml.safe_load(dlrun("--cfg", "hydra", "model=cnn").out)["hydra"]["runtime"]["choices"]["model"] == "cnn"
    assert dlrun("--cfg", "all").out.startswith("hydra:") or "\nhydra:" in dlrun("--cfg", "all").out
    assert list(own_folder.iterdir()) == []


def test_references_between_keys() -> None:
    assert planned("epochs=${accumulate}", "model.widths=[8,${accumulate}]").values["model"]["widths"] == [8, 1]


def test_deleted_keys_have_their_defaults() -> None:
    short = planned("model=cnn", "~model.channels", "~dropout", "~optim.lr", "~split", "~log.sinks")
    assert short == planned("model=cnn")


def test_off_is_absent_from_the_state() -> None:
    assert "dropout" not in planned("dropout=0", "ema=0").numbers
    assert "ema" not in planned("dropout=0", "ema=0").numbers
    assert planned("dropout=0.1", "ema=0.9").numbers["dropout"] == 0.1


def test_of_a_key_given_twice_the_last_counts() -> None:
    assert planned("optim.lr=1", "optim.lr=2").numbers["optim.lr"] == 2.0


def test_a_model_may_bring_choices_and_the_user_has_the_last_word() -> None:
    values = planned("model=transformer").values
    assert (values["norm"]["name"], values["act"]["name"]) == ("layer", "gelu")
    assert planned("model=transformer", "norm=none").values["norm"]["name"] == "none"
    assert planned("norm=none", "model=transformer").values["norm"]["name"] == "none"


def test_sweep(dlrun: Callable, own_folder: Path) -> None:
    done = dlrun("model.widths=[4]", "-m", "act=relu,gelu", "epochs=1", "seed=range(2,3)", "log.plot=false")
    assert done.code == 0, done.err
    (line,) = done.out.splitlines()
    sweep = Path(line)
    assert sweep.parts[0] == "outputs"
    runs = sorted(sweep.glob("*/run.json"))
    assert [run.parent.name for run in runs] == ["0", "1"]
    configs = [json.loads(run.read_text())["config"] for run in runs]
    assert [(c["act"]["name"], c["seed"]) for c in configs] == [("relu", 2), ("gelu", 2)]
    assert all(json.loads(run.read_text())["status"] == "completed" for run in runs)
    assert yaml.safe_load((sweep / "1/.hydra/overrides.yaml").read_text())[1] == "act=gelu"


def test_sweep_goes_on_after_a_failed_run(dlrun: Callable) -> None:
    sweep = ("-m", "optim.lr=1e30,1e-3", "optim=sgd", "norm=none", "schedule=constant", "log.every=5", *QUICK)
    done = dlrun(*sweep)
    assert done.code == 1
    statuses = [json.loads((done.directory / job / "run.json").read_text())["status"] for job in "01"]
    assert statuses == ["diverged", "completed"]
    assert "Traceback" not in done.err


def test_bad_sweep_creates_nothing(dlrun: Callable, own_folder: Path) -> None:
    done = dlrun("-m", "seed=1,x", "act=relu,gleu", "dropout=2")
    assert done.code == 2
    for text in ("seed=x", "act=gleu", "dropout=2"):
        assert done.err.count(f"error: {text}: ") == 1
    assert list(own_folder.iterdir()) == []


@pytest.fixture
def run(finished: Callable) -> Path:
    return finished(*QUICK).directory


def test_resume_checks_its_values(dlrun: Callable, run: Path) -> None:
    before = {f: f.read_bytes() for f in run.rglob("*") if f.is_file()}
    for override, says in {
        "seed=1": "seed=1: can't be changed in a resumed run; start a new one; allowed: epochs, steps, dropout",
        "model.widths=[8]": "model.widths=[8]: can't be changed in a resumed run",
        "model=resnet": "model=resnet: can't be changed in a resumed run; start a new one, as the saved state "
        "belongs to its model",
        "model=cnn": "model=cnn: can't be changed in a resumed run; start a new one, as the saved state belongs "
        "to its model",
        "model=nope": "model=nope: can't be changed in a resumed run",
        "model=": "model=: can't be changed in a resumed run",
        "act=gelu": "act=gelu: can't be changed in a resumed run",
        "optim=sgd": "optim=sgd: can't be changed in a resumed run",
        "data=iris": "data=iris: can't be changed in a resumed run",
        "loss=mse": "loss=mse: can't be changed in a resumed run",
        "schedule=cosine": "schedule=cosine: can't be changed in a resumed run",
        "augment=flip": "augment=flip: can't be changed in a resumed run",
        "model={name:cnn}": "model={name:cnn}: can't be changed in a resumed run",
        "model@x=cnn": "model@x=cnn: not allowed here; allowed: key=value",
        "+model=cnn": "+model=cnn: not allowed here; allowed: key=value",
        "~model": "~model: not allowed here; allowed: key=value",
        "experiment=digits_cnn": "experiment=digits_cnn: can't be chosen for a resumed run",
        "launcher=ray": "launcher=ray: not allowed for one run",
        "launcher.workers=2": "launcher.workers=2: not allowed in a resumed run",
        "hydra.run.dir=x": "hydra.run.dir=x: not allowed in a resumed run",
        "hydra/sweeper=optuna": "hydra/sweeper=optuna: not allowed in a resumed run",
        "+hydra.verbose=true": "+hydra.verbose=true: not allowed in a resumed run",
        "optim.name=sgd": "optim.name=sgd: can't be changed in a resumed run",
        "dropout=0.5": "dropout=0.5: can't be switched on or off in a resumed run",
        "ema=0.9": "ema=0.9: can't be switched on or off in a resumed run",
        "optim.lr=abc": "optim.lr=abc: not allowed; allowed: a number > 0",
        "optim.lrr=1": "optim.lrr: unknown key (did you mean 'lr'?)",
        "sead=1": "sead: unknown key (did you mean 'seed'?)",
        "epochs=0": "epochs=0: not allowed",
        "+x=1": "+x=1: not allowed here; allowed: key=value",
        "~dropout": "~dropout: not allowed here; allowed: key=value",
        "epochs=1,2": "epochs=1,2: not allowed here; allowed: key=value",
        "epochs": "epochs: can't be read as key=value",
        "optim._target_=os.system": "optim._target_=os.system: not allowed; a configuration holds values",
        "epochs=${nope}": "epochs: Interpolation key 'nope' not found",
    }.items():
        done = dlrun("resume", str(run), override)
        assert (done.code, done.out) == (2, ""), override
        assert f"error: {says}" in done.err
        if override.partition("=")[0] in catalogue.GROUPS:
            assert len(done.err.splitlines()) == 1, done.err
        assert "Traceback" not in done.err
    assert {f: f.read_bytes() for f in run.rglob("*") if f.is_file()} == before


def test_resume_with_the_same_values_and_from_an_older_configuration(dlrun: Callable, run: Path) -> None:
    file = run / ".hydra/config.yaml"
    older = yaml.safe_load(file.read_text())
    for key in ("ema", "max_skipped", "early_stop", "augment"):  # as if they were new
        del older[key]
    del older["log"]["plot"]
    file.write_text(yaml.safe_dump({**older, "compile_cache": "auto"}))
    done = dlrun("resume", str(run), "seed=0", "model=mlp", "model.widths=[16]", "epochs=2", "log.plot=false")
    assert done.code == 0, done.err
    assert done.directory == run
    assert done.summary["epoch"] == 2
    assert done.run["config"]["augment"] == {"name": "none"}
    assert done.run["config"]["max_skipped"] == 100


def test_resume_with_the_options_that_were_typed(dlrun: Callable, own_folder: Path) -> None:
    """An alias and an option of the user's own are what they were; the component's name says neither."""
    (own_folder / "conf/optim").mkdir(parents=True)
    (own_folder / "conf/optim/mine.yaml").write_text("name: sgd\nlr: 0.1\n")
    words = ("act=silu", "optim=mine")
    run = dlrun("--config-dir", "conf", *QUICK, *words)
    assert run.code == 0, run.err
    assert dlrun("resume", str(run.directory), *words, "epochs=2").code == 0
    assert run.summary["epoch"] == 2
    assert dlrun("resume", str(run.directory), "act=swish", "optim=sgd", "epochs=3").code == 0  # their other names


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "seed: 0\nseed: 1\n", "model: mlp\n", "hello", "\x00"])
def test_resume_from_a_damaged_configuration(dlrun: Callable, own_folder: Path, text: str) -> None:
    (own_folder / "run/.hydra").mkdir(parents=True)
    (own_folder / "run/.hydra/config.yaml").write_text(text)
    done = dlrun("resume", "run")
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 20


@pytest.mark.parametrize(("words", "epochs", "steps"), [
    ((), 30, None), (("steps=7",), None, 7), (("epochs=3",), 3, None), (("steps=7", "epochs=null"), None, 7),
])  # fmt: skip
def test_one_duration_takes_the_place_of_the_other(words, epochs, steps):

    values, _ = composition.plain(composition.compose(composition.loader([]), list(words))[0])
    assert (values["epochs"], values["steps"]) == (epochs, steps)


def test_a_run_of_steps_is_made_longer_in_steps(dlrun):
    run = dlrun(*QUICK[::2], "steps=7")
    assert run.summary["step"] == 7
    assert dlrun("resume", str(run.directory), "steps=9").code == 0
    assert run.summary["step"] == 9
