"""A user's own NumPy arrays."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from dlrun.config.settings import Text
from dlrun.data import lazy, targets
from dlrun.data.dataset import Array, Dataset, Rows
from dlrun.data.readers import files, npy
from dlrun.errors import Unfit, nearest

NAMES = ("x", "y", "x_train", "y_train", "x_val", "y_val", "x_test", "y_test")
WHAT = "an .npz file, or a folder of .npy files, that holds x and y, or x_train, y_train, x_test and y_test"
VOCABULARY = 2**20  # tokens at most: an embedding of more would not fit into memory
CLASSES = 100  # floats that are whole numbers may be meant as classes if they have no more different values than this
TAKES = {
    "classification": "data.task=classification treats it as classes",
    "multilabel": "data.task=multilabel treats it as labels",
}
MEANT = "or confirm with data.task="
FAR = 16  # a split whose numbers are more than this many times as large was probably scaled differently
NEGATIVE = 0.01  # up to this share of another split's numbers may be below 0 by noise
FAINT = 0.05  # noise may go this far below 0, as a share of training's largest number
SOME = 1000  # how many rows a scale is estimated from
Task = Literal["auto", "classification", "regression", "multilabel"]
Kind = Literal["auto", "image", "rows", "tokens"]
KnownTask = Literal["classification", "regression", "multilabel"]
Form = Literal["image", "rows", "tokens"]


def arrays(*, path: Text | None = None, task: Task = "auto", kind: Kind = "auto") -> Dataset:
    """Arrays named x and y; or x_train, y_train, x_test, y_test and, if there are any, x_val, y_val.

    Args:
      path: an .npz file, or a folder of .npy files with those names.
      task: what to predict; auto goes by y. Integers, text or booleans (n,) are classes, numbered in sorted order.
        Floats (n,) or (n, K) are numbers to predict. Booleans (n, K), or integers 0 and 1, are labels, of which several
        may be true at once; if each row has a single 1, ``classification`` takes them for classes.
      kind: what an example is; auto takes x of shape (n, H, W) or (n, H, W, C) for images and (n, features) for rows.
        Whole numbers (n, T) are tokens only with ``kind=tokens``.

    Raises:
      Unfit: if arrays are missing, can't be read, or do not fit each other.
    """
    place = files.named(path, WHAT)
    given = _opened(place, path)
    names = _splits(given, path)
    parts = {split: (given[x], given[y]) for split, (x, y) in names.items()}
    train, first = parts["train"][0], names["train"][0]
    form = _form(train, first, kind, path)
    for (x, y), (x_name, y_name) in zip(parts.values(), names.values(), strict=True):
        if len(x) != len(y):
            raise Unfit("path", path, f"hold as many rows in {x_name} and {y_name}: they have {len(x)} and {len(y)}")
        if x.size == 0:
            raise Unfit("path", path, f"hold rows: {x_name} is empty, of shape {_shape(x)}")
        if x.shape[1:] != train.shape[1:]:
            raise Unfit("path", path, f"hold rows of one shape: {first} is {_shape(train)}, {x_name} {_shape(x)}")
    inputs = {names[split][0]: x for split, (x, _) in parts.items()}
    vocabulary = _vocabulary(inputs, path) if form == "tokens" else 0
    xs = []
    for name, x in inputs.items():
        with _named(f"valid numbers in {name}", path):
            xs.append(_inputs(x, form, vocabulary))
    warnings = list(_scales({name: x for name, (x, _) in parts.items()}, path)) if form != "tokens" else []
    ys = {names[k][1]: y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for k, (_, y) in parts.items()}
    known_task, classes, targets_of = _targets(ys, task, path, cut=not parts.keys() >= {"val", "test"})
    if task == "auto":
        warnings += _guessed(names["train"][1], ys[names["train"][1]], known_task)
    rows = {name: Rows(x, y) for name, x, y in zip(parts, xs, targets_of, strict=True)}
    return Dataset(
        form,
        classes,
        rows["train"],
        rows.get("val"),
        rows.get("test"),
        task=known_task,
        vocabulary=vocabulary,
        warnings=tuple(warnings),
    )


@contextlib.contextmanager
def _named(what: str, path: str | None) -> Iterator[None]:
    """Turns a ``ValueError``, which says what is there, into :class:`Unfit`, which also says what must be there."""
    try:
        yield
    except ValueError as error:
        raise Unfit("path", path, f"hold {what}: {error}") from None


def _form(x: Array, name: str, kind: Kind, path: str | None) -> Form:
    """What an example is: ``kind``, or if that is ``auto``, what the shape of ``x`` says; refuses unfit shapes."""
    forms: dict[int, Form] = {2: "rows", 3: "image", 4: "image"}
    form = forms.get(x.ndim) if kind == "auto" else kind
    if form is None or x.ndim not in {"image": (3, 4), "rows": (2,), "tokens": (2,)}[form]:
        allowed = "(n, features) or (n, tokens), or of images (n, H, W) or (n, H, W, C)"
        given = "" if kind == "auto" else f", for data.kind={kind}"
        raise Unfit("path", path, f"hold {name} of shape {allowed}; it is {_shape(x)}{given}")
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[3] > 4:
        raise Unfit("path", path, f"hold images with channels last, (n, H, W, C); {name} is {_shape(x)}")
    return form


def _opened(place: Path, path: str | None) -> dict[str, Array]:
    """The arrays that have known names; they stay on disk until they are indexed, unless they are compressed."""
    try:
        with npy.readers(place) as read:
            known = [name for name in read if name in NAMES]
            if not known:
                raise Unfit("path", path, f"be {WHAT}; it holds {', '.join(list(read)[:8]) or 'nothing'}")
            return {name: _array(name, read[name], path) for name in known}
    except Unfit:
        raise
    except npy.BROKEN as error:
        raise Unfit("path", path, f"be {WHAT}; reading failed: {npy.reason(error)}") from None


def _array(name: str, read: Callable[[], Array], path: str | None) -> Array:
    try:
        array = read()
    except Unfit:
        raise
    except npy.BROKEN as error:
        raise Unfit("path", path, f"hold arrays that can be read: {name} can't: {npy.reason(error)}") from None
    if array.dtype.kind not in ("biufUS" if name.startswith("y") else "biuf"):
        raise Unfit("path", path, f"hold numbers in {name}, not {array.dtype}")
    if array.ndim == 0:
        raise Unfit("path", path, f"hold rows in {name}, which is a single number")
    return array


def _splits(given: dict[str, Array], path: str | None) -> dict[str, tuple[str, str]]:
    """By split, the names of its ``x`` and ``y``; training rows first."""
    if given.keys() & {"x", "y"}:
        wanted = {"train": ("x", "y")}
    else:
        wanted = {name: (f"x_{name}", f"y_{name}") for name in ("train", "val", "test")}
        wanted = {k: pair for k, pair in wanted.items() if k == "train" or given.keys() & set(pair)}
    names = [name for pair in wanted.values() for name in pair]
    for name in names:
        if name not in given:
            near = nearest(name, given)
            raise Unfit("path", path, f"hold {name}{near}: it holds {', '.join(given)}")
    if extra := given.keys() - set(names):
        raise Unfit("path", path, f"hold x and y, or {', '.join(sorted(extra))} and their like, but not both")
    return wanted


def _inputs(x: Array, kind: Form, vocabulary: int) -> Array:
    """Inputs as a data set has them: images get an axis for channels, tokens the smallest type, numbers are checked."""
    if kind == "tokens":
        return x.astype(np.min_scalar_type(vocabulary - 1), copy=False)
    if kind == "image" and x.ndim == 3:
        x = x[..., None]
    if x.dtype.kind == "b":
        return x.view(np.uint8)
    return targets.checked(x)


def _vocabulary(xs: dict[str, Array], path: str | None) -> int:
    for name, x in xs.items():
        with _named(f"valid numbers in {name}", path):
            if x.dtype.kind not in "iu":
                raise ValueError(f"tokens are whole numbers, not {'floats' if x.dtype.kind == 'f' else x.dtype}")
            if x.min() < 0 or x.max() >= VOCABULARY:
                raise ValueError(f"tokens are from 0 to {VOCABULARY - 1}, not {x.min() if x.min() < 0 else x.max()}")
    return 1 + max(int(x.max()) for x in xs.values())


def _scales(xs: dict[str, Array], path: str | None) -> Iterator[str]:
    """Refuses a split whose type and scale both differ from training's; yields a warning if only its scale does.

    This happens if only one of them was divided by 255. It compares the 90% quantiles of the sizes of the numbers other
    than 0 in some rows, so that a few large numbers decide nothing.
    """

    def size(x: Array) -> float:
        sizes = np.abs(_some(x))
        return float(np.quantile(sizes[sizes > 0], 0.9)) if sizes.any() else 0.0

    train = xs["train"]
    sizes = {name: size(x) for name, x in xs.items()}
    for name, x in xs.items():
        one, other = sorted((sizes["train"], sizes[name]))
        if one == 0 or other <= FAR * one:
            if low := _below(train, x):
                seen = f"x_train is nowhere below 0, x_{name} down to {low:.3g}"
                yield f"data.path={path}: the splits look as if they were scaled differently: {seen}"
            continue
        seen = f"x_train is {train.dtype}, mostly up to {sizes['train']:.3g}, x_{name} {x.dtype}, {sizes[name]:.3g}"
        if (train.dtype.kind == "f") != (x.dtype.kind == "f"):
            raise Unfit("path", path, f"hold inputs of one scale in each split: {seen}")
        yield f"data.path={path}: the splits look as if they were scaled differently: {seen}"


def _below(train: Array, x: Array) -> float:
    """Another split's lowest number in some rows, if it is clearly below 0 and training has none below 0; else 0."""
    some = _some(x)
    low = float(some.min())
    if (some < 0).mean() <= NEGATIVE or low >= -FAINT * float(_some(train).max()):
        return 0.0
    return low if min(train[piece].min() for piece in lazy.pieces(train)) >= 0 else 0.0


