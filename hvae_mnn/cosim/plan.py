"""The plan of a run: its options and sentences, stored in `run.json`, from which the run can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from hvae_mnn.cosim.converters import check_bits
from hvae_mnn.errors import InputError, RunError, TextError
from hvae_mnn.files import read_sealed, write_sealed
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.names import unknown_name
from hvae_mnn.reading import is_missing
from hvae_mnn.text.corpus import SPLITS
from hvae_mnn.text.sources import load_corpus
from hvae_mnn.text.tokenizers import tokenize

PLAN = "run.json"
FORMAT = "hvae-mnn-run/2"
DEFAULT_STEPS = 40
_SHORTEST = 2
"""Smallest number of tokens of an encoded sentence: sos, and one to predict."""
EngineName = Literal["ngspice", "exact", "ideal"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
Decoding = Literal["teacher-forced", "free-running"]
Latent = Literal["mean", "sampled"]


@dataclass(frozen=True)
class Options:
    """Options of a run; see `hvae-mnn simulate --help`."""

    engine: EngineName = "ngspice"
    decoding: Decoding = "teacher-forced"
    """`free-running`: the decoder's input is its own last token."""
    latent: Latent = "mean"
    """z is its mean, or drawn from the posterior with `seed`."""
    dac_bits: int | None = None
    """Number of bits; 0: no DAC; None: as in the hardware."""
    adc_bits: int | None = None
    """Number of bits; 0: no ADC; None: as in the hardware."""
    seed: int = 0
    """Random seed for a sampled latent and for the converters' noise."""

    def __post_init__(self) -> None:
        """Raise `InputError` for values that are not allowed."""
        for name, allowed in (
            ("engine", ENGINES),
            ("decoding", ("teacher-forced", "free-running")),
            ("latent", ("mean", "sampled")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(unknown_name(name, getattr(self, name), allowed))
        for bits in (self.dac_bits, self.adc_bits):
            if bits is not None:
                check_bits(bits)
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"seed is {self.seed!r}; allowed: a whole number, 0 or above")


@dataclass(frozen=True)
class RunPlan:
    """Complete description of a run, together with its netlist folder."""

    netlist: str
    """Path of the netlist folder."""
    manifest_sha256: str
    """Hash of the folder's manifest, which contains the hashes of all other files."""
    options: Options
    """Engine, decoding, latent, converters and seed."""
    origin: str
    """Origin of the sentences."""
    sentences: tuple[tuple[int, ...], ...]
    """Token ids of every sentence, with sos and eos."""

    def save(self, folder: Path) -> None:
        """Write `run.json` to `folder`. Raises `StorageError`."""
        write_sealed(folder / PLAN, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> RunPlan:
        """Read `run.json` from `folder`. Raises `RunError` if it is missing or cannot be read."""
        path = folder / PLAN
        if is_missing(path):
            raise RunError(f"{folder} holds no run to resume (no {PLAN}); start one with hvae-mnn simulate")
        try:
            stored = read_sealed(path, "plan of a run")
            if stored.pop("format") != FORMAT:
                raise ValueError(f"format is not {FORMAT}")
            texts = {key: _text(stored[key]) for key in ("netlist", "manifest_sha256", "origin")}
            sentences = tuple(tuple(_token(token) for token in sentence) for sentence in stored["sentences"])
            if not sentences or min(map(len, sentences)) < _SHORTEST:
                raise ValueError("a sentence is missing or has no token to predict")
            return cls(options=Options(**stored["options"]), sentences=sentences, **texts)
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise RunError(f"{path} cannot be read: {error}; start the run again") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"found {value!r}; allowed: text")
    return value


def _token(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"found {value!r}; allowed: a token's id")
    return value


def choose_sentences(
    checkpoint: Checkpoint,
    *,
    text: str | None,
    data_dir: Path | None,
    split: str,
    sentences: int | None,
    steps: int | None,
) -> tuple[str, list[list[int]]]:
    """Origin of a run's sentences, and the sentences, encoded.

    They are the one sentence `text`, or are taken in order from `split` of the corpus in `data_dir` (default: the
    built-in one), up to `sentences` sentences and `steps` time steps (without limits: 40 steps); the last sentence is
    cut to fit. A time step is one position: one pass through each layer.

    Raises `InputError` for limits below 1, `TextError` for text that does not belong to the checkpoint.
    """
    for name, value in (("steps", steps), ("sentences", sentences)):
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}; allowed: 1 or more")
    if steps is None and sentences is None and text is None:
        steps = DEFAULT_STEPS
    if text is not None and (data_dir is not None or sentences is not None):
        raise InputError("--text is the one sentence that is read; leave out --data-dir and --sentences")
    if text is not None:
        origin, lines = "text", [line for line in (tokenize(checkpoint.tokenizer, text.strip()),) if line]
        if not lines:
            raise TextError("the text has no words; give a sentence of at least one word")
    else:
        if split not in SPLITS:
            raise InputError(unknown_name("split", split, SPLITS))
        corpus = load_corpus(data_dir, checkpoint.tokenizer, splits=(split,))
        origin, lines = f"{corpus.name}/{split}", getattr(corpus, split)
    chosen = _within(lines, sentences, steps)
    checkpoint.vocabulary.count_unknown(chosen, origin)
    return origin, [checkpoint.vocabulary.encode_sentence(line) for line in chosen]


def _within(lines: Sequence[Sequence[str]], sentences: int | None, steps: int | None) -> list[Sequence[str]]:
    """The lines within the limits. A line of n words takes n + 1 steps, the last one for the end symbol."""
    chosen: list[Sequence[str]] = []
    left = steps
    for line in lines[:sentences]:
        if left is not None:
            if left <= 0:
                break
            line = line[: left - 1]
            left -= len(line) + 1
        chosen.append(line)
    return chosen
