"""Cost of a token: energy, settling time and area of a build, layer by layer, against a digital processor.

A token is one time step of every layer: one step of the decoder, and one step of each encoder, since a sentence is read
once and written once. Energies of reads are means over the steps of real text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.cosim.pulses import pulse_reads
from hvae_mnn.crossbar.network import CrossbarLayer, CrossbarNetwork, CrossbarUnit
from hvae_mnn.crossbar.power import ReadPower
from hvae_mnn.crossbar.settling import Settling
from hvae_mnn.engines.array_process import array_decks
from hvae_mnn.engines.ngspice import require_klu
from hvae_mnn.engines.start import exact_engine
from hvae_mnn.errors import InputError
from hvae_mnn.folders import RUNS, check_writable, new_run
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.studies.cost.assumptions import Assumption, Given, assumptions
from hvae_mnn.studies.cost.power import TRANSIENT_LIMIT_S, array_power, ngspice_power, ngspice_settling, tile_settling
from hvae_mnn.studies.cost.result import Cost, LayerCost, SettlingCheck, TileCheck, write_cost
from hvae_mnn.studies.referee.cases import every_tile, some_reads, text_reads, tile_cases
from hvae_mnn.studies.referee.tile import TileCase

Array = NDArray[np.float64]
STEPS, TILES = 40, 4
_READS = 2
"""Reads of each chosen tile in ngspice."""
_LOOSE = 1e-3
"""Tolerance of a settled current without an ADC, relative to the tile's largest current."""


def cost(
    manifest: Manifest,
    *,
    given: Given | None = None,
    steps: int = STEPS,
    tiles: int = TILES,
    seed: int = 0,
    text: str | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
    cluster: Cluster | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Cost:
    """Cost of a token on the build, over the first `steps` time steps of the test split of the corpus in `data_dir`
    (default: the built-in one), or over `text`.

    Power is computed in closed form for every tile. ngspice computes the power of `tiles` tiles, chosen with `seed`
    from all layers in turn, and the transient of the slowest of them. `given` replaces assumptions. Tables go to `out`
    (default: a new folder in `runs/`). `progress` is called with a phase, and the numbers of finished and of all items.
    Raises `InputError` for arguments out of range, for moving or nonlinear memristors and for amplifiers that clip,
    `SimulatorError` if ngspice fails.
    """
    for name, value, least in (("tiles", tiles, 1), ("steps", steps, 1), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"--{name} is {value}; allowed: {least} or more")
    _refuse(manifest)
    known = assumptions(manifest, given or Given())
    check_writable(out or RUNS)
    cluster = cluster or Cluster.here()
    require_klu(array_decks(manifest), cluster)
    engine = exact_engine(manifest, progress, cluster)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 6]))
    reads = text_reads(manifest, engine, steps, rng, text, data_dir)

    def phase(name: str) -> Callable[[int, int], None] | None:
        return None if progress is None else partial(progress, name)

    with new_run(out, f"cost-{manifest.name}") as folder:  # fails before the work if another process holds it
        powers = _array_watts(manifest, reads.means, cluster, phase("power"))
        cases = tile_cases(manifest, engine, some_reads(reads.applied, _READS, rng), _choose(manifest, tiles, rng))
        checks, settling, curves = _check(manifest, cases, reads.means, known, cluster, phase)
        layers = tuple(_layer(manifest, layer, powers, known, checks) for layer in manifest.layers)
        result = Cost(
            folder=folder,
            manifest=manifest,
            origin=reads.origin,
            reads=min(len(volts) for volts in reads.means.values()),
            layers=layers,
            assumptions=tuple(known.values()),
            checks=tuple(checks),
            settling=settling,
        )
        write_cost(result, powers, known["read_time"].value, curves, steps, seed)
    return result


def _refuse(manifest: Manifest) -> None:
    if manifest.moving is not None:
        raise InputError(
            f"{manifest.folder} has memristors that move ({manifest.device_backend}): the energy of a read has no"
            " closed form; build with --device-backend static"
        )
    if manifest.hardware.cells.read_law != "ohmic":
        raise InputError(
            f"{manifest.folder} has memristors with the read law {manifest.hardware.cells.read_law}: power is not"
            ' a quadratic form of the voltages; build with read_law = "ohmic"'
        )


