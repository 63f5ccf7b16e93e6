"""Allowed contents of a netlist folder: lines that `build-netlist` writes, and no commands for ngspice to execute.

Hashes prove only that files and manifest belong together. A folder from elsewhere could contain a `shell` command in a
deck, an include of any file, or start-up files of ngspice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvae_mnn.crossbar.network import CrossbarLayer, CrossbarNetwork, CrossbarUnit
from hvae_mnn.errors import InputError, ManifestError
from hvae_mnn.files import sha256
from hvae_mnn.netlist.decks import TIA_LIBRARY
from hvae_mnn.netlist.device_lines import MODEL, OSDI_FILE, library, line_ending, model_file
from hvae_mnn.netlist.file_names import deck_file, elements_file
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.reading import MIB, read_bytes, shown

STARTUP_FILES = (".spiceinit", "spice.rc")
"""Files in the working folder that ngspice executes at its start, unless it is run with `-n`."""
_DECK_BYTES = 256 * MIB
_NUMBER = "[0-9][0-9.e+-]*"
_SIGNED = f"-?{_NUMBER}"
_CELL = "[a-z]+[0-9]+_(?:[0-9]+[pm]?|ref[0-9]+)"
_NODE = "[a-z][a-z0-9_]*"
_SUM = r"[A-Za-z0-9_.()\[\],+*/-]+"
"""An expression without spaces, quotes, redirections or substitutions."""
_COMMENT = r"\* [ -~]*"
"""A comment begins with a star and a space, because ngspice executes lines `*#command`."""


def check_contents(manifest: Manifest) -> None:
    """Raise `ManifestError` if a folder with valid hashes has contents that builds never write."""
    for name in STARTUP_FILES:
        path = manifest.folder / name
        if path.is_symlink() or path.exists():
            raise ManifestError(
                f"{path} is executed by ngspice where a deck is run without -n; look at it, and delete it"
            )
    _check_models(manifest)
    elements = _anything_but(_elements(manifest))
    for _, unit in manifest.units():
        _check_lines(manifest, elements_file(unit), elements, "an element of an array")
    lines = _anything_but(_deck_lines(manifest))
    parts: list[CrossbarLayer | CrossbarUnit] = [*manifest.layers, *(unit for _, unit in manifest.units())]
    for name in sorted({deck_file(part) for part in parts}):
        _check_lines(manifest, name, lines, "a line of a deck", "hvae-mnn ")


def _models(network: CrossbarNetwork) -> set[str]:
    """Files with models of devices and amplifiers that a deck of this build may include."""
    models = {library(network.device)} if network.device_backend == "behavioural" else set()
    return models if network.hardware.amplifier.kind == "ideal" else models | {TIA_LIBRARY}


def _check_models(manifest: Manifest) -> None:
    """Raise `ManifestError` unless the models equal this package's own, which the engines use in any case."""
    for name in sorted(_models(manifest)):
        if manifest.files.get(name) != sha256(model_file(name)):
            raise ManifestError(
                f"{manifest.folder / name} is not the model of this version of hvae-mnn; build the netlists again"
            )


def _check_lines(manifest: Manifest, name: str, foreign: re.Pattern[bytes], what: str, title: str = "") -> None:
    """Raise `ManifestError` for the first line that `foreign` matches; `title` begins a deck's first line."""
    path = manifest.folder / name
    try:
        text = read_bytes(path, _DECK_BYTES, "deck") if title else path.read_bytes()
    except InputError as error:
        raise ManifestError(f"{error}; build the netlists again") from None
    start = 0
    if title:
        # For ngspice the first line is the title, unless it declares the file a script.
        start = text.find(b"\n") + 1
        if not re.match(f"{title}[ -~]*\n".encode("ascii"), text):
            raise ManifestError(f"{path}: its first line is not the title of a deck; not run")
    match = foreign.search(text, start)
    if match:
        line = text[match.start() :].partition(b"\n")[0][:200].decode("ascii", "backslashreplace")
        number = text.count(b"\n", 0, match.start()) + 1
        raise ManifestError(f"{path}, line {number}: {shown(repr(line))} is not {what}; not run")


def _anything_but(lines: Iterator[str]) -> re.Pattern[bytes]:
    """Pattern that matches the beginning of every line that none of the patterns `lines` matches as a whole."""
    return re.compile(f"^(?!(?:{'|'.join(lines)})\n|\\Z)".encode("ascii"), re.MULTILINE)


def _elements(network: CrossbarNetwork) -> Iterator[str]:
    """Patterns of cells, wires and comments."""
    if network.moving is not None:
        letter, ending = line_ending(network.moving.spec, network.moving.backend)
        yield f"{letter}m{_CELL} {_NODE} {_NODE} s{_CELL} {re.escape(ending)} x0={_NUMBER}"
    elif network.hardware.cells.read_law == "sinh":
        law = f"I={_NUMBER}\\*sinh\\({_NUMBER}\\*V\\({_NODE},{_NODE}\\)\\)"
        yield f"Bm{_CELL} {_NODE} {_NODE} {law}"
    else:
        yield f"Rm{_CELL} {_NODE} {_NODE} {_NUMBER}"
    yield f"R[swvb]{_CELL} {_NODE} {_NODE} {_NUMBER}"
    yield _COMMENT


def _deck_lines(network: CrossbarNetwork) -> Iterator[str]:
    """Patterns of all lines in the decks of units and layers (`decks`), of this version and earlier ones."""
    yield _COMMENT
    yield rf"\.options(?: [a-z0-9]+(?:={_NUMBER})?)+"
    included = sorted({elements_file(unit) for _, unit in network.units()} | _models(network))
    yield rf"\.include (?:{'|'.join(re.escape(name) for name in included)})"
    if network.device_backend == "osdi":
        yield rf"\.model {MODEL} {network.device.law}_memristor(?: [a-z0-9_]+={_SIGNED})+"
        yield re.escape(f"pre_osdi {OSDI_FILE}")
    # Drivers and their inverting partners, ammeters, amplifiers, and the gates of a layer.
    yield rf"V[a-z0-9_]+ {_NODE} 0 (?:DC {_SIGNED}|PWL\({_SIGNED}(?: {_SIGNED})*\))"
    yield rf"E[a-z0-9_]+ {_NODE} 0 {_NODE} 0 {_SIGNED}"
    yield rf"Xs[a-z0-9_]+ {_NODE} {_NODE} tia rf={_NUMBER} gain={_NUMBER} vos={_SIGNED} swing={_NUMBER}"
    yield rf"B[a-z0-9_]+ {_NODE} 0 V={_SUM}"
    yield rf"\.tran {_NUMBER} {_NUMBER} 0 {_NUMBER}"
    yield r"\.control|\.endc|\.end|set num_threads=1|set numdgt=[0-9]+|op|run"
    yield rf"print {_SUM}|let [a-z][a-z0-9_]*={_SUM}|meas tran q[0-9]+ integ {_SUM}"
