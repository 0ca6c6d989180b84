"""The program of a worker process: trains the jobs of a unit, given its file, each in its directory.

It can be started again at any time: it skips jobs that are done, and resumes others from their checkpoints.
"""

import json
import logging
import sys
from pathlib import Path

from dlrun.config import components, plan
from dlrun.data.fingerprint import changed_since, changes
from dlrun.display.progress import Progress
from dlrun.display.streams import go_on_unread
from dlrun.errors import InvalidConfig, tell
from dlrun.program import devices
from dlrun.program.compiled import CompiledProgram
from dlrun.program.setup import prepare, with_plan
from dlrun.runs import files
from dlrun.runs.status import OVER
from dlrun.sweep.folder import begun, status
from dlrun.sweep.jobs.groups import identity_of
from dlrun.sweep.launchers.process import leash
from dlrun.sweep.prepared_job import PreparedJob
from dlrun.sweep.search.pruning import from_state
from dlrun.sweep.train_jobs import quiet, train
from dlrun.train.signals import Stop
from dlrun.train.sinks import missing

log = logging.getLogger(__spec__.name)  # __name__ would be __main__ where this is run as a program


def main(file: str) -> int:
    """Trains the unit that a file describes; gives the exit code: 0 done, 1 a job failed, 128 + a signal's number."""
    unit = json.loads(files.read(file))
    if unit["trust"]:
        components.importable([Path(d) for d in unit["config_dirs"]], tuple(unit["trust"]))
    root, how = Path(unit["sweep"]), unit["launcher"]
    jobs: list[PreparedJob] = []
    for job in unit["jobs"]:
        checked = plan.plan(job["values"], tuple(unit["trust"]))
        if not jobs:
            devices.initialize(checked.settings)
        lacking = missing(checked.settings.log.sinks)
        setup = with_plan(jobs[0].setup, checked, lacking) if jobs else prepare(checked, problems=lacking)
        directory = root / job["directory"]
        jobs.append(PreparedJob(job["number"], ["dlrun", *job["overrides"]], setup, directory, begun(directory)))
    if jobs and (changed := changes(unit["data"], identity_of(jobs[0].setup.data))):
        raise InvalidConfig([f"{root}: {changed_since(changed)}; allowed: the earlier data, or a new sweep"])
    left = [job for job in jobs if status(job.directory) not in OVER]
    pruner = None if unit["pruner"] is None else from_state(unit["pruner"])
    failed = False
    quiet()

    def done(number: int, code: int) -> bool:
        nonlocal failed
        failed |= code in (1, 2)
        return failed and how["fail_fast"]

    with Stop() as stop:
        if left:
            train(
                CompiledProgram(left[0].setup),
                left,
                vmap=how["vmap"],
                chunk=how["chunk"],
                progress=lambda number: Lines(number, left[0].setup.metric),
                stop=stop,
                pruner=pruner,
                done=done,
            )
    return 128 + stop.signum if stop.signum else int(failed)


class Lines(Progress):
    """Prints what happens to a job, for the unit's log."""

    def __init__(self, number: int, metric: str):
        super().__init__(metric)
        self.number = number

    def start(self, step: int, total: int) -> None:
        super().start(step, total)
        self.note(f"step {step} of {total}")

    def tell(self, text: str, shown: str | None = None) -> None:
        log.info("%s", text)

    def show(self, text: str) -> None:
        tell(f"job {self.number}: {text}")


if __name__ == "__main__":
    go_on_unread()
    leash()
    try:
        sys.exit(main(sys.argv[1]))
    except InvalidConfig as wrong:
        tell("\n".join(f"error: {problem}" for problem in wrong.problems))
        sys.exit(2)