def _some(x: Array) -> Array:
    return x[np.linspace(0, len(x) - 1, min(len(x), SOME)).astype(int)].astype(np.float64)


def _guessed(name: str, y: Array, known_task: KnownTask) -> Iterator[str]:
    """Warnings about targets that may be meant differently than their type says."""
    if known_task == "multilabel" and _one_hot(y):
        yield f"{name} has a single 1 in each row, and may have several: {TAKES['classification']}, {MEANT}multilabel"
    if known_task != "regression" or y.dtype.kind != "f" or len(np.unique(y[:SOME])) > CLASSES:
        return
    values = np.unique(y)
    if len(values) > min(CLASSES, len(y) / 2) or (values != np.round(values)).any():
        return
    if y.ndim == 1 or _one_hot(y):
        what = f"{len(values)} different whole numbers" if y.ndim == 1 else "a single 1 in each row"
        yield f"{name} is {y.dtype}, {what}, and is predicted as numbers: {TAKES['classification']}, {MEANT}regression"
    elif np.isin(values, (0, 1)).all():
        yield f"{name} is {y.dtype}, 0 and 1, and is predicted as numbers: {TAKES['multilabel']}, {MEANT}regression"


def _one_hot(y: Array) -> bool:
    """Whether each row has a single 1 and zeros otherwise."""
    return y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "biuf" and bool(_single(y).all())


