"""Tokenisers turn text into token numbers and back. :func:`tokeniser` rebuilds one from plain values, its ``facts``."""

import importlib.util
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from dlrun.data.dataset import Array


class Tokeniser(Protocol):
    """Turns text in UTF-8 (or any bytes, if a token is a byte) into token numbers of the smallest type, and back."""

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        ...

    def encode(self, texts: Sequence[bytes]) -> Array:
        """The token numbers (n,) of texts, one text after the other."""
        ...

    def decode(self, tokens: Array) -> bytes:
        """The text that token numbers (n,) stand for, in UTF-8."""
        ...

    def characters(self, tokens: Array) -> int:
        """How many characters of the text begin in these tokens."""
        ...

    def facts(self) -> dict[str, Any]:
        """What :func:`tokeniser` needs to rebuild it."""
        ...


@dataclass(frozen=True)
class Bytes:
    """Each byte is a token.

    Args:
      utf8: whether the text is in UTF-8; otherwise each byte counts as a character.
    """

    utf8: bool = True
    vocabulary = 256

    @classmethod
    def fit(cls, texts: Iterable[bytes]) -> "Bytes":
        return cls(all(map(_utf8, texts)))

    def encode(self, texts: Sequence[bytes]) -> Array:
        return np.frombuffer(b"".join(texts), np.uint8)

    def decode(self, tokens: Array) -> bytes:
        return tokens.astype(np.uint8).tobytes()

    def characters(self, tokens: Array) -> int:
        return _characters_begun(tokens) if self.utf8 else tokens.size

    def facts(self) -> dict[str, Any]:
        return {"kind": "bytes", "utf8": self.utf8}


@dataclass(frozen=True)
class Characters:
    """Each character (Unicode code point) of ``alphabet`` is a token; one more, the last, stands for all others."""

    alphabet: str

    @classmethod
    def fit(cls, texts: Iterable[bytes]) -> "Characters":
        return cls("".join(sorted(set().union(*(text.decode() for text in texts)))))

    @property
    def vocabulary(self) -> int:
        return len(self.alphabet) + 1

    @cached_property
    def _codes(self) -> Array:
        return _code_points(self.alphabet)

    def encode(self, texts: Sequence[bytes]) -> Array:
        codes, unknown = _code_points(b"".join(texts).decode()), len(self.alphabet)
        numbers = np.searchsorted(self._codes, codes)
        known = self._codes[np.minimum(numbers, unknown - 1)] == codes
        return np.where(known, numbers, unknown).astype(np.min_scalar_type(unknown))

    def decode(self, tokens: Array) -> bytes:
        codes = np.append(self._codes, ord("\N{REPLACEMENT CHARACTER}")).astype("<u4")
        return codes[tokens].tobytes().decode("utf-32-le").encode()

    def characters(self, tokens: Array) -> int:
        return tokens.size

    def facts(self) -> dict[str, Any]:
        return {"kind": "characters", "alphabet": self.alphabet}


class BytePairs:
    """Byte-pair encoding (Sennrich et al., 2016) of the bytes of words (Radford et al., 2019); it encodes any text.

    Args:
      model: the JSON that the library ``tokenizers`` writes.
    """

    def __init__(self, model: dict[str, Any]):
        from tokenizers import Tokenizer

        self.model, self.tokenizer = model, Tokenizer.from_str(json.dumps(model))
        self.vocabulary = self.tokenizer.get_vocab_size()

    @classmethod
    def fit(cls, texts: Iterable[bytes], size: int) -> "BytePairs":
        """Learns merges until there are ``size`` tokens, or nothing is left to merge."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        made: Any = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)  # pyright: ignore
        made.train_from_iterator((text.decode() for text in texts), trainer)
        return cls(json.loads(made.to_str()))

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec("tokenizers") is not None

    @cached_property
    def _characters_of_token(self) -> Array:
        """How many characters begin in each token."""
        # The library writes printable bytes as themselves, and the others as characters from 256 on.
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        spelt = {chr(b): b for b in printable}
        spelt |= {chr(256 + i): b for i, b in enumerate(sorted(set(range(256)) - set(printable)))}
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        return np.array([_characters_begun(np.array([spelt[c] for c in token])) for token, _ in vocabulary])

    def encode(self, texts: Sequence[bytes]) -> Array:
        parts = self.tokenizer.encode_batch_fast([text.decode() for text in texts])
        dtype = np.min_scalar_type(self.vocabulary - 1)
        return np.concatenate([np.empty(0, dtype), *(np.array(part.ids, dtype) for part in parts)])

    def decode(self, tokens: Array) -> bytes:
        return self.tokenizer.decode(tokens.tolist()).encode()

    def characters(self, tokens: Array) -> int:
        return int(self._characters_of_token[tokens].sum())

    def facts(self) -> dict[str, Any]:
        return {"kind": "bpe", "model": self.model}


def tokeniser(facts: dict[str, Any]) -> Tokeniser:
    """Rebuilds the tokeniser that gave ``facts``."""
    kinds = {"bytes": Bytes, "characters": Characters, "bpe": BytePairs}
    return kinds[facts["kind"]](**{k: v for k, v in facts.items() if k != "kind"})


def _characters_begun(codes: Array) -> int:
    """How many characters begin in some bytes of UTF-8: as many as there are bytes that do not continue one."""
    return int(((codes & 0xC0) != 0x80).sum())


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def _utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
