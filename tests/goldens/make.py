"""Makes the golden files beside it by PyTorch: training steps of model families, gradients of others.

    pip install torch==2.13.0 numpy
    python tests/goldens/make.py

The first hold weights before and after two steps, in JAX's layouts and under dlrun's paths, and all that the steps were
given and gave; the others weights, inputs, outputs, and the gradients of Σ direction·outputs. Everything is computed in
float64 from numbers that float32 holds exactly. Where the conventions differ, the golden follows dlrun's: running
variances are biased (PyTorch's are not), images are (height, width, channels), and Adam's ``eps`` is large, so that
gradients that are zero but for rounding (a key's bias) are not scaled up to a step.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

BATCH, SIDE, CLASSES, TOTAL = 8, 8, 3, 10
LENGTH, TOKENS = 5, 7
HERE = Path(__file__).parent


class BatchNorm(nn.Module):
    """Batch normalisation whose running variance is the biased one."""

    def __init__(self, features):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))

    def forward(self, x):
        if not self.training:
            return F.batch_norm(x, self.mean, self.var, self.weight, self.bias, training=False, eps=1e-5)
        axes = [0, *range(2, x.ndim)]
        with torch.no_grad():
            self.mean.lerp_(x.mean(axes), 0.1)
            self.var.lerp_(x.var(axes, unbiased=False), 0.1)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=1e-5)


class Block(nn.Module):
    """A layer, its norm, an activation."""

    def __init__(self, name, layer, norm, act):
        super().__init__()
        setattr(self, name, layer)
        self.norm, self.act = norm, act
        self.layer = lambda x: layer(x)

    def forward(self, x):
        return self.act(self.norm(self.layer(x)))


def conv(inputs, outputs, stride=1, *, bias):
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [SIDE * SIDE, 16, 12]
        self.hidden = nn.ModuleList(
            Block("linear", nn.Linear(a, b, bias=False), BatchNorm(b), torch.tanh) for a, b in itertools.pairwise(sizes)
        )
        self.output = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = x.flatten(1)
        for block in self.hidden:
            x = block(x)
        return self.output(x)


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(
            Block("conv", conv(a, b, bias=True), nn.Identity(), F.silu) for a, b in ((1, 4), (4, 6))
        )
        self.dense = Block("linear", nn.Linear(2 * 2 * 6, 10), nn.Identity(), F.silu)
        self.output = nn.Linear(10, CLASSES)

    def forward(self, x):
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)
        return self.output(self.dense(x.permute(0, 2, 3, 1).flatten(1)))


class BasicBlock(nn.Module):
    """Two convolutions around option A's shortcut: every second pixel, new channels zero (He et al., 2016)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        first = Block("conv", conv(inputs, outputs, stride, bias=False), BatchNorm(outputs), F.relu)
        self.convs = nn.ModuleList([first])
        self.last, self.norm = conv(outputs, outputs, bias=False), BatchNorm(outputs)
        self.stride, self.new = stride, outputs - inputs

    def forward(self, x):
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))
        return F.relu(shortcut + self.norm(self.last(self.convs[0](x))))


class ResNet(nn.Module):
    """Depth 8, width 4."""

    def __init__(self):
        super().__init__()
        self.stem = Block("conv", conv(1, 4, bias=False), BatchNorm(4), F.relu)
        self.blocks = nn.ModuleList([BasicBlock(4, 4, 1), BasicBlock(4, 8, 2), BasicBlock(8, 16, 2)])
        self.output = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.output(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Transformer(nn.Module):
    """Patches of 2x2 pixels by a strided convolution; PyTorch's own encoder layers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(1, 8, 2, stride=2)
        self.positions = nn.Parameter(0.02 * torch.randn(16, 8))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                8, 2, 16, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm, self.output = nn.LayerNorm(8, eps=1e-6), nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x).mean(1))


class GPT(nn.Module):
    """Causal, with the embedding as output; PyTorch's own layers under a mask."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(TOKENS, 8)
        self.positions = nn.Parameter(torch.randn(LENGTH, 8))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                8, 2, 16, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(8, eps=1e-6)

    def forward(self, x):
        x = self.embed(x) + self.positions
        for block in self.blocks:
            x = block(x, src_mask=torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1))
        return self.norm(x) @ self.embed.weight.T


