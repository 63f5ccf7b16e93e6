"""Which rows of a table run on hardware, and on which: the section `[hardware]` of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from hvae_mnn.crossbar.hardware.file import hardware_from_dict, hardware_to_dict, read_hardware
from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.nonidealities.file import nonidealities_from_dict, nonidealities_to_dict
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.reading import is_file
from hvae_mnn.sweeps.form import MOST_SEEDS, Form


class HardwareForm(Form):
    """The section as the file has it."""

    description: str = Field(min_length=1, description="the name of a preset, or a hardware file")
    noise: dict[str, Any] = Field(default_factory=dict, description="tables of non-idealities (docs/nonidealities.md)")
    chips: int = Field(3, ge=1, le=MOST_SEEDS, description=f"a whole number from 1 to {MOST_SEEDS:,}")
    sentences: int | None = Field(None, ge=2, description="a whole number from 2 on; leave it out for all")
    rows: list[str] | None = Field(None, min_length=1, description="a list of rows; leave it out for all")
    best: int | None = Field(None, ge=1, description="a whole number from 1 on; leave it out for all")


@dataclass(frozen=True)
class HardwarePlan:
    """Hardware of a table's column "next word right", and the rows that have it."""

    hardware: Mapping[str, Any]
    """From `crossbar.hardware.file.hardware_to_dict`."""
    noise: Mapping[str, Any]
    """From `crossbar.nonidealities.file.nonidealities_to_dict`."""
    chips: int
    """Draws of the non-idealities for every trained model."""
    sentences: int | None
    """Sentences of the test split, from the first on; None: all."""
    rows: tuple[str, ...] | None = None
    """Rows that may have the column; None: all."""
    best: int | None = None
    """Number of rows that have it on each corpus: of `rows`, those with the lowest NLL (importance-weighted, else the
    ELBO's), mean over seeds. None: all."""

    @property
    def asked(self) -> dict[str, Any]:
        """Everything but the model that the figures depend on, as a JSON file gives it back."""
        hardware = {key: value for key, value in self.hardware.items() if key not in ("name", "source")}
        plain = {"hardware": hardware, "noise": self.noise, "chips": self.chips, "sentences": self.sentences}
        return json.loads(json.dumps(plain))  # type: ignore[no-any-return]

    @property
    def text(self) -> str:
        """The hardware in a line, as tables state it."""
        hardware, noise = self.built(), self.drawn()
        tiles = [hardware.tiling.rows or "all", hardware.tiling.columns or "all"]
        changes = []
        usual = nonidealities_to_dict(Nonidealities())
        for section, values in nonidealities_to_dict(noise).items():
            for key, value in values.items():
                if value != usual[section][key]:
                    changes.append(f"{section}.{key} {value}")
        converters = f"{hardware.dac.bits}-bit DACs, {hardware.adc.bits}-bit ADCs"
        return (
            f"{hardware.name}: tiles of {tiles[0]} rows and {tiles[1]} columns, wires of {hardware.wires.word_ohm:g}"
            f" and {hardware.wires.bit_ohm:g} ohm per cell, {converters}; {', '.join(changes) or 'no non-idealities'}"
        )

    def built(self) -> Hardware:
        """The hardware."""
        return hardware_from_dict(self.hardware)

    def drawn(self) -> Nonidealities:
        """The non-idealities."""
        return nonidealities_from_dict(self.noise, "hardware.noise")


def hardware_plan(form: HardwareForm, folder: Path) -> HardwarePlan:
    """The plan of a section, with files relative to `folder`, or else to the working folder.

    Raises `HardwareError` for hardware that is none, and `InputError` for non-idealities that are none.
    """
    name: str | Path = form.description
    if name not in HARDWARE_PRESETS and is_file(folder / name):
        name = folder / name
    return HardwarePlan(
        hardware_to_dict(read_hardware(name)),
        nonidealities_to_dict(nonidealities_from_dict(form.noise, "hardware.noise")),
        form.chips,
        form.sentences,
        None if form.rows is None else tuple(form.rows),
        form.best,
    )