def _single(y: Array) -> Array:
    return np.isin(y, (0, 1)).all(1) & (y.sum(1) == 1)


def _targets(
    ys: dict[str, Array], task: Task, path: str | None, *, cut: bool
) -> tuple[KnownTask, tuple[str, ...], list[Array]]:
    """The task, which is never ``auto``, the names of the outputs, and the targets of each split.

    Args:
      ys: the targets of each split by the name of their array, training rows first.
      cut: whether validation or test rows are cut from training rows.
    """
    (first, train), *rest = ys.items()
    kind, others, use = train.dtype.kind, dict(rest), "usable targets in {}".format
    for name, y in others.items():
        if y.shape[1:] != train.shape[1:] or (y.dtype.kind in "US") != (kind in "US"):
            form = f"{y.dtype} {_shape(y)}, than in training, {_shape(train)}"
            raise Unfit("path", path, f"hold targets of one form: {name} is of another form, {form}")
    if task == "auto":
        task = "regression" if kind == "f" else "multilabel" if train.ndim == 2 else "classification"
    if task == "classification" and all(_one_hot(y) for y in ys.values()):
        return task, *_classes(first, {name: y.argmax(1) for name, y in ys.items()}, path, cut=cut)
    with _named(use(first), path):
        if train.ndim > 2 or (task == "classification" and train.ndim == 2) or train.size == 0:
            raise ValueError(f"its shape is {_shape(train)}; classes are (n,), labels and numbers to predict (n, K)")
        if task != "classification" and kind in "US":
            raise ValueError(f"there is text, which is no use for task={task}")
    if task == "classification":
        for name, y in ys.items():
            with _named(use(name), path):
                if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.round(y)).all()):
                    raise ValueError("there are numbers that are not whole: give task=regression")
        return task, *_classes(first, ys, path, cut=cut)
    if task == "regression":
        outputs = ("y",) if train.ndim == 1 else tuple(f"y{i}" for i in range(train.shape[1]))
        columns = []
        for name, y in ys.items():
            with _named(use(name), path):
                columns.append(targets.checked(y.reshape(len(y), -1)))
        with _named(use(first), path):
            targets.check_varied(columns[0])
        return task, outputs, columns
    for name, y in ys.items():
        with _named(use(name), path):
            if train.ndim != 2 or not np.isin(y, (0, 1)).all():
                allowed = "labels are 0 and 1, (n, K), and classes whole numbers, (n,)"
                raise ValueError(f"its shape is {_shape(y)}; {allowed}")
    return task, tuple(map(str, range(train.shape[1]))), [y.astype(bool) for y in ys.values()]


def _classes(first: str, ys: dict[str, Array], path: str | None, *, cut: bool) -> tuple[tuple[str, ...], list[Array]]:
    """The names of the classes, and the class numbers of each split, training rows first."""
    others = {name: y for name, y in ys.items() if name != first}
    try:
        return targets.class_numbers(ys[first], others, cut=cut)
    except targets.Unseen as error:  # its message names the array
        raise Unfit("path", path, f"hold usable targets: {error}") from None
    except ValueError as error:
        raise Unfit("path", path, f"hold usable targets in {first}: {error}") from None


def _shape(x: Array) -> str:
    return "(" + ", ".join(map(str, x.shape)) + ")"
