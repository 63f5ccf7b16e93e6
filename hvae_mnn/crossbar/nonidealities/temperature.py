"""Temperature of a chip: wire resistance, and thermal noise (in `read_noise`).

R(T) = R(T_0) (1 + alpha (T - T_0)) for word and bit lines; alpha = 0.00393 / K is that of annealed bulk copper (IEC
60028) for T_0 = 293.15 K; for the default T_0 = 300 K the same copper has 0.00383 / K, and thin lines have less.
Drivers and amplifiers are assumed to be compensated. No formula is known for the AIST memristor: its states and
conductances do not change with temperature here.
"""

from __future__ import annotations

from dataclasses import replace

from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities


def hardware_at(hardware: Hardware, spec: Nonidealities) -> Hardware:
    """The hardware with its wires at the temperature in `spec`."""
    temperature = spec.temperature
    factor = 1 + temperature.wire_per_kelvin * (temperature.kelvin - temperature.reference_kelvin)
    if factor == 1:
        return hardware
    wires = hardware.wires
    return replace(hardware, wires=replace(wires, word_ohm=wires.word_ohm * factor, bit_ohm=wires.bit_ohm * factor))