class Recurrent(nn.Module):
    """Two layers; an output for every state."""

    def __init__(self, layer):
        super().__init__()
        self.stack_embed = nn.Embedding(TOKENS, 6)
        self.stack = layer(6, 6, num_layers=2, batch_first=True)
        self.output = nn.Linear(6, TOKENS)

    def forward(self, x):
        return self.output(self.stack(self.stack_embed(x))[0])


def dense(inputs, outputs, act):
    return Block("linear", nn.Linear(inputs, outputs), nn.Identity(), act)


def window(inputs, outputs, act, *shape):
    """A convolution with kernel, stride and padding, and its activation."""
    return Block("conv", nn.Conv2d(inputs, outputs, *shape), nn.Identity(), act)


def flat(x):
    """Rows of an image's numbers, the channels of a pixel side by side."""
    return x.permute(0, 2, 3, 1).flatten(1)


class LeNet(nn.Module):
    """Of images of 12x12 pixels, padded to 16x16."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = window(1, 6, torch.tanh, 5, 1, 2), window(6, 16, torch.tanh, 5, 1, 0)
        self.dense1, self.dense2 = dense(16, 120, torch.tanh), dense(120, 84, torch.tanh)
        self.output = nn.Linear(84, CLASSES)

    def forward(self, x):
        for layer in (self.conv1, self.conv2):
            x = F.avg_pool2d(layer(x), 2)
        return self.output(self.dense2(self.dense1(flat(x))))


class AlexNet(nn.Module):
    """Of ImageNet's form, width 1, on images of 95x95 pixels."""

    def __init__(self):
        super().__init__()
        shapes = (1, 1, 11, 4, 2), (1, 3, 5, 1, 2), (3, 6, 3, 1, 1), (6, 4, 3, 1, 1), (4, 4, 3, 1, 1)
        self.convs = nn.ModuleList(window(a, b, F.relu, *rest) for a, b, *rest in shapes)
        self.dense1, self.dense2 = dense(2 * 2 * 4, 64, F.relu), dense(64, 64, F.relu)
        self.output = nn.Linear(64, CLASSES)

    def forward(self, x):
        for i, layer in enumerate(self.convs):
            x = layer(x)
            if i in (0, 1, 4):
                x = F.max_pool2d(x, 3, 2)
        return self.output(self.dense2(self.dense1(flat(x))))


class VGG(nn.Module):
    """Of ImageNet's form, depth 11, width 1, on images of 64x64 pixels."""

    def __init__(self):
        super().__init__()
        stages = [(1, 1)], [(1, 2)], [(2, 4), (4, 4)], [(4, 8), (8, 8)], [(8, 8), (8, 8)]
        self.stages = nn.ModuleList(nn.ModuleList(window(a, b, F.relu, 3, 1, 1) for a, b in stage) for stage in stages)
        self.dense = nn.ModuleList([dense(2 * 2 * 8, 64, F.relu), dense(64, 64, F.relu)])
        self.output = nn.Linear(64, CLASSES)

    def forward(self, x):
        for stage in self.stages:
            for layer in stage:
                x = layer(x)
            x = F.max_pool2d(x, 2)
        x = flat(x)
        for layer in self.dense:
            x = layer(x)
        return self.output(x)


