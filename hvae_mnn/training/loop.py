"""The one loop of all training: a run that can be killed at any moment and resumed to the same weights, bit for bit.

Every batch takes its random numbers (dropout, latent noise, hardware) from a seed of its own, spawned from the run's
seed and the batch's number. So a stored state needs weights, optimiser and position only. The same bits come out on the
same machine with the same number of threads; elsewhere sums may round differently.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Generic

import torch

from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.files import require_room
from hvae_mnn.folders import taken
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.reading import is_missing
from hvae_mnn.training.state import (
    BEST,
    LAST,
    P,
    StateLayout,
    check_identity,
    read_state,
    restore,
    state_bytes,
    write_state,
)

CALIBRATION_SENTENCES = 200
"""Valid sentences whose activations calibrate the converters."""


class ResumableRun(ABC, Generic[P]):
    """A run of training steps with validations between them. Subclasses define step and validation."""

    layout: ClassVar[StateLayout]
    writes = True
    """Whether this process writes the run's files: one does where several share the batches."""

    def __init__(
        self,
        out: Path,
        model: RecurrentModel,
        optimizer: torch.optim.Optimizer,
        identity: Mapping[str, Any],
        position: P,
    ) -> None:
        """`identity`: plain values that a stored state of this run has, too; `position`: that of a new run.

        The folder `out` holds the run's files: `last.pt`, the best checkpoint, and those that validations write.
        """
        self.out, self.model, self.optimizer = out, model, optimizer
        self.identity, self.position = identity, position

    @abstractmethod
    def is_complete(self) -> bool:
        """Whether no step is left."""

    @abstractmethod
    def step(self) -> None:
        """One batch: changes weights, optimiser and position."""

    @abstractmethod
    def validation_due(self) -> bool:
        """Whether a validation follows the step just done."""

    @abstractmethod
    def validate(self) -> None:
        """Measure, keep the model if it is the best, add a record to the position's history, and write the history."""

    @abstractmethod
    def wrote(self, best: Checkpoint) -> bool:
        """Whether a best checkpoint that stands without a state is this run's, written just before its first state."""

    def begin(self) -> None:
        """Work before the first step of a new run; none by default."""

    def as_read_now(self, identity: Mapping[str, Any]) -> Mapping[str, Any]:
        """A stored identity with the parts that earlier versions left out, and without allowed differences."""
        return identity

    def wait(self) -> None:
        """Return once every process that shares the run has come here; at once by default."""

    def report_step(self) -> None:
        """Called after each step; does nothing by default."""

    def report_validation(self) -> None:
        """Called after each validation, once it is stored; does nothing by default."""

    def start(self, resume: bool) -> None:
        """Take up the state in `out`, or begin there.

        Raises `InputError` if `out` holds a run and `resume` is not asked for, or if it holds another run;
        `CheckpointError` for a damaged state, `StorageError` without room for the files.
        """
        stored, size = self._stored(resume), state_bytes(self.model)
        if stored is not None:
            self.position = restore(
                self.out / LAST, self.layout, stored, self.model, self.optimizer, type(self.position)
            )
            if self.position.history and is_missing(self.out / BEST):
                raise InputError(f"{self.out} has lost its {BEST}; choose another --out and train again")
            if not self.is_complete():
                require_room(self.out, size)
            return
        require_room(self.out, size + size // 3)  # `best.pt`, too
        self.begin()
        if self.position.history:
            self.save()

    def _stored(self, resume: bool) -> dict[str, Any] | None:
        """This run's state in `out`; None: there is none."""
        if is_missing(self.out / LAST):
            if not is_missing(self.out / BEST) and not (resume and self._wrote_best()):
                raise InputError(f"{self.out} holds a {BEST} but no {LAST} to resume from; choose another --out")
            return None
        if not resume:
            raise InputError(
                f"{self.out} already holds a {self.layout.kind} run; rerun with --resume to resume it, or choose"
                " another --out"
            )
        stored, identity = read_state(self.out / LAST, self.layout)
        check_identity(self.out, self.as_read_now(identity), self.identity)
        return stored

    def _wrote_best(self) -> bool:
        try:
            return self.wrote(load_checkpoint(self.out / BEST))
        except CheckpointError:
            return False

    def work(self, save_every_s: float = math.inf) -> None:
        """Take the steps that are left; the state is saved after each validation, and between them every
        `save_every_s` seconds."""
        saved = time.monotonic()
        while not self.is_complete():
            self.step()
            due = self.validation_due()
            if not due and time.monotonic() - saved > save_every_s:
                self.save()
                saved = time.monotonic()
            self.report_step()
            if due:
                self.validate()
                # Last of all: a kill before this line repeats the validation, and every file comes out the same again.
                self.save()
                saved = time.monotonic()
                self.report_validation()

    def save(self) -> None:
        """Write `last.pt` in one step, in the process that writes."""
        if self.writes:
            write_state(self.out / LAST, self.layout, self.identity, self.model, self.optimizer, self.position)


def run_to_end(run: ResumableRun[Any], doing: str, *, resume: bool, save_every_s: float = math.inf) -> Path:
    """Start or resume a run, alone in its folder, and return the path of its best checkpoint.

    `doing` (`being trained`) goes into the message for a second process that wants the folder. Raises `RunError` if
    another process has the folder or it holds something else, and the errors of `ResumableRun.start` and of the steps.
    """
    with taken(run.out, doing, BEST, LAST) if run.writes else nullcontext():
        run.start(resume)
        run.wait()  # before the first of them writes what another reads
        run.work(save_every_s)
    return run.out / BEST
