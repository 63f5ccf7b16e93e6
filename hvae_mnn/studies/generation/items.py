"""What is written: reconstructions, sentences from the prior, and sentences between two posteriors."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from hvae_mnn.cosim.converters import check_bits
from hvae_mnn.errors import InputError, TextError, UnknownWordsWarning
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.names import listed, quoted, unknown_name
from hvae_mnn.text.corpus import SPLITS
from hvae_mnn.text.sources import load_corpus, read_lines
from hvae_mnn.text.tokenizers import join_tokens, tokenize
from hvae_mnn.text.vocabulary import EOS, SPECIALS, UNK

Kind = Literal["reconstruct", "prior", "interpolate"]
Form = Literal["teacher-forced", "greedy", "sampled"]
FORMS: tuple[Form, ...] = get_args(Form)
SENTENCES, STEPS, MOST_WORDS = 5, 7, 60
"""Default numbers: sentences of a corpus, sentences between two posteriors, longest sentence written freely."""
_WORDS = 4
"""The purpose of the numbers that words are drawn with; evaluation and inference have those below it."""


@dataclass(frozen=True)
class Settings:
    """How sentences are written; see `hvae-mnn generate --help`."""

    forms: tuple[Form, ...] = FORMS
    temperature: float = 1.0
    """Logits are divided by it before words are drawn."""
    most_words: int = MOST_WORDS
    """Most words of a sentence whose decoder reads its own."""
    seed: int = 0
    """Random seed for latents, words, and converters' noise."""
    dac_bits: int | None = None
    """Number of bits; 0: no DAC; None: as in the hardware."""
    adc_bits: int | None = None
    """Number of bits; 0: no ADC; None: as in the hardware."""

    def __post_init__(self) -> None:
        """Raise `InputError` for values that are not allowed."""
        for form in self.forms:
            if form not in FORMS:
                raise InputError(unknown_name("form", form, FORMS))
        if not self.forms:
            raise InputError(f"no form of text; allowed: one or more of {', '.join(FORMS)}")
        if not (0 < self.temperature < math.inf):
            raise InputError(f"--temperature is {self.temperature:g}; allowed: a finite number above 0")
        if self.most_words < 1:
            raise InputError(f"--most-words is {self.most_words}; allowed: 1 or more")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"--seed is {self.seed!r}; allowed: a whole number, 0 or above")
        for bits in (self.dac_bits, self.adc_bits):
            if bits is not None:
                check_bits(bits)


@dataclass(frozen=True)
class Item:
    """One latent, from which every form of a sentence is written."""

    kind: Kind
    number: int
    """Among those of its kind, from 1."""
    sources: tuple[tuple[int, ...], ...] = ()
    """Encoded sentences whose posteriors' means make the latent: one, two between which it lies, or none (prior)."""
    weight: float = 0.0
    """Part of the second source."""

    @property
    def key(self) -> tuple[int, ...]:
        """What its random numbers depend on besides the seed: the words of its sources, or its number.

        So they do not depend on other sentences. All sentences between two posteriors have the same ones, and differ by
        their latents alone.
        """
        return tuple(token for source in self.sources for token in source) if self.sources else (self.number,)

    @property
    def noise_number(self) -> int:
        """Number of the sentence in the streams of the hardware's noise."""
        return noise_number(self.kind, self.key)

    def uniform(self, seed: int, count: int) -> list[float]:
        """Numbers in [0, 1) with which its words are drawn; further ones do not change the first."""
        purpose = [_WORDS, get_args(Kind).index(self.kind)]
        values: list[float] = np.random.default_rng([seed, *purpose, *self.key]).random(count).tolist()
        return values


