"""Named memristors, and memristors from a user's TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hvae_mnn.devices.memristor import AistSpec, HpSpec, MemristorSpec
from hvae_mnn.errors import DeviceError
from hvae_mnn.names import unknown_name
from hvae_mnn.reading import errors_as, is_missing, read_toml, shown

_HUGE = 1e300
_SHOWN = 60
"""Largest number of characters of a wrong value in a message."""
_LISTING = (
    "one published SPICE listing of the AIST model of Zhang et al. (IEEE TCAS-II 64(7):767-771, 2017, doi"
    " 10.1109/TCSII.2016.2605069); circuit-friendly values, not measured ones; the paper gives none"
)

AIST = AistSpec(
    name="aist",
    source=_LISTING,
    r_on_ohm=5e3,
    r_off_ohm=100e3,
    thickness_m=3e-9,
    mobility=5e-15,
    window_p=10,
    window_floor=0.02,
    end_stop=0.01,
    # 10 to 100 uS stays clear of the window function's flank near x = 1, where a small change of state is a large one
    # of G.
    g_min=10e-6,
    g_max=100e-6,
    read_v=0.05,
    x_init=0.05,
    v_set=0.1,
    v_reset=-0.1,
    i_off=2e-10,
    i_on=1.0,
    i_0=1e-6,
    ramp_v=2e-3,
    pole_guard=0.02,
)
"""Ag/AgInSbTe/Ta of eq. 9 with guards: without them, the pole lies on the corner x = 0, v = V_th+, and the window keeps
a state that reaches an end. SET slows as the voltage rises; this follows from eq. 9 and contradicts measured
devices."""

AIST_LITERAL = AistSpec(
    **{
        **{field.name: getattr(AIST, field.name) for field in fields(AIST)},
        "name": "aist_literal",
        "source": f"eq. 9 as printed, for tests that show why `aist` is guarded; numbers: {_LISTING}",
        "window_floor": 0.0,
        "end_stop": 0.0,
        "ramp_v": 1e-6,
        "pole_guard": 0.0,
    }
)
"""The printed equation, without window floor, end stops and pole guard. Not for circuits: states stay at the ends, or
ngspice fails."""

HP_TIO2 = HpSpec(
    name="hp_tio2",
    source="SPICE listings of the HP device after Z. Biolek, D. Biolek, V. Biolkova, Radioengineering 18(2), 2009",
    r_on_ohm=100.0,
    r_off_ohm=16e3,
    thickness_m=10e-9,
    mobility=1e-14,
    window_p=1,
    window_floor=0.02,
    end_stop=0.01,
    # x from 0.11 to 0.88
    g_min=70e-6,
    g_max=500e-6,
    read_v=0.05,
    # R = 11 kOhm
    x_init=0.314,
)
"""Pt/TiO2/Pt of eq. 8. It has no threshold: every read moves its state a little."""

PRESETS: dict[str, MemristorSpec] = {spec.name: spec for spec in (AIST, AIST_LITERAL, HP_TIO2)}
DEFAULT_PRESET = {"aist": "aist", "hp": "hp_tio2"}
"""Preset by law. A law's name is accepted wherever a preset is named: `hp` is `hp_tio2`."""
PRESET_NAMES = (*PRESETS, *(law for law in DEFAULT_PRESET if law not in PRESETS))
"""All names that `preset_named` knows."""
_SPECS: dict[str, type[AistSpec] | type[HpSpec]] = {"aist": AistSpec, "hp": HpSpec}


def preset_named(name: str) -> MemristorSpec | None:
    """The preset with this name or law; None if there is none."""
    return PRESETS.get(DEFAULT_PRESET.get(name, name))


def find_device(preset: str | Path) -> MemristorSpec:
    """The preset with this name, or the device in this TOML file. Raises `DeviceError` if there is none."""
    text = str(preset)
    device = preset_named(text)
    if device is not None:
        return device
    if text.endswith(".toml"):
        return read_preset(Path(text))
    listing = f"{', '.join(PRESET_NAMES)}, or a file ending in .toml"
    raise DeviceError(unknown_name("device preset", text, PRESET_NAMES, listing=listing))


def read_preset(path: Path) -> MemristorSpec:
    """A user's device: TOML with the fields of `AistSpec` or `HpSpec`. `base` names a preset that provides the values
    that the file leaves out.

    Raises `DeviceError` with the file, the key, the value found and the allowed values.
    """
    path = Path(path)
    if is_missing(path):
        raise DeviceError(f"{shown(path)} does not exist; name a preset ({', '.join(PRESET_NAMES)}) or a TOML file")
    with errors_as(DeviceError):
        stored = read_toml(path, "device file")
    name = re.sub(r"[^A-Za-z0-9._-]|^[._-]", "-", path.stem).strip("-") or "device"
    base = stored.pop("base", None)
    if base is not None:
        preset = preset_named(base) if isinstance(base, str) else None
        if preset is None:
            raise DeviceError(f"{path}: {unknown_name('base', base, PRESET_NAMES)}")
        stored = {**preset.to_dict(), "name": name, "source": f"{path.name}, from {preset.name}", **stored}
    stored = {"name": name, "source": path.name, **stored}
    try:
        return spec_from_dict(stored)
    except DeviceError as error:
        raise DeviceError(f"{path}: {error}") from None


def spec_from_dict(stored: Mapping[str, Any]) -> MemristorSpec:
    """The inverse of `MemristorSpec.to_dict`; raises `DeviceError` for a missing, an unknown or a wrong value."""
    law = stored.get("law")
    if not isinstance(law, str) or law not in _SPECS:
        raise DeviceError(unknown_name("law", law, _SPECS))
    spec = _SPECS[law]
    kinds = {field.name: str(field.type) for field in fields(spec)}
    foreign = sorted(set(stored) - set(kinds) - {"law"})
    if foreign:
        raise DeviceError(unknown_name(f"parameter of a device of law {law}", foreign[0], kinds))
    missing = [name for name in kinds if name not in stored]
    if missing:
        raise DeviceError(f"{missing[0]} is missing; give it, or name a preset as base")
    return spec(**{name: _value(name, kind, stored[name]) for name, kind in kinds.items()})


def _value(name: str, kind: str, value: Any) -> Any:
    if kind == "str" and isinstance(value, str) and value:
        return value
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE:
        return float(value)
    needed = {"str": "text", "int": "a whole number", "float": "a number"}[kind]
    shown = repr(value)
    raise DeviceError(f"{name} is {shown if len(shown) < _SHOWN else shown[:_SHOWN] + '...'}; allowed: {needed}")
