"""Proves that a refactoring changed no result: trains a fixed table of small runs and compares them bit for bit.

    git worktree add --detach /tmp/before HEAD~1
    python benchmarks/same_results.py --root /tmp/before --save before.json
    python benchmarks/same_results.py --compare before.json

Each command of the table is a process ``python -m dlrun`` of the checkout ``--root``, by default the one that this
file stands in; what is read is what README.md says of the run directory. So one file judges any two commits. Of each
run it keeps digests: of the arrays of the last and the best state, by group, of the metric rows and of the other
records, without times, versions, machine and device. ``--compare`` prints what differs, by run and by part; the exit
code is 1 if anything does, or if a command did not end as it should. ``--list`` shows the table, ``--only 'gru*'``
takes a part of it. The whole takes 5 minutes on two cores, 2 with programs that were compiled before.

Only the same kind of processor and the same versions give the same bits. The number of cores is of no account: each
process computes with one thread, two at a time.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COMMON = "steps=40 log.every=15 eval.every=20steps log.plot=false"
MLP, PICTURES = "model.widths=[16]", "data=arrays data.path=pictures.npz"
RESNET, CNN = "model=resnet model.depth=8 model.width=4", "model=cnn model.channels=[4] model.width=8"
TRANSFORMER = "model=transformer model.width=16 model.depth=1 model.heads=2"
TOKENS = "data=synthetic data.kind=copy data.length=12 data.n=400 data.test=100"
TEXT = "data=text data.path=words.txt data.length=24 batch_size=16"

# With weight decay, the largest rate makes weights grow until they overflow; others stop early, each at its own step.
SWEEP = (
    f"-m {MLP} dropout=0.1 optim=sgd norm=none 'seed=range(0,2)' act=relu,tanh optim.lr=0.05,0.1,1e3 "
    "early_stop.patience=3 early_stop.min_delta=0.005 steps=400 checkpoint.every=20steps"
)

# Commands that follow one another are parted by ";". Each one trains in the folder <name>/<its number>, but for
# "resume", which is told where. "kill" ends the process once it saved a state.
RUNS = {
    # Every model.
    "mlp": MLP,
    "cnn": "model=cnn model.channels=[4,8] model.width=16 dropout=0.2 model.spatial_dropout=true",
    "lenet": f"model=lenet {PICTURES}",
    "alexnet": f"model=alexnet model.width=2 dropout=0.5 {PICTURES}",
    "vgg": f"model=vgg model.depth=11 model.width=2 norm=batch {PICTURES}",
    "resnet": f"{RESNET} optim=sgd augment=flip_crop",
    "resnet-plain": f"{RESNET} model.skip=false norm=instance init=orthogonal",
    "resnet-drop-path": f"{RESNET} model.drop_path=0.3 model.zero_init=true",
    "transformer-images": f"{TRANSFORMER} dropout=0.1",
    "transformer-tokens": f"{TRANSFORMER} model.pool=cls model.positions=rotary act=swiglu {TOKENS}",
    "language-model": f"{TRANSFORMER} model.depth=2 model.drop_path=0.1 {TEXT}",
    "language-model-characters": f"model=gru model.width=16 {TEXT} data.tokens=characters",
    "rnn": "model=rnn model.width=16 clip_norm=1",
    "lstm": "model=lstm model.width=16 model.depth=2 dropout=0.1 norm=layer",
    "gru-tokens": f"model=gru model.width=16 {TOKENS}",
    "logistic": "model=logistic data=iris batch_size=16",
    # Every option of a choice, a sweep each.
    "acts": f"-m {MLP} 'act=glob(*,exclude=[glu,geglu,swiglu])'",
    "norms": f"-m {CNN} 'norm=glob(*,exclude=instance)'",
    "inits": f"-m {MLP} 'init=glob(*)'",
    "optimizers": f"-m {MLP} 'optim=glob(*)'",
    "schedules": f"-m {MLP} 'schedule=glob(*)'",
    "augmentations": f"-m {CNN} 'augment=glob(*)'",
    # How a step is made.
    "dropout": f"{MLP} dropout=0.3",
    "ema": f"{MLP} ema=0.9 dropout=0.1",
    "accumulate": f"{CNN} accumulate=4 clip_norm=0.5",
    "float16": f"{CNN} accumulate=2 dropout=0.1 precision=float16",
    "bfloat16": f"{TRANSFORMER} precision=bfloat16",
    "sam": f"{CNN} optim=sam accumulate=2",
    "mixup": f"{MLP} augment=mixup augment.alpha=1 label_smoothing=0.1",
    "cutmix": f"{CNN} augment=cutmix ema=0.9 {PICTURES}",
    "plateau": f"{MLP} schedule=plateau schedule.patience=1 schedule.factor=0.5 optim.lr=0.05 steps=200",
    "early-stop": f"{MLP} early_stop.patience=2 optim.lr=0.02 early_stop.min_delta=0.01 steps=600",
    "skipped-steps": f"{MLP} optim=sgd optim.lr=300 norm=none on_nonfinite=skip max_skipped=1000 steps=400",
    "two-devices": f"{MLP} dropout=0.1",
    # Data and losses.
    "streamed": f"{CNN} augment=flip_crop data=arrays data.path=pictures stream.when=always",
    "streamed-photos": f"{CNN} data=images data.path=photos data.size=12",
    "photos-in-memory": f"{CNN} data=images data.path=photos data.size=12 data.channels=gray stream.when=never",
    "table": f"{MLP} data=table data.path=houses.csv data.target=price batch_size=16",
    "table-classes": f"{MLP} data=table data.path=houses.csv data.target=kind loss=binary_cross_entropy batch_size=16",
    "huber": f"{MLP} data=diabetes loss=huber loss.delta=0.5",
    "labels": f"{MLP} data=arrays data.path=labels.npz",
    "label-smoothing": f"{MLP} label_smoothing=0.2 seed=3 split.seed=1",
    "distillation": f"{MLP} ; model.widths=[8] loss=distillation loss.teacher=distillation/1",
    # Many runs, and runs that are interrupted.
    "sweep": SWEEP,
    "sweep-stacked": f"{SWEEP} launcher.vmap=true",
    "sweep-larger": f"-m {MLP} 'seed=range(0,2)' ; resume sweep-larger/1 'seed=range(0,4)'",
    "search": f"-m {MLP} hydra/sweeper=optuna 'optim.lr=tag(log,interval(1e-4,1))' 'dropout=interval(0,0.5)' steps=100 "
    "hydra.sweeper.n_trials=12 hydra.sweeper.batch=4 hydra.sweeper.pruner=halving hydra.sweeper.seed=1",
    "killed": f"kill {MLP} ema=0.99 steps=20000 eval.every=500steps checkpoint.every=500steps ; resume killed/1",
    "extended": f"{MLP} dropout=0.1 schedule=constant epochs=2 steps=null ; resume extended/1 epochs=4",
    "own-parts": "--config-dir conf --trust ours model=ours model.width=8 act=ours norm=none",
}
FAILS = {"sweep", "sweep-stacked"}  # end with exit code 1, since runs of them diverge

OURS = '''
import math
import jax.numpy as jnp
from flax import nnx


class Net(nnx.Module):
    def __init__(self, inputs, outputs, parts, rngs, *, width: int = 64):
        self.up, self.act = nnx.Linear(math.prod(inputs.shape), width, rngs=rngs), parts.act(width, rngs)
        self.output = nnx.Linear(width, outputs, kernel_init=parts.linear_init, rngs=rngs)

    def __call__(self, x):
        return self.output(self.act(self.up(x.reshape(len(x), -1))))


def squash(x, *, by: float = 2.0):
    """x / (1 + |x| / by)"""
    return x / (1 + jnp.abs(x) / by)
'''
UNSTABLE = re.compile(  # keys of JSON whose values are others each time (sha256: of a file with times), or elsewhere
    "(.*/)?(time|start|end|seconds|(stack_)?steps_per_second|peak_memory|versions|git|host|platform|device|threads|sha256)"
)


def write_inputs(folder: Path) -> None:
    """Writes the data that runs read and the parts that they name; the same bytes and times each time."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = np.clip(rng.normal(90 + 30 * y[:, None, None, None], 60, (240, 16, 16, 3)), 0, 255).astype(np.uint8)
    np.savez(folder / "pictures.npz", x=x, y=y)
    rows = rng.normal(size=(240, 6)).astype(np.float32)
    np.savez(folder / "labels.npz", x=rows, y=rows @ rng.normal(size=(6, 3)) > 0)
    (folder / "pictures").mkdir()
    np.save(folder / "pictures/x.npy", x)
    np.save(folder / "pictures/y.npy", y)
    for i in range(90):
        place = folder / "photos" / "abc"[y[i]] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[i]).save(place)
    words = [bytes(rng.integers(97, 123, 2 + i % 6, dtype=np.uint8)).decode() for i in range(40)]
    (folder / "words.txt").write_text(" ".join(words[i] for i in np.minimum(rng.geometric(0.1, 4000), 40) - 1))
    table = ["rooms,area,kind,price"]
    for i, (a, b) in enumerate(rows[:, :2].round(3).tolist()):
        table.append(f"{i % 5},{'' if i % 17 == 3 else a},{['flat', 'house', 'hut'][i % 3]},{3 * a - b + i % 5}")
    (folder / "houses.csv").write_text("\n".join(table) + "\n")
    (folder / "ours.py").write_text(OURS)
    for group, text in (("model", "name: ours:Net\nwidth: 64\n"), ("act", "name: ours:squash\nby: 2.0\n")):
        (folder / "conf" / group).mkdir(parents=True)
        (folder / "conf" / group / "ours.yaml").write_text(text)
    for file in folder.rglob("*"):
        os.utime(file, (10**9, 10**9))  # by which streamed data is known again


