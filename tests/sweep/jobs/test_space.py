"""From a sweep's command to its jobs: the same configurations as Hydra composes, at a hundredth of the price."""

import pickle
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dlrun.config import composition, plan
from dlrun.config.overrides import parse, typed
from dlrun.errors import InvalidConfig
from dlrun.sweep.jobs.job import Job, dumped, hydra_text
from dlrun.sweep.jobs.space import Space, worded


@pytest.fixture(scope="module")
def hydra() -> Any:
    return composition.loader([])


def space(hydra: Any, *words: str) -> tuple[Space, list[str]]:
    cfg, found = composition.compose(hydra, list(words), multirun=True)
    return Space(hydra, cfg, list(words)), found


def jobs(hydra: Any, *words: str, **how: Any) -> list[Job]:
    made, found = space(hydra, *words)
    return made.grid(problems=found, **how)


def refusal(hydra: Any, *words: str, **how: Any) -> list[str]:
    with pytest.raises(InvalidConfig) as refused:
        jobs(hydra, *words, **how)
    return refused.value.problems


def without_launcher(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k != "launcher"}


def assert_as_composed(hydra: Any, job: Job) -> None:
    """A job is what Hydra composes from its overrides, types and order included."""
    cfg, found = composition.compose(hydra, job.overrides)
    values, unresolved = composition.plain(cfg)
    assert found + unresolved == []
    assert OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False) == job.overrides
    task = OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"])
    assert repr(job.written) == repr(OmegaConf.to_container(task, resolve=False))
    assert repr(job.plan.values) == repr(plan.plan(values).values)
    assert job.config == OmegaConf.to_yaml(OmegaConf.masked_copy(task, [k for k in task if k != "launcher"]))
    assert repr(OmegaConf.to_container(OmegaConf.create(job.config))) == repr(without_launcher(job.written))


SYNTAX = {
    "seed=0,1": ["seed=0", "seed=1"],
    "seed=choice(3,1)": ["seed=3", "seed=1"],
    "seed=sort(3,1)": ["seed=1", "seed=3"],
    "seed=range(0,3)": ["seed=0", "seed=1", "seed=2"],
    "seed=range(5)": ["seed=0", "seed=1", "seed=2", "seed=3", "seed=4"],
    "seed=range(6,0,-3)": ["seed=6", "seed=3"],
    "seed=sort(range(3,0,-1))": ["seed=1", "seed=2", "seed=3"],
    "optim.lr=range(0.25,1,0.25)": ["optim.lr=0.25", "optim.lr=0.5", "optim.lr=0.75"],
    "optim.lr=tag(log,choice(1e-3,0.01))": ["optim.lr=0.001", "optim.lr=0.01"],
    "optim.lr=float(1,2)": ["optim.lr=1.0", "optim.lr=2.0"],
    "act=glob(*swish)": ["act=hard_swish", "act=swish"],
    "act=glob([g*],exclude=ge*)": ["act=glu"],
    "model.widths=[8],[8,4]": ["model.widths=[8]", "model.widths=[8,4]"],
    "steps=10,null": ["steps=10", "steps=null"],
    "epochs=3 seed=0,1": ["epochs=3 seed=0", "epochs=3 seed=1"],
    "seed=1,1,2,1": ["seed=1", "seed=2"],
    "optim.lr=0.1,1e-1": ["optim.lr=0.1"],
    "clip_norm=1,1.0,null": ["clip_norm=1", "clip_norm=1.0", "clip_norm=null"],
    "log.project=str(1),x": ["log.project='1'", "log.project=x"],
    "log.project='1',\"a b\"": ["log.project='1'", 'log.project="a b"'],
    "++seed=1,2": ["++seed=1", "++seed=2"],
    "act=relu,gelu seed=0,1": ["act=relu seed=0", "act=relu seed=1", "act=gelu seed=0", "act=gelu seed=1"],
    "seed=1,2 seed=3": ["seed=3"],
    "seed=1,2 ++seed=3": ["seed=1 ++seed=3", "seed=2 ++seed=3"],
    "~dropout seed=1,2": ["~dropout seed=1", "~dropout seed=2"],
    "split={val:0.2} split.seed=1,2": ["split={val:0.2} split.seed=1", "split={val:0.2} split.seed=2"],
    "model.depth=20,32 model=resnet": ["model.depth=20 model=resnet", "model.depth=32 model=resnet"],
    "eval={every:2epochs},{batch_size:9}": ["eval={every:2epochs}", "eval={batch_size:9}"],
    "experiment=digits_mlp,digits_cnn seed=0,1": [
        f"experiment={e} seed={s}" for e in ("digits_mlp", "digits_cnn") for s in (0, 1)
    ],
    "seed=3": ["seed=3"],
    "": [""],
}


