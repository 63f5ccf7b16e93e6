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


def workers_option(does: str, default: str = "this one") -> Callable[[_Command], _Command]:
    """`--workers`; `does`: what they do, as "solve tiles"."""
    return click.option("--workers", type=WORKERS, help=f"Processes that {does}.  [default: {default}]")


def scheduler_option(does: str) -> Callable[[_Command], _Command]:
    """`--scheduler`; `does`: what its workers do, as "solve tiles"."""
    text = (
        f"Address of a Dask scheduler whose workers {does}: tcp://host:port, or tls://host:port with Dask's own TLS"
        " settings. Name only one that you trust with your account: it can run code here."
    )
    return click.option("--scheduler", type=WORD, help=text)
