"""Bad command lines: exit code 2, at most three lines that name what is wrong, no traceback, nothing created."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

VALUES = """
seed: abc | -1 | 1.5 | 1e3 | true | null | [1] | {a:1} | 1099511627776 | 4294967296 | nan |  | '1'
epochs: abc | 0 | -3 | 1.5 | true | [1] | inf | 2147483648 | null |
steps: 0 | -1 | x | 1e9
batch_size: 0 | -1 | 1 | 64.0 | null | 1000000 | 99999999999999999999 | big | false
precision: float64 | float 32 | 32 | null | Float32 | [float32] | true | fp16
dropout: 1.7 | 1 | -0.1 | nan | inf | abc | null | 0.99999999999 | [0.1] | true | 1e400
label_smoothing: 1 | -1e-9 | x | null | nan
clip_norm: 0 | -1 | nan | inf | abc | 1e39 | 1e-50 | true
accumulate: 0 | -2 | 3 | 65 | 1.5 | null
ema: 1 | -0.5 | 2 | abc | nan
on_nonfinite: ignore | null | 1 | Skip |
max_skipped: 0 | -1 | x | null | 1.0
split: 0.1 | null | [0.1,0.2] | abc
split.val: 0 | 1.0 | -0.1 | 2.5 | 1000000 | -5 | abc | null | 1e-9
split.test: 0 | 0.0 | 1.5 | 1797 | 1796 | true
split.seed: -1 | x | 1.5 | 4294967296
split.vla: 0.1
eval: 1 | null
eval.every: 10 | abc | 0epochs | -1epoch | 1.5epochs | 1hour | null | epoch | 99999999999epochs
eval.batch_size: 0 | -1 | x | 1.5
checkpoint.every: 5 | x | 0steps
checkpoint.keep: 0 | -1 | null | 1.5 | all
checkpoint.metric: val/acc | accuracy | train/loss | test/loss | 3 |
checkpoint.mode: up | 1 | maximum
early_stop.patience: 0 | -1 | x | 2.5
early_stop.min_delta: -1 | nan | x | null
log.every: 0 | -1 | x | null | 1epoch
log.sinks: csv | [csv,foo] | [1] | null | {csv:1} | [[csv]] | [Csv]
log.project: null | 3 |
log.plot: 1 | yes please | null | [] | maybe
devices: 0 | -1 | 4096 | x | 1.5
distributed.processes: 0 | 2 | -1 | null
distributed.process: -1 | 1 | x
distributed.coordinator: here | 3 |
compile_cache: 3 | true | [] |
sed: 1
epoch: 3
+extra: 1 | {a:1}
++batchsize: 3
+split.more: 1
lr: 0.1
optim.lr: abc | 0 | -1 | nan | inf | -inf | 1e39 | 1e-50 | null | true | [1e-3] | {a:1} |  | 1e400
optim.b1: 1 | -0.1 | 0.99999999999 | x | null
optim.eps: 0 | -1 | 1e-60
optim.weight_decay: -1 | nan | x
optim.momentum: 0.9
optim.learning_rate: 0.1
+optim.foo: 1
++optim.nesterov: true
optim.lr.x: 1
schedule.final: 1 | -0.1 | x
schedule.warmup: -1 | nan | null
schedule.warm: 1
model.widths: 3 | [1,a] | [1,-1] | [0] | [1.5] | [[1]] | abc | {a:1} | [64,2147483648]
model.widths.a: 1
model.width: 0 | a | -3
model.depth: 0 | a
model.act: relu
norm.momentum: 1 | -1 | x | nan
norm.epsilon: 0 | -1e-5 | null
norm.eps: 1e-5
act.slope: 0.1
init.scale: 0 | -1 | nan | 1e39
data.folder: x
model.name: nope | null | 3 | foo:Bar | os:system | : | a: | :b | os.path:join | [mlp] | ../mlp:x
act.name: geluu | foo:bar | subprocess:run |
data.name: mnits | foo:bar
optim.name: Adam | sgd:x
"""
OPTIONS = " | nope | ../x | null | 3 | [a] | {a:1} | relux | 'a b'"
OTHERS = """
# words that can't be read
= ; =3 ; seed==1 ; seed=1=2 ; a b=1 ; seed=é ; é=1 ; 模型=mlp ; model=é ; model.widths=[1 ; model.widths=[1,2]]
model={name:mlp ; seed=(1 ; seed='1 ; seed=" ; seed=1, ; seed=range(0,3 ; optim.lr=${ ; +=1 ; ~=1 ; []=1 ; -m seed=1,
seed = 1 ; =mlp ; seed:1
# several values without a sweep, sweeps of bad values
model=mlp,resnet ; seed=1,2 ; seed=range(0,3) ; optim.lr=choice(0.1,0.2) ; optim.lr=interval(0,1) ; -m seed=1,a
-m model=mlp,nope ; -m seed=range(0,-1) ; -m optim.lr=interval(0,1) ; -m act=relu,gelu seed=-1 ; -m foo=1,2
-m batch_size=32,0 ; -m hydra.sweep.subdir=same seed=1,2 ; -m --multirun seed=x
# choices
model=mlp model=resnet ; act=relu act=relu ; model@x=mlp ; +model@x=mlp ; model/x=1 ; +model/x=1 ; ~model ; ~act
~nope ; ~model.nope ; ~optim.lr=7 ; model=[mlp,cnn] ; optim=3 optim.lr=2 ; experiment=nope ; +experiment=nope
+model=cnn ; mdoel=mlp ; activation=relu ; optimizer=adam
# imports
model._target_=os.system ; +model._target_=os.system ; +_target_=os.system ; ++_target_=dlrun.cli.main
+optim.x._target_=os.system ; +log.x=[{_target_:os.system}] ; hydra.launcher._target_=os.system
+hydra.sweeper.x._target_=os.system ; ++hydra.callbacks.x._target_=os.system
# references and missing values
seed=??? ; optim.lr=??? ; model.widths=[???] ; seed=${nope} ; optim.lr=${optim.nope} ; seed=${oc.env:DLRUN_NOPE}
seed=${model} ; seed=${seed} ; seed=${nope:1} ; model=${nope} ; optim.lr=${optim.b1}${optim.b2}
seed=${oc.decode:'[' }
# pieces that do not fit
epochs=null ; epochs=10 steps=10 ; epochs=null steps=null ; model=transformer model.heads=5
model=transformer model.width=65 ; model=transformer model.patch=3 ; model=transformer model.patch=16
model=transformer model.heads=0 ; model=resnet model.depth=21 ; model=resnet model.depth=2
model=resnet model.widths=[3] ; model=cnn model.channels=[1,1,1,1,1] ; model=cnn model.channels=[a]
batch_size=8 accumulate=8 ; batch_size=10 accumulate=3 ; data=fashion_mnist data.folder=/nope
optim=adam optim.weight_decay=1 ; optim=sgd optim.b1=0.9 ; act=relu act.alpha=1 ; act=elu act.alpha=0
act=leaky_relu act.negative_slope=-1 ; act=gelu act.approximate=1 ; augment=flip_crop augment.flip=1.5
augment=flip_crop augment.pad=-1 ; optim=sgd optim.nesterov=0 ; act.name=gelu act.alpha=1
# Hydra's part
hydra.nope=1 ; hydra/launcher=nope ; hydra/nope=1 ; hydra.run.dir= ; hydra.run.dir=null ; hydra.run.dir=/proc/x
hydra.run.dir=full ; -m seed=1,2 hydra.sweep.dir=full ; hydra.job.chdir=true ; hydra.output_subdir=null ; hydra.mode=x
# flags and subcommands
nope ; nope seed=1 ; model ; mlp ; seed ; resum x ; tran ; -x ; --nope ; --trusted a ; seed=1 --foo ; --config-dir
--trust ; --cfg ; --cfg foo ; --cfg job seed=[ ; --completion ; --completion powershell ; --config-dir /nope
--config-dir full/file ; --config-dir broken model=nothing ; --config-dir broken model=twice
--config-dir broken model=syntax ; --config-dir broken model=nameless ; --config-dir broken model=list
--config-dir broken model=text ; --config-dir broken model=binary ; --config-dir broken model=extra
--config-dir broken model=imports ; --config-dir broken model=number ; --config-dir broken model=parent
--config-dir broken optim=bad ; resume ; resume /nope ; resume full ; resume seed=1 ; ls /nope ; show nope
show model=nope ; show optim.nope ; model=mlp resume ; model=mlp -m nope
"""
CONTROL = ("seed=\x00", "seed=1\n2", "x=\\")


def table() -> Iterator[str]:
    groups = ("model", "act", "norm", "init", "optim", "schedule", "data", "augment")
    for row in [*VALUES.strip().splitlines(), *(f"{group}: {OPTIONS}" for group in groups)]:
        key, values = row.split(": ", 1)
        yield from (f"{key}={value.strip()}" for value in values.split("|"))
    yield from CONTROL
    for row in OTHERS.strip().splitlines():
        if not row.startswith("#"):
            yield from row.split(" ; ")


BAD = list(dict.fromkeys(table()))


@pytest.fixture
def folders(own_folder: Path) -> list[str]:
    """A folder that is not empty, and one of configs that are broken in every way; gives what is there."""
    files = {
        "full/file": b"",
        "broken/model/nothing.yaml": b"",
        "broken/model/twice.yaml": b"name: mlp\nwidths: [1]\nwidths: [2]\n",
        "broken/model/syntax.yaml": b"name: [mlp\nwidths: }",
        "broken/model/nameless.yaml": b"widths: [3]\n",
        "broken/model/list.yaml": b"- name: mlp\n",
        "broken/model/text.yaml": b"mlp\n",
        "broken/model/binary.yaml": b"name: \xff\xfe\x00",
        "broken/model/extra.yaml": b"name: mlp\nwidht: 3\n",
        "broken/model/imports.yaml": b"name: mlp\n_target_: os.system\n",
        "broken/model/number.yaml": b"name: 3\n",
        "broken/model/parent.yaml": b"defaults: [nope]\nname: mlp\n",
        "broken/optim/bad.yaml": b"name: sgd\nlr: fast\nmomentum: 2\n",
    }
    for name, content in files.items():
        (own_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (own_folder / name).write_bytes(content)
    return sorted(os.listdir(own_folder))


def words(line: str) -> list[str]:
    """The line's words, but for spaces inside of a value."""
    whole = ("a b", "seed = ", "precision=float 32", "log.plot=yes")
    if line.startswith(whole) or "'" in line:
        return [line]
    return [w for w in line.split(" ") if w]


def test_the_table_is_long_enough() -> None:
    assert len(BAD) > 500


@pytest.mark.parametrize("part", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 12))])
def test_bad_command_lines(dlrun: Callable, folders: list[str], own_folder: Path, part: int) -> None:
    wrong = []
    for line in BAD[part::12]:
        done = dlrun(*words(line))
        lines = done.err.split("\n")[:-1]
        told = 1 <= len(lines) <= 3 and all(text.startswith("error: ") and len(text) < 400 for text in lines)
        if done.code != 2 or done.out or not told or sorted(os.listdir(own_folder)) != folders:
            wrong.append((line, done, os.listdir(own_folder)))
    assert not wrong


