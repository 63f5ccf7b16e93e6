"""Non-idealities as tables: there and back, and what is said of values that are not allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvae_mnn.crossbar.nonidealities.file import (
    KEYS,
    check,
    nonidealities_from_dict,
    nonidealities_to_dict,
    read_nonidealities,
)
from hvae_mnn.crossbar.nonidealities.spec import (
    DeviceSpread,
    Drift,
    Nonidealities,
    Programming,
    ReadNoise,
    StuckCells,
    Temperature,
)
from hvae_mnn.errors import InputError

DOCUMENT = Path(__file__).parents[3] / "docs" / "nonidealities.md"
AROUND = {
    "programming": {"error": "lognormal"},
    "read_noise": {"bandwidth_hz": 1e6},
    "temperature": {"wire_per_kelvin": 0.0},
}
"""With it every value that a key allows can stand alone."""


def documented():
    """Key, what is allowed and default, of the document's table."""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            keys, _, allowed, default, _ = (part.strip() for part in line.strip("|").split("|"))
            yield from ((key, allowed, default.strip("`")) for key in re.findall("`(.+?)`", keys))


def ends():
    """Key, least and largest value, of the keys that are numbers."""
    for key, allowed, _ in documented():
        if " to " in allowed:
            yield key, *(float(part.rstrip(",;").replace(",", "")) for part in allowed.split(" ")[:3:2])


def one(key, value):
    section, name = key.split(".")
    number = int(value) if key == "programming.max_pulses" else value
    return {**AROUND, section: {**AROUND.get(section, {}), name: number}}


@given(
    sigma=st.floats(0, 2),
    on=st.floats(0, 0.5),
    off=st.floats(0, 0.5),
    seconds=st.floats(0, 1e12),
    thermal=st.booleans(),
)
def test_there_and_back(sigma, on, off, seconds, thermal):
    spec = Nonidealities(
        programming=Programming("gaussian", sigma),
        stuck=StuckCells(on, off),
        drift=Drift(seconds),
        read_noise=ReadNoise(thermal=thermal, bandwidth_hz=1e6),
    )
    assert nonidealities_from_dict(nonidealities_to_dict(spec), "noise") == spec
    check(spec)


def test_every_key_goes_there_and_back():
    spec = Nonidealities(
        programming=Programming("pulses", 0.0, 0.2, 0.03, 7, True, 0.01, 0.04, 0.05),
        spread=DeviceSpread(0.1, 0.2, 0.3, 0.4),
        stuck=StuckCells(0.1, 0.2),
        drift=Drift(100.0, 2.0, 0.1, 0.02),
        read_noise=ReadNoise(True, 1e6, 1e-5, 10.0),
        temperature=Temperature(350.0, 290.0, 0.004),
    )
    default = nonidealities_to_dict(Nonidealities())
    tables = nonidealities_to_dict(spec)
    same = [
        key
        for key in KEYS
        if tables[key.split(".")[0]][key.split(".")[1]] == default[key.split(".")[0]][key.split(".")[1]]
    ]
    assert same == ["programming.sigma"]  # which pulses do not have
    assert nonidealities_from_dict(tables, "noise") == spec


def test_the_document_has_every_key_and_its_default():
    tables = nonidealities_to_dict(Nonidealities())
    defaults = {key: tables[key.split(".")[0]][key.split(".")[1]] for key in KEYS}
    found = {key: default for key, _, default in documented()}
    assert {key: type(defaults[key])(text) if text != "false" else False for key, text in found.items()} == defaults


@pytest.mark.parametrize(("key", "low", "high"), list(ends()))
def test_a_number_is_allowed_from_end_to_end_and_not_beyond(key, low, high):
    section, name = key.split(".")
    for value in (low, high):
        spec = nonidealities_from_dict(one(key, value), "noise")
        assert getattr(getattr(spec, section), name) == value
    for value in (low - 1, high * 1.01 + 1, float("inf"), float("nan")):
        if key == "programming.max_pulses" and not abs(value) < float("inf"):
            continue  # no whole number
        with pytest.raises(InputError, match=rf"^noise: {key} is [^;]+; allowed: a (whole )?number from .+ to .+$"):
            nonidealities_from_dict(one(key, value), "noise")
    for value in ("much", True, [1.0], 1e400):
        with pytest.raises(InputError, match=f"^noise: {key} is ") as caught:
            nonidealities_from_dict({section: {name: value}}, "noise")
        assert "\n" not in str(caught.value)


