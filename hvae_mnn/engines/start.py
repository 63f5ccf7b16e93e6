"""Engines for the arrays of a netlist folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from hvae_mnn.engines.array_process import array_decks
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.engines.ideal import IdealEngine
from hvae_mnn.engines.ngspice import NgspiceEngine
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.engines.transfer_cache import TransferCache
from hvae_mnn.errors import InputError, RunError
from hvae_mnn.files import cache_folder
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.parallel.cluster import Cluster

Progress = Callable[[str, int, int], None]
"""Called with a phase, the parts that are done, and how many there are."""
BEHAVIOURAL_BYTES = 60 * 2**10
"""Memory of a behavioural memristor in ngspice, measured."""
WIRED_BYTES = 5 * 2**10
"""Memory of a cell with its two wire segments in ngspice, measured: 12 GiB for 2.2 million."""


def start_engine(
    name: str, manifest: Manifest, progress: Progress | None = None, cluster: Cluster | None = None
) -> Engine:
    """The engine called `name` (`ideal`, `exact` or `ngspice`) with all arrays of a build loaded.

    Its work is done on `cluster` (default: this process). Raises `InputError` for an engine that cannot simulate this
    build, `RunError` for one that this machine cannot hold, `ManifestError` for damaged files.
    """
    if name == "ngspice":
        return ngspice_engine(manifest, progress, cluster)
    return ideal_engine(manifest) if name == "ideal" else exact_engine(manifest, progress, cluster)


def ideal_engine(manifest: Manifest) -> IdealEngine:
    """Dense products of the build's conductances. Raises `ManifestError`."""
    conductances = {name: stored.conductance for name, stored in read_conductances(manifest).items()}
    return IdealEngine(conductances, manifest.layouts, manifest.moving)


def exact_engine(manifest: Manifest, progress: Progress | None = None, cluster: Cluster | None = None) -> ExactEngine:
    """Nodal analysis of the build's tiles, solved on `cluster`, with the user's cache.

    Raises `InputError` for memristors that move, `ManifestError` for damaged files.
    """
    if manifest.moving is not None:
        raise InputError(
            f"{manifest.folder} has memristors that move ({manifest.device_backend}), and the exact engine solves"
            " frozen ones; choose --engine ngspice, or build with --device-backend static"
        )
    conductances = {name: stored.conductance for name, stored in read_conductances(manifest).items()}
    loading = None if progress is None else partial(progress, "loading")
    return ExactEngine(
        conductances, manifest.layouts, cache=TransferCache(cache_folder()), cluster=cluster, progress=loading
    )


def ngspice_engine(
    manifest: Manifest, progress: Progress | None = None, cluster: Cluster | None = None
) -> NgspiceEngine:
    """ngspice with the build's decks, one process per array. Raises `RunError` for what this machine cannot hold."""
    _require_memory(manifest)
    decks, loaded = array_decks(manifest), []

    def on_loaded(array: str) -> None:
        loaded.append(array)
        if progress is not None:
            progress("loading", len(loaded), len(decks))

    return NgspiceEngine(decks, on_loaded, cluster)


def _require_memory(manifest: Manifest) -> None:
    """Refuse more than this machine can hold: behavioural devices, which keep an expression tree each, and cells with
    wires, which are nodes."""
    count = manifest.memristors
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wires = manifest.hardware.wires
    tiles = [(layout, tile) for layout in manifest.layouts.values() for tile in layout.tiles]
    cells = sum(len(tile.rows) * len(tile.bit_lines) * layout.lines_per_row for layout, tile in tiles)
    if (wires.word_ohm or wires.bit_ohm) and cells * WIRED_BYTES > there:
        raise RunError(
            f"{manifest.folder} has {cells:,} cells with wires, about {cells * WIRED_BYTES / 2**30:.0f} GiB in ngspice;"
            f" this machine has {there / 2**30:.0f} GiB: use --engine exact, and hvae-mnn verify for the proof"
        )
    if manifest.device_backend == "behavioural" and count * BEHAVIOURAL_BYTES > there:
        raise RunError(
            f"{manifest.folder} has {count:,} behavioural memristors, about {count * BEHAVIOURAL_BYTES / 2**30:.0f} GiB"
            f" in ngspice; this machine has {there / 2**30:.0f} GiB: build it with --device-backend osdi"
        )
