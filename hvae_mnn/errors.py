"""The errors a person can act on: one base class, one subclass per layer.

A message is one line that says what is wrong, where, what was found, what is allowed and what to do next. The command
line prints it and exits with ``exit_code``: 2 for bad input, 1 for a run that failed.
"""

from __future__ import annotations


class HvaeMnnError(Exception):
    """Base of every error that hvae-mnn raises on purpose."""

    exit_code = 1


class InputError(HvaeMnnError):
    """Something the user gave is not usable: a file, a value, an option."""

    exit_code = 2


class TextError(InputError):
    """A corpus, a sentence or a vocabulary that cannot be used."""


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged, foreign or does not fit."""


class DeviceError(InputError):
    """A memristor whose parameters, or a target for one, physics does not allow."""


class MappingError(InputError):
    """Weights that cannot be mapped to conductances."""


class HardwareError(InputError):
    """A hardware description that cannot be built, or contradicts itself."""


class ManifestError(InputError):
    """A netlist folder whose manifest or files cannot be used."""


class TableError(InputError):
    """A Parquet table that is missing, damaged, or was changed since it was written."""


class TensorsError(InputError):
    """A file of arrays that is missing, damaged, or was changed since it was written."""


class EnvironmentProblem(HvaeMnnError):
    """The machine lacks something that the command needs (ngspice, KLU, a library)."""

    exit_code = 2


class StorageError(HvaeMnnError):
    """A file or folder cannot be written: a full disk, missing rights."""

    exit_code = 2


class SimulatorError(HvaeMnnError):
    """ngspice failed: the message carries the deck, the last lines of the log and the command to run it again."""


class TrainingError(HvaeMnnError):
    """Training cannot go on: the loss is not finite, or a stored state does not fit."""


class RunError(InputError):
    """A stored run that cannot be resumed as asked."""


class Note(UserWarning):
    """Something that ends nothing, but that a person should know; the command line shows it as one line."""


class UnknownWordsWarning(Note):
    """A text has many words that the vocabulary lacks."""


class UncheckedFileWarning(Note):
    """A file that is read carries no checksum, so damage to it cannot be noticed."""


class MendedWarning(Note):
    """A file was found damaged, and what it held is made again."""


class CacheWarning(Note):
    """A cache cannot be written or read; that costs time, and nothing else."""
