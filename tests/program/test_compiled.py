"""What runs of one program share, and for how long."""

import gc
import weakref

import jax

from dlrun.cli import prepare
from dlrun.config import composition
from dlrun.program.compiled import CompiledProgram

WORDS = ("model.widths=[8]", "norm=none", "log.plot=false")


def test_an_engine_goes_with_its_last_reference_and_so_do_its_rows() -> None:
    setup = prepare.prepare(prepare.checked(*composition.compose(composition.loader([]), [*WORDS]), ()))
    gc.collect()
    before = len(jax.live_arrays())
    compiled = CompiledProgram(setup)
    assert compiled.eval_size() == compiled.eval_size(1) > 0
    assert compiled.stacked(False) is compiled.stacked(False)  # compiled once
    assert compiled.table[0]["x"].shape[0] > 1000
    assert len(jax.live_arrays()) > before
    gone = weakref.ref(compiled)
    del compiled
    gc.collect()
    assert gone() is None
    assert len(jax.live_arrays()) <= before
