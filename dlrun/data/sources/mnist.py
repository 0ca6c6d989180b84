"""MNIST."""

from dlrun.config.settings import Text
from dlrun.data.dataset import Dataset
from dlrun.data.readers import idx
from dlrun.data.readers.download import Source
from dlrun.data.readers.paced import Pace, Rate, Seconds

SOURCE = Source(
    "mnist",
    idx.files(
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    # The authors' own page, yann.lecun.com/exdb/mnist, no longer has the files.
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
)


def mnist(
    *, folder: Text | None = None, download: bool = True, timeout: Seconds = 20.0, min_rate: Rate = 1.0
) -> Dataset:
    """60,000 training and 10,000 test images of handwritten digits, 28x28 pixels (LeCun et al., 1998).

    Args:
      folder: has the four IDX files, plain or gzipped, or gets them; None means the usual places
        (:mod:`dlrun.data.readers.download`).
      download: whether to download files that are missing.
      timeout: seconds in which a server must have answered, and over which its rate is taken.
      min_rate: kB a second that a server must send.
    """
    return idx.dataset(
        SOURCE, tuple("0123456789"), shape=(28, 28), folder=folder, download=download, pace=Pace(timeout, min_rate)
    )
