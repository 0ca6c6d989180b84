"""Models: what each takes, its shapes and parameter counts, gradients, and that evaluation looks at one example."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dlrun.config import catalogue
from dlrun.config.choice import Choice
from dlrun.errors import Unfit
from dlrun.models.alexnet import AlexNet
from dlrun.models.lenet import LeNet
from dlrun.models.mlp import MLP
from dlrun.models.resnet import Block, ResNet
from dlrun.models.transformer import Transformer
from dlrun.models.vgg import VGG
from dlrun.nn import activations, inits, norms
from dlrun.nn.declared import NONE_FOLLOWS, Following
from dlrun.nn.dropout import Dropout, DropPath, SpatialDropout
from dlrun.nn.hyperparameter import Hyperparameter
from dlrun.nn.norms import Identity
from dlrun.nn.parts import Inputs, Parts
from dlrun.program import step
from tests.tiny import (
    CLASSES,
    IMAGE,
    IMAGES,
    MODELS,
    arrays,
    assert_gradient,
    batch,
    numbers,
    program,
    quick,
    start,
    with_arrays,
)

GOLDENS = Path(__file__).parents[1] / "goldens"
ACTS = [k for k, v in vars(activations).items() if getattr(v, "__module__", None) == activations.__name__]
NORMS = list(catalogue.options("norm", [catalogue.conf()]))
KINDS = {
    "image": Inputs("image", (12, 12, 2)),
    "rows": Inputs("rows", (7,)),
    "tokens": Inputs("tokens", (6,), vocabulary=11),
    "text": Inputs("tokens", (6,), vocabulary=11, causal=True),
}
TAKES: dict[str, list[str]] = {
    "logistic": ["image", "rows"],
    "mlp": ["image", "rows"],
    **{m: ["image"] for m in ("cnn", "lenet", "alexnet", "vgg", "resnet")},
    **{m: ["image", "tokens", "text"] for m in ("transformer", "rnn", "lstm", "gru")},
}
SEQUENCES = [m for m, kinds in TAKES.items() if "text" in kinds]
LEARNS_ACT = [m for m in MODELS if m != "logistic"]  # the others have no hidden layers
POINTWISE = ("mlp", "cnn", "lenet", "alexnet", "vgg")  # they have layers without positions, on 12x12 pixels


def parts(norm: Any = norms.batch, rate: float | None = None, act: Any = activations.relu) -> Parts:
    number = None if rate is None else Hyperparameter(jnp.float32(rate))
    return Parts(Choice(act), Choice(norm), inits.auto(Following.of(Choice(act))), inits.auto(NONE_FOLLOWS), number)


def values_of(model: str, kind: str = "image") -> dict[str, Any]:
    """The tiny values, for a kind of inputs."""
    values = dict(MODELS[model][1])
    return values | {"patch": None} if model == "transformer" and kind != "image" else values


def form(model: Any, inputs: Inputs, outputs: int, chosen: Parts, **values: Any) -> Any:
    """A model that is not computed."""
    return nnx.eval_shape(lambda: model(inputs, outputs, chosen, nnx.Rngs(0), **values))


def parameters(model: Any, inputs: Inputs, outputs: int, norm: Any = norms.none, **values: Any) -> int:
    """Number of parameters of a model that is not computed."""
    zeros = nnx.initializers.zeros  # quicker to trace than random ones
    made = form(model, inputs, outputs, replace(parts(norm), kernel_init=zeros, linear_init=zeros), **values)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(made, nnx.Param)))


def made(model: Any, inputs: Inputs, outputs: int, chosen: Parts, **values: Any) -> Any:
    """A model, made by one compiled program."""
    graphdef = nnx.graphdef(form(model, inputs, outputs, chosen, **values))
    return nnx.merge(
        graphdef, quick(lambda: nnx.state(model(inputs, outputs, chosen, nnx.Rngs(0), **values)))(), copy=True
    )


def filled(component: Any, inputs: Inputs, outputs: int, chosen: Parts, **values: Any) -> Any:
    """A model with random weights of NumPy's: quicker than compiling its own initialisation, and no bias is 0."""
    graphdef, state = nnx.split(form(component, inputs, outputs, chosen, **values))
    random = np.random.default_rng(0)

    def fill(leaf):
        if len(leaf.shape) < 2:
            return jnp.asarray(random.uniform(0.5, 1, leaf.shape))
        return jnp.asarray(random.normal(0, math.prod(leaf.shape[:-1]) ** -0.5, leaf.shape))

    return nnx.merge(graphdef, jax.tree.map(fill, state), copy=True)


