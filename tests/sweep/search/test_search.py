"""Searches on functions instead of training: what is tried, what is remembered, what comes out."""

import math
import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from dlrun.config import catalogue, composition
from dlrun.config.overrides import parse
from dlrun.config.schema import find_problems, keys
from dlrun.errors import InvalidConfig
from dlrun.sweep.search import best, pruning, search, study
from dlrun.sweep.search.domain import Numbers, Options, search_space
from dlrun.sweep.search.search import Objective, Optuna, Outcome

LOSS = [Objective("val/loss", "min")]
WORDS = ("x=interval(-2,4)", "y=tag(log,interval(1e-4,1e-1))", "act=relu,gelu")


def bowl(values) -> float:
    """Zero at x = 1, y = 0.01, act = gelu."""
    found = (values.get("x", 1) - 1) ** 2 + (math.log10(values.get("y", 0.01)) + 2) ** 2
    return found + (0.5 if values.get("act", "gelu") == "relu" else 0)


@pytest.fixture(autouse=True, scope="module")
def quick_storage(tmp_path_factory: pytest.TempPathFactory):
    """SQLite that does not wait for the disk, as no machine goes down here, and whose tables are made once."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def connected(connection, _):
        connection.execute("PRAGMA synchronous = OFF")

    @contextmanager
    def storage(file, of=study.storage_of):
        if not file.exists():
            shutil.copy(empty, file)
        with of(file) as opened:
            yield opened

    event.listen(Engine, "connect", connected)
    empty = tmp_path_factory.mktemp("storage") / "empty.db"
    with study.storage_of(empty), pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "storage_of", storage)
        yield
    event.remove(Engine, "connect", connected)


class Runs:
    """Runs that know their loss at once, and which points they were given."""

    def __init__(self, function=bowl, dies_after=None):
        self.function, self.dies_after = function, dies_after
        self.points, self.batches = [], []

    def __call__(self, points):
        if self.dies_after is not None and len(self.points) >= self.dies_after:
            raise KeyboardInterrupt
        self.batches.append(len(points))
        self.points += points
        return [self.outcome(p) for p in points]

    def outcome(self, point):
        return Outcome("completed", {"val/loss": self.function(point.values)})

    @property
    def tried(self):
        return [(p.job, p.trial, p.overrides) for p in self.points]


def searched(folder: Path, runs, *words: str, objectives=LOSS, **how):
    folder.mkdir(exist_ok=True)
    return search.search(search_space(list(words or WORDS)), Optuna(**how), objectives, folder, runs)


# The search space


@pytest.mark.parametrize(
    ("word", "domain"),
    [
        ("a=interval(0,1)", Numbers(0.0, 1.0)),
        ("a=interval(0,10)", Numbers(0.0, 10.0)),
        ("a=int(interval(1,10))", Numbers(1, 10, 1, whole=True)),
        ("a=tag(int,interval(1,10))", Numbers(1, 10, 1, whole=True)),
        ("a=tag(log,interval(1e-4,1e-1))", Numbers(1e-4, 1e-1, log=True)),
        ("a=tag(log,int(interval(1,1024)))", Numbers(1, 1024, 1, log=True, whole=True)),
        ("a=range(16,128,step=16)", Numbers(16, 128, 16, whole=True)),
        ("a=range(5)", Numbers(0, 5, 1, whole=True)),
        ("a=range(1,10,step=4)", Numbers(1, 9, 4, whole=True)),
        ("a=range(0.1,0.75,0.1)", Numbers(0.1, 0.7, 0.1)),
        ("a=range(0,1,0.25)", Numbers(0, 1.0, 0.25)),
        ("a=tag(log,range(1,64))", Numbers(1, 64, 1, log=True, whole=True)),
        ("a=shuffle(range(1,4))", Numbers(1, 4, 1, whole=True)),
        ("a=relu,gelu", Options(("relu", "gelu"))),
        ("a=choice([64],[128,64])", Options(("[64]", "[128,64]"))),
        ("a=choice(only)", Options(("only",))),
        ("a='x,y','b'", Options(("'x,y'", "'b'"))),
        ("a=1,2.5,null,true", Options(("1", "2.5", "null", "True"))),
        ("a=shuffle(3,1,2)", Options(("3", "1", "2"))),
        ("a={b:1},{b:2}", Options(("{b:1}", "{b:2}"))),
    ],
)
def test_space(word: str, domain) -> None:
    found = search_space([word, "epochs=3"])
    assert found.domains == {"a": domain}
    assert found.fixed == ("epochs=3",)


@pytest.mark.parametrize(
    "word", ["a=interval(1,3)", "a=int(interval(1,3))", "a=tag(log,interval(1,3))", "a=range(1,3)"]
)
def test_space_is_that_of_hydras_plugin(word: str) -> None:
    """The distributions that the plugin makes of these words: bounds included, whole numbers only where asked for."""
    expected = {
        "a=interval(1,3)": "FloatDistribution(high=3.0, log=False, low=1.0, step=None)",
        "a=int(interval(1,3))": "IntDistribution(high=3, log=False, low=1, step=1)",
        "a=tag(log,interval(1,3))": "FloatDistribution(high=3.0, log=True, low=1.0, step=None)",
        "a=range(1,3)": "IntDistribution(high=3, log=False, low=1, step=1)",
    }
    assert str(study.distribution(search_space([word]).domains["a"])) == expected[word]


def test_space_of_all_options_of_a_group() -> None:
    found = search_space(["norm=glob(*,exclude=b*)"], hydra=composition.loader([]))
    names = [n for n in catalogue.options("norm", [catalogue.conf()]) if n[0] != "b"]
    assert found.domains == {"norm": Options(tuple(names))}


def test_space_from_a_configuration() -> None:
    params = {"optim.lr": "tag(log, interval(1e-4, 1e-1))", "act": "relu,gelu", "epochs": 3, "log.plot": False}
    found = search_space(["act=tanh", "+z=1,2", "hydra.sweeper.n_trials=3"], params)
    assert found.domains == {"optim.lr": Numbers(1e-4, 1e-1, log=True), "+z": Options(("1", "2"))}
    assert found.fixed == ("epochs=3", "log.plot=false", "act=tanh")


def test_probes_hold_every_end() -> None:
    found = search_space(["a=1,2,[3]", "b=interval(0,1)", "c=range(0,8,step=5)", "d=5"]).probes()
    assert found == [["d=5", "a=1", "b=0.0", "c=0"], ["d=5", "a=2", "b=1.0", "c=5"], ["d=5", "a=[3]", "b=0.0", "c=0"]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("a=interval(1,0)", "a=interval(1,0): holds no number; allowed: the smaller one first"),
        ("a=range(5,1)", "a=range(5,1): holds no number"),
        ("a=range(0,5,step=0)", "step 0 not allowed; allowed: a step > 0"),
        ("a=range(5,1,-1)", "holds no number"),
        ("a=interval(1,inf)", "without end; allowed: finite numbers"),
        ("a=tag(log,interval(0,1))", "0.0 has no logarithm; allowed: numbers > 0"),
        ("a=tag(log,interval(-1,1))", "-1.0 has no logarithm"),
        ("a=tag(log,range(1.0,2.0,0.5))", "a step and a logarithm exclude each other"),
        ("a=tag(log,range(1,9,2))", "a step and a logarithm exclude each other"),
        ("a=tag(int,interval(0.5,3))", "not whole"),
        ("a=tag(logarithmic,interval(1,3))", "unknown tag logarithmic; known: log, int"),
        ("a=tag(log,choice(1,2))", "tag log is for numbers"),
        ("a=1,1", "1 appears twice"),
        ("a=1,2 a=3", "a: given 2 times; allowed: once"),
        ("+a=1,2 a=interval(0,1)", "a: given 2 times"),
        ("a=glob(zzz*)", "no values"),
        ("a=choice()", "empty choice is not legal"),
        ("a=interval(b,1)", "mismatch type"),
        ("a=1 epochs=3", "nothing to search in; allowed: keys with several values"),
        ("", "nothing to search in"),
        ("=3,4", "=3,4: has no key"),
        ("a=1,2 b=(", "b=(: extraneous input"),
    ],
)
def test_space_refuses(words: str, says: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        search_space(words.split(), hydra=composition.loader([]))
    (line,) = refused.value.problems
    assert says in line
    assert "\n" not in line


def test_all_problems_of_a_space_at_once() -> None:
    with pytest.raises(InvalidConfig) as refused:
        search_space(["a=interval(1,0)", "b=tag(log,interval(0,1))", "c=1,2"])
    assert len(refused.value.problems) == 2


# Options


def test_the_yaml_file_is_the_signature() -> None:
    file = catalogue.conf() / "hydra/sweeper/optuna.yaml"
    values = yaml.safe_load(file.read_text())
    assert values == {name: key.default for name, key in keys(Optuna).items()}
    assert list(values) == list(keys(Optuna))
    assert find_problems(Optuna, values, "hydra.sweeper") == []
    assert {entry.key for entry in catalogue.entries(file) if entry.comment} == set(values)


def test_the_yaml_file_composes() -> None:
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=7", "hydra.sweeper.metric=[val/loss,val/accuracy]"]
    cfg, found = composition.compose(composition.loader([]), [*words, "a=interval(0,1)"], multirun=True)
    assert found == []
    values = OmegaConf.to_container(cfg.hydra.sweeper, resolve=True)
    assert search.options(values) == Optuna(n_trials=7, metric=["val/loss", "val/accuracy"])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"n_trials": "abc"}, "hydra.sweeper.n_trials=abc: not allowed; allowed: a whole number in [1, 2^31)"),
        ({"n_trials": 0}, "hydra.sweeper.n_trials=0: not allowed"),
        ({"sampler": "tpa"}, "hydra.sweeper.sampler=tpa: not allowed (did you mean 'tpe'?); allowed: tpe, random"),
        ({"sampler": "none"}, "hydra.sweeper.sampler=none: not allowed"),
        ({"ntrials": 5}, "hydra.sweeper.ntrials: unknown key (did you mean 'n_trials'?)"),
        ({"factor": 1}, "hydra.sweeper.factor=1: not allowed; allowed: a whole number in [2, 2^31)"),
        ({"pruner": "hyper"}, "hydra.sweeper.pruner=hyper: not allowed (did you mean 'hyperband'?)"),
        ({"metric": []}, "hydra.sweeper.metric=[]: not allowed; allowed: a metric such as val/loss, or a list of them"),
        ({"params": [1]}, "hydra.sweeper.params=[1]: not allowed; allowed: keys with what to search in"),
        ({"seeds": 2.5}, "hydra.sweeper.seeds=2.5: not allowed"),
    ],
)
def test_options_refuse(values, says: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        search.options(values)
    (line,) = refused.value.problems
    assert line.startswith(says)


def test_objectives() -> None:
    main, known = Objective("val/bits_per_character", "min"), ("val/loss", "val/accuracy", "parameters")

    def found(metric):
        return [(o.metric, o.mode) for o in search.objectives(Optuna(metric=metric), main, known)]

    assert found(None) == [("val/bits_per_character", "min")]
    assert found("val/accuracy") == [("val/accuracy", "max")]
    assert found("max:val/loss") == [("val/loss", "max")]
    assert found(["val/accuracy", "parameters"]) == [("val/accuracy", "max"), ("parameters", "min")]
    for metric, says in {
        "val/acuracy": "hydra.sweeper.metric=val/acuracy: unknown metric (did you mean 'val/accuracy'?); known: ",
        "most:val/loss": "hydra.sweeper.metric=most:val/loss: not allowed; allowed: min:val/loss or max:val/loss",
        "min:": "hydra.sweeper.metric=min:: unknown metric",
    }.items():
        with pytest.raises(InvalidConfig) as refused:
            found(metric)
        assert refused.value.problems[0].startswith(says)
    with pytest.raises(InvalidConfig, match="val/loss appears twice"):
        found(["val/loss", "max:val/loss"])
    with pytest.raises(
        InvalidConfig, match=r"goes by val/bits_per_character, .*; allowed: checkpoint.metric=val/loss$"
    ):
        search.objectives(Optuna(metric="val/loss", pruner="median"), main, known)


def test_pruners() -> None:
    def made(**how):
        return search.pruner(Optuna(seeds=2, **how), LOSS, 27)

    assert made() is None
    assert made(pruner="median", warmup=9).rule == pruning.Median(warmup=9)
    assert made(pruner="halving", factor=4, min_resource=2).rule == pruning.Halving(factor=4, min_resource=2)
    assert made(pruner="hyperband").rule == pruning.Hyperband(total=27)
    assert (made(pruner="halving").seeds, made(pruner="halving").mode) == (2, "min")


@pytest.mark.parametrize(
    ("words", "how", "says"),
    [
        (("act=relu,gelu",), {"sampler": "cmaes"}, "hydra.sweeper.sampler=cmaes: no number to search"),
        (("x=interval(1,1)",), {"sampler": "cmaes"}, "no number to search"),
        (WORDS, {"sampler": "grid"}, "x=-2.0 to 4.0: endless for hydra.sweeper.sampler=grid; allowed: range"),
        (("x=range(0,2000)", "y=range(0,2000)"), {"sampler": "grid"}, "4004001 points; allowed: at most 1000000"),
        ((*WORDS, "seed=1,2"), {"seeds": 2}, "seed=1,2: not allowed with hydra.sweeper.seeds=2, which gives"),
        ((*WORDS, "seed=5"), {"seeds": 2}, "seed=5: not allowed with hydra.sweeper.seeds=2"),
    ],
)
def test_contradictions(tmp_path: Path, words, how, says: str) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    with pytest.raises(InvalidConfig) as refused:
        searched(folder, Runs(), *words, **how)
    assert says in refused.value.problems[0]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "says"), [({"sampler": "cmaes"}, "one metric at a time"), ({"pruner": "halving"}, "several metrics")]
)
def test_several_metrics_exclude(tmp_path: Path, how, says: str) -> None:
    with pytest.raises(InvalidConfig, match=says):
        search.check(search_space(list(WORDS)), Optuna(**how), [*LOSS, Objective("val/accuracy", "max")], tmp_path)


# Searching


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "qmc"])
def test_samplers_find_the_region_of_the_best(tmp_path: Path, sampler: str) -> None:
    runs = Runs()
    words = ("x=interval(-2,4)", "y=tag(log,interval(1e-4,1))") if sampler == "cmaes" else WORDS
    (found,) = searched(tmp_path, runs, *words, sampler=sampler, n_trials=24)
    losses = [bowl(p.values) for p in runs.points]
    assert found.results == {"val/loss": min(losses)}
    assert min(losses) < 0.7  # a ball around the best that one in eight points of the space is in
    assert runs.batches == [8] * 3
    assert [p.trial for p in runs.points] == [p.job for p in runs.points] == list(range(24))
    assert len({str(p.overrides) for p in runs.points}) == 24
    if sampler in ("tpe", "cmaes"):  # they learn
        assert sum(losses[-8:]) < 0.6 * sum(losses[:8])


def test_grid_tries_every_point_once(tmp_path: Path) -> None:
    runs = Runs()
    words = ("x=range(0,2)", "y=1e-3,1e-2", "act=relu,gelu", "epochs=3")
    (found,) = searched(tmp_path, runs, *words, sampler="grid", n_trials=50)
    assert len(runs.points) == len({str(p.overrides) for p in runs.points}) == 12
    assert runs.batches == [8, 4]
    assert found.values == {"x": 1, "y": "0.01", "act": "gelu"}
    assert [p.overrides for p in runs.points] != sorted(p.overrides for p in runs.points)  # a part covers all of it


def test_points_are_typed_and_plain(tmp_path: Path) -> None:
    runs = Runs(lambda values: 0.0)
    words = ("w=choice([64],[128,64])", "b=range(16,128,step=16)", "q='a,b',null", "f=range(0.1,0.7,0.1)", "epochs=3")
    searched(tmp_path, runs, *words, "+z=interval(0,1)", sampler="random", n_trials=8)
    for point in runs.points:
        values = point.values
        assert values["w"] in ([64], [128, 64])
        assert values["q"] in ("a,b", None)
        assert type(values["b"]) is int
        assert values["b"] in range(16, 129, 16)
        assert values["f"] in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
        typed = [parse(word)[0] for word in point.overrides]
        assert {o.name: o.value for o in typed} == {"epochs": 3, **values}
        assert [o.adds for o in typed] == [False] * 5 + [True]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "qmc", "grid"])
def test_a_killed_search_goes_on_as_if_nothing_had_been(tmp_path: Path, monkeypatch, sampler: str) -> None:
    words = ("x=range(-2,4)", "y=range(0.001,0.1,0.001)")
    how = {"sampler": sampler, "n_trials": 10, "batch": 4}
    whole, part = Runs(), Runs(dies_after=4)
    undisturbed = searched(tmp_path / "whole", whole, *words, **how)

    with pytest.raises(KeyboardInterrupt):  # while the second batch trains
        searched(tmp_path / "part", part, *words, **how)
    with monkeypatch.context() as patch:  # while the first trial of the third batch is chosen
        patch.setattr(study.Study, "ask", dying(study.Study.ask, 1))
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "part", part := Runs(), *words, **how)
    assert part.tried == whole.tried[4:8]  # what was asked for before, with the same numbers
    with monkeypatch.context() as patch:  # while results are written down
        patch.setattr(study.Study, "completed", dying(study.Study.completed, 1))
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "part", part := Runs(), *words, **how)
    assert part.tried == whole.tried[8:]
    found = searched(tmp_path / "part", part := Runs(), *words, **how)
    assert (found, part.tried) == (undisturbed, whole.tried[9:])
    found = searched(tmp_path / "part", part := Runs(), *words, **how)
    assert (found, part.tried) == (undisturbed, [])


def dying(function, after: int):
    """``function`` until it was called so many times, after which the process is told to end."""
    calls = iter(range(after))

    def call(*args):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return function(*args)

    return call


def test_a_trial_whose_values_were_half_chosen(tmp_path: Path, monkeypatch) -> None:
    import optuna

    suggest = optuna.Trial._suggest
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "_suggest", dying(suggest, 10))  # three keys a trial: within the fourth
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "part", Runs(), n_trials=6)
    searched(tmp_path / "part", part := Runs(), n_trials=6)
    searched(tmp_path / "whole", whole := Runs(), n_trials=6)
    assert part.tried[:3] == whole.tried[:3]
    assert [t[:2] for t in part.tried] == [t[:2] for t in whole.tried]
    assert all(set(p.values) == {"x", "y", "act"} for p in part.points)


def test_more_trials_than_before(tmp_path: Path) -> None:
    searched(tmp_path, first := Runs(), n_trials=5, batch=4)
    searched(tmp_path, second := Runs(), n_trials=9, batch=4)
    assert [p.trial for p in second.points] == [5, 6, 7, 8]
    assert not {str(p.overrides) for p in first.points} & {str(p.overrides) for p in second.points}
    searched(tmp_path, third := Runs(), n_trials=3, batch=4)
    assert third.points == []


def test_the_seed_decides(tmp_path: Path) -> None:
    tried = []
    for i, seed in enumerate([0, 0, 1]):
        searched(tmp_path / str(i), runs := Runs(), n_trials=3, sampler="random", seed=seed)
        tried.append(runs.tried)
    assert tried[0] == tried[1] != tried[2]


def test_failed_and_diverged_runs_fail_their_trials_only(tmp_path: Path) -> None:
    class Failing(Runs):
        def outcome(self, point):
            status = {0: "failed", 1: "diverged"}.get(point.trial, "completed")
            return Outcome(status, {"val/loss": {2: float("nan"), 3: 5.0}.get(point.trial, 9.0)})

    (found,) = searched(tmp_path, runs := Failing(), n_trials=6, batch=3)
    assert (len(runs.points), found.number, found.results) == (6, 3, {"val/loss": 5.0})
    assert states(tmp_path) == ["FAIL", "FAIL", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_a_search_without_any_result(tmp_path: Path) -> None:
    class Failing(Runs):
        def outcome(self, point):
            return Outcome("failed", {})

    assert searched(tmp_path, Failing(), n_trials=2) == []
    assert not (tmp_path / "experiment").exists()


def test_a_stopped_search_is_taken_up(tmp_path: Path) -> None:
    class Stopping(Runs):
        def outcome(self, point):
            return Outcome("stopped", {}) if point.trial in (1, 2) else super().outcome(point)

    searched(tmp_path, first := Stopping(), n_trials=6, batch=3)
    assert [p.trial for p in first.points] == [0, 1, 2]
    searched(tmp_path, second := Runs(), n_trials=6, batch=3)
    assert second.tried[:2] == first.tried[1:]
    assert [p.trial for p in second.points] == [1, 2, 3, 4, 5]
    assert second.batches == [2, 3]


def test_pruned_trials_are_remembered_with_what_they_reached(tmp_path: Path) -> None:
    class Pruning(Runs):
        def outcome(self, point):
            status = "pruned" if point.trial % 2 else "completed"
            return Outcome(status, {"val/loss": 1.0 if point.trial % 2 else 2.0}, step=3 + point.job)

    (found,) = searched(tmp_path, Pruning(), n_trials=4)
    assert found.results == {"val/loss": 2.0}
    assert states(tmp_path) == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED"]
    with sqlite3.connect(tmp_path / "study.db") as db:
        assert db.execute("SELECT step, intermediate_value FROM trial_intermediate_values").fetchall() == [
            (4, 1),
            (6, 1),
        ]
    db.close()


def test_the_mean_over_seeds_counts(tmp_path: Path) -> None:
    class Noisy(Runs):
        def outcome(self, point):
            return Outcome("diverged" if point.job == 5 else "completed", {"val/loss": point.trial + point.job % 3})

    (found,) = searched(tmp_path, runs := Noisy(), n_trials=3, batch=2, seeds=3)
    assert found.results == {"val/loss": 1.0}
    assert states(tmp_path) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert runs.batches == [6, 3]
    assert [(p.job, p.trial, p.values["seed"], p.overrides[-1]) for p in runs.points] == [
        (job, job // 3, job % 3, f"seed={job % 3}") for job in range(9)
    ]
    assert "seed" not in yaml.safe_load((tmp_path / "experiment/best.yaml").read_text())


def states(folder: Path) -> list[str]:
    db = sqlite3.connect(folder / "study.db")
    found = [state for (state,) in db.execute("SELECT state FROM trials ORDER BY number")]
    db.close()
    return found


# A study that is there


@pytest.mark.parametrize(
    ("words", "how", "says"),
    [
        (("x=interval(-2,5)", *WORDS[1:]), {}, "x was -2.0 to 4.0 and is -2.0 to 5.0"),
        (WORDS[:2], {}, "act was relu,gelu and is not given"),
        ((*WORDS, "epochs=5"), {}, "epochs was not given and is 5"),
        (WORDS, {"objectives": [Objective("val/accuracy", "max")]}, "metric was min:val/loss and is max:val/accuracy"),
        (WORDS, {"seeds": 2}, "hydra.sweeper.seeds was 1 and is 2"),
    ],
)
def test_a_study_of_another_search(tmp_path: Path, words, how, says: str) -> None:
    searched(tmp_path, Runs(), n_trials=1, sampler="random")
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(InvalidConfig) as refused:
        searched(tmp_path, runs := Runs(), *words, **how)
    (line,) = refused.value.problems
    assert line.startswith(f"{tmp_path / 'study.db'}: of another search: ")
    assert says in line
    assert (tmp_path / "study.db").read_bytes() == before
    assert runs.points == []


@pytest.mark.parametrize("kind", ["text", "empty", "other tables", "another study"])
def test_a_file_that_is_no_study_of_ours(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "study.db"
    if kind in ("text", "empty"):
        file.write_text("hello" * 100 if kind == "text" else "")
    elif kind == "other tables":
        db = sqlite3.connect(file)
        db.execute("CREATE TABLE a (b INT)")
        db.close()
    else:
        import optuna

        with study.storage_of(file) as storage:
            optuna.create_study(storage=storage, study_name="mine")
    before = file.read_bytes()
    with pytest.raises(InvalidConfig, match=r"study.db: not a study of dlrun; allowed: another hydra.sweep.dir"):
        searched(tmp_path, Runs())
    assert file.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["study.db"]


def test_a_process_that_ends_while_it_makes_the_study_leaves_none(tmp_path: Path, monkeypatch) -> None:
    import optuna

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_user_attr", dying(None, 0))
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path, Runs())
    assert not (tmp_path / "study.db").exists()
    searched(tmp_path, runs := Runs(), n_trials=2)
    assert len(runs.points) == 2


# The best


def test_best_composes_to_the_configuration_of_the_trial(tmp_path: Path) -> None:
    words = ["model=resnet,vgg", "act=gelu,swish", "norm=layer,group", "optim.lr=tag(log,interval(1e-6,1e-5))"]
    words += ["dropout=interval(0,0.5)", "batch_size=range(16,128,step=16)", "log.project=choice('a, b: c')"]
    words += ["model.widths=choice([8,16],[16,8])", "steps=30", "data=synthetic", "init=he", "+split.test=0.1"]

    class Likes(Runs):
        def outcome(self, point):
            return Outcome("completed", {"val/loss": float(point.trial != 1)})

    folder = tmp_path / "a sweep? 50%20 #1"
    (found,) = searched(folder, runs := Likes(), *words, n_trials=3, sampler="random")
    assert found.number == 1
    file = folder / "experiment/best.yaml"
    assert f"# Trial 1: val/loss 0. Command: dlrun --config-dir '{folder}' experiment=best\n" in file.read_text()
    ours, wrong = composition.compose(composition.loader([folder]), ["experiment=best"])
    theirs, _ = composition.compose(composition.loader([]), runs.points[1].overrides)
    assert wrong == []
    left, right = (composition.plain(cfg)[0] for cfg in (ours, theirs))
    assert left == right
    assert (left["log"]["project"], left["steps"], left["epochs"]) == ("a, b: c", 30, None)


def test_best_of_an_experiment_goes_on_from_it(tmp_path: Path) -> None:
    words = ("experiment=digits_mlp", "act=relu,gelu", "augment=none", "optim.lr=interval(0.1,0.2)", "~log.sinks")
    searched(tmp_path, runs := Runs(), *words, n_trials=1)
    assert "experiment=best '~log.sinks'\n" in (tmp_path / "experiment/best.yaml").read_text()
    ours, found = composition.compose(composition.loader([tmp_path]), ["experiment=best", "~log.sinks"])
    theirs, _ = composition.compose(composition.loader([]), runs.points[0].overrides)
    assert found == []
    assert composition.plain(ours)[0] == composition.plain(theirs)[0]
    assert composition.plain(ours)[0]["augment"]["name"] == "none"


def test_best_trade_offs(tmp_path: Path) -> None:
    class Trade(Runs):
        def outcome(self, point):
            return Outcome(
                "completed", {"val/loss": 10 - point.trial % 4, "size": [1, 2, 9, 4, 1, 2, 9, 5][point.trial]}
            )

    two = [*LOSS, Objective("size", "min")]
    found = searched(tmp_path, Trade(), objectives=two, n_trials=8, batch=4)
    assert [(t.number, t.results) for t in found] == [
        (3, {"val/loss": 7, "size": 4}),
        (1, {"val/loss": 9, "size": 2}),
        (0, {"val/loss": 10, "size": 1}),
    ]
    assert sorted(f.name for f in (tmp_path / "experiment").iterdir()) == ["best-0.yaml", "best-1.yaml", "best-2.yaml"]
    assert "# Trial 3: val/loss 7, size 4." in (tmp_path / "experiment/best-0.yaml").read_text()
    table = best.table(found)
    assert len({line.index("size") for line in table}) == 1
    assert table[0].startswith("trial 3  val/loss 7 ")


def test_files_of_a_longer_front_go(tmp_path: Path) -> None:
    trials = [study.Trial(i, {"x": 1.0, "y": 0.1, "act": "relu"}, {"val/loss": float(i)}) for i in range(3)]
    of = search_space(list(WORDS))
    assert [f.name for f in best.write(tmp_path, of, trials)] == ["best-0.yaml", "best-1.yaml", "best-2.yaml"]
    assert [f.name for f in best.write(tmp_path, of, trials[:1])] == ["best.yaml"]
    assert [f.name for f in (tmp_path / "experiment").iterdir()] == ["best.yaml"]
