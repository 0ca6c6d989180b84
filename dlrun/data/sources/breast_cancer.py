"""Breast cancer in Wisconsin, shipped with scikit-learn."""

from dlrun.data.dataset import Dataset
from dlrun.data.readers import bundled


def breast_cancer() -> Dataset:
    """569 tumours by 30 features of their cells' nuclei, malignant or benign (Street et al., 1993); no test split."""
    return bundled.classified("breast_cancer.csv", ("malignant", "benign"), "load_breast_cancer")