def outputs_form(model: str, kind: str, chosen: Parts, **values: Any) -> jax.ShapeDtypeStruct:
    """Form of the outputs of five examples in training."""
    inputs = KINDS[kind]
    component, graph = MODELS[model][0], {**values_of(model, kind), **values}
    outputs = inputs.vocabulary if inputs.causal else CLASSES
    dtype = jnp.int32 if inputs.kind == "tokens" else jnp.float32

    def forward(x):
        return component(inputs, outputs, chosen, nnx.Rngs(0), **graph)(x)

    return jax.eval_shape(forward, jax.ShapeDtypeStruct((5, *inputs.shape), dtype))


def misfits(make: Callable[[], Any]) -> list[str]:
    """The lines that a user would read."""
    with pytest.raises((Unfit, ExceptionGroup)) as raised:
        make()
    error = raised.value
    return [e.at("model") for e in (error.exceptions if isinstance(error, ExceptionGroup) else [error])]


# What each takes


def test_every_option_has_a_row() -> None:
    assert set(catalogue.options("model", [catalogue.conf()])) == set(MODELS) == set(TAKES) == set(IMAGES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", MODELS)
def test_kinds_of_inputs(model: str, kind: str) -> None:
    if kind in TAKES[model]:
        found = outputs_form(model, kind, parts(norms.layer, 0.1))
        assert found.shape == ((5, 6, 11) if kind == "text" else (5, CLASSES))
        assert found.dtype == jnp.float32
    else:
        (line,) = misfits(lambda: outputs_form(model, kind, parts(norms.layer)))
        assert line.startswith(f"model.name={model}: must be a model for {KINDS[kind]}, such as ")
        other = line.partition("such as ")[2].split(":")[0]
        assert kind in TAKES[other], "the model it names takes them"


@pytest.mark.parametrize("model", MODELS)
def test_forms_of_outputs_and_variables_are_those_of_the_start(model: str) -> None:
    of = program(model, norm=norms.batch, act=activations.PReLU)
    graphdef, shapes = jax.eval_shape(partial(step.init, of), np.uint32(0), numbers(dropout=0.1))
    x = jax.ShapeDtypeStruct((5, *IMAGES[model].shape), jnp.float32)
    for train in (False, True):
        outputs, variables = jax.eval_shape(
            partial(step.forward, of, graphdef, train=train), shapes.params, shapes.variables, x
        )
        assert (outputs.shape, outputs.dtype) == ((5, CLASSES), jnp.float32)
        before, after = (jax.tree.map(lambda a: (a.shape, a.dtype), v) for v in (shapes.variables, variables))
        assert before == after


@pytest.mark.parametrize("model", LEARNS_ACT)
def test_activations(model: str) -> None:
    kind = TAKES[model][-1]
    for act in ACTS if model in ("mlp", "transformer") else ("relu", "PReLU", "swiglu"):
        chosen = parts(norms.none, act=getattr(activations, act))
        if chosen.gated and model != "transformer":
            (line,) = misfits(lambda chosen=chosen: outputs_form(model, kind, chosen))
            assert line == f"act={act}: must be an elementwise activation, such as gelu, for this model"
        else:
            assert outputs_form(model, kind, chosen).shape[0] == 5


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", MODELS)
def test_norms(model: str, norm: str) -> None:
    for kind in TAKES[model]:
        make = partial(outputs_form, model, kind, parts(getattr(norms, norm)))
        if norm in norms.MIXES_POSITIONS and kind == "text":
            (line,) = misfits(make)
            assert line.startswith(f"norm={norm}: must be layer, rms or none for the next token")
        elif norm == "instance" and model in POINTWISE:
            (line,) = misfits(make)
            assert line.startswith("norm=instance: must be another, such as layer")
        else:
            assert make().shape[0] == 5


@pytest.mark.parametrize(
    ("model", "values", "lines"),
    [
        ("mlp", {"widths": [3], "depth": 3}, ["model.widths=[3]: must be null when"]),
        ("mlp", {"widths": [3], "width": 3}, ["model.widths=[3]: must be null when"]),
        ("cnn", {"channels": [1, 1, 1, 1]}, ["model.channels=[1, 1, 1, 1]: must have at most 3 stages for"]),
        ("lenet", {}, ["model.name=lenet: must be a model for images of 8x8 pixels, such as cnn: it needs at "
            "least 12x12"]),
        ("alexnet", {"form": "imagenet"}, ["model.form=imagenet: must be cifar for images of 8x8"]),
        ("vgg", {"form": "imagenet"}, ["model.form=imagenet: must be cifar for images of 8x8"]),
        ("resnet", {"depth": 9}, ["model.depth=9: must be 6 n + 2 (8, 14, 20, 26, 32, 38, 44, 56, 110, ...), or"]),
        ("resnet", {"depth": 2}, ["model.depth=2: must be 6 n + 2"]),
        ("resnet", {"depth": 18, "form": "cifar"}, ["model.depth=18: must be 6 n + 2"]),
        ("resnet", {"depth": 20, "form": "imagenet"}, ["model.depth=20: must be one of 18, 34, 50, 101, 152 for"]),
        ("resnet", {"stem": "large", "depth": 9}, ["model.depth=9: must", "model.stem=large: must be small for"]),
        ("resnet", {"skip": False, "drop_path": 0.1, "zero_init": True},
            ["model.skip=false: must be true with model.drop_path", "model.skip=false: must be true with model.zero"]),
        ("transformer", {"patch": 3}, ["model.patch=3: must divide the image of 8x8 pixels: 1, 2, 4, 8"]),
        ("transformer", {"width": 10, "heads": 4, "patch": 5, "tie": True},
            ["model.patch=5: must divide", "model.heads=4: must divide model.width=10", "model.tie=true: must be"]),
        ("transformer", {"width": 6, "positions": "rotary"},
            ["model.positions=rotary: must have heads of even size, not model.width / heads = 3"]),
    ],
)  # fmt: skip
def test_values_that_do_not_fit(model: str, values: dict[str, Any], lines: list[str]) -> None:
    found = misfits(lambda: form(MODELS[model][0], IMAGE, 3, parts(), **{**MODELS[model][1], **values}))
    assert len(found) == len(lines)
    assert all(one.startswith(other) for one, other in zip(found, lines, strict=True)), found


def test_values_that_do_not_fit_tokens() -> None:
    for inputs, values, line in (
        (KINDS["tokens"], {"patch": 2}, "model.patch=2: must be null for 6 tokens"),
        (KINDS["tokens"], {"tie": True}, "model.tie=true: must be null or false for 6 tokens with one output"),
        (KINDS["text"], {"pool": "cls"}, "model.pool=cls: must be mean for the next token"),
    ):
        (found,) = misfits(lambda i=inputs, v=values: form(Transformer, i, 11, parts(norms.layer), **v))
        assert found.startswith(line)


# Parameters


IMAGENET = Inputs("image", (224, 224, 3))
VIT = {"patch": 16, "width": 768, "depth": 12, "heads": 12, "pool": "cls"}
GPT2 = {"width": 768, "depth": 12, "heads": 12}


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "norm", "values", "count"),
    [
        (LeNet, Inputs("image", (32, 32, 1)), 10, "none", {}, 61_706),
        (LeNet, Inputs("image", (28, 28, 1)), 10, "none", {}, 61_706),
        (AlexNet, IMAGENET, 1000, "none", {}, 61_100_840),
        (VGG, IMAGENET, 1000, "none", {"depth": 11}, 132_863_336),
        (VGG, IMAGENET, 1000, "none", {"depth": 13}, 133_047_848),
        (VGG, IMAGENET, 1000, "none", {"depth": 16}, 138_357_544),
        (VGG, IMAGENET, 1000, "none", {"depth": 19}, 143_667_240),
        (VGG, Inputs("image", (32, 32, 3)), 10, "batch", {"depth": 16}, 14_728_266 - 4224),  # less biases before norms
        (ResNet, Inputs("image", (32, 32, 3)), 10, "batch", {"depth": 20}, 269_722),
        (ResNet, Inputs("image", (32, 32, 3)), 10, "batch", {"depth": 32}, 464_154),
        (ResNet, Inputs("image", (32, 32, 3)), 10, "batch", {"depth": 56}, 853_018),
        (ResNet, IMAGENET, 1000, "batch", {"depth": 18}, 11_689_512),
        (ResNet, IMAGENET, 1000, "batch", {"depth": 34}, 21_797_672),
        (ResNet, IMAGENET, 1000, "batch", {"depth": 50}, 25_557_032),
        (ResNet, IMAGENET, 1000, "batch", {"depth": 101}, 44_549_160),
        (ResNet, Inputs("image", (32, 32, 3)), 10, "batch", {"depth": 18}, 11_173_962),  # as usual for CIFAR
        (Transformer, IMAGENET, 1000, "layer", VIT, 86_567_656),
        (Transformer, IMAGENET, 1000, "layer", VIT | {"pool": "mean"}, 86_567_656 - 2 * 768),
        (Transformer, Inputs("tokens", (1024,), 50_257, causal=True), 50_257, "layer", GPT2, 124_439_808),
    ],
)
def test_parameters_are_the_published_ones(
    model: Any, inputs: Inputs, outputs: int, norm: str, values: dict[str, Any], count: int
) -> None:
    assert parameters(model, inputs, outputs, getattr(norms, norm), **values) == count


