"""When rows of training metrics are due."""

from dataclasses import replace

import pytest

from dlrun.train.position import Position
from dlrun.train.timetable import Timetable, evenly


def rows(total: int, evaluate: int, log: int | None = None) -> list[int]:
    """The steps of a run's rows, as the loop comes to them: from one event to the next, and one more at the end."""
    own, log_from = (evenly(total, evaluate), evaluate) if log is None else (log, log)
    due = Timetable(total, evaluate, own, log_from, evaluate, total, float("inf"))
    at, found = Position(), []
    while not due.is_complete(at):
        at = replace(at, step=due.next_event(at))
        if due.logs(at) or due.is_complete(at):
            found.append(at.step)
    return found


@pytest.mark.parametrize("total", [1, 7, 30, 49, 50, 51, 99, 600, 1234, 5000])
@pytest.mark.parametrize("evaluate", [1, 3, 20, 64, 843, 9999])
def test_auto_has_fifty_rows_one_at_each_evaluation_and_none_of_more_than_fifty_steps(total, evaluate):
    found = rows(total, evaluate)
    assert found == sorted(set(found))
    assert len(found) >= min(50, total)
    assert {*range(evaluate, total + 1, evaluate), total} <= {*found}
    lengths = [b - a for a, b in zip([0, *found], found, strict=False)]
    assert max(lengths) <= 50
    within = [b - a for a, b in zip([0, *found], found, strict=False) if b % evaluate and b != total]
    assert len(set(within)) <= 1, "those that no evaluation ends are of one length"


def test_auto_costs_a_long_run_no_more_rows_than_one_each_fifty_steps():
    assert len(rows(25_290, 843)) <= 1.02 * len(rows(25_290, 843, log=50))


@pytest.mark.parametrize(("total", "evaluate", "log"), [(40, 20, 15), (600, 20, 50), (30, 7, 1), (10, 5, 50)])
def test_a_number_of_steps_counts_from_the_first(total, evaluate, log):
    assert rows(total, evaluate, log) == sorted({*range(log, total + 1, log), total})
