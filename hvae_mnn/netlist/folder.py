"""Reads a netlist folder, and checks every value of its manifest, every hash and every line of its decks."""

from __future__ import annotations

import os
from pathlib import Path

from hvae_mnn.errors import InputError, ManifestError
from hvae_mnn.files import HASHED_BYTES, SEAL, read_json, seal, sha256
from hvae_mnn.netlist.contents import check_contents
from hvae_mnn.netlist.file_names import CONDUCTANCES, MANIFEST
from hvae_mnn.netlist.manifest import FORMAT, Manifest, manifest_from_dict
from hvae_mnn.netlist.replacement import recover
from hvae_mnn.reading import is_missing, open_regular, shown


def read_manifest(folder: Path, verify: bool = True) -> Manifest:
    """Read and check the manifest of `folder`; with `verify`, also check the hashes and the contents of all files.

    Raises `ManifestError` with the file, the value found and the next step.
    """
    folder = Path(folder)
    if folder.name == MANIFEST:
        folder = folder.parent
    path = folder / MANIFEST
    if is_missing(folder):
        recover(folder.parent, folder.name)
    if is_missing(path):
        raise ManifestError(
            f"{shown(folder)} is not a netlist folder: it has no {MANIFEST}; make one with hvae-mnn build-netlist"
        )
    try:
        stored = read_json(path, "manifest")
    except InputError as error:
        raise ManifestError(f"{error}; build the netlists again") from None
    if stored.get("format") != FORMAT:
        other = shown(repr(stored.get("format")))
        raise ManifestError(f"{path}: format is {other}; allowed: {FORMAT!r}; build the netlists again")
    if stored.get(SEAL) != seal(stored):
        raise ManifestError(f"{path} does not match its checksum: a value was changed; build the netlists again")
    manifest = manifest_from_dict(stored, folder)
    if verify:
        _verify(manifest)
    return manifest


def _check_size(manifest: Manifest) -> None:
    """Raise `ManifestError` if the file of conductances is too small for the arrays in the manifest."""
    path, claimed = manifest.folder / CONDUCTANCES, 8 * manifest.memristors
    try:
        handle, size = open_regular(path, HASHED_BYTES, "file of conductances")
        os.close(handle)
    except InputError as error:
        raise ManifestError(f"{error}; the manifest lists it: build the netlists again") from None
    if size < claimed:
        raise ManifestError(
            f"{path} has {size:,} bytes; the manifest's {manifest.memristors:,} memristors take {claimed:,}: build the"
            " netlists again"
        )


def _verify(manifest: Manifest) -> None:
    _check_size(manifest)
    for name, expected in manifest.files.items():
        path = manifest.folder / name
        try:
            digest = sha256(path)
        except InputError as error:
            raise ManifestError(f"{error}; the manifest lists it: build the netlists again") from None
        if digest != expected:
            raise ManifestError(
                f"{path}: SHA-256 is {digest[:16]}..., the manifest says {expected[:16]}...; the file was changed or"
                " cut short: build the netlists again"
            )
    check_contents(manifest)
