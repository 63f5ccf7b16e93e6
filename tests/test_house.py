"""Imports run one way, from what a person runs down to the foundations, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import hvae_mnn

PACKAGE = Path(hvae_mnn.__file__).parent
PHYSICS = ("devices", "crossbar", "netlist", "spice", "engines")
"""Each may import those before it, and `parallel`."""
LANGUAGE = ("text", "models", "evaluation", "training")
"""Each may import those before it."""
ABOVE = ("cosim", "finetuning", "studies", "sweeps", "reproduction", "plots", "api", "cli")
"""Where the two pillars meet: each may import those before it, and both pillars."""
ROOT_MODULES = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
}


def allowed(room: str) -> set[str]:
    """What a folder may import besides itself and the root modules."""
    for pillar, shared in ((PHYSICS, {"parallel"}), (LANGUAGE, set())):
        if room in pillar:
            return {*pillar[: pillar.index(room)]} | shared
    if room == "parallel":
        return set()
    return {*PHYSICS, "parallel", *LANGUAGE, *ABOVE[: ABOVE.index(room)]}


def imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports anywhere, as dotted names within it; the package itself is ''."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hvae_mnn":
            base = node.module.removeprefix("hvae_mnn").removeprefix(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".removeprefix(".")
                yield name if name in MODULES or (PACKAGE / name.replace(".", "/")).is_dir() else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "hvae_mnn":
                    yield alias.name.removeprefix("hvae_mnn").removeprefix(".")


def test_every_folder_has_its_floor():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == {*PHYSICS, "parallel", *LANGUAGE, *ABOVE}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_is_imported_from_above(name):
    room = name.split(".")[0]
    for module in imports(MODULES[name]):
        top = module.split(".")[0]
        if room in ROOT_MODULES:
            assert top in ROOT_MODULES, f"{name} imports {module}"
        else:
            assert top in allowed(room) | {room} | ROOT_MODULES, f"{name} imports {module or 'hvae_mnn'}"


def test_no_circle_of_modules():
    graph = {name: {module for module in imports(path) if module in MODULES} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def lines_of(folder: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("*.py"))


def test_no_folder_is_a_house_of_its_own():
    folders = {path.parent for path in MODULES.values()} - {PACKAGE}
    largest = max(folders, key=lines_of)
    assert lines_of(largest) <= sum(map(lines_of, folders | {PACKAGE})) / 8, largest
    assert len(list((PACKAGE / "cosim").glob("*.py"))) <= 14


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_has_at_most_350_lines(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 350
