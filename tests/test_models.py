"""Models: shapes, parameter counts, gradients in float64, and that evaluation treats each example by itself."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dlrun import step
from dlrun.models.resnet import ResNet
from dlrun.models.transformer import Transformer
from dlrun.nn import activations, inits, norms
from dlrun.nn.dropout import Number
from dlrun.nn.parts import Choice, Inputs, Parts
from dlrun.schema import Unfit
from tests.tiny import CLASSES, IMAGE, MODELS, assert_gradient, batch, numbers, program, quick, start

ACTS = [k for k, v in vars(activations).items() if getattr(v, "__module__", None) == activations.__name__]
DATA = {"digits": Inputs("image", (8, 8, 1)), "fashion_mnist": Inputs("image", (28, 28, 1))}


def parts(norm: Any = norms.batch, rate: float | None = None) -> Parts:
    number = None if rate is None else Number(jnp.float32(rate))
    return Parts(activations.relu, norm, inits.auto("relu"), inits.auto("identity"), number)


def parameters(model: Any, inputs: Inputs, outputs: int, **values: Any) -> int:
    """Number of parameters, of a model that is not computed."""
    made = nnx.eval_shape(lambda: model(inputs, outputs, parts(), nnx.Rngs(0), **values))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(made, nnx.Param)))


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_takes_every_act_and_norm_on_every_data_set(model: str, data: str) -> None:
    values = {"patch": None, "depth": 1} if model == "transformer" else None
    pairs = [(act, norms.batch) for act in ACTS] + [("gelu", norm) for norm in (norms.layer, norms.none)]
    for act, norm in pairs:
        of = program(model, inputs=DATA[data], act=getattr(activations, act), norm=norm, model_values=values)
        graphdef, shapes = jax.eval_shape(partial(step.init, of), np.uint32(0), numbers(dropout=0.1))
        x = jax.ShapeDtypeStruct((5, *DATA[data].shape), jnp.float32)
        for train in (False, True):
            forward = partial(step.forward, of, graphdef, train=train)
            outputs, variables = jax.eval_shape(forward, shapes.params, shapes.variables, x)
            assert outputs.shape == (5, CLASSES)
            assert outputs.dtype == jnp.float32
            before, after = (jax.tree.map(lambda a: (a.shape, a.dtype), v) for v in (shapes.variables, variables))
            assert before == after


def test_mlp_takes_rows() -> None:
    of = program("mlp", inputs=Inputs("rows", (7,)), norm=norms.batch)
    graphdef, state = start(of, numbers())
    x = jnp.ones((4, 7))
    assert step.forward(of, graphdef, state.params, state.variables, x, train=False)[0].shape == (4, CLASSES)


@pytest.mark.parametrize("model", ["cnn", "resnet", "transformer"])
def test_image_models_refuse_rows(model: str) -> None:
    component, values = MODELS[model]
    with pytest.raises(Unfit, match=rf"name={model} must be a model for rows of 7 features, such as mlp"):
        component(Inputs("rows", (7,)), 3, parts(), nnx.Rngs(0), **values)


@pytest.mark.parametrize(("depth", "count"), [(20, 269_722), (32, 464_154), (56, 853_018)])
def test_parameters_of_the_paper_s_resnets(depth: int, count: int) -> None:
    # He et al., 2016, table 6: 0.27, 0.46 and 0.85 million, on images of 32x32x3.
    assert parameters(ResNet, Inputs("image", (32, 32, 3)), 10, depth=depth) == count


def test_skip_connections_have_no_parameters() -> None:
    with_skip, plain = (parameters(ResNet, IMAGE, 10, depth=8, skip=s) for s in (True, False))
    assert with_skip == plain


def test_parameters_of_a_vision_transformer() -> None:
    # ViT-S/16 at 224x224 without its class token (Dosovitskiy et al., 2021): 22.05 million, less 2 * 384.
    found = parameters(
        Transformer, Inputs("image", (224, 224, 3)), 1000, patch=16, width=384, depth=12, heads=6, ff_ratio=4
    )
    assert found == 22_050_664 - 2 * 384


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (28, 28), (5, 4)])
def test_resnet_s_shortcut_and_convolutions_see_the_same_pixels(size: tuple[int, int]) -> None:
    # With stride 2, output (i, j) is centred on input (2 i, 2 j), which is also the pixel that the shortcut takes.
    from dlrun.nn.conv import ConvBlock

    block = ConvBlock(1, 1, parts(norms.none), nnx.Rngs(0), stride=2)
    centre = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    block.conv.kernel[...] = centre
    x = jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, (2, *size, 1)), jnp.float32)
    np.testing.assert_array_equal(block(x), x[:, ::2, ::2])


def test_patches_are_squares_of_the_image_row_by_row() -> None:
    model = Transformer(IMAGE, 3, parts(norms.none), nnx.Rngs(0), patch=4, width=16, depth=1, heads=1)
    model.embed.kernel[...], model.embed.bias[...] = jnp.eye(16), jnp.zeros(16)
    model.positions[...] = jnp.zeros((4, 16))
    seen = []
    model.blocks = nnx.List([])
    model.norm = lambda x: seen.append(x) or x
    x = np.arange(64.0).reshape(1, 8, 8, 1)
    model(jnp.asarray(x, jnp.float32))
    expected = [x[0, i : i + 4, j : j + 4, 0].ravel() for i in (0, 4) for j in (0, 4)]
    np.testing.assert_array_equal(seen[0][0], expected)


@pytest.mark.parametrize(("side", "patch"), [(8, 2), (28, 7), (32, 8), (5, 1), (4, 1)])
def test_default_patch_leaves_four_by_four(side: int, patch: int) -> None:
    made = nnx.eval_shape(lambda: Transformer(Inputs("image", (side, side, 1)), 3, parts(), nnx.Rngs(0), depth=1))
    assert made.patch == patch


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        ("cnn", {"channels": [1, 1, 1, 1]}, "at most 3 stages for images of 8x8"),
        ("resnet", {"depth": 9}, r"6 n \+ 2"),
        ("resnet", {"depth": 2}, r"6 n \+ 2"),
        ("transformer", {"patch": 3}, "divide the image of 8x8 pixels: 1, 2, 4, 8"),
        ("transformer", {"patch": 2, "width": 10, "heads": 4}, "divide model.width=10"),
    ],
)
def test_values_that_do_not_fit(model: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(Unfit, match=message):
        MODELS[model][0](IMAGE, 3, parts(), nnx.Rngs(0), **values)


@pytest.mark.parametrize("model", MODELS)
def test_gradient_in_float64(model: str) -> None:
    # Smooth activations: a difference across a kink is no derivative. Maxima of pooling are far apart by chance.
    norm = norms.layer if model == "transformer" else norms.batch
    values = {"depth": 1} if model == "transformer" else {}
    with jax.enable_x64(True):
        component, given = MODELS[model]
        chosen = Parts(activations.tanh, norm, inits.auto("tanh"), inits.auto("identity"))
        make = quick(lambda: nnx.split(component(IMAGE, CLASSES, chosen, nnx.Rngs(0), **{**given, **values}))[1])
        graphdef = nnx.graphdef(
            nnx.eval_shape(lambda: component(IMAGE, CLASSES, chosen, nnx.Rngs(0), **{**given, **values}))
        )
        state = make()
        params, rest = nnx.split_state(optax.tree.cast(state, jnp.float64), nnx.Param, ...)
        x = jnp.asarray(np.random.default_rng(0).normal(size=(6, *IMAGE.shape)))
        weights = jnp.asarray(np.random.default_rng(1).normal(size=(6, CLASSES)))

        def f(at):
            return (weights * nnx.merge(graphdef, at[0], rest, copy=True)(at[1])).sum()

        # Attention's softmax is float32, which bounds what a difference can show.
        assert_gradient(f, (params, x), rtol=1e-2 if model == "transformer" else 1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_evaluation_treats_each_example_by_itself_and_changes_nothing(model: str) -> None:
    norm = norms.layer if model == "transformer" else norms.batch
    of = program(model, norm=norm, act=activations.relu)
    graphdef, state = start(of, numbers(dropout=0.5))
    forward = {
        t: quick(lambda v, x, t=t: step.forward(of, graphdef, state.params, v, x, train=t)) for t in (True, False)
    }
    x = batch(6)["x"]
    _, variables = forward[True](state.variables, x)
    outputs, after = forward[False](variables, x)
    others, _ = forward[False](variables, x.at[1:].set(7.0))
    np.testing.assert_array_equal(outputs[0], others[0])
    for one, other in zip(jax.tree.leaves(variables), jax.tree.leaves(after), strict=True):
        assert (one == other).all()
    again, _ = forward[False](variables, x)
    np.testing.assert_array_equal(outputs, again, err_msg="no dropout in evaluation")
    trained, _ = forward[True](variables, x)
    assert (trained != outputs).any()


@pytest.mark.parametrize("model", MODELS)
def test_every_dropout_layer_has_a_key_of_its_own(model: str) -> None:
    component, values = MODELS[model]

    @quick
    def made():
        model = component(IMAGE, CLASSES, parts(norms.layer, 0.5), nnx.Rngs(0), **values)
        return jax.tree.leaves(nnx.state(model, nnx.RngKey)), jax.tree.leaves(nnx.state(model, Number))

    found, rates = made()
    assert len({tuple(np.asarray(jax.random.key_data(k)).ravel()) for k in found}) == len(found) >= 2
    assert len(rates) == 1, "and all share one rate"


def test_initialisation_follows_the_choice_and_its_scale() -> None:
    of = program("mlp", act=activations.relu, model_values={"widths": (200,)}, init=Choice(inits.he_normal))
    _, state = start(of, numbers(init__scale=0.5))
    kernel = np.asarray(state.params["hidden"][0]["linear"]["kernel"])
    assert kernel.std() == pytest.approx(0.5 * math.sqrt(2 / 64), rel=0.05)
    assert (np.asarray(state.params["hidden"][0]["linear"]["bias"]) == 0).all()