def test_a_plain_network_and_a_gated_one_have_the_parameters_of_the_other() -> None:
    with_skip, plain = (parameters(ResNet, IMAGE, 10, norms.batch, depth=8, skip=s) for s in (True, False))
    assert with_skip == plain

    def hidden(act):
        chosen = parts(norms.layer, act=act)
        return form(Transformer, IMAGE, 3, chosen, width=48, heads=4, depth=1).blocks[0].ff

    assert hidden(activations.gelu).up.kernel.shape == (48, 192)
    assert hidden(activations.geglu).up.kernel.shape == (48, 2 * 128)
    assert hidden(activations.geglu).down.kernel.shape == (128, 48)


def test_widths_of_an_mlp_by_list_or_by_width_and_depth() -> None:
    listed = parameters(MLP, IMAGE, 3, widths=[9, 9, 9])
    assert parameters(MLP, IMAGE, 3, widths=None, width=9, depth=3) == listed
    assert parameters(MLP, IMAGE, 3, width=9) == parameters(MLP, IMAGE, 3, widths=[9, 9])
    assert parameters(MLP, IMAGE, 3, depth=3) == parameters(MLP, IMAGE, 3, widths=[256, 256, 256])
    assert parameters(MLP, IMAGE, 3) == parameters(MLP, IMAGE, 3, widths=[256, 256])


