"""The keys that every run has, whatever it chooses: types and ranges. conf/config.yaml has values and comments."""

import re
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from dlrun.config.schema import Count, Positive, Rate, Traced

Every = Annotated[
    str, Field(pattern=r"^[1-9]\d{0,8}[ _]?(step|epoch)s?$", description="a count with its unit: 500steps, 2epochs")
]
Amount = Annotated[
    Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)],
    Field(description="a fraction in (0, 1) or a whole number of examples"),
]
Text = Annotated[str, Field(min_length=1, description="text")]
Precision = Literal["float32", "bfloat16", "float16"]
MatmulPrecision = Literal["float32", "tensorfloat32"]
Sink = Literal["csv", "tensorboard", "mlflow", "wandb"]


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """How validation and test rows are cut where the data source has none: seeded and stratified by class."""

    val: Amount = 0.1
    test: Amount = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """Data that is read during training instead of being held on the device."""

    when: Literal["auto", "always", "never"] = "auto"
    memory: Annotated[float, Field(gt=0)] = 2.0
    workers: Count = 4
    prefetch: Count = 4
    fingerprint: Literal["files", "content"] = "files"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """When the validation split is evaluated, and in batches of what size."""

    every: Every = "1epoch"
    batch_size: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """Which states are kept: the best by ``metric`` and the last ``keep``; with ``none``, none of a completed run."""

    every: Every | None = None
    keep: Literal["none"] | Count = 1
    metric: Text | None = None
    mode: Literal["min", "max"] | None = None


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop after ``patience`` evaluations in a row without an improvement of more than ``min_delta``."""

    patience: Count | None = None
    min_delta: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Logging:
    """How often training metrics become a row (:class:`dlrun.train.timetable.Timetable` has ``auto``), and where to."""

    every: Literal["auto"] | Count = "auto"
    sinks: list[Sink] = field(default_factory=list)
    project: Text = "dlrun"
    plot: bool = True


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """A run by several processes, one on each machine: arguments of ``jax.distributed.initialize``."""

    coordinator: Annotated[str, Field(pattern=r"^\S+:\d+$", description="host:port")] | None = None
    processes: Count = 1
    process: Annotated[int, Field(ge=0, lt=2**31)] = 0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything about a run except its choices of components."""

    seed: Annotated[int, Field(ge=0, lt=2**32), Traced()] = 0
    epochs: Count | None = 30
    steps: Count | None = None
    batch_size: Count = 64
    precision: Precision = "float32"
    matmul_precision: MatmulPrecision = "float32"
    deterministic: bool = False
    dropout: Rate = 0.0
    label_smoothing: Rate = 0.0
    clip_norm: Positive | None = None
    accumulate: Count = 1
    ema: Rate | None = None
    on_nonfinite: Literal["stop", "skip"] = "stop"
    max_skipped: Count = 100
    split: Splitting = field(default_factory=Splitting)
    stream: Streaming = field(default_factory=Streaming)
    eval: Evaluation = field(default_factory=Evaluation)
    checkpoint: Checkpointing = field(default_factory=Checkpointing)
    early_stop: EarlyStopping = field(default_factory=EarlyStopping)
    log: Logging = field(default_factory=Logging)
    devices: Count | None = None
    distributed: Distributed = field(default_factory=Distributed)
    compile_cache: Text | None = "auto"

    @classmethod
    def of(cls, values: dict) -> "Settings":
        """Settings from nested plain values that were checked."""
        types: dict[str, Any] = {f.name: f.type for f in fields(cls)}
        return cls(**{k: types[k](**v) if isinstance(v, dict) else v for k, v in values.items()})


def in_steps(every: str, steps_per_epoch: int) -> int:
    """A count with its unit (``2epochs``, ``500steps``) as a number of steps."""
    number, unit = re.fullmatch(r"(\d+)[ _]?(step|epoch)s?", every).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return int(number) * (steps_per_epoch if unit == "epoch" else 1)
