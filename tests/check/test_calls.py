"""The calls of a model's modules are recorded, and nothing but these calls is touched."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from dlrun.check.calls import calls


class Half(nnx.Module):
    def __call__(self, x):
        return x / 2


class Quarter(Half):
    """Calls the class that it extends."""

    def __call__(self, x, *, times=1):
        return super().__call__(super().__call__(x)) * times


class Inherits(Half):
    """Has the call of the class that it extends."""


class Model(nnx.Module):
    def __init__(self, *, fails=False):
        self.parts = nnx.List([Half(), Quarter(), Inherits()])
        self.shared = self.parts[0]
        self.fails = fails

    def __call__(self, x):
        if self.fails:
            raise ArithmeticError
        half, quarter, inherits = self.parts
        return self.shared(inherits(quarter(half(x), times=3)))  # pyright: ignore[reportCallIssue]


def test_each_call_is_recorded_once_in_the_order_in_which_they_end():
    found = calls(Model(), jnp.ones(2))
    assert [call.path for call in found] == ["parts.0", "parts.1", "parts.2", "parts.0"]
    assert [float(call.output[0]) for call in found] == [1 / 2, 3 / 8, 3 / 16, 3 / 32]
    assert found[1].inputs[1] == {"times": 3}
    assert float(found[1].inputs[0][0][0]) == 1 / 2


def test_a_module_calls_the_modules_that_it_is_made_of():
    class Outer(nnx.Module):
        def __init__(self):
            self.inner = Half()

        def __call__(self, x):
            return self.inner(x)

    class Whole(nnx.Module):
        def __init__(self):
            self.outer = Outer()

        def __call__(self, x):
            return self.outer(x)

    assert [call.path for call in calls(Whole(), jnp.ones(1))] == ["outer.inner", "outer"]


def test_calls_of_copies_in_a_loop_are_not_recorded_that_of_the_loop_is():
    class Loop(nnx.Module):
        def __init__(self):
            self.inner = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            turn = nnx.scan(
                lambda inner, x: (inner(x), None), length=3, in_axes=(None, nnx.Carry), out_axes=(nnx.Carry, 0)
            )
            return turn(self.inner, x)[0]

    class Whole(nnx.Module):
        def __init__(self):
            self.loop = Loop()

        def __call__(self, x):
            return self.loop(x)

    assert [call.path for call in calls(Whole(), jnp.ones(2))] == ["loop"]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_before(fails):
    model, methods = Model(fails=fails), (Half.__call__, Quarter.__call__)
    before = nnx.graphdef(model)
    if fails:
        with pytest.raises(ArithmeticError):
            calls(model, jnp.ones(1))
    else:
        calls(model, jnp.ones(1))
    assert nnx.graphdef(model) == before
    assert [type(part) for part in model.parts] == [Half, Quarter, Inherits]
    assert (Half.__call__, Quarter.__call__) == methods


def test_other_models_of_the_same_classes_are_not_recorded():
    other = Half()

    class Both(nnx.Module):
        def __init__(self):
            self.half = Half()

        def __call__(self, x):
            return other(self.half(x))

    assert [call.path for call in calls(Both(), jnp.ones(1))] == ["half"]


def test_shapes_suffice():
    found = []
    jax.eval_shape(lambda x: found.extend(calls(Model(), x)), jax.ShapeDtypeStruct((2,), jnp.float32))
    assert [call.output.shape for call in found] == [(2,)] * 4
