"""What the functions give back: typed, short to look at, with tables, and silent where nobody watches."""

from __future__ import annotations

import dataclasses
import shutil

import pyarrow as pa
import pytest

from hvae_mnn import (
    InputError,
    Options,
    build_netlist,
    cost,
    evaluate,
    finetune,
    ir_drop,
    iv,
    load_checkpoint,
    plot_converters,
    plot_crossbar,
    program,
    read_hardware,
    simulate,
    train,
    verify,
)

_LONGEST = 400
"""Characters of a repr: a few lines of a screen."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def checkpoint(make_checkpoint, tmp_path):
    (tmp_path / "model").mkdir()
    return shutil.copy(make_checkpoint("rnn"), tmp_path / "model" / "best.pt")


def tiled():
    """Hardware with wires, in tiles that the small arrays fill."""
    hardware = read_hardware("tile64")
    return dataclasses.replace(hardware, tiling=dataclasses.replace(hardware.tiling, rows=4, columns=4))


def check(result, tables, capsys):
    """Whether a result is what every result is."""
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert dataclasses.is_dataclass(result)
    assert repr(result).startswith(f"{type(result).__name__}(")
    assert len(repr(result)) < _LONGEST
    assert "\n" not in repr(result)
    html = result._repr_html_()
    assert html.startswith("<table><caption>")
    assert set(tables) <= set(result.tables)
    for name in result.tables:
        table = result.table(name)
        assert isinstance(table, pa.Table)
        assert table.num_rows, name
        assert f"<code>{name}</code>" in html


def test_train_and_its_resumption(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for split in ("train", "valid"):
        (corpus / f"{split}.txt").write_text("the old sailor sings\nthe dog sleeps\n" * 20, encoding="utf-8")
    sizes = {"embedding_size": 6, "hidden_size": 5, "latent_size": 3, "data_dir": corpus}
    events = []
    result = train(tmp_path / "run", epochs=2, **sizes, progress=events.append)
    check(result, ["history"], capsys)
    assert [event.record["epoch"] for event in events if event.kind == "epoch"] == [1, 2]
    assert (result.checkpoint, result.epochs_trained) == (tmp_path / "run" / "best.pt", 2)
    assert result.table("history")["valid_elbo_nll"].to_pylist() == [
        record["valid"]["elbo_nll"] for record in result.history
    ]
    again = train(tmp_path / "run", epochs=2, **sizes, resume=True)
    assert again == dataclasses.replace(result, epochs_trained=0)
    with pytest.raises(InputError, match="unknown setting 'hidden'"):
        train(tmp_path / "other", hidden=5)


def test_evaluate(checkpoint, capsys):
    stages = []
    settings = {"sentences": 20, "importance_samples": 4, "importance_sentences": 3}
    result = evaluate(checkpoint, **settings, progress=lambda *told: stages.append(told))
    check(result, ["figures", "checks"], capsys)
    assert {told[0] for told in stages} > {"posteriors"}
    rows = {(row["report"], row["figure"]): row["value"] for row in result.table("figures").to_pylist()}
    assert rows["proper", "elbo_nll"] == result.proper.elbo_nll
    assert rows["paper", "ppl"] == result.paper.ppl
    assert rows["proper", "importance_nll"] == result.proper.importance.nll


def test_finetune(checkpoint, capsys):
    result = finetune(checkpoint, updates=2, validate_every=1, valid_sentences=4, batch_size=4)
    check(result, ["history"], capsys)
    assert result.checkpoint.is_file()
    assert result.table("history")["update"].to_pylist() == [0, 1, 2]


def test_simulate_and_its_converters(checkpoint, capsys):
    manifest = build_netlist(checkpoint)
    result = simulate(manifest, steps=4, options=Options(engine="ideal"))
    check(result, ["steps", "tokens", "preactivations", "converters"], capsys)
    assert result.table("tokens").num_rows == 4
    plot = plot_converters(result.folder)
    check(plot, ["converters"], capsys)
    assert "src='data:image/png;base64," in plot._repr_html_()


def test_a_checkpoint_and_its_manifest_are_short_to_look_at(checkpoint):
    for shown in (load_checkpoint(checkpoint), build_netlist(checkpoint)):
        assert repr(shown).startswith(f"{type(shown).__name__}(")
        assert len(repr(shown)) < _LONGEST
        assert shown._repr_html_().startswith("<table><caption>")


def test_plot_crossbar(checkpoint, capsys):
    plot = plot_crossbar(build_netlist(checkpoint, hardware=tiled()), seed=1)
    check(plot, ["crossings", "column_errors"], capsys)
    errors = [abs(value) for value in plot.table("column_errors")["error_of_largest"].to_pylist()]
    assert plot.worst_error == pytest.approx(max(errors))


def test_ir_drop(capsys):
    result = ir_drop(sizes=[2, 3], ohms=[1.0], spice_sizes=[], tiles=2, reads=2)
    check(result, ["ir_drop"], capsys)
    assert result.table("ir_drop").to_pylist() == list(result.rows)


@pytest.mark.spice
def test_verify_and_cost(checkpoint, capsys):
    manifest = build_netlist(checkpoint, hardware=tiled())
    result = verify(manifest, tiles=2, steps=1)
    check(result, ["tiles", "columns", "potentials"], capsys)
    assert result.table("tiles").num_rows == 2
    price = cost(manifest, tiles=1, steps=2)
    check(price, ["layers", "assumptions", "checks", "cost", "settling"], capsys)
    assert price.table("layers")["layer"].to_pylist()[-1] == "token"
    assert price.table("layers")["circuit_j"].to_pylist()[-1] == price.token.circuit_j


def test_iv_and_program(capsys):
    check(iv(backend="reference"), ["iv", "switching", "pulse_train"], capsys)
    check(program(random=(3, 4)), ["devices", "rounds"], capsys)