def commands(name: str) -> Iterator[tuple[list[str], Path | None]]:
    """The commands of a run: words, and the folder whose first state ends the process."""
    for number, text in enumerate(RUNS[name].split(" ; "), 1):
        words, folder = shlex.split(text), Path(name, str(number))
        kill = words[0] == "kill"
        if words[0] != "resume":
            where = "hydra.sweep.dir" if "-m" in words else "hydra.run.dir"
            words = [*COMMON.split(), *words[kill:], f"{where}={folder}"]
        yield words, folder if kill else None


def train(name: str, root: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Runs the commands of a run of the table; gives what is kept of each directory, or how it failed."""
    began = time.perf_counter()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DLRUN_", "XLA_", "JAX_"))}
    environment |= {"PYTHONPATH": str(root), "NPROC": "1", "JAX_PLATFORMS": "cpu"}
    if name == "two-devices":
        environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    for words, kill in commands(name):
        log = folder / f"{name}.log"
        with log.open("w") as file:
            command = (sys.executable, "-m", "dlrun", *words)
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
            while process.poll() is None and time.perf_counter() - began < 300:
                if kill and any((folder / kill / "checkpoints").glob("[0-9]*/manifest.sha256")):
                    process.kill()
                time.sleep(0.02)
            process.kill()
        expected = -signal.SIGKILL if kill else int(name in FAILS)
        if process.wait() != expected:
            lines = log.read_text().splitlines() or [""]
            return {name: {"failed": f"exit code {process.returncode}, not {expected}: {lines[-1]}"}}
    found = {str(f.parent.relative_to(folder)): results(f.parent) for f in sorted((folder / name).rglob("run.json"))}
    for file in sorted((folder / name).rglob("sweep.json")):
        sweep, told = str(file.parent.relative_to(folder)), stable(json.loads(file.read_text()))
        found[sweep] = {"sweep.json": digest(told)}
        for job in told["jobs"]:
            swept = [word for word in job["overrides"] if word.partition("=")[0] in told["swept"]]
            found[f"{sweep}/{job['directory']}"]["swept"] = " ".join(swept)
    if not found:
        return {name: {"failed": "left no run directory"}}
    print(f"{name}: {len(found)} directories, {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    return found


def results(run: Path) -> dict[str, Any]:
    """What is kept of a run directory: plain values, and digests by part."""
    facts = json.loads((run / "run.json").read_text())
    rows = [stable(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = {"status": facts["status"], "rows": len(rows), "metrics.jsonl": digest(rows)}
    for name in ("run.json", "data.json", "summary.json"):
        if (run / name).exists():
            kept[name] = digest(stable(json.loads((run / name).read_text())))
    steps = [int(file.parent.name) for file in run.glob("checkpoints/[0-9]*/manifest.sha256")]
    if steps:  # others than the last and the best may be left, by how long training took
        last = max(steps)
        loop = arrays(run / f"checkpoints/{last}", "last", kept)
        if loop["best_step"] not in (None, last):
            arrays(run / f"checkpoints/{loop['best_step']}", "best", kept)
    return kept


def arrays(state: Path, which: str, kept: dict[str, Any]) -> dict[str, Any]:
    """Adds the digests of a saved state by group of arrays, such as ``last state/params``; gives its plain values."""
    data = (state / "state.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    loop = json.loads(header.pop("__metadata__")["loop"])
    groups: dict[str, Any] = {}
    for path, array in sorted(header.items()):
        group = groups.setdefault("/".join(path.split("/")[:2]), hashlib.sha256())
        group.update(json.dumps([path, array["dtype"], array["shape"]]).encode())
        group.update(data[start:][slice(*array["data_offsets"])])
    kept |= {f"{which} {group}": found.hexdigest()[:16] for group, found in groups.items()}
    kept[f"{which} loop"] = digest(stable(loop))
    return loop


def stable(value: Any) -> Any:
    """JSON without what is another each time, such as ``seconds`` and ``val/time``."""
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if not UNSTABLE.fullmatch(k)}
    return [stable(v) for v in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """A line for each run that differs, with its parts."""
    for run in sorted(before.keys() | now.keys()):
        if run not in before or run not in now:
            yield f"{run}: only {'now' if run in now else 'before'}"
            continue
        old, new = before[run], now[run]
        parts = sorted(part for part in old.keys() | new.keys() if old.get(part) != new.get(part))
        plain = {part: f" {old.get(part)} → {new.get(part)}" for part in ("status", "rows", "swept")}
        if parts:
            told = ", ".join(part + plain.get(part, "") for part in parts)
            yield f"{run}: {told}" + (f" ({new['swept']})" if "swept" in new else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout to run")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the digests there")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="print what differs from digests saved before")
    parser.add_argument("--only", default="*", metavar="GLOB", help="names of the runs to train")
    parser.add_argument("--list", action="store_true", help="print the table of runs and stop")
    args = parser.parse_args()
    names, root = fnmatch.filter(RUNS, args.only), args.root.resolve()
    if args.list:
        print("\n".join(f"{name}: {RUNS[name]}" for name in names))
        return 0
    if not names or not (root / "dlrun").is_dir():
        parser.error(f"{root}: no checkout of dlrun" if names else f"--only {args.only}: no such run")
    before = json.loads(args.compare.read_text()) if args.compare else {}
    before = {run: parts for run, parts in before.items() if fnmatch.fnmatch(run.split("/")[0], args.only)}
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(2) as pool:
        write_inputs(Path(place))
        trained = pool.map(lambda name: train(name, root, Path(place)), names)
        now = {run: parts for found in trained for run, parts in found.items()}
    if args.save:
        args.save.write_text(json.dumps(now, indent=1) + "\n")
    wrong = [f"{run}: {parts['failed']}" for run, parts in now.items() if "failed" in parts]
    if args.compare:
        wrong += differences(before, now)
    print("\n".join(wrong) if wrong else f"{len(now)} run directories" + (", no difference" if before else ""))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