@pytest.mark.parametrize("command", SYNTAX)
def test_syntax(hydra: Any, command: str) -> None:
    words = command.replace("a b", "a\0b").split()
    made = jobs(hydra, *(word.replace("\0", " ") for word in words))
    assert [" ".join(job.overrides) for job in made] == SYNTAX[command]
    assert [job.number for job in made] == list(range(len(made)))
    assert_as_composed(hydra, made[-1])


AXES = [
    ("act", ["relu", "gelu", "leaky_relu"]),
    ("norm", ["batch", "none"]),
    ("model", ["mlp", "cnn"]),
    ("optim.lr", ["1", "1.0", "1e-3", "0.5"]),
    ("++optim.weight_decay", ["0", "0.1"]),
    ("seed", ["0", "1", "7"]),
    ("steps", ["10", "null"]),
    ("epochs", ["3", "5"]),
    ("clip_norm", ["null", "1", "2.5"]),
    ("log.project", ["a", "'1'", '"x y"', "'null'", "1e", "é", "'a: b'", "'- x'", "'true'", "'1_0'"]),
    ("log.plot", ["true", "false"]),
    ("log.sinks", ["[]", "[csv]", "[csv,tensorboard]"]),
    ("eval.every", ["1epoch", "20steps"]),
    ("checkpoint", ["{keep:2}", "{every:2epochs,keep:3}"]),
    ("~dropout", None),
    ("early_stop.min_delta", ["0", "0.5"]),
]


@st.composite
def commands(draw: Callable) -> list[str]:
    words = []
    for key, values in draw(st.lists(st.sampled_from(AXES), min_size=1, max_size=5, unique_by=lambda a: a[0])):
        chosen = values and draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True))
        words.append(f"{key}={','.join(chosen)}" if chosen else key)
    return words


