"""Inputs that nothing can be learnt from are told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlrun.config.settings import Splitting
from dlrun.data import checks
from dlrun.data.dataset import Dataset, Rows, cut
from dlrun.data.sources import arrays, digits, images, synthetic, text
from tests.picture_files import ppm

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (40, 5, 5, 3)).astype(np.uint8)
ROWS = RANDOM.normal(size=(40, 10)).astype(np.float32)
TOKENS = RANDOM.integers(0, 7, (40, 6)).astype(np.uint8)


def told(x: np.ndarray, kind: str) -> list[str]:
    y = np.arange(len(x), dtype=np.int32) % 2
    return checks.warnings(Dataset(kind, ("a", "b"), Rows(x, y)))  # pyright: ignore[reportArgumentType]


def changed(x: np.ndarray, *where: object, to: float | np.ndarray = 0) -> np.ndarray:
    x = x.copy()
    x[where if len(where) > 1 else where[0]] = to  # pyright: ignore[reportArgumentType, reportCallIssue]
    return x


ALL = slice(None)
BLACK = np.zeros_like(PICTURES)
CONSTANT: dict[str, tuple[str, np.ndarray, str | None]] = {
    "images": ("image", PICTURES, None),
    "black": ("image", BLACK, "nothing can be learnt from the inputs: the training images are all the same"),
    "black of floats": ("image", BLACK.astype(np.float32), "the training images are all the same"),
    "one image": ("image", np.stack([PICTURES[0]] * 40), "the training images are all the same"),
    "half are black": ("image", changed(PICTURES, slice(20)), "20 of the training images have one value throughout, 0"),
    "most are white": (
        "image", changed(PICTURES, slice(30), to=255), "30 of the training images have one value throughout, 255"
    ),
    "some are black": ("image", changed(PICTURES, slice(19)), None),
    "grey shades": (
        "image", np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None, None, None], (40, 5, 5, 3)), "mostly 0"
    ),
    "colours": ("image", np.broadcast_to(PICTURES[:, :1, :1], PICTURES.shape), None),
    "a single pixel": ("image", PICTURES[:, :1, :1, :1], None),
    "rows": ("rows", ROWS, None),
    "rows all the same": ("rows", np.stack([ROWS[0]] * 40), "the training rows are all the same"),
    "most features": ("rows", changed(ROWS, ALL, slice(6)), "6 of 10 features have the same value in all "
        "training rows"),
    "half of the features": ("rows", changed(ROWS, ALL, slice(5)), None),
    "one feature": ("rows", ROWS[:, :1], None),
    "rows of zeros": ("rows", changed(ROWS, slice(30)), None),
    "tokens": ("tokens", TOKENS, None),
    "one token": (
        "tokens", changed(TOKENS, slice(25), to=3), "25 of the training sequences have one value throughout, 3"
    ),
    "a single row": ("rows", ROWS[:1], None),
}  # fmt: skip


@pytest.mark.parametrize("case", CONSTANT)
def test_constant_inputs(case: str) -> None:
    kind, x, message = CONSTANT[case]
    lines = told(x, kind)
    assert len(lines) == (message is not None)
    assert message is None or lines[0].endswith(message)


def test_a_sample_stands_for_many(own_folder: Path) -> None:
    x = np.zeros((5000, 3, 3, 1), np.float32)
    x[::4] = RANDOM.normal(size=(1250, 3, 3, 1))
    (line,) = told(x, "image")
    count, rest = line.split(" ", 1)
    assert rest == "of 1,000 training images drawn at random have one value throughout, 0"
    assert abs(int(count) - 750) < 60
    assert told(x, "image") == [line]


def test_rare_features_are_no_constants() -> None:
    """Each is 1 in one row of 20,000: a sample has few of them."""
    x = np.zeros((20_000, 300), np.float32)
    x[np.arange(300) * 60, np.arange(300)] = 1
    x[:, :20] = RANDOM.normal(size=(20_000, 20))
    assert told(x, "rows") == []
    x[:, 20:290] = 5
    assert told(x, "rows") == ["270 of 300 features have the same value in all training rows"]


@pytest.mark.parametrize("source", [digits.digits, synthetic.synthetic, text.text])
def test_what_can_be_learnt_is_not_told(source: Callable[..., Dataset]) -> None:
    assert checks.warnings(cut(source(), Splitting())) == []


def test_arrays_on_the_command_line(dlrun, own_folder: Path) -> None:
    np.savez("x.npz", x=changed(ROWS, ALL, slice(9)), y=np.arange(40) % 2)
    assert arrays.arrays(path="x.npz").warnings == ()
    done = dlrun("data=arrays", "data.path=x.npz", "batch_size=8", "model.widths=[4]", "epochs=1", "log.plot=false")
    assert done.code == 0, done.err
    assert "warning: 9 of 10 features have the same value in all training rows" in done.err.splitlines()


@pytest.mark.parametrize(("white", "beyond"), [(65535, 0), (4095, 0), (4094, 1), (255, 6)])
def test_pixels_above_white_are_told(own_folder: Path, white: int, beyond: int) -> None:
    for label in "ab":
        (own_folder / "d" / label).mkdir(parents=True)
        for i in range(3):
            pixels = RANDOM.integers(0, 4000, (4, 4)).astype(np.uint16)
            pixels[0, 0], pixels[1, 1] = 300, 4095 if label + str(i) == "b1" else 299
            (own_folder / "d" / label / f"{i}.pgm").write_bytes(ppm(pixels, 4095))
    data = checks.checked(images.images(path="d", size=4, white=white))
    said = f"{beyond} of the training images have pixels above data.white={white}"
    assert [line for line in data.warnings if "white" in line] == [said] * (beyond > 0)
