"""Reads picture files: their headers, and their pixels as arrays."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, SAMPLEFORMAT

from dlrun.data.readers import files

WANTED = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""Pillow's names of formats. Left out: films, formats that Pillow reads only with another program, or not by itself,
and those that can't be told by their first bytes."""
BYTES = "8 bits"
BYTE = np.dtype(np.uint8)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2, as Pillow's
# Byte orders in Pillow's raw modes: B is big-endian, L or none is little-endian, N is this machine's.
OTHER_END = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
FOREIGN, OWN = ("B", "") if sys.byteorder == "little" else ("", "B")
NATIVE = {form.format(FOREIGN): form.format(OWN) for form in ("I;16{}S", "I;32{}S", "F;32{}F")}


@cache
def formats() -> tuple[str, ...]:
    """Those of the wanted formats that this Pillow can read."""
    Image.init()
    return tuple(name for name in WANTED if name in Image.OPEN)


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of their files, in small letters; MPO is a JPEG with further pictures."""
    return frozenset(end for end, name in Image.registered_extensions().items() if name in (*formats(), "MPO"))


@dataclass(frozen=True)
class Head:
    """What a file's header tells about a picture.

    Args:
      depth: the type of a pixel's numbers: ``8 bits`` (also for all that Pillow turns into bytes), ``12 bits``,
        ``16 bits``, ``32 bits`` or ``float``; for a PGM or PPM with larger numbers, as many bits as its maximum needs.
      alpha: whether pixels may be transparent.
      frames: whether there are pictures after the first.
    """

    depth: str
    alpha: bool
    frames: bool


def head(file: str) -> Head | str:
    """A file's header, or what is wrong with the file."""
    try:
        with _opened(file) as image:
            if why := _unfit(image):
                return why
            # The further pictures in a phone's JPEG are previews, or the same picture for another screen.
            frames = image.format != "MPO" and bool(getattr(image, "is_animated", False))
            return Head(_depth(image), image.has_transparency_data, frames)
    except UnidentifiedImageError:
        return "is not an image, or of a kind that can't be read" if os.path.getsize(file) else "is empty"
    except Exception as error:  # a damaged file can make a reader fail in any way
        return f"can't: {files.reason(error)}"


@dataclass(frozen=True)
class Form:
    """The form that pictures are decoded to.

    Args:
      size: height and width, in pixels.
      mode: Pillow's name of the colours, ``RGB`` or ``L``.
      dtype: uint8 if all pictures have 8 bits, else float32.
      white: the number in deeper pictures that is scaled to 255; None leaves their numbers as they are.
      background: what is behind transparent pixels, from 0, black, to 1, white.
    """

    size: int
    mode: str
    dtype: np.dtype = BYTE
    white: float | None = None
    background: float = 1.0


def decode(file: str, form: Form) -> np.ndarray:
    """The middle square of a picture, (size, size) or (size, size, 3). Raises an ``OSError`` that names the file."""
    try:
        with _opened(file) as image:
            if _depth(image) != BYTES:
                return _deep(image, file, form)
            image.draft(form.mode, (2 * form.size, 2 * form.size))  # a large JPEG is decoded smaller, and faster
            picture = _opaque(ImageOps.exif_transpose(image), form.background).convert(form.mode)
            return np.asarray(_fitted(picture, form.size)).astype(form.dtype, copy=False)
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise OSError(errno.EIO, f"an image can't be decoded ({files.reason(error)})", file) from None


@contextlib.contextmanager
def _opened(file: str) -> Iterator[ImageFile.ImageFile]:
    # Opened here, not by Pillow: given a name, it would map grey pixels, wrongly for a TIFF that needs rotating.
    with open(file, "rb") as raw, Image.open(raw, formats=formats()) as image:
        # libtiff gives bytes in this machine's order, which Pillow heeds only for unsigned numbers of 16 bits.
        image.tile = [
            _with_raw_mode(tile, NATIVE.get(_raw(tile), _raw(tile))) if tile.codec_name == "libtiff" else tile
            for tile in image.tile
        ]
        yield image


def _unfit(image: ImageFile.ImageFile) -> str | None:
    """Why the pixels that Pillow gives would be wrong, though it reports no error; None if they are right."""
    if image.mode == "LAB":
        return "has LAB colours"
    if image.format == "TIFF":
        bits = np.max(_tag(image, BITSPERSAMPLE))
        if bits == 8 and np.any(np.equal(_tag(image, SAMPLEFORMAT), 2)):
            return "has signed bytes"
        if bits > 8 and _tag(image, PLANAR_CONFIGURATION) == 2:
            return "has colours of more than 8 bits one after the other: save it with those of a pixel side by side"
    if image.mode == "RGB" and _ppm_maximum(image) > 255 and image.tile[0].codec_name == "ppm_plain":
        return "has colours of more than 8 bits written as text: save it as a binary PPM"
    return None


def _tag(image: ImageFile.ImageFile, number: int) -> int | tuple[int, ...]:
    return image.tag_v2.get(number, 1)  # pyright: ignore[reportAttributeAccessIssue]


