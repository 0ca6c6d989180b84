"""Data: splits that are disjoint, stratified and seeded; batches by (seed, epoch)."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.config.components import resolve
from dlrun.config.settings import Splitting
from dlrun.data import batches
from dlrun.data.dataset import Dataset, Rows, cut, moments, stratified
from dlrun.data.sources.digits import digits
from dlrun.errors import Unfit


def rows(counts: list[int], seed: int = 0) -> Rows:
    """So many rows of each class in random order; ``x`` numbers them."""
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    return Rows(np.arange(len(y), dtype=np.float32)[:, None], y)


def identity(part: Rows) -> list[int]:
    return part.x[:][:, 0].astype(int).tolist()


# Splits


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(1, 3) | st.integers(1, 60), min_size=2, max_size=6),
    amount=st.floats(0.01, 0.99) | st.integers(1, 100),
    seed=st.integers(0, 2**33),
)
def test_a_split_is_disjoint_exact_stratified_and_seeded(counts: list[int], amount: float, seed: int) -> None:
    data, n = rows(counts), sum(counts)
    size = round(amount * n) if isinstance(amount, float) else amount
    if not 0 < size <= n - len(counts):
        told = "at least one row" if size == 0 else "leave rows for training" if size >= n else "one a class"
        with pytest.raises(Unfit, match=told):
            stratified(data, amount, seed=seed, key="val")
        return
    first, second = stratified(data, amount, seed=seed, key="val")
    assert len(second) == size
    assert sorted(identity(first) + identity(second)) == list(range(n)), "disjoint, and nothing is lost"
    for part in (first, second):
        assert identity(part) == sorted(identity(part)), "the order is kept"
        np.testing.assert_array_equal(part.y, data.y[identity(part)], err_msg="labels stay with their rows")
    taken = np.bincount(second.y, minlength=len(counts))
    assert (taken < counts).all(), "every class keeps a row for training"
    quota = np.array(counts) * size / n
    assert (np.floor(quota - 1e-6) <= taken).all()
    if (np.ceil(quota) < counts).all():  # otherwise some class gives the row that another one keeps
        assert (taken <= np.ceil(quota + 1e-6)).all()
    assert identity(stratified(data, amount, seed=seed, key="val")[1]) == identity(second)


def test_other_seeds_cut_other_rows() -> None:
    data = rows([50] * 10)
    cuts = [set(identity(stratified(data, 100, seed=seed, key="val")[1])) for seed in range(20)]
    for i, one in enumerate(cuts):
        for other in cuts[i + 1 :]:
            assert 2 <= len(one & other) <= 45  # 20 by chance


def test_cut_makes_the_missing_splits_and_leaves_the_others() -> None:
    data = Dataset("rows", ("a", "b"), rows([100, 100]))
    whole = cut(data, Splitting(val=0.1, test=0.2, seed=1))
    assert (len(whole.train), len(whole.val), len(whole.test)) == (144, 16, 40)
    assert sorted(identity(whole.train) + identity(whole.val) + identity(whole.test)) == list(range(200))

    brought = rows([3, 3])
    whole = cut(Dataset("rows", ("a", "b"), rows([100, 100]), test=brought), Splitting(val=50))
    assert whole.test is brought
    assert (len(whole.train), len(whole.val)) == (150, 50)
    whole = cut(Dataset("rows", ("a", "b"), rows([100, 100]), val=brought, test=brought), Splitting())
    assert (whole.val, len(whole.train)) == (brought, 200)


def test_a_class_of_two_rows_is_learnt_whatever_the_seed() -> None:
    data = Dataset("rows", tuple("abcdef"), rows([2, 2, 2, 30, 30, 30]))
    held_out = 0
    for seed in range(50):
        whole = cut(data, Splitting(seed=seed))
        assert set(whole.train.y.tolist()) == set(range(6))
        assert (len(whole.val), len(whole.test)) == (8, 19)
        held_out += int((whole.test.y < 3).sum() + (whole.val.y < 3).sum())
    assert held_out >= 50, "their other rows are held out as those of large classes are"
    with pytest.raises(Unfit, match=r"leave 6 rows for training, one a class: there are 77"):
        cut(data, Splitting(val=72))


CUTS = {
    "digits": "c080cc6f6e2d98a1",
    "iris": "29483556171bb477",
    "wine": "598e775a21f50fd8",
    "breast_cancer": "945b4e5a5b450219",
    "diabetes": "93c094588a8719a5",
}


@pytest.mark.parametrize("name", CUTS)
def test_cuts_are_the_same_for_ever(name: str) -> None:
    # Results of later versions are of the same rows.
    whole, sha = cut(resolve("data", name, ())(), Splitting()), hashlib.sha256()
    for part in (whole.train, whole.val, whole.test):
        sha.update(part.x[:].tobytes() + part.y.tobytes())
    assert sha.hexdigest()[:16] == CUTS[name]


def test_test_rows_do_not_depend_on_validation() -> None:
    data = Dataset("rows", ("a", "b"), rows([100, 100]))
    a, b = (cut(data, Splitting(val=v, test=0.2)) for v in (0.1, 0.4))
    assert identity(a.test) == identity(b.test)


def test_amounts_that_do_not_fit_name_the_key() -> None:
    data = Dataset("rows", ("a", "b"), rows([5, 5]))
    for how, path in ((Splitting(test=10), "split.test=10"), (Splitting(test=2, val=8), "split.val=8")):
        with pytest.raises(Unfit) as error:
            cut(data, how)
        assert error.value.at("data").startswith(f"{path}: must leave rows for training")


# Batches


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 200), size=st.integers(1, 50), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000))
def test_an_epoch_has_every_row_at_most_once(n: int, size: int, seed: int, epoch: int) -> None:
    numbers = np.arange(1000, 1000 + n)
    order = batches.shuffled(numbers, size, seed=seed, epoch=epoch)
    assert order.shape == (n // size, size)
    assert order.dtype == np.int32
    seen = order.ravel().tolist()
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(numbers.tolist())
    np.testing.assert_array_equal(order, batches.shuffled(numbers, size, seed=seed, epoch=epoch))
    if n >= 40 and size <= n:
        for other in ({"seed": seed, "epoch": epoch + 1}, {"seed": seed + 1, "epoch": epoch}):
            assert (order != batches.shuffled(numbers, size, **other)).any()


def test_order_of_batches_is_the_same_for_ever() -> None:
    # A run that is resumed by a later version goes on in the same order.
    found = batches.shuffled(np.arange(10), 3, seed=7, epoch=2)
    np.testing.assert_array_equal(found, [[1, 5, 3], [4, 6, 9], [0, 8, 2]])


def test_the_rows_left_out_are_others_each_epoch() -> None:
    left = [
        set(range(10)) - set(batches.shuffled(np.arange(10), 4, seed=0, epoch=e).ravel().tolist()) for e in range(40)
    ]
    assert set.union(*left) == set(range(10))


@settings(max_examples=100, deadline=None)
@given(n=st.integers(0, 100), size=st.integers(1, 30), more=st.integers(0, 3))
def test_evaluation_has_every_row_exactly_once(n: int, size: int, more: int) -> None:
    numbers = np.arange(7, 7 + n)
    order = batches.in_order(numbers, size, -(-n // size) + more)
    seen = order.ravel()
    np.testing.assert_array_equal(seen[seen >= 0], numbers)
    assert (seen[n:] == -1).all()


def test_stacked_keeps_rows_and_splits() -> None:
    train, val, test = rows([4, 4]), rows([2, 2]), rows([1, 3])
    table, where = batches.one_table(Dataset("rows", ("a", "b"), train, val, test))
    for name, part in (("train", train), ("val", val), ("test", test)):
        np.testing.assert_array_equal(table["x"][where[name]], part.x)
        np.testing.assert_array_equal(table["y"][where[name]], part.y)
    np.testing.assert_allclose(table["mean"], train.x.mean(0), err_msg="of training rows alone")
    np.testing.assert_allclose(table["std"], train.x.std(0))


@pytest.mark.parametrize("shape", [(9000, 3), (5000, 2, 2, 3)])
def test_moments(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    axes = tuple(range(len(shape) - 1))
    for x in (random.integers(0, 256, shape, np.uint8), (1000 + random.normal(size=shape)).astype(np.float32)):
        mean, std = moments(x)
        assert mean.dtype == std.dtype == np.float64
        np.testing.assert_allclose(mean, x.mean(axes, dtype=np.longdouble).astype(float), rtol=1e-15)
        np.testing.assert_allclose(std, x.std(axes, dtype=np.longdouble).astype(float), rtol=1e-13)


def test_what_differs_by_rounding_alone_is_constant() -> None:
    x = np.where(np.arange(1000) % 3, 0.3, 0.1 + 0.2)[:, None]
    assert len(np.unique(x)) == 2
    assert moments(x)[1] == 1


@pytest.mark.parametrize("value", [0.0, 0.1, 3.0, 1e-20, 12345.678])
def test_a_constant_feature_has_deviation_one(value: float) -> None:
    x = np.full((9001, 2), value, np.float32)
    x[:, 1] = np.arange(9001)
    mean, std = moments(x)
    assert mean[0] == x[0, 0]
    assert std[0] == 1
    assert std[1] == pytest.approx(np.arange(9001).std())


# Sources


def test_digits() -> None:
    from sklearn.datasets import load_digits

    data, (x, y) = digits(), load_digits(return_X_y=True)
    assert (data.kind, data.inputs.shape, data.outputs) == ("image", (8, 8, 1), 10)
    np.testing.assert_array_equal(data.train.x.reshape(-1, 64), x)
    np.testing.assert_array_equal(data.train.y, y)
    assert data.train.x.dtype == np.uint8
    assert data.train.y.dtype == np.int32
