"""Names of the files of a netlist folder."""

from __future__ import annotations

from hvae_mnn.crossbar.network import CrossbarLayer, CrossbarUnit

MANIFEST = "manifest.json"
CONDUCTANCES = "conductances.safetensors"


def elements_file(unit: CrossbarUnit) -> str:
    """File with the elements of the unit's array."""
    return f"{unit.array}.inc"


def deck_file(part: CrossbarLayer | CrossbarUnit) -> str:
    """Deck of one array with its test vector, or of a whole layer."""
    return f"{part.array if isinstance(part, CrossbarUnit) else part.name}.cir"
