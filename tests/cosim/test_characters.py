"""A model of characters on its hardware: built, simulated and swept, and its text put together as text."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hvae_mnn import Options, build_netlist, simulate, sweep
from hvae_mnn.cli.simulate import _marked
from hvae_mnn.cosim.simulation import SimulationResult

IDEAL = Options(engine="ideal", dac_bits=0, adc_bits=0)


@pytest.fixture
def run(make_checkpoint: Callable[..., Path], tmp_path: Path) -> SimulationResult:
    netlist = build_netlist(make_checkpoint("gru", "char"), tmp_path / "netlist")
    return simulate(netlist, text="  the old  sailor", options=IDEAL, out=tmp_path / "run")


def test_characters_come_out_as_text(run: SimulationResult) -> None:
    words, texts = run.words(0), run.texts(0)
    assert texts["text"] == "the old sailor<eos>"
    assert run.summary["steps"] == len("the old sailor") + 1
    assert words["text"][3] == " "
    for name in ("digital", "hardware"):
        assert texts[name] == "".join(words[name])
        assert run.summary[f"tokens_{name}"] == [texts[name]]
        assert len(words[name]) == run.summary["steps"]
    assert pq.read_table(run.folder / "tokens.parquet")["target"].to_pylist() == words["text"]


def test_words_come_out_as_text(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    netlist = build_netlist(make_checkpoint("gru"), tmp_path / "netlist")
    result = simulate(netlist, steps=8, options=IDEAL, out=tmp_path / "run")
    assert result.texts(0)["text"] == " ".join(result.words(0)["text"])
    assert result.summary["tokens_hardware"][0] == " ".join(result.words(0)["hardware"])


def test_a_wrong_space_is_visible() -> None:
    assert _marked(list("a cd"), list("a d "), "").plain == "a d␣"
    assert _marked(["a", "b"], ["a", "c"], " ").plain == "a c "


@pytest.mark.spice
def test_ngspice_writes_the_digital_models_characters(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    netlist = build_netlist(make_checkpoint("lstm", "char"), tmp_path / "netlist")
    result = simulate(netlist, steps=10, options=Options(dac_bits=0, adc_bits=0), out=tmp_path / "run")
    assert result.summary["token_agreement"] == 1
    assert len(set(result.words(0)["hardware"])) > 1


def test_a_sweep_takes_a_model_of_characters(
    make_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(make_checkpoint("gru", "char"), "net.pt")
    Path("small.toml").write_text(
        'name = "small"\nmodels = { net = "net.pt" }\nseeds = 2\nsentences = 3\nmetrics = ["top1", "ppl"]\n'
        '[baseline]\nname = "clean"\n[[grid]]\nname = "spread"\n'
        'set = { "noise.programming.error" = "lognormal" }\naxes = { "noise.programming.sigma" = [0.05] }\n',
        encoding="utf-8",
    )
    result = sweep("small.toml", out=tmp_path / "out", workers=1, progress=False)
    rows = result.table("results").to_pylist()
    assert {row["status"] for row in rows} == {"done"}
    assert {row["tokens"] for row in rows} == {197}  # characters and ends of three sentences