@pytest.mark.parametrize(("norm", "biased"), [("batch", False), ("layer", False), ("rms", True), ("none", True)])
def test_a_layer_has_no_bias_where_a_norm_brings_one(norm: str, biased: bool) -> None:
    chosen = parts(getattr(norms, norm))
    dense = form(MLP, IMAGE, 3, chosen).hidden[0].linear
    conv = form(ResNet, IMAGE, 3, chosen, depth=8).blocks[0].last
    assert (dense.bias is not None, conv.bias is not None) == (biased, biased)


# Values


def test_logistic_is_a_linear_map_of_all_pixels() -> None:
    module = filled(MODELS["logistic"][0], IMAGE, CLASSES, parts(norms.none))
    x = np.random.default_rng(0).normal(size=(5, *IMAGE.shape)).astype(np.float32)
    expected = x.reshape(5, -1) @ np.asarray(module.output.kernel) + np.asarray(module.output.bias)
    np.testing.assert_allclose(module(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_gradient_in_float64(model: str) -> None:
    # Smooth activations: a difference across a kink is no derivative. Maxima of pooling are far apart by chance.
    norm = norms.layer if model in SEQUENCES else norms.none if model in ("alexnet", "vgg") else norms.batch
    values = {**MODELS[model][1], **({"depth": 1} if model == "transformer" else {})}
    inputs, component = IMAGES[model], MODELS[model][0]
    with jax.enable_x64(True):
        module = filled(component, inputs, CLASSES, parts(norm, act=activations.tanh), **values)
        graphdef, params, rest = nnx.split(module, nnx.Param, ...)
        x = jnp.asarray(np.random.default_rng(0).normal(size=(6, *inputs.shape)))
        weights = jnp.asarray(np.random.default_rng(1).normal(size=(6, CLASSES)))

        def f(at):
            return (weights * nnx.merge(graphdef, at[0], rest, copy=True)(at[1])).sum()

        assert_gradient(f, (params, x))


@pytest.mark.parametrize(
    ("golden", "model", "act", "values"),
    [
        ("rnn", "rnn", activations.tanh, {"width": 6, "depth": 2}),
        ("lstm", "lstm", activations.tanh, {"width": 6, "depth": 2}),
        ("gru", "gru", activations.tanh, {"width": 6, "depth": 2}),
        ("gpt", "transformer", activations.gelu, {"width": 8, "depth": 2, "heads": 2, "ff_ratio": 2}),
        ("lenet", "lenet", activations.tanh, {}),
        ("alexnet", "alexnet", activations.relu, {"width": 1}),
        ("vgg", "vgg", activations.relu, {"depth": 11, "width": 1}),
        ("resnet18", "resnet", activations.relu, {"depth": 18, "width": 2}),
    ],
)
def test_outputs_and_gradients_are_pytorch_s(golden: str, model: str, act: Any, values: dict[str, Any]) -> None:
    told = dict(np.load(GOLDENS / f"{golden}.npz"))
    chosen = parts(norms.layer if golden == "gpt" else norms.none, act=act)
    shape, outputs = told["x"].shape[1:], told["outputs"].shape[-1]
    inputs = Inputs("image", shape) if len(shape) == 3 else Inputs("tokens", shape, vocabulary=7, causal=True)
    graphdef, params = nnx.split(filled(MODELS[model][0], inputs, outputs, chosen, **values))
    weights, gradients = (
        {k.removeprefix(prefix): v for k, v in told.items() if k.startswith(prefix)}
        for prefix in ("weights/", "gradients/")
    )
    assert weights.keys() == arrays(params).keys()

    def run(params):
        outputs = nnx.merge(graphdef, params)(jnp.asarray(told["x"]))
        return (outputs * told["direction"]).sum(), outputs

    (_, outputs), found = quick(jax.value_and_grad(run, has_aux=True))(with_arrays(params, weights))
    np.testing.assert_allclose(outputs, told["outputs"], rtol=1e-4, atol=2e-5)
    for path, gradient in arrays(found).items():
        np.testing.assert_allclose(gradient, gradients[path], rtol=1e-4, atol=1e-4, err_msg=path)


@pytest.mark.parametrize("model", MODELS)
def test_evaluation_treats_each_example_by_itself_and_changes_nothing(model: str) -> None:
    norm = norms.layer if model in SEQUENCES else norms.batch
    of = program(model, norm=norm, act=activations.relu, model_values={"depth": 1} if model == "transformer" else None)
    graphdef, state = start(of, numbers(dropout=0.5))
    forward = {
        t: quick(lambda v, x, t=t: step.forward(of, graphdef, state.params, v, x, train=t)) for t in (True, False)
    }
    x = batch(6, inputs=of.inputs)["x"]
    _, variables = forward[True](state.variables, x)
    outputs, after = forward[False](variables, x)
    others, _ = forward[False](variables, x.at[1:].set(7.0))
    np.testing.assert_array_equal(outputs[0], others[0])
    assert (outputs[1:] != others[1:]).any()
    for one, other in zip(jax.tree.leaves(variables), jax.tree.leaves(after), strict=True):
        assert (one == other).all()
    again, _ = forward[False](variables, x)
    np.testing.assert_array_equal(outputs, again, err_msg="no dropout in evaluation")
    trained, _ = forward[True](variables, x)
    assert (trained != outputs).any() == (model in LEARNS_ACT)


@pytest.mark.parametrize("model", LEARNS_ACT)
def test_every_dropout_layer_has_a_key_of_its_own(model: str) -> None:
    component, values = MODELS[model]

    @quick
    def made():
        module = component(IMAGES[model], CLASSES, parts(norms.layer, 0.5), nnx.Rngs(0), **values)
        return jax.tree.leaves(nnx.state(module, nnx.RngKey)), jax.tree.leaves(nnx.state(module, Hyperparameter))

    found, rates = made()
    assert len({tuple(np.asarray(jax.random.key_data(k)).ravel()) for k in found}) == len(found)
    assert len(found) >= (1 if model == "vgg" else 2)  # its convolutions have dropout by option alone
    assert len(rates) == 1, "and all share one rate"


def test_initialisation_follows_the_choice_and_its_scale() -> None:
    of = program("mlp", act=activations.relu, model_values={"widths": (200,)}, init=Choice(inits.he_normal))
    _, state = start(of, numbers(init__scale=0.5))
    kernel = np.asarray(state.params["hidden"][0]["linear"]["kernel"])
    assert kernel.std() == pytest.approx(0.5 * math.sqrt(2 / 64), rel=0.05)
    assert (np.asarray(state.params["hidden"][0]["linear"]["bias"]) == 0).all()


# Convolutional networks


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (28, 28), (5, 4)])
def test_resnet_s_shortcut_and_convolutions_see_the_same_pixels(size: tuple[int, int]) -> None:
    # With stride 2, output (i, j) is centred on input (2 i, 2 j), which is also the pixel that the shortcut takes.
    from dlrun.nn.conv import ConvBlock

    block = ConvBlock(1, 1, parts(norms.none), nnx.Rngs(0), stride=2)
    block.conv.kernel[...] = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    x = jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, (2, *size, 1)), jnp.float32)
    np.testing.assert_array_equal(block(x), x[:, ::2, ::2])