def test_nothing_said_is_nothing_at_all():
    assert nonidealities_from_dict({}, "noise") == Nonidealities()
    assert read_nonidealities(None) == Nonidealities()


def test_keys_are_those_of_the_tables():
    tables = nonidealities_to_dict(Nonidealities())
    assert sorted(KEYS) == sorted(f"{section}.{key}" for section, table in tables.items() for key in table)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"programing": {}},
            r"unknown section of non-idealities 'programing'; did you mean 'programming'\? allowed: programming",
        ),
        (
            {"stuck": {"of": 0.1}},
            r"unknown non-ideality 'stuck.of'; did you mean 'stuck.off'\? allowed: stuck.on, stuck.off",
        ),
        ({"stuck": 0.1}, r"stuck is 0.1; allowed: a table, e.g. \[stuck\]"),
        (
            {"programming": {"error": "normal"}},
            r"unknown programming.error 'normal'; did you mean 'lognormal'\? allowed: none, lognormal",
        ),
        (
            {"programming": {"error": "lognormal", "sigma": 3}},
            "programming.sigma is 3; allowed: a number",
        ),
        ({"programming": {"error": "lognormal", "sigma": float("nan")}}, "programming.sigma is nan"),
        ({"programming": {"sigma": 0.1}}, "with programming.error 'none'; choose 'lognormal' or 'gaussian'"),
        ({"programming": {"error": "pulses", "max_pulses": 2.5}}, "max_pulses is 2.5; allowed: a whole number"),
        ({"stuck": {"on": True}}, "stuck.on is true; allowed: a number"),
        ({"stuck": {"on": 10**400}}, r"stuck.on is 1000+\.\.\.; allowed: a number from 0 to 1$"),
        ({"stuck": {"on": 10**5000}}, "stuck.on is a number of thousands of digits; allowed: a number from 0 to 1"),
        ({"stuck": {"on": "a" * 500}}, r'stuck.on is "a{59}\.\.\.; allowed: a number'),
        ({"stuck": {"on\nx": 1}}, r"unknown non-ideality 'stuck.on\\nx'; did you mean 'stuck.on'\?"),
        ({"x" * 99: {}}, r"unknown section of non-idealities 'x{60}'\.\.\.; allowed: programming, spread"),
        ({"stuck": {"on": 0.6, "off": 0.6}}, r"stuck.on \+ stuck.off is 1.2; allowed: 1 at most"),
        ({"read_noise": {"thermal": True}}, "read_noise.bandwidth_hz is 0; noise needs a bandwidth"),
        ({"read_noise": {"thermal": 1}}, "read_noise.thermal is 1; allowed: true, false"),
        (
            {"read_noise": {"flicker": 1e-3, "bandwidth_hz": 10.0, "low_hz": 20.0}},
            "low_hz is 20; allowed: below read_noise.bandwidth_hz, 10",
        ),
        ({"temperature": {"kelvin": 1.0, "wire_per_kelvin": 0.01}}, "the linear law does not hold there"),
    ],
)
def test_what_is_not_allowed_is_said(values, message):
    with pytest.raises(InputError, match=message):
        nonidealities_from_dict(values, "noise")


def test_all_problems_are_said_at_once():
    with pytest.raises(InputError, match=r"^chip.toml: 2 problems\n  stuck.on is -1.*\n  drift.exponent is 7"):
        nonidealities_from_dict({"stuck": {"on": -1}, "drift": {"exponent": 7}}, "chip.toml")


def test_a_file_and_changes_on_top_of_it(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text('[programming]\nerror = "lognormal"\nsigma = 0.1\n', encoding="utf-8")
    spec = read_nonidealities(path, ["programming.sigma=0.2", "programming.error = gaussian", "stuck.off=1e-3"])
    assert spec.programming == Programming("gaussian", 0.2)
    assert spec.stuck == StuckCells(off=1e-3)
    with pytest.raises(InputError, match=r"'sigma=1' is not a change; write section\.key=value"):
        read_nonidealities(path, ["sigma=1"])
    path.write_text("[programming", encoding="utf-8")
    with pytest.raises(InputError, match=r"chip.toml cannot be read as TOML: .*docs/nonidealities.md"):
        read_nonidealities(path)
