"""Iris flowers, shipped with scikit-learn."""

from dlrun.data.dataset import Dataset
from dlrun.data.readers import bundled


def iris() -> Dataset:
    """150 flowers by length and width of sepal and petal in cm, three species (Fisher, 1936); no test split."""
    return bundled.classified("iris.csv", ("setosa", "versicolor", "virginica"), "load_iris")