MESSAGES = {
    "model=mpl": "model=mpl: unknown option (did you mean 'mlp'?); known: alexnet, cnn, ",
    "modl=mlp": "modl: unknown key (did you mean 'model'?); dlrun --help lists all",
    "lr=1e-3": "lr: unknown key (did you mean 'optim.lr'?); dlrun --help lists all",
    "-m lr=1e-3,1e-2": "lr: unknown key (did you mean 'optim.lr'?)",
    "act=GELU": "act=GELU: unknown option (did you mean 'gelu'?)",
    "Model=resnet": "Model: unknown key (did you mean 'model'?)",
    "learning_rate=1": "learning_rate: unknown key (did you mean 'optim.lr'?)",
    "activation=gelu": "activation: unknown key (did you mean 'act'?)",
    "model.dropout=0.1": "model.dropout: unknown key (did you mean 'dropout'?); known: widths, width, depth",
    "depth=3": "depth: unknown key (did you mean 'model.depth'?)",
    "model.depth=3 model.widths=[8]": "model.widths=[8]: must be null when model.depth=3 is given, or the other way",
    "-m hydra/launcher=joblib": "hydra/launcher=joblib: unknown option; known: basic; "
    "others need a plugin of Hydra's, such as hydra-joblib-launcher",
    "show lr": "lr: unknown group or key (did you mean 'optim.lr'?); known: ",
    "optim.lr=abc": "optim.lr=abc: not allowed; allowed: a number > 0",
    "optim.lr=1e39": "optim.lr=1e+39: not allowed; allowed: a number > 0, in float32",
    "+optim.lrr=1": "optim.lrr: unknown key (did you mean 'lr'?); known: lr, b1, b2, eps, weight_decay, decay_all",
    "dropout=1.7": "dropout=1.7: not allowed; allowed: a number in [0, 1)",
    "epochs=0": "epochs=0: not allowed; allowed: a whole number in [1, 2^31) or null",
    "precision=bfloat": "precision=bfloat: not allowed (did you mean 'bfloat16'?); allowed: float32, bfloat16, float16",
    "log.sinks=[csv,wanb]": "log.sinks[1]=wanb: not allowed (did you mean 'wandb'?); allowed: csv, tensorboard",
    "model=mlp,cnn": "model=mlp,cnn: several values need a sweep: dlrun -m model=mlp,cnn",
    "model=transformer model.heads=5": "model.heads=5: must divide model.width=64",
    "model=transformer model.patch=3": "model.patch=3: must divide the image of 8x8 pixels: 1, 2, 4, 8",
    "batch_size=1": "batch_size=1: not allowed with batch normalisation, whose statistics need at least 2 examples; "
    "allowed: larger, or norm=layer",
    "model.name=net:Net": "model.name=net:Net: not trusted; if the code is yours, allow importing it: --trust net",
    "+act._target_=os.system": "act._target_=os.system: not allowed; a configuration holds values, nothing to import",
    "hydra.run.dir=full": "hydra.run.dir=full: already in use; to go on with a run: dlrun resume DIR",
    "--config-dir broken model=nameless": "model.name: missing; allowed: alexnet, cnn, ",
    "--config-dir broken model=extra": "model.widht: unknown key (did you mean 'width'?); known: widths, width, depth",
    "data=arrays data.path=a=b.npz": "data.path=a=b.npz: can't be read as key=value: "
    "mismatched input '=' expecting <EOF>; put text with special characters in quotes: 'key=\"...\"'",
    "resume out/a=zz epochs=5": "out/a=zz: no such folder",
    "resume r=1 epochs=5": "r=1: no such folder",
    "resume out/a epochs=5": "out/a: no such folder",
    "resume seed=1": "resume: which run? dlrun resume DIR [key=value ...]\n",
    "resume optim.lr=1": "resume: which run? dlrun resume DIR [key=value ...]\n",
    "resume epochs=8 full": "resume: which run? dlrun resume DIR [key=value ...]; the folder comes first: "
    "dlrun resume full ...",
    "resme x": "'resme': unknown subcommand (did you mean 'resume'?)",
    "--config-dri x": "--config-dri: unknown flag (did you mean '--config-dir'?)",
}


