"""Imports run one way, from what a person runs down to the physics; nothing imports upwards or in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hvae_mnn

PACKAGE = Path(hvae_mnn.__file__).parent
BELOW = {
    "text": set(),
    "devices": set(),
    "vae": {"text"},
    "crossbar": {"devices"},
    "netlist": {"crossbar", "devices"},
    "engines": {"netlist", "crossbar", "devices"},
    "cosim": {"engines", "netlist", "crossbar", "devices", "vae", "text"},
    "experiments": {"cosim", "engines", "netlist", "crossbar", "devices", "vae", "text"},
    "plots": {"experiments", "cosim", "engines", "crossbar", "devices"},
}
"""What each package may import besides itself and the modules at the root."""
ROOT_MODULES = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "api"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hvae_mnn"):
            yield node.module.split(".")
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names if alias.name.startswith("hvae_mnn."))


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_is_below_it(room):
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        for module in imports(path):
            if len(module) > 1:
                assert module[1] in BELOW[room] | {room} | ROOT_MODULES, f"{path}: {'.'.join(module)}"


@pytest.mark.parametrize("module", sorted(ROOT_MODULES))
def test_the_root_modules_stand_on_each_other_only(module):
    assert all(name[1] in ROOT_MODULES for name in imports(PACKAGE / f"{module}.py"))