def _array_watts(
    manifest: Manifest,
    means: Mapping[str, Array],
    cluster: Cluster,
    progress: Callable[[int, int], None] | None,
) -> dict[str, ReadPower]:
    """Power by array, mean over the time of a read, in watts; fields have shape (tiles, S).

    Raises `InputError` for amplifiers that clip.
    """
    layouts = manifest.layouts
    conductances = {name: stored.conductance for name, stored in read_conductances(manifest).items()}
    if manifest.hardware.coding == "pulse_width":
        pulses = {name: pulse_reads(volts, manifest.device.read_v) for name, volts in means.items()}
        by_phase = array_power(
            conductances, layouts, {name: read.volts for name, read in pulses.items()}, cluster, progress
        )
        powers = {
            name: replace(
                power,
                drivers=pulses[name].mean(power.drivers.T).T,
                amplifiers=pulses[name].mean(power.amplifiers.T).T,
            )
            for name, power in by_phase.items()
        }
    else:
        powers = array_power(conductances, layouts, means, cluster, progress)
    swing = manifest.hardware.amplifier.swing_v
    largest = max(power.largest_output_v for power in powers.values())
    if largest > swing:
        raise InputError(
            f"an amplifier of {manifest.folder} would reach {largest:.3g} V and clips at {swing:g} V: the energy of"
            " such a read has no closed form; build with a smaller sense.feedback_ohm, or a wider sense.swing_v"
        )
    return powers


def _choose(network: CrossbarNetwork, tiles: int, rng: np.random.Generator) -> list[tuple[CrossbarUnit, int]]:
    """Random tiles, one of each layer in turn."""
    every = every_tile(network)
    by_layer = []
    for layer in network.layers:
        own = [(unit, number) for unit, number in every if unit in layer.units]
        by_layer.append([own[index] for index in rng.permutation(len(own)).tolist()])
    in_turn = [own[index] for index in range(max(len(own) for own in by_layer)) for own in by_layer if index < len(own)]
    return in_turn[:tiles]


@dataclass(frozen=True)
class _SettlingJob:
    """A step of a tile's rows, whose settling is computed."""

    case: TileCase
    volts: Array
    """Voltages (M,) of the tile's rows after the step."""
    farads: float
    """Capacitance of one segment of a line."""
    tolerance: float
    """Largest remaining current of a settled bit line, amperes."""
    expected_s: float = 0.0
    """Settling time by implicit integration."""


def _settle(job: _SettlingJob) -> Settling | None:
    return tile_settling(job.case, job.volts, job.farads, job.tolerance)


def _settle_in_ngspice(job: _SettlingJob) -> Settling:
    return ngspice_settling(job.case, job.volts, job.farads, job.expected_s)


def _closed(case: TileCase) -> ReadPower:
    """Power of the case's tile in closed form, in watts; fields have shape (K,)."""
    power = array_power({"": case.memristors}, {"": case.layout}, {"": case.volts})[""]
    return replace(power, drivers=power.drivers[case.number], amplifiers=power.amplifiers[case.number])


def _check(
    network: CrossbarNetwork,
    cases: Sequence[TileCase],
    means: Mapping[str, Array],
    known: Mapping[str, Assumption],
    cluster: Cluster,
    phase: Callable[[str], Callable[[int, int], None] | None],
) -> tuple[list[TileCheck], SettlingCheck | None, dict[str, Settling]]:
    """Checks of power and settling of the cases, and the settling curves of the slowest by source."""
    powers = cluster.map(ngspice_power, cases, progress=phase("ngspice: power"))
    jobs = [_settling_job(network, case, means[case.array], known["line_capacitance"].value) for case in cases]
    settled = cluster.map(_settle, jobs, progress=phase("settling"), limit_s=TRANSIENT_LIMIT_S)
    checks, times = [], []
    for case, read, job, curve in zip(cases, powers, jobs, settled, strict=True):
        spice, closed = (power.drivers + power.amplifiers for power in (read, _closed(case)))
        seconds = None if curve is None else curve.seconds(job.tolerance)
        times.append(seconds or 0.0)
        layer = next(layer for layer, unit in network.units() if unit.array == case.array)
        tile = case.layout.tiles[case.number].name
        apart = np.abs(closed - spice[0]) / np.where(spice[0] == 0, 1.0, np.abs(spice[0]))
        watts = float(spice.mean())
        checks.append(
            TileCheck(layer.name, case.array, tile, len(case.volts), watts, float(apart.max()), seconds, job.tolerance)
        )
    slowest = int(np.argmax(times))
    curve = settled[slowest]
    if curve is None or not times[slowest]:
        return checks, None, {}
    job = replace(jobs[slowest], expected_s=times[slowest])
    (spice_curve,) = cluster.map(
        _settle_in_ngspice, [job], progress=phase("ngspice: transient"), limit_s=TRANSIENT_LIMIT_S
    )
    check = SettlingCheck(
        checks[slowest].array,
        checks[slowest].tile,
        job.tolerance,
        times[slowest],
        spice_curve.seconds(job.tolerance),
    )
    return checks, check, {"implicit": curve, "ngspice": spice_curve}


