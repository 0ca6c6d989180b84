"""Metrics against scikit-learn, through the sums that an evaluation adds up."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from dlrun.config.settings import Splitting
from dlrun.data.dataset import Dataset, Rows, cut
from dlrun.objective.losses import cross_entropy
from dlrun.objective.metrics import accuracy, per_class, task, top5
from dlrun.runs.metric_names import better

RANDOM = np.random.default_rng(0)
N = 60


def reported(data: Dataset, outputs: np.ndarray, targets: np.ndarray, loss: Any = None) -> tuple[dict, dict]:
    """What a split of these outputs and targets is reported as: two batches, the second one half masked."""
    of, sums = task(data), {}
    masks = (np.ones(N), np.arange(N) < N // 2)
    batches = ((outputs[:N], targets[:N]), (outputs[N:], targets[N:]))
    for mask, (z, y) in zip(masks, batches, strict=True):
        z, y, w = jnp.asarray(z), jnp.asarray(y), jnp.asarray(mask, jnp.float32)
        found = {k: (f(z, y) * w).sum() for k, f in of.metrics.items()} | {k: f(z, y, w) for k, f in of.counts.items()}
        found["count"] = w.sum()
        sums = {k: v + sums.get(k, 0) for k, v in found.items()}
    means = {k: float(sums[k] / sums["count"]) for k in of.metrics}
    return of.report("val", means, sums), of.details(sums)


def rows(y: np.ndarray, **given: Any) -> Dataset:
    x = np.zeros((len(y), 1), np.float32)
    return Dataset("rows", given.pop("classes", ()), Rows(x, y), Rows(x, y), Rows(x, y), **given)


USED = N + N // 2  # rows that the masks leave


def test_classification() -> None:
    outputs = RANDOM.normal(size=(2 * N, 4)).astype(np.float32)
    labels = RANDOM.choice(4, 2 * N, p=[0.6, 0.2, 0.2, 0]).astype(np.int32)
    data = rows(labels, classes=("a", "b", "c", "d"))
    found, details = reported(data, outputs, labels)
    true, guess = labels[:USED], outputs.argmax(1)[:USED]
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, guess))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(true, guess, average="macro", labels=range(4)))
    np.testing.assert_array_equal(details["confusion"], reference.confusion_matrix(true, guess, labels=range(4)))
    expected = reference.precision_recall_fscore_support(true, guess, labels=range(4), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert list(details["per_class"][name]) == ["a", "b", "c", "d"]
        assert list(details["per_class"][name].values()) == pytest.approx(values.tolist())
    assert set(found) | {"loss"} == set(task(data).names)


def test_top5_among_many_classes() -> None:
    outputs = RANDOM.normal(size=(2 * N, 30)).astype(np.float32)
    labels = RANDOM.integers(0, 30, 2 * N).astype(np.int32)
    found, _ = reported(rows(labels, classes=tuple(map(str, range(30)))), outputs, labels)
    expected = reference.top_k_accuracy_score(labels[:USED], outputs[:USED], k=5, labels=range(30))
    assert found["top5"] == pytest.approx(expected)
    assert top5(jnp.arange(6.0)[None], jnp.array([1])) == 1
    assert top5(jnp.arange(6.0)[None], jnp.array([0])) == 0


def test_ties_are_counted_as_the_readme_says() -> None:
    """Of equal outputs the first is the answer; among the five largest are all that equal the fifth."""
    level = jnp.zeros((7, 7))
    assert list(accuracy(level, jnp.arange(7))) == [1, 0, 0, 0, 0, 0, 0]
    assert list(top5(level, jnp.arange(7))) == [1] * 7
    four = jnp.array([[4.0, 3, 2, 1, 0, 0, -1]] * 7)
    assert list(top5(four, jnp.arange(7))) == [1] * 6 + [0]


def test_a_class_that_is_not_there_counts_as_0() -> None:
    counts = np.array([[3, 0, 1], [0, 0, 0], [0, 0, 2]])  # of the second there is none
    found = per_class(counts)["f1"]
    assert found == pytest.approx([6 / 7, 0, 4 / 5])
    true, guess = [0] * 4 + [2] * 2, [0, 0, 0, 2, 2, 2]
    expected = reference.f1_score(true, guess, labels=[0, 1, 2], average="macro", zero_division=0)
    assert np.mean(found) == pytest.approx(expected)


def test_several_labels() -> None:
    outputs = RANDOM.normal(size=(2 * N, 3)).astype(np.float32)
    labels = RANDOM.integers(0, 2, (2 * N, 3)).astype(bool)
    found, details = reported(rows(labels, classes=("a", "b", "c"), task="multilabel"), outputs, labels)
    true, guess = labels[:USED], outputs[:USED] > 0
    assert found["macro_f1"] == pytest.approx(reference.f1_score(true, guess, average="macro"))
    assert found["accuracy"] == pytest.approx((true == guess).mean())
    assert list(details["per_class"]["f1"].values()) == pytest.approx(
        reference.f1_score(true, guess, average=None).tolist()
    )
    assert list(details["per_class"]["support"].values()) == true.sum(0).tolist()


@pytest.mark.parametrize("targets", [1, 3])
def test_regression_in_the_targets_units(targets: int) -> None:
    y = (50 + 20 * RANDOM.normal(size=(2 * N, targets)) * np.arange(1, targets + 1)).astype(np.float32)
    data = rows(y[:USED], classes=tuple("abc"[:targets]), task="regression")
    assert data.target_moments is not None
    mean, std = data.target_moments
    guess = (y + 9 * RANDOM.normal(size=y.shape)).astype(np.float32)
    found, _ = reported(data, (guess - mean) / std, (y - mean) / std)
    y, guess = y[:USED], guess[:USED]
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(y, guess), rel=1e-4)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(y, guess), rel=1e-4)
    assert found["r2"] == pytest.approx(reference.r2_score(y, guess), rel=1e-4)


@pytest.mark.parametrize(("offset", "spread"), [(4, 1e-3), (1e3, 0.5), (-30, 1e-2)])
def test_r2_of_a_split_far_from_training(offset: float, spread: float) -> None:
    train = RANDOM.normal(size=(2 * N, 2)) * [1, 50] + [0, 1e6]
    mean, std = train.mean(0), train.std(0)
    y = mean + std * (offset + spread * RANDOM.normal(size=train.shape))
    guess = y + std * spread * 0.8 * RANDOM.normal(size=train.shape)
    x = np.zeros((len(y), 1))
    data = Dataset("rows", ("a", "b"), Rows(x, train), Rows(x[:USED], y[:USED]), Rows(x, y), task="regression")
    z, t = (((v - mean) / std).astype(np.float32) for v in (guess, y))
    found, _ = reported(data, z, t)
    y, guess = y[:USED], guess[:USED]
    assert found["r2"] == pytest.approx(reference.r2_score(y, guess), abs=0.02)
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(y, guess), rel=0.01)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(y, guess), rel=0.01)


def test_a_constant_target_has_no_r2() -> None:
    train = RANDOM.normal(size=(2 * N, 2))
    y = train + 0
    y[:, 1] = 0.1
    guess = y + 0.3 * RANDOM.normal(size=y.shape)
    x = np.zeros((len(y), 1))

    def of(y: np.ndarray) -> Dataset:
        names = ("a", "b")[: y.shape[1]]
        split = Rows(x[:USED], y[:USED])
        return Dataset("rows", names, Rows(x, train[:, : y.shape[1]]), split, split, task="regression")

    both, one = cut(of(y), Splitting()), cut(of(y[:, 1:]), Splitting())
    assert both.target_moments is not None
    mean, std = both.target_moments
    of_others = reported(both, (guess - mean) / std, (y - mean) / std)[0]["r2"]
    assert of_others == pytest.approx(reference.r2_score(y[:USED, 0], guess[:USED, 0]), rel=1e-4)
    assert np.isnan(reported(one, guess[:, 1:], y[:, 1:])[0]["r2"])
    assert both.warnings == tuple(
        f"b has only one value in {s}, so it has no r2 there, and r2 is the mean over the others"
        for s in ("val", "test")
    )
    assert one.warnings == tuple(f"a has only one value in {s}, so it has no r2 there" for s in ("val", "test"))


def test_language_modelling_counts_bits_a_character() -> None:
    outputs = RANDOM.normal(size=(2 * N, 6, 5)).astype(np.float32)
    y = RANDOM.integers(0, 5, (2 * N, 6)).astype(np.int32)
    split = Rows(y, y, characters=3 * y.size)
    data = Dataset("tokens", (), split, split, split, task="language_modelling", vocabulary=5)
    found, _ = reported(data, outputs, y)
    nats = float(np.mean(cross_entropy(jnp.asarray(outputs[:USED]), jnp.asarray(y[:USED]))))
    assert found["perplexity"] == pytest.approx(np.exp(nats), rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(nats / np.log(2) / 3, rel=1e-5)
    assert found["accuracy"] == pytest.approx((outputs.argmax(-1) == y)[:USED].mean())


def test_a_class_that_is_never_there_and_never_found_counts_as_nothing() -> None:
    found = per_class(np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0]]))
    assert found["f1"] == pytest.approx([0.8, 2 / 3, 0])
    assert found["support"] == [2, 2, 0]


def test_accuracy() -> None:
    logits = jnp.array([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0]])
    np.testing.assert_array_equal(accuracy(logits, jnp.array([1, 1, 1])), [1, 0, 1])


def test_direction_of_a_metric() -> None:
    larger = {"val/accuracy", "val/top5", "val/macro_f1", "val/r2"}
    smaller = {"val/loss", "val/rmse", "val/mae", "val/perplexity", "val/bits_per_character"}
    assert {better(m) for m in larger} == {"max"}
    assert {better(m) for m in smaller} == {"min"}