def test_lenet_pads_28_pixels_to_32() -> None:
    small, large = (
        filled(LeNet, Inputs("image", (side, side, 1)), 10, parts(norms.none, act=activations.tanh))
        for side in (28, 32)
    )
    x = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(quick(small)(jnp.asarray(x)), quick(large)(jnp.asarray(padded)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("side", "large"), [(32, False), (63, False), (64, True), (224, True)])
def test_forms_and_stems_by_the_size_of_images(side: int, large: bool) -> None:
    inputs = Inputs("image", (side, side, 3))
    assert form(AlexNet, inputs, 3, parts()).large == large
    assert bool(form(VGG, inputs, 3, parts(), depth=11).dense) == large
    assert form(ResNet, inputs, 3, parts(), depth=18).large == large
    assert not form(ResNet, inputs, 3, parts(), depth=20).large, "the CIFAR form's stem is the small one"


@pytest.mark.parametrize(
    ("depth", "bottleneck", "sizes", "channels"),
    [
        (18, False, [56] * 2 + [28] * 2 + [14] * 2 + [7] * 2, [64] * 2 + [128] * 2 + [256] * 2 + [512] * 2),
        (50, True, [56] * 3 + [28] * 4 + [14] * 6 + [7] * 3, [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3),
    ],
)
def test_stages_of_the_imagenet_form(depth: int, bottleneck: bool, sizes: list[int], channels: list[int]) -> None:
    # He et al., 2016, table 1.
    seen = []

    def forward(x):
        model = ResNet(IMAGENET, 1000, parts(), nnx.Rngs(0), depth=depth)
        x = nnx.max_pool(model.stem(x), (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in model.blocks:
            assert len(block.convs) == (2 if bottleneck else 1)
            x = block(x)
            seen.append(x.shape[1:])

    jax.eval_shape(forward, jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    assert seen == [(s, s, c) for s, c in zip(sizes, channels, strict=True)]


def test_a_bottleneck_by_hand() -> None:
    model = form(ResNet, IMAGE, 3, parts(norms.none), depth=50, width=2)
    graphdef, shapes = nnx.split(model.blocks[3])  # the second stage's first: it halves and projects
    random = np.random.default_rng(1)
    block = nnx.merge(graphdef, jax.tree.map(lambda s: jnp.asarray(random.normal(size=s.shape), s.dtype), shapes))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 8)), jnp.float32)

    def conv(layer, x, stride=1):
        side = layer.kernel.shape[0] // 2
        kernel, bias = layer.kernel[...], layer.bias[...]
        return bias + jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), [(side, side)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    reduce, middle = block.convs

    @quick
    def by_hand(x):
        y = jax.nn.relu(conv(middle.conv, jax.nn.relu(conv(reduce.conv, x)), 2))  # the stride is in the 3x3 one
        return jax.nn.relu(conv(block.last, y) + conv(block.shortcut.conv, x, 2))

    expected = by_hand(x)
    assert expected.shape == (2, 4, 4, 16)
    np.testing.assert_allclose(quick(block)(x), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("bottleneck", "norm"), [(False, norms.group), (True, norms.group), (False, norms.none)])
def test_zero_init_makes_blocks_the_identity_at_the_start(bottleneck: bool, norm: Any) -> None:
    def made():
        how = {"stride": 1, "bottleneck": bottleneck, "shortcut": Identity(), "path": Identity(), "spatial": False}
        return Block(8, 8, parts(norm), nnx.Rngs(0), **how, zero_init=True)

    graphdef = nnx.graphdef(nnx.eval_shape(made))
    block = nnx.merge(graphdef, quick(lambda: nnx.state(made()))())
    x = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (2, 4, 4, 8)), jnp.float32)  # as after a relu
    np.testing.assert_array_equal(quick(lambda x: block(x))(x), x)
    (block.last.kernel if norm is norms.none else block.norm.scale)[...] += 1
    assert (quick(lambda x: block(x))(x) != x).any()


