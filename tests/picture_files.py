"""Picture files made byte by byte, as no library has read or written them."""

import struct
import zlib
from typing import Literal

import numpy as np

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by the number of bands


def png(pixels: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG of 16 bits, its lines filtered in all five ways, one after the other.

    Args:
      pixels: (H, W, bands) as uint16.
      transparent: the colour that stands for nothing.
    """
    height, width, bands = pixels.shape
    lines = pixels.astype(">u2").view(np.uint8).reshape(height, -1).astype(int)
    step, above, filtered = 2 * bands, np.zeros(2 * bands * width, int), []
    for i, line in enumerate(lines):
        left = np.concatenate([np.zeros(step, int), line[:-step]])
        corner = np.concatenate([np.zeros(step, int), above[:-step]])
        guess = left + above - corner
        nearest = np.argmin([abs(guess - left), abs(guess - above), abs(guess - corner)], 0)
        paeth = np.choose(nearest, [left, above, corner])
        taken = (0 * line, left, above, (left + above) // 2, paeth)[i % 5]
        filtered.append(bytes([i % 5]) + ((line - taken) % 256).astype(np.uint8).tobytes())
        above = line

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[bands], 0, 0, 0)
    colour = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    content = chunk(b"IDAT", zlib.compress(b"".join(filtered)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + colour + content + chunk(b"IEND", b"")


def tiff(
    pixels: np.ndarray, order: Literal["<", ">"] = "<", *, twelve: bool = False, packed: bool = False, **tags: int
) -> bytes:
    """A TIFF.

    Args:
      pixels: (H, W) or (H, W, bands) of any kind of number; of a shape (bands, H, W) where ``PLANAR=2``.
      order: of bytes, ``<`` or ``>``.
      twelve: whether two numbers take three bytes.
      packed: whether it is compressed, by deflate.
      tags: further ones, and others than follow from the pixels.
    """
    planar = tags.get("PLANAR", 1) == 2
    shape = pixels.shape[1:] + pixels.shape[:1] if planar else pixels.shape
    height, width, bands = (*shape, 1)[:3]
    if twelve:
        first, second = pixels.reshape(-1, 2).T.astype(int)
        raw = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()
    else:
        raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if packed:
        raw = zlib.compress(raw)
    bits = 12 if twelve else 8 * pixels.itemsize
    sample = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    numbers = {"WIDTH": 256, "HEIGHT": 257, "BITS": 258, "COMPRESSION": 259, "PHOTO": 262, "OFFSETS": 273,
               "ORIENTATION": 274, "SAMPLES": 277, "ROWS": 278, "BYTES": 279, "PLANAR": 284, "EXTRA": 338,
               "SAMPLE": 339}  # fmt: skip
    size, planes = len(raw), bands if planar else 1
    entries: dict[str, int | list[int]] = {
        "WIDTH": width, "HEIGHT": height, "BITS": [bits] * bands, "COMPRESSION": 8 if packed else 1,
        "PHOTO": 1 if bands < 3 else 2, "OFFSETS": [8 + i * size // planes for i in range(planes)],
        "SAMPLES": bands, "ROWS": height, "BYTES": [size // planes] * planes, "SAMPLE": [sample] * bands, **tags,
    }  # fmt: skip
    start = 8 + size + size % 2
    heap, lines = b"", b""
    heap_start = start + 2 + 12 * len(entries) + 4
    for name, value in sorted(entries.items(), key=lambda pair: numbers[pair[0]]):
        values = value if isinstance(value, list) else [value]
        content = struct.pack(f"{order}{len(values)}I", *values)
        if len(content) > 4:
            heap, content = heap + content, struct.pack(f"{order}I", heap_start + len(heap))
        lines += struct.pack(f"{order}HHI", numbers[name], 4, len(values)) + content
    mark = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    directory = struct.pack(f"{order}H", len(entries)) + lines + bytes(4) + heap
    return mark + raw + bytes(size % 2) + directory


def ppm(pixels: np.ndarray, maximum: int) -> bytes:
    """A PGM or PPM, (H, W) or (H, W, 3), of two bytes a number."""
    kind = "P5" if pixels.ndim == 2 else "P6"
    return f"{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n{maximum}\n".encode() + pixels.astype(">u2").tobytes()
