"""Breast cancer in Wisconsin, shipped with scikit-learn."""

from dlrun.data import bundled
from dlrun.data.dataset import Dataset


def breast_cancer() -> Dataset:
    """569 tumours by 30 features of their cells' nuclei, malignant or benign (Street et al., 1993); no test split."""
    return bundled.classified("breast_cancer.csv", ("malignant", "benign"), "load_breast_cancer")
