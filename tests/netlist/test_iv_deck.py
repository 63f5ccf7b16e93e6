"""Decks of one memristor, as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvae_mnn.devices.presets import AIST, HP_TIO2
from hvae_mnn.devices.waveforms import Sine, pulses, triangle
from hvae_mnn.netlist.device_lines import device_header, device_line, model_file
from hvae_mnn.netlist.iv_deck import iv_deck


def lines(*arguments):
    return iv_deck(*arguments).splitlines()


def test_a_sine_on_a_subcircuit():
    deck = lines("one", AIST, "behavioural", Sine(0.5, 10, 2), 0.3, 1e-4)
    assert deck[2:6] == [
        ".options klu reltol=1e-7 vntol=1e-9 trtol=100",
        ".include aist.lib",
        "Vdrive te 0 SIN(0 0.5 10)",
        "Xmemristor te 0 x aist x0=0.3",
    ]
    assert ".tran 0.0001 0.2 0 0.0001" in deck
    assert "write one.raw v(te) v(x) i(vdrive)" in deck
    assert not any("osdi" in line for line in deck[1:])


def test_a_triangle_on_a_compiled_device():
    deck = lines("two", HP_TIO2, "osdi", triangle(1.5, 4, 1), 0.25, 1e-3)
    model = next(line for line in deck if line.startswith(".model"))
    assert model.startswith(".model memristor hp_memristor ron=100.0 roff=16000.0 d=1e-08 mu=1e-14 p=1.0")
    source = " ".join(deck[deck.index("Vdrive te 0 PWL(") : deck.index("+ )")])
    assert source.replace("+ ", "").split("PWL( ")[1].split() == list(
        map(str, [0.0, 0.0, 0.0625, 1.5, 0.1875, -1.5, 0.25, 0.0])
    )
    assert "Nmemristor te 0 x memristor x0=0.25" in deck
    assert "pre_osdi memristor.osdi" in deck


def test_pulses_have_all_their_corners():
    train = pulses(0.2, 2, width_s=1e-3, gap_s=1e-3, edge_s=1e-6).waveform()
    text = iv_deck("three", AIST, "behavioural", train, 0.1, 1e-5)
    assert text.count(" 0.2") == text.count(" -0.2") == 2 * 2


def test_a_subcircuits_line_says_what_differs_from_its_defaults():
    assert device_line("a", "p", "q", "s", AIST, "behavioural", 0.5) == "Xa p q s aist x0=0.5"
    wide = replace(AIST, r_off_ohm=120e3, window_p=4)
    assert device_line("a", "p", "q", "s", wide, "behavioural", 0.5) == "Xa p q s aist roff=120000.0 p=4.0 x0=0.5"
    assert device_header(wide, "osdi")[0].count("roff=120000.0") == 1


@pytest.mark.parametrize("name", ["aist.va", "hp.va", "aist.lib", "hp.lib", "memristor_osdi.c"])
def test_models_are_where_the_package_looks_for_them(name):
    assert model_file(name).stat().st_size > 500
