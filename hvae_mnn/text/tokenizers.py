"""Two ways to cut a line into tokens: `plain` (white space) and `twr` (the one behind the paper's Table 1).

The published vocabulary sizes follow from TWR-VAE's tokenizer, not from white-space splitting, so numbers comparable to
the paper's need `twr`. Its peculiarities (a dot inside a word splits, a line that begins with a split mark
gives one empty token) are kept, because the published perplexities include them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hvae_mnn.errors import TextError
from hvae_mnn.names import unknown_name

_DOTS = re.compile(r"\.+")
_SPLIT_MARK = re.compile(r"(?=[.?!,])|(?='s)")
_SPACE = re.compile(r"\s+")


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


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"plain": tokenize_plain, "twr": tokenize_twr}
"""Tokenizers by their name on the command line and in checkpoints."""


def tokenize(name: str, line: str) -> list[str]:
    """Tokens of `line` by the tokenizer called `name`.

    Raises `TextError` for a name that is not in `TOKENIZERS`.
    """
    if name not in TOKENIZERS:
        raise TextError(unknown_name("tokenizer", name, TOKENIZERS))
    return TOKENIZERS[name](line)


def join_tokens(name: str, tokens: Iterable[str]) -> str:
    """Text of the tokens that the tokenizer called `name` cut."""
    return " ".join(tokens)