@settings(
    max_examples=6, deadline=None, derandomize=True,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(words=commands(), chance=st.randoms(use_true_random=False))
def test_jobs_are_what_hydra_composes(hydra: Any, words: list[str], chance: random.Random) -> None:
    try:
        made = jobs(hydra, *words)
    except InvalidConfig as error:
        if not all("exactly one must be given" in problem for problem in error.problems):  # steps=10 epochs=3
            raise
        return
    for job in chance.sample(made, min(2, len(made))):
        assert_as_composed(hydra, job)


def test_one_composition_for_all_that_differ_in_values(hydra: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = space(hydra, "act=relu,gelu", "optim.lr=1e-2,1e-3", "seed=range(0,250)", "steps=10")
    composed = []
    compose = composition.compose
    monkeypatch.setattr(composition, "compose", lambda *a, **k: composed.append(a) or compose(*a, **k))
    start = time.perf_counter()
    found = made.grid()
    assert time.perf_counter() - start < 8  # 0.9 s on an idle machine, and 100 s through Hydra
    assert len(found) == 1000
    assert len(composed) == 2
    assert len({pickle.dumps(job.plan.values) for job in found}) == 1000
    assert found[999].plan.numbers["optim.lr"] == 1e-3
    assert found[999].plan.settings.seed == 249


def test_values_that_are_given_twice_are_known(hydra: Any) -> None:
    words = "seed=1,1,2,1 optim.lr=0.1,1e-1 act=relu,gelu epochs=range(1,4) clip_norm=1,1.0"
    found, _ = space(hydra, *words.split())
    twice = {name: axis.twice for name, axis in found.axes.items()}
    assert twice == {"seed": ["1"], "optim.lr": ["0.1"], "act": [], "epochs": [], "clip_norm": []}


def test_how_a_sweep_is_launched_is_no_part_of_its_runs(hydra: Any) -> None:
    one, other = jobs(hydra, "launcher=local", "launcher.workers=2", "seed=1,2")
    assert [one.overrides, other.overrides] == [["seed=1"], ["seed=2"]]
    assert one.plan.choices["launcher"]().workers == 2
    assert "launcher" not in one.config


def test_jobs_share_nothing_that_one_may_change(hydra: Any) -> None:
    one, other = jobs(hydra, "seed=1,2", "model.widths=[8]")
    one.written["model"]["widths"].append(1)
    one.written["split"]["val"] = 1
    assert other.written["model"]["widths"] == [8]
    assert other.written["split"]["val"] == 0.1


def test_params_of_an_experiment(own_folder: Path) -> None:
    (own_folder / "conf/experiment").mkdir(parents=True)
    (own_folder / "conf/experiment/mine.yaml").write_text(
        "# @package _global_\nbatch_size: 32\n"
        "hydra:\n  sweeper:\n    params:\n      act: relu,gelu\n      seed: range(0,3)\n      optim.lr: 0.1\n"
    )
    hydra = composition.loader([own_folder / "conf"])
    made = jobs(hydra, "experiment=mine", "seed=7,8")  # a key of the command takes the place of the file's
    acts = ("relu", "gelu")
    assert [job.overrides[:2] for job in made] == [[f"act={a}", f"seed={s}"] for a in acts for s in (7, 8)]
    assert all(job.overrides[2:] == ["optim.lr=0.1", "experiment=mine"] for job in made)
    assert all(job.plan.settings.batch_size == 32 for job in made)
    assert_as_composed(hydra, made[-1])
    assert space(hydra, "experiment=mine")[0].swept == {"act": ["relu", "gelu"], "seed": [0, 1, 2]}


REFERENCES = """\
# @package _global_
optim:
  lr: ${schedule.final}
model:
  width: ${batch_size}
  depth: ${model.width}
log:
  project: run-${seed}-of-${act.name}
"""


def test_values_that_refer_to_a_swept_key_follow_it(own_folder: Path) -> None:
    (own_folder / "conf/experiment").mkdir(parents=True)
    (own_folder / "conf/experiment/refers.yaml").write_text(REFERENCES)
    hydra = composition.loader([own_folder / "conf"])
    made = jobs(hydra, "experiment=refers", "seed=1,2", "batch_size=16,32", "act=relu,gelu", "schedule.final=0.5,0.25")
    assert len(made) == 16
    for job in (made[0], made[6], made[15]):
        assert_as_composed(hydra, job)
    assert made[15].plan.values["log"]["project"] == "run-2-of-gelu"
    assert made[15].written["log"]["project"] == "run-${seed}-of-${act.name}"
    assert made[15].plan.values["optim"]["lr"] == 0.25
    referring = jobs(hydra, "seed=1,2", "model.width='${seed}',8")  # a reference among the values
    for job in referring[1:3]:
        assert_as_composed(hydra, job)


REFUSED = {
    "optim.lr=interval(0,1)": "optim.lr=interval(0,1): has no list of values for a grid; allowed: a,b or range(0,5); "
    "hydra/sweeper=optuna searches intervals",
    "optim.lr=tag(log,interval(1e-4,1e-1))": "optim.lr=tag(log,interval(1e-4,1e-1)): has no list of values",
    "seed=range(3,3)": "seed=range(3,3): gives no jobs, as it has no values",
    "act=relu,gelu seed=range(0,-2)": "seed=range(0,-2): gives no jobs",
    "norm=glob(z*)": "norm=glob(z*): gives no jobs",
    "seed=range(0,5,0)": "seed=range(0,5,0): not allowed; allowed: range(start,stop,step)",
    "seed=range(0,inf)": "seed=range(0,inf): not allowed; allowed: range(start,stop,step)",
    "seed=range(0,10001)": "-m seed=range(0,10001): 10001 jobs; allowed: at most launcher.max_jobs=10000",
    "seed=range(0,1000000000) act=relu,gelu": "-m seed=range(0,1000000000) act=relu,gelu: 2000000000 jobs; allowed:",
    "seed=range(0,1000000000000000000000000)": "-m seed=range(0,1000000000000000000000000): 100000000000000",
    "optim.lr=range(0,1,1e-9)": "-m optim.lr=range(0,1,1e-9): 1000000000 jobs; allowed: at most launcher.max_jobs",
    "seed=shuffle(range(0,1000000000))": "-m seed=shuffle(range(0,1000000000)): 1000000000 jobs",
    "sede=1,2": "sede: unknown key (did you mean 'seed'?)",
    "seed=1,2 dropout=2": "dropout=2: not allowed; allowed: a number in [0, 1)",
    "seed=1,x act=relu,gelu": "seed=x: not allowed; allowed: a whole number in [0, 2^32)",
    "model=mlp,transformer model.heads=2,4": "model=mlp: model.heads: unknown key; known: widths, width, depth",
    "act=relu,gelu seed=1,2 epochs=1,2 steps=null,1": "epochs=1, steps=1: exactly one must be given",
    "act.name=relu,gleu seed=1,2": "act.name=gleu: unknown name (did you mean 'glu'?)",
    "seed.x=1,2": "seed.x=1: seed={x: 1}: not allowed",
}


@pytest.mark.parametrize("command", REFUSED)
def test_refused(hydra: Any, command: str) -> None:
    start = time.perf_counter()
    problems = refusal(hydra, *command.split())
    assert time.perf_counter() - start < 20
    assert problems[0].startswith(REFUSED[command])
    assert len(problems) == {"seed.x=1,2": 2, "act=relu,gelu seed=1,2 epochs=1,2 steps=null,1": 2}.get(command, 1)


def test_problems_say_which_jobs_have_them(hydra: Any) -> None:
    said = refusal(hydra, "model=mlp,cnn,rnn", "seed=0,1", "model.channels=[4]", "epochs=0,1")
    assert [line.partition(": ")[0] for line in said] == ["model=mlp", "epochs=0", "model=rnn"]
    assert "model.channels: unknown key" in said[0]
    points = [{"act": f"act={a}", "seed": f"seed={s}"} for a in "abcde" for s in (0, 10)]
    lines = {"seed=10: no": [1, 3], "line": [0, 1, 2, 3], "each": [0, 2, 4, 6], "all": list(range(10))}
    assert worded(lines, points) == [
        "act=a,b: seed=10: no", "act=a,b: line", "act=a,b,c,... seed=0: each", "all",
    ]  # fmt: skip


def test_no_more_problems_than_one_can_read(hydra: Any) -> None:
    said = refusal(hydra, "seed=range(-1000,0)", max_jobs=1000)
    assert len(said) == 21
    assert said[0].startswith("seed=-1000: not allowed")
    assert said[-1] == "... and more; these are the first"


def test_problems_of_params(own_folder: Path) -> None:
    (own_folder / "conf/experiment").mkdir(parents=True)
    (own_folder / "conf/experiment/mine.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      batch_size: (1\n      hydra.job.name: a,b\n"
    )
    said = refusal(composition.loader([own_folder / "conf"]), "experiment=mine", "seed=0,1")
    assert len(said) == 2
    assert said[0].startswith("hydra.sweeper.params: batch_size=(1: can't be read as key=value")
    assert said[1].startswith("hydra.sweeper.params: hydra.job.name=a,b: not allowed; allowed: one value")


def test_jobs_of_words(hydra: Any) -> None:
    made, _ = space(hydra, "act=relu,gelu", "optim.lr=interval(0,1)", "batch_size=32", "++seed=0,1")
    words = [
        ["act=gelu", "optim.lr=0.3", "++seed=4"],
        ["act=relu", "optim.lr=1e-5", "++seed=5", "log.project='1, \\'x\\''", "model.widths=[8,4]", "clip_norm=null"],
    ]
    one, other = made.jobs_of(words, numbers=(6, 7))
    assert one.overrides == ["act=gelu", "optim.lr=0.3", "batch_size=32", "++seed=4"]
    assert other.overrides[4:] == ["log.project='1, \\'x\\''", "model.widths=[8,4]", "clip_norm=null"]
    assert [job.number for job in (one, other)] == [6, 7]
    assert_as_composed(hydra, other)
    assert other.plan.values["log"]["project"] == "1, 'x'"
    with pytest.raises(InvalidConfig, match=r"optim\.lr=-1\.0: not allowed"):
        made.jobs_of([["act=gelu", "optim.lr=-1.0", "++seed=4"]])


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "))
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT


@given(value=st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3), max_leaves=4))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_typed_values_are_read_as_they_are(value: Any) -> None:
    parsed, problem = parse(f"x={typed(value)}")
    assert not problem
    assert repr(parsed.value) == repr(value)


