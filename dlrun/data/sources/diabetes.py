"""Diabetes progression, shipped with scikit-learn."""

import numpy as np

from dlrun.data.dataset import Dataset, Rows
from dlrun.data.readers import bundled


def diabetes() -> Dataset:
    """442 patients by age, sex, body mass index, blood pressure and six blood values (Efron et al., 2004).

    The number to predict, 25 to 346, measures how far the disease has progressed a year later. No test split.
    """
    x = bundled.table("diabetes_data_raw.csv.gz", delimiter=None)
    y = bundled.table("diabetes_target.csv.gz", delimiter=None)
    if x is None or y is None:
        x, y = bundled.load("load_diabetes", scaled=False)
    rows = Rows(x.astype(np.float32), y.astype(np.float32).reshape(-1, 1))
    return Dataset("rows", ("progression",), rows, task="regression")