class Projected(nn.Module):
    """A basic block on a shortcut of option B where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.convs = nn.ModuleList([window(inputs, outputs, F.relu, 3, stride, 1)])
        self.last = conv(outputs, outputs, bias=True)
        self.shortcut = None
        if stride > 1:
            self.shortcut = Block("conv", nn.Conv2d(inputs, outputs, 1, stride), nn.Identity(), nn.Identity())

    def forward(self, x):
        y = self.last(self.convs[0](x))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet18(nn.Module):
    """Of ImageNet's form, width 2, with the large stem, on images of 64x64 pixels."""

    def __init__(self):
        super().__init__()
        self.stem = window(1, 2, F.relu, 7, 2, 3)
        shapes = [(2, 2, 1), (2, 2, 1), *((n * m, 2 * n, 3 - m) for n in (2, 4, 8) for m in (1, 2))]
        self.blocks = nn.ModuleList(Projected(*shape) for shape in shapes)
        self.output = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(self.stem(x), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean((2, 3)))


def recurrent_as_jax(name, array, kind):
    """The arrays of one of PyTorch's recurrent layers by dlrun's path.

    Its two biases add up, so that the second one is 0 here, but for the part in a GRU's candidate.
    """
    module, _, leaf = name.rpartition(".")
    leaf, _, layer = leaf.rpartition("_l")
    path = f"{module}.layers.{layer}"
    if leaf == "bias_hh":
        return {f"{path}.bias": array[-6:]} if kind == "gru" else {}
    renamed = {"weight_ih": "input.kernel", "weight_hh": "recurrent", "bias_ih": "input.bias"}
    return {f"{path}.{renamed[leaf]}": array.T}


def make_gradient(model, kind, side=None):
    """Outputs and gradients of a model of tokens, or of images of ``side`` x ``side`` pixels."""
    random = np.random.default_rng(7)
    model.double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            fan_in = math.prod(p.shape[1:]) if p.ndim > 1 else 16
            std = 0.5 if side is None else (2 / fan_in) ** 0.5
            p.copy_(torch.tensor(random.normal(0, std, p.shape).astype(np.float32)))
            if "bias_hh" in name:
                p[: 12 if kind == "gru" else None] = 0
    if side is None:
        x = random.integers(0, TOKENS, (3, LENGTH)).astype(np.int32)
        given = torch.tensor(x).long()
    else:
        x = random.normal(size=(2, side, side, 1)).astype(np.float32)
        given = torch.tensor(x).double().permute(0, 3, 1, 2)
    outputs = model(given)
    direction = random.normal(size=outputs.shape).astype(np.float32)
    (outputs * torch.tensor(direction).double()).sum().backward()
    golden = {"x": x, "direction": direction, "outputs": outputs.detach().numpy().astype(np.float32)}
    for prefix, named in (
        ("weights", model.named_parameters()),
        ("gradients", [(name, p.grad) for name, p in model.named_parameters()]),
    ):
        for name, tensor in named:
            if name.startswith("stack."):
                found = recurrent_as_jax(name, tensor.detach().numpy(), kind)
            else:
                found = as_jax([(name, tensor)])
            golden |= {f"{prefix}/{k}".replace(".", "/"): v.astype(np.float32) for k, v in found.items()}
    return golden


def as_jax(named):
    """Parameters or buffers by dlrun's path, in JAX's layout."""
    renamed = (
        ("self_attn.out_proj", "attention.out"),
        ("linear1", "ff.up"),
        ("linear2", "ff.down"),
        ("positions", "positions.table"),
        ("embed.weight", "embed.embedding"),
        ("stack_embed", "stack.embed"),
    )
    found = {}
    for name, tensor in named:
        array = tensor.detach().numpy()
        for old, new in renamed if array.ndim < 4 else ():
            name = name.replace(old, new)
        module, _, kind = name.rpartition(".")
        if "in_proj" in name:  # the three projections of attention in one
            for which, part in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                leaf = "bias" if part.ndim == 1 else "kernel"
                found[f"{module.replace('self_attn', 'attention')}.{which}.{leaf}"] = part.T
        elif array.ndim == 4:
            kernel = array.transpose(2, 3, 1, 0)
            found[f"{module}.kernel"] = kernel.reshape(-1, kernel.shape[-1]) if module == "embed" else kernel
        elif kind == "weight":
            found[f"{module}.kernel" if array.ndim == 2 else f"{module}.scale"] = array.T
        else:
            found[name] = array
    return {name.replace(".", "/"): array.astype(np.float32) for name, array in found.items()}