@pytest.mark.parametrize(("model", "count"), [(ResNet, 3), (Transformer, 4)])
def test_stochastic_depth_rises_with_depth_and_is_no_part_of_a_model_without(model: Any, count: int) -> None:
    values = {"depth": 8} if model is ResNet else {"depth": 2}
    layers = [m for _, m in nnx.iter_modules(form(model, IMAGE, 3, parts(norms.layer), **values))]
    assert not any(isinstance(m, Dropout) for m in layers)
    found = form(model, IMAGE, 3, parts(norms.layer), **values, drop_path=jnp.float32(0.5))
    paths = [m for _, m in nnx.iter_modules(found) if isinstance(m, DropPath)]
    assert sorted(m.share for m in paths) == [(i + 1) / count for i in range(count)]
    assert len({id(m.rate) for m in paths}) == 1

    graphdef, state = nnx.split(made(model, IMAGE, 3, parts(norms.layer), **values, drop_path=jnp.float32(0.5)))
    plain = filled(model, IMAGE, 3, parts(norms.layer), **values)
    x = batch(4)["x"]

    nnx.update(plain, nnx.filter_state(state, nnx.Param))

    @quick
    def forward(x):
        module = nnx.merge(graphdef, state, copy=True)
        trained = module(x)
        module.eval()
        return trained, module(x), plain(x)

    trained, evaluated, without = forward(x)
    np.testing.assert_allclose(evaluated, without, rtol=1e-5, atol=1e-6)
    assert (trained != evaluated).any()