def noise_number(kind: str, key: Iterable[int]) -> int:
    """A number of 63 bits that belongs to a kind of work and its words."""
    text = " ".join([kind, *map(str, key)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def reconstructions(sentences: Sequence[Sequence[int]]) -> list[Item]:
    """An item for each encoded sentence."""
    return [Item("reconstruct", number, (tuple(sentence),)) for number, sentence in enumerate(sentences, start=1)]


def from_prior(count: int) -> list[Item]:
    """`count` draws. Raises `InputError` for fewer than 1."""
    if count < 1:
        raise InputError(f"--prior is {count}; allowed: 1 or more")
    return [Item("prior", number) for number in range(1, count + 1)]


def between(first: Sequence[int], second: Sequence[int], steps: int) -> list[Item]:
    """`steps` latents at equal distances from the first sentence's to the second's, both included.

    Raises `InputError` for fewer than 2.
    """
    if steps < 2:
        raise InputError(f"--steps is {steps}; allowed: 2 or more, the two sentences' own latents included")
    ends = (tuple(first), tuple(second))
    return [Item("interpolate", step + 1, ends, step / (steps - 1)) for step in range(steps)]


def encode_given(checkpoint: Checkpoint, texts: Sequence[str], origin: str) -> list[list[int]]:
    """Sentences that a person gave, encoded with start and end symbols; unknown words are reported.

    `origin` names them in messages. Raises `TextError` for an empty sentence and one without any known word.
    """
    lines = [tokenize(checkpoint.tokenizer, text.strip()) for text in texts]
    unknown: dict[str, None] = {}
    for text, line in zip(texts, lines, strict=True):
        if not line:
            raise TextError(f"{origin}: {quoted(text)} has no words; give a sentence of at least one word")
        missing = [word for word in line if word not in checkpoint.vocabulary]
        if len(missing) == len(line):
            raise TextError(
                f"{origin}: no word of {quoted(text)} is in the model's vocabulary of {len(checkpoint.vocabulary):,};"
                " give a sentence in the words of the text that it was trained on"
            )
        unknown |= dict.fromkeys(missing)
    if unknown:
        words = listed([quoted(word) for word in unknown])
        warnings.warn(
            f"{origin}: not in the model's vocabulary, and read as {SPECIALS[UNK]}: {words}",
            UnknownWordsWarning,
            stacklevel=2,
        )
    return [checkpoint.vocabulary.encode_sentence(line) for line in lines]


def encode_file(checkpoint: Checkpoint, path: Path) -> list[list[int]]:
    """The sentences of a text file, one a line, encoded. Raises `TextError` as `encode_given` and `read_lines`."""
    texts = [line for line in read_lines(path) if line.strip()]
    if not texts:
        raise TextError(f"{path} has no words; give a text file with one sentence a line")
    return encode_given(checkpoint, texts, str(path))


def encode_split(checkpoint: Checkpoint, data_dir: Path | None, split: str, count: int) -> list[list[int]]:
    """The first `count` sentences of a split of the corpus in `data_dir` (None: the built-in one), encoded.

    Raises `TextError` for a corpus of other words, `InputError` for an unknown split.
    """
    if split not in SPLITS:
        raise InputError(unknown_name("split", split, SPLITS))
    if count < 1:
        raise InputError(f"--sentences is {count}; allowed: 1 or more")
    corpus = load_corpus(data_dir, checkpoint.tokenizer, splits=(split,))
    lines = corpus.split(split)[:count]
    checkpoint.vocabulary.count_unknown(lines, f"{corpus.name}/{split}")
    return [checkpoint.vocabulary.encode_sentence(line) for line in lines]


def text_of(checkpoint: Checkpoint, tokens: tuple[int, ...]) -> str:
    """Text of token ids, those after the start symbol, without the end symbol that closes them."""
    written = tokens[:-1] if tokens[-1:] == (EOS,) else tokens
    return join_tokens(checkpoint.tokenizer, checkpoint.vocabulary.decode(written))


def source_texts(checkpoint: Checkpoint, item: Item) -> list[str]:
    """Texts that an item is made of, as the model reads them; none for the prior."""
    return [text_of(checkpoint, source[1:]) for source in item.sources]
