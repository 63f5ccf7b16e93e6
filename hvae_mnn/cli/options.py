"""Types of options and arguments: a wrong value is refused in one line that names the option, before any work."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from hvae_mnn.errors import InputError
from hvae_mnn.names import quoted, unknown_name
from hvae_mnn.reading import is_file

_Command = TypeVar("_Command", bound=Callable[..., Any])
MANY = 1_000_000_000
"""Most of anything that is counted: far beyond what any machine bears, and safe in every array's size."""
_LONGEST_NAME, _LONGEST_PATH, _LONGEST_BUILD = 255, 4095, 200
"""Bytes of a file's name and of a path (Linux), and of a build's name, to which temporary files add a little."""


def label(param: click.Parameter | None) -> str:
    """What a person typed: `--steps`, or an argument's name in capitals."""
    if param is None:
        return "value"
    return param.opts[-1] if isinstance(param, click.Option) else (param.name or "argument").upper()


def _refusal(param: click.Parameter | None, value: Any, allowed: str) -> InputError:
    return InputError(f"{label(param)} is {quoted(value) if isinstance(value, str) else value}; allowed: {allowed}")


class Whole(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """A whole number from `least` to `most`, other than `never`."""

    name = "integer"

    def __init__(self, least: int, most: int = MANY, never: int | None = None) -> None:
        self.least, self.most, self.never = least, most, never

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; raises `InputError`."""
        allowed = f"a whole number from {self.least:,} to {self.most:,}"
        allowed += "" if self.never is None else f" other than {self.never}"
        try:
            number = int(value)
        except ValueError:
            raise _refusal(param, value, allowed) from None
        if not self.least <= number <= self.most or number == self.never:
            raise _refusal(param, number if len(str(value)) < 30 else value, allowed)
        return number


class Number(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """A finite number; what it may be beyond that, says whoever uses it."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; raises `InputError`."""
        try:
            number = float(value)
        except ValueError:
            raise _refusal(param, value, "a finite number") from None
        if not math.isfinite(number):
            raise _refusal(param, number, "a finite number")
        return number


class Choice(click.Choice):  # type: ignore[type-arg]  # not generic in click 8.1
    """One of a few words; a mistyped one is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word; raises `InputError`."""
        if value not in self.choices:
            raise InputError(unknown_name(label(param), value, self.choices))
        return str(value)


class Word(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """Text that is not blank."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; raises `InputError`."""
        if not str(value).strip():
            raise InputError(f"{label(param)} is empty; give it a value, or leave it out")
        return str(value)


class Place(click.Path):
    """A path that a file system can have. A `folder` may be one still to be made, and is no file."""

    def __init__(self, folder: bool = False) -> None:
        super().__init__(path_type=Path)
        self.folder = folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; raises `InputError`."""
        check_path(str(value), label(param))
        path = Path(value)
        if self.folder:
            there = next((place for place in (path, *path.parents) if is_file(place)), None)
            if there is not None:
                which = "which" if there == path else f"and {quoted(str(there))}"
                raise InputError(f"{label(param)} is {quoted(str(value))}, {which} is a file; give a folder")
        return path


class BuildName(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """The name of a folder in `netlists/`."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; raises `InputError`."""
        text = str(value)
        if Path(text).name != text or not text.strip() or text == ".." or not text.isprintable():
            raise _refusal(param, text, "one folder name, e.g. demo; use --out for a path")
        if len(text.encode(errors="replace")) > _LONGEST_BUILD:
            raise _refusal(param, text, f"a name of {_LONGEST_BUILD} bytes at most")
        return text


def check_path(text: str, what: str) -> None:
    """Raise `InputError` for text that no file system takes as a path."""
    if not text.strip():
        raise InputError(f"{what} is empty; give a path, or leave it out")
    if "\0" in text:
        raise InputError(f"{what} is {quoted(text)}; allowed: a path without NUL characters")
    longest = max(len(part.encode(errors="replace")) for part in text.split("/"))
    if longest > _LONGEST_NAME or len(text.encode(errors="replace")) > _LONGEST_PATH:
        raise InputError(
            f"{what} is {quoted(text)}; allowed: names of {_LONGEST_NAME} bytes at most in a path of {_LONGEST_PATH}"
        )


COUNT = Whole(1)
SEED = Whole(0, 2**63 - 1)
WORKERS = Whole(1, 1000)
THREADS = Whole(1, 1024)
NUMBER = Number()
WORD = Word()
PLACE, FOLDER = Place(), Place(folder=True)


def option(*names: str, default: str | None = None, text: str, **more: Any) -> Callable[[_Command], _Command]:
    """An option whose default, where a word is needed for it, stands behind its help text."""
    if default is not None:
        text = f"{text} [default: {default}]"
    return click.option(*names, help=text, **more)


def data_dir_option(purpose: str = "") -> Callable[[_Command], _Command]:
    """`--data-dir`; `purpose`: what the text is for, where that is not plain."""
    text = f"Corpus folder{purpose}: train, valid and test text, gzipped or not."
    return option("--data-dir", type=FOLDER, text=text, default="the built-in corpus")


def out_option(what: str = "run", default: str | None = "a new one in runs/") -> Callable[[_Command], _Command]:
    """`--out`; `what`: what goes there."""
    return option("--out", type=FOLDER, text=f"Folder of the {what}.", default=default)


def seed_option(what: str) -> Callable[[_Command], _Command]:
    """`--seed`, 0 by default; `what`: what is drawn."""
    return click.option("--seed", type=SEED, default=0, show_default=True, help=f"Random seed for {what}.")


def split_option(*splits: str) -> Callable[[_Command], _Command]:
    """`--split`, test by default."""
    return click.option(
        "--split", type=Choice(splits), default="test", show_default=True, help="Part of the corpus that is read."
    )


def text_option() -> Callable[[_Command], _Command]:
    """`--text`."""
    return option("--text", type=WORD, text="One sentence to read, instead of a corpus.")


def memristor_option(default: str) -> Callable[[_Command], _Command]:
    """`--device`, a memristor."""
    text = "Memristor: preset (aist, aist_literal, hp_tio2 or hp) or TOML file."
    return option("--device", type=WORD, text=text, default=default)


def hardware_option() -> Callable[[_Command], _Command]:
    """`--hardware`, the preset `paper` by default."""
    return click.option(
        "--hardware",
        type=WORD,
        default="paper",
        show_default=True,
        help="Hardware: preset or TOML file; see hvae-mnn hardware.",
    )


def torch_device_option() -> Callable[[_Command], _Command]:
    """`--device`, where torch computes."""
    return click.option(
        "--device",
        type=WORD,
        default="auto",
        show_default=True,
        help="Processor that torch uses: auto, cpu, cuda or cuda:N.",
    )


def threads_option(default: str) -> Callable[[_Command], _Command]:
    """`--threads`."""
    return option("--threads", type=THREADS, text="Number of CPU threads.", default=default)


def resume_option() -> Callable[[_Command], _Command]:
    """`--resume` of a training run."""
    return click.option("--resume", is_flag=True, help="Resume the run in --out, if there is one.")


def tolerance_option() -> Callable[[_Command], _Command]:
    """`--tolerance` of a proof."""
    return click.option(
        "--tolerance",
        type=NUMBER,
        default=1e-9,
        show_default=True,
        help="Largest allowed difference, as a part of full scale.",
    )


def workers_option(does: str, default: str = "this one alone") -> Callable[[_Command], _Command]:
    """`--workers`; `does`: what they do, as "solve tiles"."""
    return option("--workers", type=WORKERS, text=f"Number of processes that {does}.", default=default)


def scheduler_option(does: str) -> Callable[[_Command], _Command]:
    """`--scheduler`; `does`: what its workers do, as "solve tiles"."""
    text = (
        f"Address of a Dask scheduler whose workers {does}: tcp://host:port, or tls://host:port with Dask's own TLS"
        " settings. Only use a scheduler that you trust with your account: it can run code here."
    )
    return click.option("--scheduler", type=WORD, help=text)


def engine_options(command: _Command) -> _Command:
    """`--engine`, the bits of its converters, and the processes that solve its arrays."""
    for add in (
        scheduler_option("solve arrays"),
        workers_option("solve arrays", "this one, with ngspice beside it"),
        _bits_option("adc"),
        _bits_option("dac"),
        click.option(
            "--engine",
            type=Choice(["ngspice", "exact", "ideal"]),
            default="ngspice",
            show_default=True,
            help="Solver of the arrays: ngspice at every step; exact, which solves the circuit once and then"
            " multiplies; or ideal, eq. 12 without wires.",
        ),
    ):
        command = add(command)
    return command


def _bits_option(converter: str) -> Callable[[_Command], _Command]:
    name = converter.upper()
    text = f"Bits of the {name}s, 2 to 24; 0: no {name}s."
    return option(f"--{converter}-bits", type=Whole(0, 24, never=1), text=text, default="the hardware's")
