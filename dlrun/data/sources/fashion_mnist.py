"""Fashion-MNIST."""

from dlrun.config.settings import Text
from dlrun.data.dataset import Dataset
from dlrun.data.readers import idx
from dlrun.data.readers.download import Source
from dlrun.data.readers.paced import Pace, Rate, Seconds

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SOURCE = Source(
    "fashion-mnist",
    idx.files(
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    package="dataset-fashion-mnist",
)


def fashion_mnist(
    *, folder: Text | None = None, download: bool = True, timeout: Seconds = 20.0, min_rate: Rate = 1.0
) -> Dataset:
    """60,000 training and 10,000 test images of clothes, 28x28 pixels, ten classes (Xiao et al., 2017).

    Args:
      folder: has the four IDX files, plain or gzipped, or gets them; None means the usual places
        (:mod:`dlrun.data.readers.download`), among them that of Debian's package.
      download: whether to download files that are missing.
      timeout: seconds in which a server must have answered, and over which its rate is taken.
      min_rate: kB a second that a server must send.
    """
    return idx.dataset(SOURCE, CLASSES, shape=(28, 28), folder=folder, download=download, pace=Pace(timeout, min_rate))