def warmup_cosine(step, peak, warmup, final):
    if step < warmup:
        return peak * (step + 1) / warmup
    t = (step - warmup) / (TOTAL - warmup)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * t)) / 2)


def make(model, optimizer, *, peak, clip_norm, smoothing, decay=0.0):
    """Two steps, at half and at full learning rate."""
    random = np.random.default_rng(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("weight") and p.ndim == 1:
                p += 0.2 * torch.randn_like(p)  # a norm's scale and bias, as if trained
            elif "norm" in name:
                p += 0.1 * torch.randn_like(p)
    model.double().train()
    decayed = [p for n, p in model.named_parameters() if p.ndim >= 2 and n != "positions"]
    spared = [p for n, p in model.named_parameters() if p.ndim < 2 or n == "positions"]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": spared, "weight_decay": 0.0}]
    optimizer = optimizer(groups, lr=peak)

    x = random.normal(size=(2, BATCH, SIDE, SIDE, 1)).astype(np.float32)
    y = random.integers(0, CLASSES, (2, BATCH)).astype(np.int32)
    golden = {"x": x, "y": y}
    golden |= {f"before/{k}": v for k, v in as_jax([*model.named_parameters(), *model.named_buffers()]).items()}
    losses, norms, rates = [], [], []
    for step in range(2):
        rates.append(warmup_cosine(step, peak, warmup=2, final=0.1))
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]
        optimizer.zero_grad()
        outputs = model(torch.tensor(x[step]).double().permute(0, 3, 1, 2))
        loss = F.cross_entropy(outputs, torch.tensor(y[step]).long(), label_smoothing=smoothing)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip_norm).item())
        losses.append(loss.item())
        optimizer.step()
    golden |= {f"after/{k}": v for k, v in as_jax([*model.named_parameters(), *model.named_buffers()]).items()}
    with torch.no_grad():
        golden["outputs"] = model.eval()(torch.tensor(x[0]).double().permute(0, 3, 1, 2)).numpy().astype(np.float32)
    golden |= {"loss": np.float32(losses), "grad_norm": np.float32(norms), "lr": np.float32(rates)}
    assert norms[0] > clip_norm, "clipping must clip"
    return golden


def main():
    sgd, adam, adamw = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
    torch.manual_seed(0)
    made = {
        "mlp": make(
            MLP(), lambda g, lr: sgd(g, lr, momentum=0.9, nesterov=True),
            peak=0.1, clip_norm=0.5, smoothing=0.1, decay=1e-2,
        ),
        "cnn": make(
            CNN(), lambda g, lr: adam(g, lr, betas=(0.8, 0.9), eps=1e-3), peak=0.01, clip_norm=0.05, smoothing=0.0
        ),
        "resnet": make(
            ResNet(), lambda g, lr: sgd(g, lr, momentum=0.9), peak=0.1, clip_norm=1.0, smoothing=0.05, decay=5e-2
        ),
        "transformer": make(
            Transformer(), lambda g, lr: adamw(g, lr, betas=(0.9, 0.99), eps=1e-3),
            peak=0.02, clip_norm=0.3, smoothing=0.1, decay=0.1,
        ),
    }  # fmt: skip
    for kind, layer in (("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)):
        made[kind] = make_gradient(Recurrent(layer), kind)
    made["gpt"] = make_gradient(GPT(), "gpt")
    for kind, (model, side) in {"lenet": (LeNet, 12), "alexnet": (AlexNet, 95), "vgg": (VGG, 64),
                                "resnet18": (ResNet18, 64)}.items():  # fmt: skip
        made[kind] = make_gradient(model(), kind, side)
    for name, golden in made.items():
        np.savez_compressed(HERE / f"{name}.npz", **golden)
        print(name, (HERE / f"{name}.npz").stat().st_size, golden.get("loss"), golden.get("grad_norm"))


if __name__ == "__main__":
    main()
