"""Memristor parameters: thresholds, resistances, and the window in which weights are stored and read."""

from __future__ import annotations

from dataclasses import dataclass

from hvae_mnn.errors import MappingError


@dataclass(frozen=True)
class MemristorSpec:
    """A memristor as far as reading it is concerned: a resistance between two bounds that stays put below threshold."""

    name: str
    """Preset's name."""
    r_on_ohm: float
    """Smallest resistance, state x = 1 (eq. 8)."""
    r_off_ohm: float
    """Largest resistance, state x = 0 (eq. 8)."""
    v_set: float
    """V_th+ in volts: above it the resistance falls (eq. 9)."""
    v_reset: float
    """V_th- in volts, negative: below it the resistance rises (eq. 9)."""
    g_min: float
    """Smallest conductance used for weights, siemens."""
    g_max: float
    """Largest conductance used for weights, siemens."""
    read_v: float
    """Largest word-line voltage when reading, volts; below both thresholds, so that no state moves."""

    def __post_init__(self) -> None:
        """Refuse what physics does not allow."""
        where = f"memristor {self.name!r}"
        g_off, g_on = 1 / self.r_off_ohm, 1 / self.r_on_ohm
        threshold = min(self.v_set, -self.v_reset)
        if not 0 < self.r_on_ohm < self.r_off_ohm:
            raise MappingError(f"{where}: R_on {self.r_on_ohm}, R_off {self.r_off_ohm} ohm; needed is 0 < R_on < R_off")
        if not self.v_reset < 0 < self.v_set:
            raise MappingError(f"{where}: V_th- {self.v_reset}, V_th+ {self.v_set} V; needed is V_th- < 0 < V_th+")
        if not g_off <= self.g_min < self.g_max <= g_on:
            raise MappingError(
                f"{where}: conductances {self.g_min} to {self.g_max} S; needed is 1/R_off = {g_off:g} <= g_min < g_max"
                f" <= 1/R_on = {g_on:g}"
            )
        if not 0 < self.read_v < threshold:
            raise MappingError(
                f"{where}: read voltage {self.read_v} V; needed is above 0 and below the threshold {threshold} V, or"
                " reading would move the states"
            )

    @property
    def g_mid(self) -> float:
        """Conductance of the fixed resistor, 1/R_s of eq. 12: the middle of the range, so that both signs get the
        same span."""
        return (self.g_min + self.g_max) / 2


AIST = MemristorSpec(
    name="aist",
    r_on_ohm=5e3,
    r_off_ohm=100e3,
    v_set=0.1,
    v_reset=-0.1,
    # 10 to 100 uS stays clear of the window function's flank near x = 1, where a small change of state is a large one
    # of G.
    g_min=10e-6,
    g_max=100e-6,
    read_v=0.05,
)
"""Ag/AgInSbTe/Ta of the paper's eq. 9. The values are circuit-friendly ones and rest on one secondary source (a
published SPICE listing of the AIST model of Zhang et al., IEEE TCAS-II 64(7), 2017, doi 10.1109/TCSII.2016.2605069);
the paper gives none."""
