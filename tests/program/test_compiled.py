"""What runs of one program share, and for how long."""

import gc
import weakref

import jax

from dlrun.cli import prepare
from dlrun.config import composition
from dlrun.program.compiled import Engine

WORDS = ("model.widths=[8]", "norm=none", "log.plot=false")


def test_an_engine_goes_with_its_last_reference_and_so_do_its_rows() -> None:
    setup = prepare.prepare(prepare.checked(*composition.compose(composition.loader([]), [*WORDS]), ()))
    gc.collect()
    before = len(jax.live_arrays())
    engine = Engine(setup)
    assert engine.eval_size() == engine.eval_size(1) > 0
    assert engine.stacked(False) is engine.stacked(False)  # compiled once
    assert engine.table[0]["x"].shape[0] > 1000
    assert len(jax.live_arrays()) > before
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    assert len(jax.live_arrays()) <= before