def _depth(image: ImageFile.ImageFile) -> str:
    raw, maximum = _rawmode(image), _ppm_maximum(image)
    if maximum > 255:
        return f"{maximum.bit_length()} bits"
    if image.mode == "F":
        return "float"
    if image.mode == "I" and image.format != "PPM" and ";16" not in raw:
        return "32 bits"
    if raw == "I;12":
        return "12 bits"
    colours = image.mode in ("RGB", "RGBA") and ";16" in raw
    return "16 bits" if image.mode.startswith("I") or colours else BYTES


def _rawmode(image: ImageFile.ImageFile) -> str:
    """Pillow's raw mode, which says how bytes become pixels; empty if another library decodes the file."""
    return _raw(image.tile[0]) if image.tile else ""


def _raw(tile: Any) -> str:
    return str(tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args)


def _with_raw_mode(tile: Any, raw: str) -> Any:
    """A tile, Pillow's description of pixels in a file, with ``raw`` as its raw mode."""
    return tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)


def _ppm_maximum(image: ImageFile.ImageFile) -> int:
    """The number that is white in a PGM or PPM, if Pillow scales by it; else 0."""
    codec, *_, args = image.tile[0] if image.tile else ("", None)
    return args[1] if codec in ("ppm", "ppm_plain") and isinstance(args, tuple) else 0  # pyright: ignore


def _opaque(image: Image.Image, background: float) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode)).convert("RGBA")
    below = Image.new("RGBA", image.size, (round(255 * background),) * 3)
    return Image.alpha_composite(below, image)


def _fitted(image: Image.Image, size: int) -> Image.Image:
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


# More than 8 bits


def _deep(image: ImageFile.ImageFile, file: str, form: Form) -> np.ndarray:
    """Decodes a picture of more than 8 bits, in float32."""
    raw = _rawmode(image)
    bands = _colours(image, file, raw) if image.mode in ("RGB", "RGBA") else _grey(image, raw)
    if not np.isfinite(bands).all():
        raise ValueError("there are pixels that are not finite")
    if bands.shape[-1] in (2, 4):
        bands, alpha = bands[..., :-1], bands[..., -1:] / 65535
        share = 1 if raw.startswith("RGBa") else alpha  # the colours in the file are already multiplied by it
        bands = bands * share + (1 - alpha) * np.float32(form.background * (form.white or 65535))
    if form.mode == "L" and bands.shape[-1] == 3:
        bands = bands @ LUMA[:, None]
    planes = [np.asarray(_fitted(Image.fromarray(band), form.size)) for band in np.moveaxis(bands, -1, 0)]
    pixels = planes[0] if form.mode == "L" else np.stack(planes * (3 // len(planes)), -1)
    return pixels if form.white is None else pixels * np.float32(255 / form.white)


def _grey(image: ImageFile.ImageFile, raw: str) -> np.ndarray:
    """Numbers (H, W, 1); with alpha, (H, W, 2), if the file names a number that is transparent."""
    unsigned = raw == "I;32N"  # Pillow takes them for signed
    inverse = image.format == "TIFF" and "16" in image.mode and _tag(image, PHOTOMETRIC_INTERPRETATION) == 0
    transparent, maximum = image.info.get("transparency"), _ppm_maximum(image)
    pixels = np.asarray(ImageOps.exif_transpose(image))[..., None]
    if maximum:
        pixels = np.round(pixels * (maximum / 65535))  # undoes Pillow's scaling and rounding
    pixels = pixels.view(np.uint32) if unsigned else 65535 - pixels if inverse else pixels
    return pixels.astype(np.float32) if transparent is None else _with_alpha(pixels, transparent)


def _colours(image: ImageFile.ImageFile, file: str, raw: str) -> np.ndarray:
    """Numbers of 16 bits: colours (H, W, 3), colours with alpha (H, W, 4), or grey with alpha (H, W, 2).

    Pillow keeps only the upper byte of each number. Told that the byte order is the other one, it keeps the lower byte.
    """
    transparent = image.info.get("transparency")
    if raw == "LA;16B":
        pixels = _read(image, "RGBA").astype(np.float32)
        return 256 * pixels[..., ::2] + pixels[..., 1::2]
    raw = "RGB;16B" if _ppm_maximum(image) else raw.replace("RGBa", "RGBA")
    with _opened(file) as again:
        upper, lower = _read(image, raw), _read(again, raw[:-1] + OTHER_END[raw[-1]])
    pixels = 256 * upper.astype(np.float32) + lower
    return pixels if transparent is None else _with_alpha(pixels, transparent)


def _with_alpha(pixels: np.ndarray, transparent: int | tuple[int, ...]) -> np.ndarray:
    """Adds alpha to pixels: 0 where they have the transparent colour."""
    alpha = np.where((pixels == transparent).all(-1, keepdims=True), 0, 65535)
    return np.concatenate([pixels, alpha], -1, dtype=np.float32, casting="unsafe")


def _read(image: ImageFile.ImageFile, raw: str) -> np.ndarray:
    """The pixels, with the file's bytes read in the raw mode ``raw``."""
    plain = (tile._replace(codec_name="raw", args=raw) if tile.codec_name == "ppm" else tile for tile in image.tile)
    image.tile = [_with_raw_mode(tile, raw) for tile in plain]
    return np.asarray(ImageOps.exif_transpose(image))
