"""The small data sets that come with scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import datasets

from dlrun.data.readers import bundled
from dlrun.data.sources.breast_cancer import breast_cancer
from dlrun.data.sources.diabetes import diabetes
from dlrun.data.sources.iris import iris
from dlrun.data.sources.wine import wine
from tests.conftest import QUICK

SOURCES: dict[Callable[[], Any], Any] = {
    iris: datasets.load_iris,
    wine: datasets.load_wine,
    breast_cancer: datasets.load_breast_cancer,
    diabetes: lambda: datasets.load_diabetes(scaled=False),
}
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)


@each_source
def test_the_files_are_what_the_loaders_give(source: Callable[[], Any]) -> None:
    data, expected = source(), SOURCES[source]()
    assert data.kind == "rows"
    np.testing.assert_array_equal(data.train.x, expected.data.astype(np.float32))
    np.testing.assert_array_equal(data.train.y.ravel(), expected.target)
    if source is diabetes:
        assert data.task == "regression"
        assert (data.train.y.shape, data.train.y.dtype) == ((442, 1), np.float32)
        assert data.outputs == 1
    else:
        assert data.classes == tuple(expected.target_names)
        assert data.train.y.dtype == np.int32


@each_source
def test_without_the_files_the_loaders_are_asked(source: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from_files = source().train
    monkeypatch.setattr(bundled, "table", lambda *args, **options: None)
    found = source().train
    np.testing.assert_array_equal(found.x, from_files.x)
    np.testing.assert_array_equal(found.y, from_files.y)
    assert (found.x.dtype, found.y.dtype, found.y.shape) == (from_files.x.dtype, from_files.y.dtype, from_files.y.shape)


@each_source
def test_a_network_learns_them(source: Callable[[], Any], dlrun: Callable) -> None:
    done = dlrun(
        f"data={source.__name__}", *QUICK, "epochs=40", "batch_size=16", "optim.lr=0.01", "eval.every=40epochs"
    )
    assert done.code == 0, done.err
    metric, least = ("test/r2", 0.25) if source is diabetes else ("test/accuracy", 0.75)
    assert done.summary[metric] > least
