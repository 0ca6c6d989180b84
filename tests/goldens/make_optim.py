"""Makes optim.npz and schedules.npz beside it: steps of PyTorch's optimizers, rates of its schedulers.

    pip install torch==2.13.0 numpy
    python tests/goldens/make_optim.py

Everything is computed in float64 from numbers that float32 holds exactly. The gradient of step t is that of a
quadratic, grads[t] + curve·w, so that an optimizer may ask for it at other weights. Only kernels are decayed.
"""

from pathlib import Path

import numpy as np
import torch
from torch.optim import lr_scheduler

HERE = Path(__file__).parent
RATES = [0.1, 0.05, 0.2, 0.1]
SHAPES = {
    "hidden/kernel": (3, 4),
    "hidden/bias": (4,),
    "conv/kernel": (1, 2, 3, 4),
    "branch/kernel": (2, 3),  # zeros before the first step, as is output/bias
    "embed/embedding": (5, 3),
    "output/kernel": (4, 2),
    "output/bias": (2,),
}
OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9),
    "sgd_nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda groups: torch.optim.Adam(groups, betas=(0.8, 0.95), eps=1e-2),
    "adamw": lambda groups: torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-2),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, alpha=0.8, momentum=0.5, eps=1e-2),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, initial_accumulator_value=0.3, eps=1e-12),
    "adafactor": lambda groups: torch.optim.Adafactor(groups, beta2_decay=-0.7, d=1.25),
}
DECAY = {"sgd": 0.01, "sgd_nesterov": 0.01, "adamw": 0.1, "adafactor": 0.1}
TOTAL, PEAK = 20, 0.3
SCHEDULES = {
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=TOTAL, eta_min=0.1 * PEAK),
    "step": lambda o: lr_scheduler.StepLR(o, step_size=6, gamma=0.2),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, gamma=0.01 ** (1 / TOTAL)),
    "linear": lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=TOTAL),
    "one_cycle": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=PEAK, total_steps=TOTAL, pct_start=0.3, div_factor=10.0, final_div_factor=100.0, cycle_momentum=False
    ),
}


def steps(name, golden):
    """Weights after the steps, by path."""
    weights = {k: torch.tensor(golden[f"before/{k}"]).double().requires_grad_() for k in SHAPES}
    kernels = [w for k, w in weights.items() if k.endswith("kernel")]
    others = [w for k, w in weights.items() if not k.endswith("kernel")]
    groups = [{"params": kernels, "weight_decay": DECAY.get(name, 0.0)}, {"params": others, "weight_decay": 0.0}]
    optimizer = OPTIMIZERS[name](groups)
    for t, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for k, w in weights.items():
            w.grad = torch.tensor(golden[f"grads/{k}"][t]) + torch.tensor(golden[f"curve/{k}"]) * w.detach()
        optimizer.step()
    return {f"{name}/{k}": w.detach().numpy() for k, w in weights.items()}


def rates(schedule):
    """The rate of each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler, found = schedule(optimizer), []
    for _ in range(TOTAL):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(found)


def main():
    random = np.random.default_rng(3)
    zeros = ("branch/kernel", "output/bias")
    golden = {"rates": np.array(RATES)}
    golden |= {f"before/{k}": (k not in zeros) * random.normal(size=s).astype(np.float32) for k, s in SHAPES.items()}
    golden |= {f"grads/{k}": random.normal(size=(len(RATES), *s)).astype(np.float32) for k, s in SHAPES.items()}
    golden |= {f"curve/{k}": random.uniform(0.1, 1, size=s).astype(np.float32) for k, s in SHAPES.items()}
    for name in OPTIMIZERS:
        golden |= steps(name, golden)
    np.savez_compressed(HERE / "optim.npz", **golden)
    np.savez_compressed(HERE / "schedules.npz", **{name: rates(make) for name, make in SCHEDULES.items()})


if __name__ == "__main__":
    main()