def test_messages(dlrun: Callable, folders: list[str]) -> None:
    told = {line: dlrun(*words(line)).err for line in MESSAGES}
    assert {line: err for line, err in told.items() if f"error: {MESSAGES[line]}" not in err} == {}


def test_all_problems_are_told_together(dlrun: Callable, folders: list[str]) -> None:
    line = "modl=mlp model=mpl optim.lr=abc dropout=1.7 x=[ +y=1 split.vall=1 seed=1,2 log.every=0 steps=3"
    errors = dlrun(*line.split(" ")).err.splitlines()
    for text in (
        "modl",
        "model=mpl",
        "optim.lr=abc",
        "dropout=1.7",
        "x=[",
        "y: ",
        "split.vall",
        "seed=1,2",
        "log.every=0",
    ):
        assert any(e.startswith(f"error: {text}") for e in errors), text
    assert len(errors) == 9
    errors = dlrun(
        "batch_size=6", "accumulate=4", "checkpoint.metric=val/los", "model=transformer", "model.heads=3"
    ).err
    for text in ("accumulate=4", "checkpoint.metric=val/los", "model.heads=3"):
        assert f"error: {text}" in errors


def test_convolution_on_rows_of_features(dlrun: Callable, own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_folder / "conf/data").mkdir(parents=True)
    (own_folder / "conf/data/features.yaml").write_text("name: features_for_a_test:rows\n")
    (own_folder / "features_for_a_test.py").write_text(
        "import numpy as np\n"
        "from dlrun.data.dataset import Dataset, Rows\n"
        "def rows():\n"
        "    return Dataset('rows', ('a', 'b'), Rows(np.ones((99, 4), 'f'), np.arange(99, dtype='i') % 2))\n"
    )
    monkeypatch.syspath_prepend(own_folder)
    data = ("--config-dir", "conf", "--trust", "features_for_a_test", "data=features", "augment=flip_crop")
    for model in ("cnn", "resnet", "transformer"):
        done = dlrun(*data, f"model={model}")
        assert done.code == 2
        assert f"model.name={model}: must be a model for rows of 4 features, such as mlp: it takes images" in done.err
        assert "augment=flip_crop: must be none, noise or mixup for inputs that are not images" in done.err
    assert not (own_folder / "outputs").exists()


def test_batch_norm_below_8_warns(dlrun: Callable) -> None:
    done = dlrun("batch_size=7", "epochs=null", "steps=1", "model.widths=[4]", "log.plot=false")
    assert done.code == 0
    assert "warning: batch normalisation is unstable at batch size 7 (below 8); norm=layer" in done.err


REAL = """
model=mpl optim.lr=abc ; optim.lr=1e39 ; seed=é ; -m seed=1,a ; --nope ; batch_size=1 ; act=null ; seed=${nope}
--config-dir broken model=binary ; resume full
"""


@pytest.mark.parametrize("line", REAL.strip().replace("\n", " ; ").split(" ; "))
def test_as_processes(shell: Callable, folders: list[str], own_folder: Path, line: str) -> None:
    done = shell(*line.split(" "))
    assert (done.code, done.out) == (2, "")
    assert 1 <= len(done.err.splitlines()) <= 3
    assert all(text.startswith("error: ") for text in done.err.splitlines())
    assert sorted(os.listdir(own_folder)) == folders