def test_hydra_yaml_is_what_hydra_writes() -> None:
    hydra = composition.loader([])
    words = ["act=relu,gelu", "seed=0,1", "++optim.lr=0.1", "hydra.job.config.override_dirname.exclude_keys=[seed]"]
    cfg, found = composition.compose(hydra, words, multirun=True)
    made, theirs = Space(hydra, cfg, words).grid(problems=found), GlobalHydra.instance().config_loader()
    for job in made:
        whole = theirs.load_sweep_config(cfg, job.overrides)  # as Hydra's own launcher does
        whole.hydra.job.id = whole.hydra.job.num = job.number
        whole.hydra.runtime.output_dir = str(Path("sweep/x").absolute())
        wanted = OmegaConf.to_yaml(OmegaConf.masked_copy(whole, ["hydra"]))
        assert hydra_text(job, Path("sweep/x")).splitlines() == wanted.splitlines()
    assert made[3].hydra is made[2].hydra


def test_jobs_travel(hydra: Any) -> None:
    (job,) = jobs(hydra, "act=gelu", "seed=3")
    there = pickle.loads(pickle.dumps(job))
    assert there.plan == job.plan
    assert there.config == job.config
    assert hydra_text(there, Path("x")) == hydra_text(job, Path("x"))


@pytest.mark.parametrize("text", [
    "y", "Yes", "oN", "off", "NULL", "~", "1", "1_0", "0x1f", "1e3", "1E+3", ".5", "inf", "nan", "-.inf", "", " ", "é",
    "a: b", "- a", "2020-01-01", "#", "${x}", "a\nb", "'", '"', "1:30", "0o7", "???", "@", "!x",
])  # fmt: skip
def test_text_is_written_as_omegaconf_writes_it(text: str) -> None:
    assert dumped({"a": text, "b": [text]}) == OmegaConf.to_yaml({"a": text, "b": [text]})
