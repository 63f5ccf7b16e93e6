"""The command `generate`, called as a person calls it."""

from __future__ import annotations

import json
import shutil

import pytest

from hvae_mnn import build_netlist
from hvae_mnn.cli.main import main
from hvae_mnn.text.grammar import grammar_corpus

TEXT = " ".join(grammar_corpus(train=400, valid=60, test=20).test[0])


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch, make_checkpoint):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copy(make_checkpoint("rnn"), "net.pt")


def stored(folder):
    with open(f"runs/{folder}/generation.json", encoding="utf-8") as file:
        return json.load(file)


def test_model_and_hardware_stand_side_by_side(tmp_path, capsys):
    build_netlist("net.pt", "net", progress=False)
    asked = ["--engine", "exact", "--adc-bits", "2", "--most-words", "4", "--seed", "3"]
    main(["generate", "net", "--reconstruct", "--text", TEXT, "--prior", "2", "--form", "greedy", *asked])
    printed = capsys.readouterr().out
    rows = stored("generate-net")["sentences"]
    assert [(row["kind"], row["model"]) for row in rows[:2]] == [
        ("reconstruct", "digital"),
        ("reconstruct", "hardware"),
    ]
    assert len(rows) == 6
    assert {row["form"] for row in rows} == {"greedy"}
    assert any(not row["equal"] for row in rows if row["model"] == "hardware")  # 2 bits
    for row in rows:
        assert f"{row['model']} " in printed
        assert row["text"] in printed
    assert TEXT in printed
    assert "hardware paper of net: 200 memristors, seed 3 for converters' noise; engine exact (" in printed
    assert "seed 3 for latents and words, temperature 1" in printed
    assert "wrote runs/generate-net/: generation.json, sentences.parquet" in printed
    # The netlists beside the checkpoint that they were built from are the same.
    main(["generate", "net.pt", "--netlist", "net", "--prior", "2", "--form", "greedy", *asked])
    assert [row["text"] for row in stored("generate-net-2")["sentences"]] == [row["text"] for row in rows[2:]]


def test_a_long_list_is_cut_on_the_screen_only(capsys):
    main(["generate", "net.pt", "--prior", "25", "--form", "sampled", "--most-words", "2"])
    printed = capsys.readouterr().out
    folder = next(line for line in printed.splitlines() if line.startswith("wrote runs/")).split("/")[1]
    assert f"and 5 more sentences in runs/{folder}/sentences.parquet" in printed
    assert len(stored(folder)["sentences"]) == 25


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to write; give sentences to reconstruct, --prior N, or --interpolate A B"),
        (["--prior", "2", "--text", TEXT], "without --reconstruct no text is read; leave out --text"),
        (["--reconstruct", "--text", TEXT, "--split", "test"], "--text is what is read; leave out --split"),
        (["--reconstruct", "--file", "f", "--sentences", "3"], "--file is what is read; leave out --sentences"),
        (["--prior", "2", "--steps", "3"], "--steps belongs to --interpolate; leave out --steps"),
        (["--prior", "2", "--engine", "exact"], "without --netlist the digital model writes alone; leave out --engine"),
        (["--prior", "2", "--form", "greddy"], "unknown --form 'greddy'; did you mean 'greedy'"),
        (["--interpolate", TEXT], "option '--interpolate' requires 2 arguments"),
        (["--interpolate", TEXT, " "], "--interpolate is empty"),
        (["--reconstruct", "--text", "Fischers Fritz"], "no word of 'Fischers Fritz' is in the model's vocabulary"),
        (["--prior", "2", "--netlist", "nowhere"], "nowhere is not a netlist folder"),
    ],
)
def test_what_cannot_be_written_is_one_line(capsys, tmp_path, words, said):
    with pytest.raises(SystemExit) as ended:
        main(["generate", "net.pt", *words])
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (2, 1)
    assert said in told
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_unknown_words_are_a_note(capsys):
    main(["generate", "net.pt", "--reconstruct", "--text", f"{TEXT} xyzzy", "--form", "teacher-forced"])
    printed = capsys.readouterr()
    assert "note: --text: not in the model's vocabulary, and read as <unk0>: 'xyzzy'" in printed.err
    assert f"{TEXT} <unk0>" in printed.out