@pytest.mark.parametrize("model", ["cnn", "vgg", "resnet"])
def test_spatial_dropout_drops_channels_after_convolutions(model: str) -> None:
    component, values = MODELS[model]
    for spatial in (False, True):
        found = form(component, IMAGE, 3, parts(rate=0.5), **values, spatial_dropout=spatial)
        convs = [m for _, m in nnx.iter_modules(found) if type(m).__name__ == "ConvBlock"]
        expected = SpatialDropout if spatial else Identity if model == "vgg" else Dropout
        assert len(convs) > 1
        assert {type(m.dropout) for m in convs} == {expected}


# Transformers and recurrent networks


def test_patches_are_squares_of_the_image_row_by_row() -> None:
    model = filled(Transformer, IMAGE, 3, parts(norms.none), patch=4, width=16, depth=1, heads=1)
    model.embed.kernel[...], model.embed.bias[...] = jnp.eye(16), jnp.zeros(16)
    model.positions.table[...] = jnp.zeros((4, 16))
    seen = []
    model.blocks = nnx.List([])
    model.norm = lambda x: seen.append(x) or x
    x = np.arange(64.0).reshape(1, 8, 8, 1)
    model(jnp.asarray(x, jnp.float32))
    expected = [x[0, i : i + 4, j : j + 4, 0].ravel() for i in (0, 4) for j in (0, 4)]
    np.testing.assert_array_equal(seen[0][0], expected)


@pytest.mark.parametrize(("side", "patch"), [(8, 2), (28, 7), (32, 8), (5, 1), (4, 1)])
def test_default_patch_leaves_four_by_four(side: int, patch: int) -> None:
    assert form(Transformer, Inputs("image", (side, side, 1)), 3, parts(), depth=1).patch == patch


def test_a_class_token_is_the_first_one_and_what_the_output_sees() -> None:
    model = filled(Transformer, IMAGE, 3, parts(norms.layer), patch=4, width=8, depth=1, heads=2, pool="cls")
    assert model.positions.table.shape == (5, 8)
    seen = []
    model.output = lambda x: seen.append(x) or x
    model.blocks = nnx.List([])
    model.norm = lambda x: x
    model.token[...] = jnp.arange(8.0)
    model(batch(2)["x"])
    np.testing.assert_allclose(seen[0], np.tile(np.arange(8.0) + model.positions.table[0], (2, 1)), rtol=1e-6)


@pytest.mark.parametrize("init", ["default", "scaled", "zero"])
def test_initialisation_of_residual_branches(init: str) -> None:
    values = {"width": 64, "depth": 2, "heads": 2, "ff_ratio": 2, "residual_init": init, "patch": 4}
    model = made(Transformer, IMAGE, 3, parts(norms.layer), **values)
    factor = {"default": 1.0, "scaled": 1 / 2, "zero": 0.0}[init]  # 1 / √(2·2)
    for block in model.blocks:
        assert np.std(block.attention.out.kernel) == pytest.approx(factor / math.sqrt(64), rel=0.1)
        assert np.std(block.ff.down.kernel) == pytest.approx(factor / math.sqrt(128), rel=0.1)
        assert np.std(block.attention.value.kernel) == pytest.approx(1 / math.sqrt(64), rel=0.1)
    if init == "zero":
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 64)), jnp.float32)
        np.testing.assert_array_equal(quick(model.blocks[0])(x), x)


