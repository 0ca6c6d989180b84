"""Programs small enough to compile in a second, and ways to look into their states."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlrun.config.choice import Choice
from dlrun.data import augment
from dlrun.data.dataset import Dataset, Rows
from dlrun.models.alexnet import AlexNet
from dlrun.models.cnn import CNN
from dlrun.models.gru import GRU
from dlrun.models.lenet import LeNet
from dlrun.models.logistic import Logistic
from dlrun.models.lstm import LSTM
from dlrun.models.mlp import MLP
from dlrun.models.resnet import ResNet
from dlrun.models.rnn import RNN
from dlrun.models.transformer import Transformer
from dlrun.models.vgg import VGG
from dlrun.nn import activations, inits, norms
from dlrun.nn.parts import Inputs
from dlrun.objective import losses, metrics
from dlrun.optim import optimizers, schedules
from dlrun.program import step
from dlrun.program.program import Program
from dlrun.program.pytree import flat
from tests.conftest import UNOPTIMISED

MODELS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "logistic": (Logistic, {}),
    "mlp": (MLP, {"widths": (16, 12)}),
    "cnn": (CNN, {"channels": (4, 6), "width": 10}),
    "lenet": (LeNet, {}),
    "alexnet": (AlexNet, {"width": 2}),
    "vgg": (VGG, {"depth": 11, "width": 2}),
    "resnet": (ResNet, {"depth": 8, "width": 4}),
    "transformer": (Transformer, {"width": 8, "heads": 2, "depth": 2, "ff_ratio": 2, "patch": 2}),
    "rnn": (RNN, {"width": 6, "depth": 2}),
    "lstm": (LSTM, {"width": 6, "depth": 2}),
    "gru": (GRU, {"width": 6, "depth": 2}),
}
IMAGE = Inputs("image", (8, 8, 1))
IMAGES = dict.fromkeys(MODELS, IMAGE) | {"lenet": Inputs("image", (12, 12, 1))}
CLASSES = 3
NOTHING = Rows(np.zeros((1, *IMAGE.shape), np.float32), np.zeros(1, np.int32))
TASK = metrics.task(Dataset("image", tuple("abc"), NOTHING))


def quick(f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``f`` compiled with little optimisation: six times as fast to compile, for functions that run a few times."""
    return jax.jit(f, compiler_options=UNOPTIMISED, **options)


def program(
    model: str = "mlp", *, inputs: Inputs | None = None, model_values: dict[str, Any] | None = None, **parts: Any
):
    """A program of a tiny model; ``parts`` are its other choices, a component for one without values of its own."""
    component, values = MODELS[model]
    parts = {k: v if isinstance(v, Choice) or not callable(v) or k == "dtype" else Choice(v) for k, v in parts.items()}
    return Program(**{
        "model": Choice(component, tuple({**values, **(model_values or {})}.items())),
        "act": Choice(activations.tanh),
        "norm": Choice(norms.none),
        "init": Choice(inits.auto),
        "optim": Choice(optimizers.sgd),
        "schedule": Choice(schedules.constant),
        "augment": Choice(augment.none),
        "inputs": inputs or IMAGES[model],
        "outputs": CLASSES,
        "loss": Choice(losses.auto),
        "task": TASK,
        "loop": False,
        **parts,
    })  # fmt: skip


def numbers(**given: float) -> dict[str, Any]:
    """The numbers that every step reads, with ``optim__lr=0.1`` for ``optim.lr``."""
    base = {"optim.lr": 0.1, "label_smoothing": 0, "total_steps": 10, "max_skipped": 0}
    return {k: np.float32(v) for k, v in {**base, **{k.replace("__", "."): v for k, v in given.items()}}.items()}


def start(of: Program, values: dict[str, Any], seed: int = 0):
    """The model's structure and the state before the first step."""
    return _init(of)(np.uint32(seed), values)


@cache
def _init(of: Program) -> Callable[..., Any]:
    return quick(partial(step.init, of))


def batch(size: int = 8, *, seed: int = 0, scale: float = 1.0, inputs: Inputs = IMAGE) -> step.Batch:
    """Random images and classes."""
    random = np.random.default_rng(seed)
    x = scale * random.normal(size=(size, *inputs.shape))
    return {"x": jnp.asarray(x, jnp.float32), "y": jnp.asarray(random.integers(0, CLASSES, size), jnp.int32)}


def compiled(of: Program, graphdef: Any) -> Callable[..., Any]:
    """The training step as one function of state and batch."""
    return quick(lambda state, batch: step.train_step(of, graphdef, state, batch))


def arrays(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by path, as NumPy arrays; random keys as their bits."""
    return {k: np.asarray(v) for k, v in flat(tree).items()}


def with_arrays(tree: Any, values: dict[str, np.ndarray]) -> Any:
    """``tree`` with the leaves of ``values`` by path; each must be there, in its shape."""
    old = flat(tree)
    assert not values.keys() - old.keys()
    assert all(values[k].shape == old[k].shape for k in values)
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(
        structure, [jnp.asarray(values.get(k, leaf)) for k, leaf in zip(old, leaves, strict=True)]
    )


def assert_same(a: Any, b: Any) -> None:
    """Two trees are equal, bit for bit."""
    left, right = arrays(a), arrays(b)
    assert left.keys() == right.keys()
    for path in left:
        np.testing.assert_array_equal(left[path], right[path], err_msg=path)


def assert_gradient(f: Callable[[Any], jax.Array], at: Any, *, rtol: float = 1e-5, seed: int = 0) -> None:
    """The gradient of the scalar ``f`` at a tree of float64 arrays is, along a random direction, the difference's."""
    random = np.random.default_rng(seed)
    direction = jax.tree.map(lambda a: random.normal(size=a.shape), at)
    both, step = quick(jax.value_and_grad(f)), 1e-5

    def along(t):
        return both(jax.tree.map(lambda a, d: np.asarray(a) + t * d, at, direction))

    value, grads = along(0.0)
    assert value.dtype == jnp.float64
    numeric = (along(step)[0] - along(-step)[0]) / (2 * step)
    exact = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (np.asarray(g) * d).sum(), grads, direction)))
    assert abs(numeric) > 1e-6, "the function does not depend on its argument in this direction"
    np.testing.assert_allclose(exact, numeric, rtol=rtol, atol=1e-8)
