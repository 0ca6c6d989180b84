"""What a user's arrays may mean otherwise than their types say: warned of, or refused, with the key that decides."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlrun.config.settings import Splitting
from dlrun.data import batches
from dlrun.data.dataset import cut
from dlrun.data.sources.arrays import arrays
from dlrun.errors import Unfit
from tests.conftest import QUICK
from tests.data.sources.test_arrays import TWO, N, X, Y, load, saved

HOT = np.eye(3)[Y]
SAID = "data.task={} treats it as {}, or confirm with data.task={}"


# Targets


@pytest.mark.parametrize(("y", "task", "said"), [
    (Y + 1.0, "regression", "y is float64, 3 different whole numbers, and is predicted as numbers: "
        + SAID.format("classification", "classes", "regression")),
    ((Y > 0).astype(np.float32), "regression", "y is float32, 2 different whole numbers"),
    (HOT, "regression", "y is float64, a single 1 in each row, and is predicted as numbers: data.task=classification"),
    ((X[:, :3] > 0) * 1.0, "regression", "y is float64, 0 and 1, and is predicted as numbers: "
        + SAID.format("multilabel", "labels", "regression")),
    (HOT.astype(int), "multilabel", "y has a single 1 in each row, and may have several: "
        + SAID.format("classification", "classes", "multilabel")),
    (HOT > 0, "multilabel", "y has a single 1 in each row"),
    (Y, "classification", None), (X[:, 0], "regression", None), (np.arange(N) * 1.0, "regression", None),
    (Y / 2, "regression", None), (X[:, :2] > 0, "multilabel", None),
    (np.stack([Y, Y[::-1]], 1) * 1.0, "regression", None),
])  # fmt: skip
def test_targets_that_may_be_meant_otherwise(y: np.ndarray, task: Any, said: str | None) -> None:
    data = load(y=y)
    assert data.task == task
    assert len(data.warnings) == (said is not None)
    assert said is None or said in data.warnings[0]
    assert load(y=y, task=task).warnings == (), "who says it is not told"


@pytest.mark.parametrize("dtype", [float, int, bool])
def test_classes_as_a_single_1_in_each_row(dtype: Any) -> None:
    data = load(y=HOT.astype(dtype), task="classification")
    assert (data.task, data.classes, data.train.y.tolist()) == ("classification", ("0", "1", "2"), Y.tolist())
    two = arrays(path=saved(**{**TWO, "y_train": HOT, "y_test": HOT[::-1]}), task="classification")
    assert two.test is not None
    assert two.test.y.tolist() == Y[::-1].tolist()
    with pytest.raises(Unfit, match="classes are"):
        load(y=(X[:, :3] > 0).astype(dtype), task="classification")


BIG = 2**53 + np.array([0, 1, 2, 4])[np.arange(N) % 4]


@pytest.mark.parametrize("other", [np.int64, np.uint64, object])
def test_whole_numbers_keep_their_digits(other: Any) -> None:
    if other is object:
        data = load(y=BIG)
    else:
        data = arrays(path=saved(x_train=X, y_train=BIG, x_test=X, y_test=BIG.astype(other)))
        assert data.test is not None
        np.testing.assert_array_equal(data.test.y, np.arange(N) % 4)
    assert data.classes == tuple(str(2**53 + i) for i in (0, 1, 2, 4))
    np.testing.assert_array_equal(data.train.y, np.arange(N) % 4)


def test_classes_of_other_types_in_a_split() -> None:
    def of(train: np.ndarray, test: np.ndarray) -> list[int]:
        data = arrays(path=saved(x_train=X, y_train=train, x_test=X, y_test=test))
        assert data.test is not None
        return data.test.y.tolist()

    assert of(np.array(["a", "b", "c"])[Y], np.array([b"a", b"b", b"c"])[Y]) == Y.tolist()
    assert of(Y, Y.astype(float)) == Y.tolist()
    assert of(Y > 0, (Y > 0).astype(np.uint8)) == (Y > 0).tolist()
    with pytest.raises(Unfit, match=f"there is class {2**53 + 1} in y_test that no training row has"):
        of(BIG // 2 * 2, np.where(BIG == 2**53, 2**53 + 1, BIG).astype(np.uint64))


@pytest.mark.parametrize(("dtype", "first"), [(np.float64, 2**53), (np.float32, 2**24), (np.float16, 2**11)])
@pytest.mark.parametrize("place", ["train", "test"])
def test_floats_that_stand_for_several_whole_numbers_are_no_labels(dtype: Any, first: int, place: str) -> None:
    def of(largest: int) -> tuple[str, ...]:
        ys = {"y_train": Y, "y_test": Y} | {f"y_{place}": Y.astype(dtype)}
        ys = {k: np.where(y == 2, largest, y).astype(y.dtype) for k, y in ys.items()}
        return arrays(path=saved(x_train=X, x_test=X, **ys), task="classification").classes

    assert of(first - 1)[-1] == str(first - 1)
    with pytest.raises(
        Unfit, match=f"there is {first} as {np.dtype(dtype)}.*, which also stands for neighbouring whole numbers"
    ):
        of(first)


# Scales of splits

PIXELS = np.random.default_rng(0).integers(0, 256, (N, 5, 5), np.uint8)


def splits(train: Any, test: Any) -> str:
    return saved(x_train=train, y_train=Y, x_test=test, y_test=Y)


@pytest.mark.parametrize("turned", [False, True])
def test_bytes_beside_their_255ths_are_refused(turned: bool) -> None:
    pair = [PIXELS, PIXELS / 255][:: -1 if turned else 1]
    with pytest.raises(Unfit, match="must hold inputs of one scale in each split: x_train is ") as error:
        arrays(path=splits(*pair))
    assert "uint8" in str(error.value)
    assert "float64" in str(error.value)


def test_splits_of_one_type_that_were_scaled_otherwise_are_warned_of(dlrun: Callable) -> None:
    path = splits(PIXELS * 1.0, PIXELS / 255)
    said = "data.path=a.npz: the splits look as if they were scaled differently: x_train is float64, mostly up to 2"
    assert arrays(path=path).warnings[0].startswith(said)
    done = dlrun("data=arrays", f"data.path={path}", *QUICK, "batch_size=8", "split.val=3")
    assert done.code == 0, done.err
    assert said in done.err


def test_splits_of_one_scale_may_be_of_other_types() -> None:
    data = cut(arrays(path=splits(PIXELS, PIXELS.astype(np.float64))), Splitting(val=3))
    assert data.warnings == ()
    table, rows = batches.one_table(data)
    assert table["x"].dtype == np.float32
    assert data.moments is not None
    mean, std = data.moments
    np.testing.assert_array_equal(table["x"][rows["test"]][..., 0], ((PIXELS - mean) / std).astype(np.float32))
    outliers = X.copy()
    outliers[0, 0] = 1e6
    assert arrays(path=splits(outliers, X)).warnings == (), "one large number is no scale"
    assert arrays(path=splits(X, X[:, ::-1] * 0)).warnings == ()


@pytest.mark.parametrize(("low", "share", "told"), [(-1, 1, True), (-1, 0.005, False), (-0.04, 0.5, False)])
def test_a_split_below_0_where_training_is_not_is_told(low: float, share: float, told: bool) -> None:
    random = np.random.default_rng(0)
    train, test = random.uniform(0, 1, (2, N, 400))
    test = np.where(random.uniform(size=test.shape) < share, low * test, test)
    assert test.min() < 0.9 * low
    said = f"data.path=a.npz: the splits look as if they were scaled differently: x_train is nowhere below 0, x_test down to {test.min():.3g}"  # noqa: E501
    assert list(arrays(path=splits(train, test)).warnings) == [said] * told
    assert arrays(path=splits(test, train)).warnings == ()
    train[0, 0] = -0.001
    assert arrays(path=splits(train, test)).warnings == ()