def _settling_job(network: CrossbarNetwork, case: TileCase, means: Array, farads: float) -> _SettlingJob:
    """A step from 0 V to the read with the largest sum of squares on the tile; with pulses, to their full amplitude."""
    layout = case.layout
    tile = layout.tiles[case.number]
    own = means[:, tile.rows.start : tile.rows.stop]
    volts = own[int((own**2).sum(1).argmax())]
    if network.hardware.coding == "pulse_width":
        volts = np.sign(volts) * network.device.read_v
    return _SettlingJob(case, volts, farads, _tolerance(network, case, volts))


def _tolerance(network: CrossbarNetwork, case: TileCase, volts: Array) -> float:
    """Half a step of the array's ADC in amperes, divided by the number of tiles whose currents it adds. Without an ADC
    of known full scale behind the bit lines, 0.1 % of the tile's largest signed current."""
    hardware, layout = network.hardware, case.layout
    layer, unit = next((layer, unit) for layer, unit in network.units() if unit.array == case.array)
    tile = layout.tiles[case.number]
    fixed = hardware.adc.full_scale if hardware.adc.range == "fixed" else None
    if hardware.adc.bits and hardware.gates == "software" and (fixed or unit.adc_range):
        calibrated = np.min(unit.adc_range or 0.0) * layer.volts_per_unit / np.asarray(unit.scale)
        amperes = fixed or float(calibrated.min())
        together = len(layout.row_blocks) if layout.sums == 1 else 1
        return float(amperes / (2 ** (hardware.adc.bits - 1) - 1) / 2 / together)
    ideal = volts @ layout.without_wires(case.memristors)[tile.rows.start : tile.rows.stop]
    return _LOOSE * (float(np.abs(ideal[tile.columns.start : tile.columns.stop]).max()) or 1e-9)


def conversions(network: CrossbarNetwork, layer: CrossbarLayer) -> tuple[int, int]:
    """Numbers of DAC and ADC conversions in one step of a layer.

    A number passes its DAC once for all arrays that it drives; the bias is a fixed voltage without DAC. An ADC converts
    every output of every array: a number per column and, if partial sums are converted, per row block. With gates in
    the circuit, it converts only the new hidden state.
    """
    hardware = network.hardware
    roles = {group.role: group.size for unit in layer.units for group in unit.rows if group.role != "b"}
    if hardware.gates == "circuit":
        outputs = layer.hidden_size
    else:
        outputs = sum(network.layout(unit).outputs for unit in layer.units)
    return sum(roles.values()) * bool(hardware.dac.bits), outputs * bool(hardware.adc.bits)


def multiply_accumulates(layer: CrossbarLayer) -> int:
    """Multiply-accumulates of a digital processor for one step of a layer: one per weight and bias. Peepholes, which
    are a diagonal in a full crossbar, count once per hidden unit."""
    count = 0
    for unit in layer.units:
        for group in unit.rows:
            count += unit.columns * (1 if group.role in ("cp", "ct") else group.size)
    return count


def _layer(
    network: CrossbarNetwork,
    layer: CrossbarLayer,
    powers: Mapping[str, ReadPower],
    known: Mapping[str, Assumption],
    checks: Sequence[TileCheck],
) -> LayerCost:
    hardware = network.hardware
    layouts = [network.layout(unit) for unit in layer.units]
    read_s, pitch = known["read_time"].value, known["cell_pitch"].value
    own = [powers[unit.array] for unit in layer.units]
    amplifiers = sum(power.amplifiers.sum(0) for power in own) * read_s  # (S,)
    energy = sum(power.drivers.sum(0) for power in own) * read_s + amplifiers
    dacs, adcs = conversions(network, layer)
    macs = multiply_accumulates(layer)
    crossings = sum(
        len(tile.rows) * len(tile.bit_lines) * layout.lines_per_row for layout in layouts for tile in layout.tiles
    )
    settled = [check.settling_s for check in checks if check.layer == layer.name and check.settling_s is not None]
    return LayerCost(
        layer=layer.name,
        tiles=sum(len(layout.tiles) for layout in layouts),
        array_j=float(np.mean(energy)),
        amplifiers_j=float(np.mean(amplifiers)),
        spread_j=float(np.std(energy)),
        dac_conversions=dacs,
        adc_conversions=adcs,
        dac_j=dacs * known["dac_fom"].value * 2**hardware.dac.bits,
        adc_j=adcs * known["adc_fom"].value * 2**hardware.adc.bits,
        macs=macs,
        digital_j=macs * known["mac_energy"].value,
        cell_m2=crossings * pitch**2,
        adc_m2=adcs * known["adc_area"].value,
        settling_s=max(settled, default=None),
    )
