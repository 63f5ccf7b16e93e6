"""Links, anchors, paths and Python names in the Markdown documents exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hvae_mnn

PACKAGE = Path(hvae_mnn.__file__).parent
ROOT = PACKAGE.parent
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *PACKAGE.rglob("*.md"),
        *(ROOT / name / "README.md" for name in ("device_models", "experiments", "netlists")),
    ]
)
FOLDERS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
PHYSICS = ("devices", "crossbar", "crossbar/nonidealities", "netlist", "engines", "cosim", "studies")
_FILES = {"json", "md", "parquet", "png", "pt", "py", "svg", "toml"}
"""Endings by which `training.png` is a file and no Python name."""


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> Iterator[str]:
    """Targets of Markdown links, without those of the web."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(text)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> Iterator[str]:
    for target in links(text):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve()
        there = file.read_text(encoding="utf-8") if name and file.is_file() else text
        if not file.exists() or (anchor and anchor not in anchors(there)):
            yield target


def missing_paths(path: Path, text: str) -> Iterator[str]:
    """Paths in code that begin at the repository's root; and bare modules in a package folder's README."""
    begin = r"(?:hvae_mnn|tests|docs|examples|device_models|scripts)/"
    roots = (path.parent, PACKAGE, ROOT)
    for name in re.findall(rf"(?<![\w./]){begin}[\w./*-]*[\w*]", text):
        if not list(ROOT.glob(name)):
            yield name
    if PACKAGE in path.parents:
        for name in re.findall(r"`([\w/]+\.py)`", text):
            if not re.match(begin, name) and not any((folder / name).is_file() for folder in roots):
                yield name


def missing_names(text: str) -> Iterator[str]:
    """Dotted names in code that begin with the package or one of its folders."""
    for name in re.findall(r"`([a-z_]+(?:\.\w+)+)(?:\(\))?`", without_blocks(text)):
        first, last = name.split(".")[0], name.split(".")[-1]
        if last in _FILES or first not in FOLDERS | {"hvae_mnn"}:
            continue
        if not exists(name if first == "hvae_mnn" else f"hvae_mnn.{name}"):
            yield name


def exists(name: str) -> bool:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_paths_and_names_in_documents_exist(path):
    text = path.read_text(encoding="utf-8")
    assert not list(broken_links(path, text))
    assert not list(missing_paths(path, text))
    assert not list(missing_names(text))


def test_the_readme_is_short_and_its_cells_hold_one_number():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    table = lines[lines.index("| quantity | value |") + 2 :]
    values = [line.strip("| ").split(" | ")[-1] for line in table[: table.index("")]]
    assert values
    for value in values:
        assert re.fullmatch(r"[\d.,e-]+( %)?( [a-zA-Z ]+)?", value), value


def test_the_readme_names_every_folder_and_root_module():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.partition("```\nhvae_mnn/\n")[2].partition("```")[0]
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)) == FOLDERS
    assert {name for name in modules if not re.search(rf"\b{name}\b", tree)} == set()


@pytest.mark.parametrize("folder", PHYSICS)
def test_a_physics_folder_says_what_it_computes(folder):
    text = (PACKAGE / folder / "README.md").read_text(encoding="utf-8")
    for heading in ("Equations", "Assumptions", "Not modelled", "Proof"):
        assert re.search(rf"^## {heading}", text, re.MULTILINE), heading


def test_this_test_finds_what_is_wrong(tmp_path):
    path = PACKAGE / "devices" / "README.md"
    text = "# Head line\n[a](no.md) [b](#head-line) [c](#tail) [d](../files.py)\n`tests/no.py` `none.py` `memristor.py`"
    text += "\n`hvae_mnn.devices.memristor.AistSpec` `devices.memristor.NoSpec` `cosim.nothing` `training.png`"
    assert list(broken_links(path, text)) == ["no.md", "#tail"]
    assert list(missing_paths(path, text)) == ["tests/no.py", "none.py"]
    assert list(missing_names(text)) == ["devices.memristor.NoSpec", "cosim.nothing"]
