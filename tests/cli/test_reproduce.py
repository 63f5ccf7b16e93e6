"""`hvae-mnn reproduce` as a person runs it: tables, claims, a kill, and mistakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hvae_mnn.cli.main import main
from hvae_mnn.owned import alone
from tests.reproduction.conftest import PLAN, write_corpus


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """The working folder, with texts and a plan in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_corpus(tmp_path / "texts")
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    return tmp_path


TABLE = ("reproduce", "table2", "--plan", "plan.toml", "--data-dir", "texts", "--out", "out", "--workers", "1")


def table(capsys, *more):
    main([*TABLE, *more])
    return capsys.readouterr().out


def test_a_table_and_its_claims(capsys, work):
    printed = table(capsys)
    assert "short, paper: the published formulas, which are no bounds" in printed
    assert "(79.4)" in printed
    assert "4 tasks, 0 of them finished before; 0 failed" in printed
    names = {path.name for path in (work / "out").iterdir() if path.is_file()}
    tables = {f"table2{end}" for end in (".md", ".tex", ".parquet", "-seeds.parquet", ".png", ".svg")}
    assert names == {*tables, "reproduction.json"}
    assert "4 tasks, 4 of them finished before; 0 failed" in table(capsys)
    assert "3 tasks, 3 of them finished before" in table(capsys, "--seeds", "1")
    main(["reproduce", "claims", "out", "--out", "judged"])
    assert "does not hold" in capsys.readouterr().out
    text = (work / "judged" / "claims.md").read_text(encoding="utf-8")
    assert "stated +5.6; Table 2 gives +4.75" in text
    assert "not testable here, because no corpus has finished rows for all of hsr-lstm-lstm" in text


def test_rows_of_a_checkpoint_can_be_built(capsys, work):
    table(capsys, "--rows", "hsr-gru-gru")
    main(["build-netlist", "out/short/hsr-gru-gru/seed0/best.pt", "--out", "net"])
    assert (work / "net" / "manifest.json").is_file()


def test_a_failed_row_is_told_and_the_exit_code_says_so(capsys, work):
    bad = "[profiles.cpu.rows]\nhsr-gru-gru = { set = { learning_rate = 1e30 } }\n\n[profiles.cpu.corpora.short]"
    (work / "plan.toml").write_text(PLAN.replace("[profiles.cpu.corpora.short]", bad), encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        table(capsys)
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    assert "4 tasks, 0 of them finished before; 1 failed" in printed
    assert "failed: hsr-gru-gru on short, seed 0: the loss is" in printed
    assert "rerun them with --retry-failed" in printed
    seeds = pq.read_table(work / "out" / "table2-seeds.parquet").to_pylist()
    assert [row["status"] for row in seeds] == ["done", "done", "failed", "done"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reproduce", "tabel2"), "unknown reproduce command 'tabel2'; did you mean 'table2'?"),
        ((*TABLE, "--rows", "hsr-gru-gur"), "unknown row 'hsr-gru-gur'; did you mean 'hsr-gru-gru'?"),
        ((*TABLE, "--rows", ","), "--rows is ','; allowed: names separated by commas"),
        ((*TABLE, "--corpora", "ptb"), "unknown corpus 'ptb'"),
        ((*TABLE, "--profile", "papre"), "unknown profile 'papre'"),
        ((*TABLE, "--seeds", "0"), "--seeds is 0; allowed: a whole number from 1"),
        ((*TABLE, "--device", "cuda:77"), "device 'cuda:77' is not there"),
        ((*TABLE, "--scheduler", "tcp://127.0.0.1:9"), "--workers and --scheduler exclude each other"),
        ((*TABLE[:4], "--out", "out"), "the corpus short is the folder toy of your texts"),
        ((*TABLE[:4], "--data-dir", "nowhere"), "corpus short: corpus folder"),
        (("reproduce", "table4", *TABLE[2:]), "it is a plan of table2, asked for is table4"),
        (("reproduce", "table2", "--plan", "none.toml"), "no plan of a table at none.toml"),
        (("reproduce", "claims", "out"), "out holds no results of a table; run hvae-mnn reproduce"),
        (("reproduce", "claims"), "runs/reproduce-cpu holds no results of a table"),
    ],
)
def test_mistakes_are_refused_in_one_line(fails, arguments, message):
    assert message in fails(*arguments)


def test_a_corpus_without_a_train_split(fails, work):
    (work / "texts" / "toy" / "train.txt").unlink()
    assert "corpus short: no train file in" in fails(*TABLE)


def test_a_folder_in_use_and_one_of_something_else(fails, work):
    (work / "out").mkdir()
    (work / "out" / "sweep.toml").write_text("")
    assert "holds no results of hvae-mnn reproduce; choose another --out" in fails(*TABLE)
    (work / "out" / "sweep.toml").unlink()
    with alone(work / "out"):
        assert "is being reproduced by another process" in fails(*TABLE)


def start(*more: str) -> subprocess.Popen[str]:
    """Start the command in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "hvae_mnn", *TABLE[:-1], *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def content(folder: Path):
    """What does not depend on time: best weights' figures, by task."""
    rows = pq.read_table(folder / "table2-seeds.parquet").to_pylist()
    return [{key: value for key, value in row.items() if not key.endswith(("seconds", "sha256"))} for row in rows]


@pytest.mark.slow
def test_killed_runs_resume_to_the_same_table(capsys, work):
    table(capsys)
    whole = content(work / "out")
    (work / "out").rename(work / "whole")
    for workers, mark in (("1", "last.pt"), ("2", "record.json")):  # in this process, and in two
        process = start(workers)
        before = len(list((work / "out").rglob(mark)))
        while len(list((work / "out").rglob(mark))) <= before:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert "4 tasks, " in table(capsys)
    assert content(work / "out") == whole


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_resume(work):
    process = start("1")
    while not list((work / "out").rglob("last.pt")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "what is finished is kept in out; rerun the same command to resume" in errors
    assert "Traceback" not in errors
