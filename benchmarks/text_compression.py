"""Bits a character that gzip and xz need for the held-out text of data=text: what a language model is to beat.

Usage: python benchmarks/text_compression.py [FILE or FOLDER [PATTERN]]
"""

import gzip
import lzma
import sys

from dlrun.data.sources.text import documents

PRIMED = 2**26  # bytes that xz looks back: all of the training text


def main() -> None:
    path, pattern = [*sys.argv[1:], None, None][:2]
    splits = documents(path, pattern=pattern or "*.py", max_bytes=None, shares={"val": 0.1, "test": 0.1}, seed=0)
    train, test = (b"".join(splits[name].values()) for name in ("train", "test"))
    characters = sum((byte & 0xC0) != 0x80 for byte in test)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": PRIMED}]

    def xz(content: bytes) -> int:
        return len(lzma.compress(content, filters=filters))

    print(f"{len(splits['test'])} test files, {characters} characters; {len(train)} bytes of training text")
    for name, size in {
        "gzip -9": len(gzip.compress(test, 9)),
        "xz -9e": xz(test),
        "xz -9e after the training text": xz(train + test) - xz(train),
    }.items():
        print(f"{name:32}{8 * size / characters:.3f} bits a character")


if __name__ == "__main__":
    main()
