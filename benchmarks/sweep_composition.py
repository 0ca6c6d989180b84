"""What it costs to make the jobs of a sweep, checked, against composing each of them through Hydra.

    python benchmarks/sweep_composition.py [JOBS]

The sweep has two activations, two learning rates and as many seeds as make up JOBS (1,000). Through Hydra, a job is
composed and checked as a run of its own is; 20 of them are timed and their mean stands for all.
"""

import sys
import time
from pathlib import Path

from dlrun.config import composition, plan
from dlrun.sweep.jobs.job import hydra_text
from dlrun.sweep.jobs.space import Space


def main(jobs: int) -> None:
    words = ["act=relu,gelu", "optim.lr=1e-2,1e-3", f"seed=range(0,{jobs // 4})"]
    hydra = composition.loader([])
    cfg, found = composition.compose(hydra, words, multirun=True)
    start = time.perf_counter()
    made = Space(hydra, cfg, words).grid(problems=found)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    for job in made:
        assert len(job.config) + len(hydra_text(job, Path("sweep", str(job.number)))) > 0
    texts = time.perf_counter() - start
    start = time.perf_counter()
    for job in made[:: max(1, len(made) // 20)][:20]:
        values, _ = composition.plain(composition.compose(hydra, job.overrides)[0])
        assert plan.plan(values).values == job.plan.values
    theirs = (time.perf_counter() - start) / min(20, len(made)) * len(made)
    print(f"{len(made)} jobs made and checked: {ours:.2f} s, through Hydra {theirs:.0f} s, {theirs / ours:.0f} times")
    print(f"their .hydra/config.yaml and hydra.yaml: {texts:.2f} s, {1e3 * texts / len(made):.2f} ms a job")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
