"""Ways to cut a line into tokens, and to put tokens back together: `plain` (white space), `twr` (the one behind the
paper's Table 1) and `char` (characters).

The published vocabulary sizes follow from TWR-VAE's tokenizer, not from white-space splitting, so numbers comparable to
the paper's need `twr`. Its peculiarities (a dot inside a word splits, a line that begins with a split mark
gives one empty token) are kept, because the published perplexities include them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from hvae_mnn.errors import TextError
from hvae_mnn.names import unknown_name

_DOTS = re.compile(r"\.+")
_SPLIT_MARK = re.compile(r"(?=[.?!,])|(?='s)")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Tokenizer:
    """A way to cut lines into tokens."""

    cut: Callable[[str], list[str]]
    """Tokens of a line; a blank line has none."""
    joint: str
    """What stands between two tokens in text."""
    unit: Literal["word", "character"]
    """What a token is."""


def tokenize_plain(line: str) -> list[str]:
    """Tokens of a line, split on white space; a blank line has none."""
    return line.split()


def tokenize_twr(line: str) -> list[str]:
    """Tokens of a line as TWR-VAE cuts it; a blank line has none.

    Lower case; a run of dots becomes one dot; a space goes before each of ``. ? ! ,`` and before ``'s``. A line that
    begins with one of these marks therefore opens with an empty token, which TWR-VAE keeps and counts.
    """
    stripped = line.strip()
    if not stripped:
        return []
    return _SPACE.split(_SPLIT_MARK.sub(" ", _DOTS.sub(".", stripped.lower())))


def tokenize_char(line: str) -> list[str]:
    """Characters of a line; a blank line has none.

    Every Unicode code point is one symbol, in its own case. A run of white space is one symbol, the space; white space
    at either end of the line is left out. `<unk>` is no symbol of its own: it is spelled, five symbols. The end of the
    sentence, which models add, is one symbol more. So Penn Treebank has 49 symbols and the end, and 5,017,482 / 393,042
    / 442,423 of them in train / valid / test. These are the symbols of Mikolov's `ptb.char` files, which write the
    space as `_`, and of the results published on them.
    """
    return list(" ".join(line.split()))


TOKENIZERS: dict[str, Tokenizer] = {
    "plain": Tokenizer(tokenize_plain, " ", "word"),
    "twr": Tokenizer(tokenize_twr, " ", "word"),
    "char": Tokenizer(tokenize_char, "", "character"),
}
"""Tokenizers by their name on the command line and in checkpoints."""


def find_tokenizer(name: str) -> Tokenizer:
    """The tokenizer called `name`.

    Raises `TextError` for a name that is not in `TOKENIZERS`.
    """
    if name not in TOKENIZERS:
        raise TextError(unknown_name("tokenizer", name, TOKENIZERS))
    return TOKENIZERS[name]


def tokenize(name: str, line: str) -> list[str]:
    """Tokens of `line` by the tokenizer called `name`. Raises as `find_tokenizer`."""
    return find_tokenizer(name).cut(line)


def join_tokens(name: str, tokens: Iterable[str]) -> str:
    """Text of the tokens that the tokenizer called `name` cut. Raises as `find_tokenizer`."""
    return find_tokenizer(name).joint.join(tokens)
