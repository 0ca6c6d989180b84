"""Numbers as people read them."""

import pytest

from dlrun.display.units import noun, prefixed


@pytest.mark.parametrize(
    ("number", "base", "unit", "shown"),
    [(0, 1000, "FLOP", "0 FLOP"), (999, 1000, "FLOP", "999 FLOP"), (999.7, 1000, "FLOP", "1 kFLOP"),
     (2.5e9, 1000, "FLOP", "2.5 GFLOP"), (3 * 2**20, 1024, "iB", "3 MiB"), (1010, 1024, "iB", "0.986 KiB"),
     (0, 1024, "iB", "0 B"), (400, 1024, "iB", "400 B"), (999, 1024, "iB", "999 B"),
     (0, 1000, "B", "0 B"), (999, 1000, "B", "999 B"), (1000, 1000, "B", "1 kB"), (1234567, 1000, "B", "1.23 MB"),
     (999600, 1000, "B", "1 MB"), (34e9, 1000, "B", "34 GB"), (5e15, 1000, "B", "5 PB"), (5e18, 1000, "B", "5e+03 PB")],
)  # fmt: skip
def test_prefixes(number: float, base: int, unit: str, shown: str):
    assert prefixed(number, unit, base) == shown


def test_one_thing_and_several():
    assert [noun(n, "run") for n in (0, 1, 2)] == ["runs", "run", "runs"]
    assert [noun(n, "process") for n in (1, 3)] == ["process", "processes"]
