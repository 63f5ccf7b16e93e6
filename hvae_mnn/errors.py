"""Errors that a user can act on: one base class, one subclass per layer.

A message is one line: what is wrong, where, what was found, what is allowed, and what to do next. The command
line prints it and exits with ``exit_code``: 2 for bad input, 1 for a run that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

_MOST_PROBLEMS = 20
"""Problems of a file that a message lists."""


class HvaeMnnError(Exception):
    """Base of every error that hvae-mnn raises on purpose."""

    exit_code = 1


class InputError(HvaeMnnError):
    """An input of the user that cannot be used: a file, a value, an option."""

    exit_code = 2
    problems: tuple[str, ...] = ()
    """The lines of a message that lists all problems of a file, without the file's name; else empty."""

    @classmethod
    def of(cls, where: object, problems: Sequence[str]) -> Self:
        """All problems of a file at once: one line for one problem, else their number and a line each, so that all can
        be corrected together. Of very many, the first are listed. `where` names the file."""
        left = len(problems) - _MOST_PROBLEMS
        listed = problems if left <= 0 else [*problems[:_MOST_PROBLEMS], f"and {left:,} more"]
        if len(problems) == 1:
            error = cls(f"{where}: {problems[0]}")
        else:
            error = cls("\n".join([f"{where}: {len(problems)} problems", *(f"  {line}" for line in listed)]))
        error.problems = tuple(listed)
        return error


class TextError(InputError):
    """A corpus, a sentence or a vocabulary that cannot be used."""


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged, foreign or unsuitable."""


class DeviceError(InputError):
    """A memristor's parameters, or a target conductance, that physics does not allow."""


class MappingError(InputError):
    """Weights that cannot be mapped to conductances."""


class HardwareError(InputError):
    """A hardware description that cannot be built or contradicts itself."""


class ManifestError(InputError):
    """A netlist folder whose manifest or files cannot be used."""


class TableError(InputError):
    """A Parquet table that is missing, damaged, or was changed since it was written."""


class TensorsError(InputError):
    """A file of arrays that is missing, damaged, or was changed since it was written."""


class EnvironmentProblem(HvaeMnnError):
    """A program or library that the command needs is missing (ngspice, KLU, a library)."""

    exit_code = 2


class StorageError(HvaeMnnError):
    """A file or folder that cannot be written: full disk, missing permissions."""

    exit_code = 2


class SimulatorError(HvaeMnnError):
    """ngspice failed: the message carries the deck, the last lines of the log and the command to run it again."""


class TrainingError(HvaeMnnError):
    """Training that cannot continue: the loss is not finite, or a stored state does not fit."""


class RunError(InputError):
    """A stored run that cannot be resumed as asked."""


class Note(UserWarning):
    """A warning that the command line shows as one line; the command continues."""


class UnknownWordsWarning(Note):
    """A text has many words that the vocabulary lacks."""


class UncheckedFileWarning(Note):
    """A file without a checksum was read, so damage to it cannot be noticed."""


class MendedWarning(Note):
    """A damaged file was found, and its content is computed again."""


class CacheWarning(Note):
    """A cache cannot be written or read, which only costs time."""
