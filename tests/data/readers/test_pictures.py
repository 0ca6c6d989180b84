"""Picture files of all kinds against the numbers they were made of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from dlrun.data.readers import pictures
from dlrun.data.readers.pictures import Form, Head, decode, head, suffixes
from tests.picture_files import png, ppm, tiff

N = 10
FLOAT = np.dtype(np.float32)
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 2**16, (N, N)).astype(np.uint16)
COLOUR = RANDOM.integers(0, 2**16, (N, N, 3)).astype(np.uint16)
ALPHA = RANDOM.integers(0, 2**16, (N, N, 4)).astype(np.uint16)
HALF = (ALPHA[..., 3:] // 2).astype(int)
FAINT = RANDOM.integers(0, 4096, (N, N, 3)).astype(np.uint16)  # 12 bits in 16
DARK = RANDOM.integers(0, 256, (N, N, 3)).astype(np.uint16)  # 8 bits in 16
SIGNED = RANDOM.integers(-(2**15), 2**15, (N, N)).astype(np.int16)
WIDE = RANDOM.integers(-(2**23), 2**23, (N, N)).astype(np.int32)
HUGE = (RANDOM.integers(0, 2**24, (N, N)) << 8).astype(np.uint32)  # beyond what has a sign, and a float32 each
REAL = RANDOM.normal(size=(N, N)).astype(np.float32)


def laid(pixels: np.ndarray, background: float = 65535) -> np.ndarray:
    """Transparent pixels over a background."""
    alpha = pixels[..., -1:] / 65535
    return pixels[..., :-1] * alpha + (1 - alpha) * background


def as_planes(pixels: np.ndarray) -> np.ndarray:
    return np.moveaxis(pixels, -1, 0).copy()


BOTH_WAYS: list[tuple[str, np.ndarray, np.ndarray, str, dict[str, int]]] = [
    ("grey", GREY, GREY, "16 bits", {}),
    ("8 bits in 16", DARK[..., 0], DARK[..., 0], "16 bits", {}),
    ("colours", COLOUR, COLOUR, "16 bits", {}),
    ("colours, 8 bits in 16", DARK, DARK, "16 bits", {}),
    ("alpha", ALPHA, laid(ALPHA), "16 bits", {"EXTRA": 2}),
    ("alpha multiplied", ALPHA // 2, 65535 - HALF + ALPHA[..., :3] // 2, "16 bits", {"EXTRA": 1}),
    ("signed", SIGNED, SIGNED, "16 bits", {}),
    ("32 bits", WIDE, WIDE, "32 bits", {}),
    ("floats", REAL, REAL, "float", {}),
]


def plain(pixels: np.ndarray, maximum: int) -> bytes:
    """A PGM or PPM as text."""
    head = f"P{pixels.ndim}\n{pixels.shape[1]} {pixels.shape[0]}\n{maximum}\n"
    return (head + "\n".join(map(str, pixels.ravel()))).encode() + b"\n"


KINDS: dict[str, tuple[str, bytes, np.ndarray, str]] = {
    "PNG grey": ("png", png(GREY[..., None]), GREY, "16 bits"),
    "PNG grey, 8 bits in 16": ("png", png(DARK[..., :1]), DARK[..., 0], "16 bits"),
    "PNG colours": ("png", png(COLOUR), COLOUR, "16 bits"),
    "PNG colours, 12 bits in 16": ("png", png(FAINT), FAINT, "16 bits"),
    "PNG colours, 8 bits in 16": ("png", png(DARK), DARK, "16 bits"),
    "PNG colours, alpha": ("png", png(ALPHA), laid(ALPHA), "16 bits"),
    "PNG grey, alpha": ("png", png(ALPHA[..., :2]), laid(ALPHA[..., :2])[..., 0], "16 bits"),
    "PGM": ("pgm", ppm(GREY, 65535), GREY, "16 bits"),
    "PGM of 4095": ("pgm", ppm(FAINT[..., 0], 4095), FAINT[..., 0], "12 bits"),
    "PGM of 65534": ("pgm", ppm(np.minimum(GREY, 65534), 65534), np.minimum(GREY, 65534), "16 bits"),
    "PGM of 300": ("pgm", ppm(DARK[..., 0], 300), DARK[..., 0], "9 bits"),
    "PGM as text": ("pgm", plain(FAINT[..., 0], 4095), FAINT[..., 0], "12 bits"),
    "PGM of 65535 as text": ("pgm", plain(GREY, 65535), GREY, "16 bits"),
    "PPM": ("ppm", ppm(COLOUR, 65535), COLOUR, "16 bits"),
    "PPM of 8 bits": ("ppm", ppm(DARK, 65535), DARK, "16 bits"),
    "PPM of 4095": ("ppm", ppm(FAINT, 4095), FAINT, "12 bits"),
    "TIFF of 12 bits": ("tif", tiff(FAINT[..., 0], twelve=True), FAINT[..., 0], "12 bits"),
    "TIFF unsigned 32 bits": ("tif", tiff(HUGE), HUGE, "32 bits"),
    "TIFF white is 0": ("tif", tiff(GREY, PHOTO=0), 65535 - GREY, "16 bits"),
    "TIFF with a band more": ("tif", tiff(ALPHA, EXTRA=0), ALPHA[..., :3], "16 bits"),
} | {
    f"TIFF {name}{', compressed' * packed}, {order}": ("tiff", tiff(given, order, packed=packed, **tags), found, depth)  # pyright: ignore[reportArgumentType]
    for order in ("<", ">")
    for packed in (False, True)
    for name, given, found, depth, tags in BOTH_WAYS
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_more_than_8_bits_are_kept(own_folder: Path, kind: str) -> None:
    suffix, content, wanted, depth = KINDS[kind]
    file = own_folder / f"x.{suffix}"
    file.write_bytes(content)
    assert head(str(file)) == Head(depth, "alpha" in kind, False)
    wanted = wanted[..., None] if wanted.ndim == 2 else wanted
    colours = np.broadcast_to(wanted, (N, N, 3)).astype(float)
    grey = wanted[..., 0] if wanted.shape[-1] == 1 else colours @ [0.299, 0.587, 0.114]
    found = decode(str(file), Form(N, "RGB", FLOAT))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, colours, rtol=3e-7, atol=0.004 if "alpha" in kind else 1e-7)
    np.testing.assert_allclose(decode(str(file), Form(N, "L", FLOAT)), grey, rtol=1e-6, atol=0.01)
    scaled = decode(str(file), Form(N, "RGB", FLOAT, white=65535))
    np.testing.assert_allclose(scaled, colours / 257, rtol=1e-6, atol=2e-5)


def test_a_colour_that_stands_for_nothing(own_folder: Path) -> None:
    file, colour = str(own_folder / "x.png"), tuple(map(int, COLOUR[3, 4]))
    wanted = np.where((COLOUR[3, 4] == COLOUR).all(-1, keepdims=True), 65535, COLOUR)
    for pixels, key, expected in ((COLOUR, colour, wanted), (COLOUR[..., :1], colour[:1], wanted[..., :1])):
        Path(file).write_bytes(png(pixels, key))
        assert head(file) == Head("16 bits", True, False)
        np.testing.assert_array_equal(decode(file, Form(N, "RGB", FLOAT)), np.broadcast_to(expected, (N, N, 3)))


def test_deep_pictures_are_cut_and_resized(own_folder: Path) -> None:
    wide = np.linspace(0, 4000, 96).round().astype(np.uint16) + 50 * np.arange(32, dtype=np.uint16)[:, None]
    for name, content in {"x.png": png(np.stack([wide] * 3, -1)), "x.tif": tiff(wide)}.items():
        (own_folder / name).write_bytes(content)
        middle = wide[:, 32:64].astype(float)
        np.testing.assert_array_equal(decode(name, Form(32, "L", FLOAT)).round(2), middle)
        half = middle.reshape(16, 2, 16, 2).mean((1, 3))
        np.testing.assert_allclose(decode(name, Form(16, "L", FLOAT))[1:-1, 1:-1], half[1:-1, 1:-1], atol=2)


def test_white_makes_depths_alike(own_folder: Path) -> None:
    bytes_ = RANDOM.integers(0, 256, (N, N)).astype(np.uint8)
    Image.fromarray(bytes_).save("a.png")
    Path("b.png").write_bytes(png(257 * bytes_[..., None].astype(np.uint16)))
    Path("c.tif").write_bytes(tiff((bytes_ / 255).astype(np.float32)))
    for name, white in (("a.png", 65535), ("b.png", 65535), ("c.tif", 1)):
        found = decode(name, Form(N, "L", FLOAT, white))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, bytes_, rtol=1e-6)


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("turn", TURNS)
def test_all_kinds_are_turned_as_the_camera_says(own_folder: Path, turn: int) -> None:
    """Not square, as what is mapped into memory may come out right by its shape and wrong by its pixels."""
    exif = Image.Exif()
    exif[0x0112] = turn
    grey, colours = GREY[:, :6], COLOUR[:, :6]
    Image.fromarray(grey.astype(np.uint8)).save("8.png", exif=exif)
    Image.fromarray(grey).save("16.png", exif=exif)
    Path("8.tif").write_bytes(tiff(grey.astype(np.uint8), ORIENTATION=turn))
    Path("16.tif").write_bytes(tiff(grey, ORIENTATION=turn))
    Path("16be.tif").write_bytes(tiff(grey, ">", ORIENTATION=turn))
    Path("48.tif").write_bytes(tiff(colours, ORIENTATION=turn))
    Path("float.tif").write_bytes(tiff(grey.astype(np.float32), ORIENTATION=turn))
    for name in ("8.png", "8.tif", "16.png", "16.tif", "16be.tif", "float.tif"):
        pixels = TURNS[turn](grey.astype(np.uint8) if name.startswith("8") else grey)
        middle = pixels[2:8] if len(pixels) == N else pixels[:, 2:8]
        np.testing.assert_array_equal(decode(name, Form(6, "L", FLOAT)), middle, name)
    pixels = TURNS[turn](colours)
    middle = pixels[2:8] if len(pixels) == N else pixels[:, 2:8]
    np.testing.assert_array_equal(decode("48.tif", Form(6, "RGB", FLOAT)), middle)


UNFIT = {
    "planes of 16 bits": (tiff(as_planes(COLOUR), PLANAR=2), "side by side"),
    "bytes with a sign": (tiff(GREY.astype(np.int8)), "signed bytes"),
    "colours as text": (plain(FAINT, 4095), "more than 8 bits written as text"),
    "LAB": (tiff(DARK.astype(np.uint8), PHOTO=8), "has LAB colours"),
    "float64": (tiff(REAL.astype(np.float64)), "of a kind that can't be read"),
    "float colours": (tiff(np.stack([REAL] * 3, -1)), "of a kind that can't be read"),
    "five bands": (tiff(np.dstack([ALPHA, GREY]).astype(np.uint8), PHOTO=1), "of a kind that can't be read"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "of a kind that can't be read"),
    "no image": (b"x" * 99, "of a kind that can't be read"),
    "nothing": (b"", "is empty"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_would_be_read_wrongly_is_refused(own_folder: Path, kind: str) -> None:
    content, why = UNFIT[kind]
    Path("x.tif").write_bytes(content)
    found = head("x.tif")
    assert isinstance(found, str)
    assert why in found


def test_planes_of_8_bits_are_read(own_folder: Path) -> None:
    pixels = DARK.astype(np.uint8)
    Path("x.tif").write_bytes(tiff(as_planes(pixels), PLANAR=2))
    np.testing.assert_array_equal(decode("x.tif", Form(N, "RGB")), pixels)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_not_finite_are_named(own_folder: Path, value: float) -> None:
    pixels = REAL.copy()
    pixels[0, 0] = value
    Path("x.tif").write_bytes(tiff(pixels))
    with pytest.raises(OSError, match="pixels that are not finite") as error:
        decode("x.tif", Form(N, "L", FLOAT))
    assert error.value.filename == "x.tif"


ICON = np.zeros((N, N, 4), np.uint8)  # black on nothing
ICON[2:7, 3:8, 3] = 255


@pytest.mark.parametrize("background", [1.0, 0.0])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P by one colour", "PA", "L by one colour", "GIF", "WebP"])
def test_transparent_pixels_are_laid_over_the_background(own_folder: Path, mode: str, background: float) -> None:
    picture, name = Image.fromarray(ICON), "x.png"
    index = Image.fromarray((ICON[..., 3] // 255).astype(np.uint8), "P" if "P" in mode else "L")
    if "P" in mode:
        index.putpalette([9, 99, 199, 0, 0, 0])
    match mode:
        case "LA":
            picture.convert("LA").save(name)
        case "P":
            index.save(name, transparency=bytes([0, 255]))
        case "P by one colour":
            index.save(name, transparency=0)
        case "PA":
            name = "x.tif"
            bands = np.stack([ICON[..., 0], ICON[..., 3]], -1)
            pa = Image.frombytes("PA", (N, N), bands.tobytes())
            pa.putpalette([0] * 768)
            pa.save(name)
        case "L by one colour":
            Image.fromarray(np.where(ICON[..., 3] > 0, 0, 77).astype(np.uint8)).save(name, transparency=77)
        case "GIF":
            name = "x.gif"
            picture.save(name)
        case "WebP":
            name = "x.webp"
            picture.save(name, lossless=True)
        case _:
            picture.save(name)
    assert head(name) == Head("8 bits", True, False)
    wanted = np.where(ICON[..., 3] > 0, 0, 255 * background)
    np.testing.assert_array_equal(decode(name, Form(N, "L", background=background)), wanted)
    np.testing.assert_array_equal(decode(name, Form(N, "RGB", background=background)), np.stack([wanted] * 3, -1))


def test_half_transparent_pixels_are_mixed(own_folder: Path) -> None:
    pixels = RANDOM.integers(0, 256, (N, N, 4)).astype(np.uint8)
    Image.fromarray(pixels).save("x.png")
    for background in (0.0, 1.0):
        alpha = pixels[..., 3:] / 255
        wanted = pixels[..., :3] * alpha + (1 - alpha) * 255 * background
        np.testing.assert_allclose(decode("x.png", Form(N, "RGB", background=background)), wanted, atol=1.01)


@pytest.mark.parametrize(
    ("name", "how"),
    [("x.gif", {}), ("x.tif", {}), ("x.png", {}), ("x.webp", {"lossless": True}), ("x.apng", {"format": "PNG"})],
)
def test_the_first_of_several_frames_is_taken(own_folder: Path, name: str, how: dict[str, Any]) -> None:
    frames = [Image.new("L", (N, N), shade) for shade in (50, 100, 200)]
    frames[0].save(name, save_all=True, append_images=frames[1:], **how)
    found = head(name)
    assert isinstance(found, Head)
    assert found.frames
    np.testing.assert_allclose(decode(name, Form(N, "L")), 50, atol=1)


def test_a_preview_is_no_second_frame(own_folder: Path) -> None:
    Image.new("RGB", (N, N), (9, 9, 9)).save("x.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (N, N))])
    with Image.open("x.jpg") as picture:
        assert picture.format == "MPO"
    assert head("x.jpg") == Head("8 bits", False, False)


def test_endings_follow_from_pillow() -> None:
    wanted = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
    wanted |= {".pgm", ".ppm", ".pbm", ".pnm", ".pfm", ".qoi", ".mpo"}
    wanted |= {end for end in (".jp2", ".j2k") if features.check("jpg_2000")}
    assert suffixes() >= wanted
    assert not suffixes() & {".eps", ".ps", ".pdf", ".mpg", ".mpeg", ".h5", ".hdf", ".wmf", ".grib", ".psd", ".fits"}


@pytest.mark.parametrize("suffix", sorted(suffixes() - {".avifs", ".mpo", ".pfm", ".qoi"}))
def test_each_ending(own_folder: Path, suffix: str) -> None:
    x, y = np.meshgrid(np.linspace(0, 200, 16), np.linspace(0, 50, 16))
    pixels = (x + y).round().astype(np.uint8)
    if suffix == ".pbm":
        pixels = np.where(pixels > 100, 255, 0).astype(np.uint8)
    how: dict[str, Any] = {"quality": 95} if suffix in (".avif", ".webp", ".jpg", ".jpe", ".jfif", ".jpeg") else {}
    picture = Image.fromarray(pixels)
    (picture.convert("1") if suffix == ".pbm" else picture).save(f"x{suffix}", **how)
    assert head(f"x{suffix}") == Head("8 bits", False, False)
    np.testing.assert_allclose(decode(f"x{suffix}", Form(16, "L")), pixels, atol=6)
    assert pictures.decode(f"x{suffix}", Form(16, "RGB")).dtype == np.uint8
