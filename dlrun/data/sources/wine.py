"""Wines, shipped with scikit-learn."""

from dlrun.data.dataset import Dataset
from dlrun.data.readers import bundled


def wine() -> Dataset:
    """178 wines by 13 chemical properties, from three growers (Forina et al., 1988); no test split."""
    return bundled.classified("wine_data.csv", ("class_0", "class_1", "class_2"), "load_wine")
