"""``dlrun -m hydra/sweeper=optuna``: trains a search, whose trials are checked and trained like the jobs of a grid."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dlrun.config import catalogue, directories
from dlrun.config.settings import in_steps
from dlrun.display.units import counted, noun
from dlrun.errors import InvalidConfig
from dlrun.program.setup import Setup
from dlrun.runs import atomic, rundir
from dlrun.runs.metric_names import ROW_KEYS
from dlrun.runs.status import FAILED, OVER
from dlrun.sweep.folder import Folder
from dlrun.sweep.jobs.groups import grouped, same_data
from dlrun.sweep.jobs.space import Space
from dlrun.sweep.request import SweepRequest
from dlrun.sweep.run_sweep import created, existing, opened, run_sweep
from dlrun.sweep.search import best
from dlrun.sweep.search import search as searching
from dlrun.sweep.search.domain import search_space
from dlrun.sweep.search.pruning import Pruner
from dlrun.sweep.search.search import Objective, Outcome, Point
from dlrun.sweep.search.study import Trial
from dlrun.sweep.trainer import Trainer

AT_BEST = "best/"


def search(request: SweepRequest, hydra: Any, problems: list[str], *, dry_run: bool) -> int:
    """Runs the search of a command; gives the exit code. The last line on stdout is the sweep's directory.

    Raises:
      InvalidConfig: with what is wrong with the space, or with a run at the ends of it, before anything is made.
    """
    given: Any = OmegaConf.to_container(request.cfg.hydra.sweeper)
    options = searching.options(given)
    words = [text for text in request.overrides if not text.lstrip("+~").startswith(("hydra.", "hydra/"))]
    wanted = search_space(words, options.params, hydra)
    space = Space(hydra, request.cfg, request.overrides)
    space.problems += problems
    probes = space.jobs_of(list(wanted.probes()), request.trust)
    launcher = opened(probes)
    groups = grouped(probes)
    setup = groups[0].setups[0]
    known = [f"val/{name}" for name in setup.program.task.names]
    aims = searching.objectives(options, Objective(setup.metric, "min" if setup.mode == "min" else "max"), known)
    where = directories.named(request.cfg, "hydra.sweep.dir")
    searching.check(wanted, options, aims, where or Path("nowhere"))
    swept = {key: [str(domain)] for key, domain in wanted.domains.items()}
    there = existing(request, swept)
    if there and there.entries and not (there.directory / rundir.STUDY).exists():
        allowed = f"allowed: a new folder, or dlrun resume {where}"
        raise InvalidConfig(
            [f"hydra.sweep.dir={where}: the sweep of another command, without {rundir.STUDY}; {allowed}"]
        )
    trials = searching.trials(wanted, options)
    if dry_run:
        from dlrun.sweep.estimate import about, cost

        of = f"{options.seeds} {noun(options.seeds, 'run')}"
        print(f"{trials} {noun(trials, 'trial')} of {of} each, {options.batch} at a time; searched:")
        for key, domain in wanted.domains.items():
            print(f"  {key}  {domain}")
        runs = trials * options.seeds
        print(about([cost([setup], launcher, min(runs, options.batch * options.seeds))], runs, 1))
        return 0
    folder = there or created(request, swept)
    same_data(groups, folder.data(), folder.directory)

    def train(running: Trainer) -> str:
        running.display.expected = trials * options.seeds
        running.show([number for number in folder.entries if folder.status(number) in OVER])
        again = searching.reopen(options, folder.directory, lambda n: n in folder.entries and folder.status(n) in OVER)
        if again:
            shown = ", ".join(map(str, again[:20])) + (", ..." if len(again) > 20 else "")
            why = (
                "a run of each is gone, failed or incomplete"
                if len(again) > 1
                else "a run of it is gone, failed or incomplete"
            )
            running.display.note(f"{counted(len(again), 'trial')} to train again: {shown}: {why}")
        pruner = searching.pruner(options, aims, evaluations(setup))

        def run(points: list[Point]) -> list[Outcome]:
            if pruner is not None:  # it must know what an earlier process, or workers, trained
                recall(pruner, folder, setup.metric)
            jobs = space.jobs_of([p.overrides for p in points], request.trust, [p.job for p in points])
            known = {key: compiled.setup for key, compiled in running.compiled.items()}
            running.train(grouped(running.add(jobs), known), pruner)
            return [outcome(folder, job.number, setup.metric) for job in jobs]

        return _best_lines(searching.search(wanted, options, aims, folder.directory, run), folder.directory)

    return run_sweep(request, folder, launcher, aims[0].metric, aims[0].mode, train)


def evaluations(setup: Setup) -> int:
    """How often a run is evaluated that is trained to its last step."""
    return -(-setup.total_steps // in_steps(setup.plan.settings.eval.every, setup.steps_per_epoch))


def recall(pruner: Pruner, folder: Folder, metric: str) -> None:
    """Tells a pruner the validation results of all jobs in the sweep's directory."""
    name = metric.removeprefix("val/")
    reports = {
        str(number): {str(i): row.get(name) for i, row in enumerate(_validations(folder, number), 1)}
        for number in folder.entries
    }
    pruned = {n // pruner.seeds for n, entry in folder.entries.items() if entry.status == "pruned"}
    pruner.merge({"reports": reports, "pruned": sorted(pruned)})


def outcome(folder: Folder, number: int, metric: str) -> Outcome:
    """The result of a job, from its run directory."""
    status: Any = folder.status(number)
    rows = _validations(folder, number)
    if status not in (*OVER, *FAILED):
        return Outcome("stopped", {}, len(rows))
    summary = atomic.read_json(folder.path(number) / rundir.SUMMARY) or {}
    start = f"{AT_BEST}val/"
    metrics = {k.removeprefix(AT_BEST): v for k, v in summary.items() if k.startswith(start) and v is not None}
    if not metrics and rows:
        metrics = {f"val/{k}": v for k, v in rows[-1].items() if k not in ROW_KEYS}
    return Outcome(status, metrics, len(rows))


def _validations(folder: Folder, number: int) -> list[dict[str, Any]]:
    return [row for row in rundir.read_metrics(folder.path(number)) if row["split"] == "val"]


def _best_lines(trials: list[Trial], where: Path) -> str:
    if not trials:
        return "no trial was completed"
    files = "best.yaml" if len(trials) == 1 else f"best-0.yaml to best-{len(trials) - 1}.yaml"
    return "\n".join(
        [*(f"best: {line}" for line in best.table(trials)), f"      in {where / catalogue.EXPERIMENT / files}"]
    )