def test_tied_outputs_and_embeddings_are_one_array() -> None:
    inputs, values = KINDS["text"], {"width": 8, "heads": 2, "depth": 1}
    tied = arrays(nnx.state(made(Transformer, inputs, 11, parts(norms.layer), **values), nnx.Param))
    assert [k for k, v in tied.items() if 11 in v.shape] == ["embed/embedding"]
    untied = arrays(nnx.state(made(Transformer, inputs, 11, parts(norms.layer), **values, tie=False), nnx.Param))
    assert untied.keys() - tied.keys() == {"output/kernel", "output/bias"}
    for name in ("embed/embedding", "positions/table"):
        assert tied[name].std() == pytest.approx(0.02, rel=0.25)


def test_embeddings_beside_sinusoids_are_as_large() -> None:
    inputs = Inputs("tokens", (6,), vocabulary=300)
    model = made(Transformer, inputs, 3, parts(norms.none), width=64, depth=1, positions="sinusoidal")
    assert np.std(model.factor * model.embed.embedding[...]) == pytest.approx(1, rel=0.05)
    assert model.factor == 8


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "none"])
def test_who_knows_positions(positions: str) -> None:
    # Without positions the mean over tokens is the same for every order.
    inputs = Inputs("tokens", (6,), vocabulary=300)
    model = filled(Transformer, inputs, 3, parts(norms.layer), width=16, heads=2, depth=1, positions=positions)
    x = jnp.arange(6)[None]
    forward = quick(model)
    same = np.allclose(forward(x), forward(x[:, ::-1]), atol=1e-5)
    assert same == (positions == "none")


@pytest.mark.parametrize(
    ("model", "values"),
    [
        *[("transformer", {"tie": False, "positions": p}) for p in ("learned", "rotary")],
        *[(m, {}) for m in ("rnn", "lstm", "gru")],
    ],
)
def test_an_output_of_a_causal_model_depends_on_itself_and_on_earlier_tokens(
    model: str, values: dict[str, Any]
) -> None:
    chosen = parts(norms.layer, act=activations.tanh)
    module = filled(MODELS[model][0], KINDS["text"], 11, chosen, **{**values_of(model, "text"), **values})
    holder = module if model == "transformer" else module.stack
    holder.embed = Identity()  # by the gradient at what tokens are embedded as
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, dict(MODELS[model][1])["width"])), jnp.float32)
    jacobian = quick(jax.jacrev(lambda x: module(x[None])[0]))(x)  # (T, classes, T, width)
    seen = np.abs(np.asarray(jacobian)).max((1, 3)) > 0
    np.testing.assert_array_equal(seen, np.tril(np.ones((6, 6), bool)))


def test_recurrent_networks_read_an_image_row_by_row() -> None:
    model = filled(MODELS["rnn"][0], Inputs("image", (4, 3, 2)), 3, parts(norms.none, act=activations.tanh), width=5)
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 2)).astype(np.float32)
    layer, h = model.stack.layers[0], np.zeros((2, 5))
    for t in range(4):
        h = np.tanh(x[:, t].reshape(2, 6) @ layer.input.kernel[...] + h @ layer.recurrent[...] + layer.input.bias[...])
    expected = h @ model.output.kernel[...] + model.output.bias[...]
    np.testing.assert_allclose(quick(model)(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_recurrent_kernels_are_orthogonal_and_lstms_remember_at_the_start(model: str, gates: int) -> None:
    chosen = parts(norms.none, act=activations.tanh)
    layer = made(MODELS[model][0], Inputs("image", (4, 40, 1)), 3, chosen, width=24).stack.layers[0]
    for kernel in np.split(np.asarray(layer.recurrent[...]), gates, axis=1):
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(24), atol=1e-5)
    for kernel in np.split(np.asarray(layer.input.kernel[...]), gates, axis=1):  # xavier_uniform of one gate
        assert np.abs(kernel).max() == pytest.approx(math.sqrt(6 / (40 + 24)), rel=0.02)
    bias = np.asarray(layer.input.bias[...])
    np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 24) if model == "lstm" else np.zeros(gates * 24))


@pytest.mark.slow
def test_a_layer_that_learns_within_the_loop_over_time_does_not_hide_what_diverged(dlrun: Any) -> None:
    sizes = ("model=rnn", "model.width=4", "act=prelu", "epochs=1", "log.plot=false")
    run = dlrun(*sizes, "optim=sgd", "optim.lr=1e30", "schedule=constant")
    assert run.code == 1
    assert "first in the output of stack.layers.0)" in run.run["error"]
