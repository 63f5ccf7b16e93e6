"""Hardware presets of the package: TOML texts in `presets/`, written as a user would write them."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal, get_args

PresetName = Literal["paper", "tile64", "pair128", "pulse64"]
HARDWARE_PRESETS: tuple[PresetName, ...] = get_args(PresetName)
"""Names of the presets, the simplest first."""


def preset_text(name: PresetName) -> str:
    """The TOML text of a preset, comments included."""
    return (files("hvae_mnn.crossbar.hardware") / "preset_files" / f"{name}.toml").read_text(encoding="utf-8")


def preset_summary(name: PresetName) -> str:
    """One-line description of a preset: the first comment of its text."""
    return preset_text(name).splitlines()[0].removeprefix("#").strip()
