"""What the files of a netlist folder may hold: what `build-netlist` writes, and nothing that ngspice would execute.

Hashes prove only that files and manifest belong together. A folder from elsewhere could carry a `shell` command in a
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
"""What `ngspice -n -b` executes in the working folder; with `-n` it does not."""
_DECK_BYTES = 256 * MIB
_NUMBER = "[0-9][0-9.e+-]*"
_SIGNED = f"-?{_NUMBER}"
_CELL = "[a-z]+[0-9]+_(?:[0-9]+[pm]?|ref[0-9]+)"
_NODE = "[a-z][a-z0-9_]*"
_SUM = r"[A-Za-z0-9_.()\[\],+*/-]+"
"""An expression: no spaces, quotes, redirections or substitutions."""
_COMMENT = r"\* [ -~]*"
"""ngspice runs `*#command` lines, so a comment is a star and a space."""


def check_contents(manifest: Manifest) -> None:
    """Raise `ManifestError` when a folder, whose hashes are right, holds what no build writes."""
    for name in STARTUP_FILES:
        path = manifest.folder / name
        if path.is_symlink() or path.exists():
            raise ManifestError(
                f"{path} is executed by ngspice where a deck is run without -n; look at it, and delete it"
            )
    _check_models(manifest)
    elements = _anything_but(_elements(manifest))
    for _, unit in manifest.units():
        _check_lines(manifest, elements_file(unit), elements, "element of an array")
    lines = _anything_but(_deck_lines(manifest))
    parts: list[CrossbarLayer | CrossbarUnit] = [*manifest.layers, *(unit for _, unit in manifest.units())]
    for name in sorted({deck_file(part) for part in parts}):
        _check_lines(manifest, name, lines, "line of a deck", "hvae-mnn ")


def _models(network: CrossbarNetwork) -> set[str]:
    """Files with models of devices and amplifiers that a deck of this build may include."""
    found = {library(network.device)} if network.device_backend == "behavioural" else set()
    return found if network.hardware.amplifier.kind == "ideal" else found | {TIA_LIBRARY}


def _check_models(manifest: Manifest) -> None:
    """Models are compared with this package's own, which the engines use whatever lies in the folder."""
    for name in sorted(_models(manifest)):
        if manifest.files.get(name) != sha256(model_file(name)):
            raise ManifestError(
                f"{manifest.folder / name} is not the model of this version of hvae-mnn; build the netlists again"
            )


def _check_lines(manifest: Manifest, name: str, foreign: re.Pattern[bytes], what: str, title: str = "") -> None:
    path = manifest.folder / name
    try:
        text = read_bytes(path, _DECK_BYTES, "deck") if title else path.read_bytes()
    except InputError as error:
        raise ManifestError(f"{error}; build the netlists again") from None
    start = 0
    if title:
        # ngspice takes the first line for the title, unless it makes the file a script.
        start = text.find(b"\n") + 1
        if not re.match(f"{title}[ -~]*\n".encode("ascii"), text):
            raise ManifestError(f"{path}: its first line is no title of a deck; not run")
    found = foreign.search(text, start)
    if found:
        line = text[found.start() :].partition(b"\n")[0][:200].decode("ascii", "backslashreplace")
        number = text.count(b"\n", 0, found.start()) + 1
        raise ManifestError(f"{path}, line {number}: {shown(repr(line))} is no {what}; not run")


def _anything_but(lines: Iterator[str]) -> re.Pattern[bytes]:
    """The beginning of a line, with its end, that none of the patterns matches."""
    return re.compile(f"^(?!(?:{'|'.join(lines)})\n|\\Z)".encode("ascii"), re.MULTILINE)


def _elements(network: CrossbarNetwork) -> Iterator[str]:
    """Cells, wires and comments."""
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
    """Everything that stands in the decks of units and layers (`decks`), also in those of earlier versions."""
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
