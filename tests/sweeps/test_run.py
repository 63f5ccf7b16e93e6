"""Files of a sweep: results, failures with their reason, and no loss when an interrupted sweep resumes."""

from __future__ import annotations

import json
import shutil
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hvae_mnn import sweep
from hvae_mnn.cli.main import main
from hvae_mnn.errors import InputError, ManifestError, RunError, UncheckedFileWarning
from hvae_mnn.owned import alone
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.sweeps.file import read_sweep
from hvae_mnn.sweeps.grid import make_plan
from hvae_mnn.sweeps.point import run_task
from hvae_mnn.sweeps.run import run_sweep
from hvae_mnn.sweeps.summary import summarise
from hvae_mnn.sweeps.table import find_task, part_path
from hvae_mnn.tables import read_table, write_rows

TEXT = """
name = "small"
models = { net = "net.pt" }
seeds = 3
sentences = 3
metrics = ["top1", "ppl", "mean_error"]

[baseline]
name = "clean"

[[grid]]
name = "spread"
set = { "noise.programming.error" = "lognormal" }
axes = { "noise.programming.sigma" = [0.05, 0.2], "hardware.tiles.rows" = [4, "all"] }
"""
TASKS = 3 + 3 + 12
"""Baselines, the clean point, the grid."""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch, make_checkpoint):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copy(make_checkpoint("rnn"), tmp_path / "net.pt")


@pytest.fixture
def plan_of(tmp_path):
    def make(text=TEXT):
        path = tmp_path / "small.toml"
        path.write_text(text, encoding="utf-8")
        return make_plan(read_sweep(path))

    return make


@pytest.fixture
def plan(plan_of):
    return plan_of()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def here(plan, folder, **options):
    return run_sweep(plan, folder, Cluster.here(), **options)


def rows_of(folder):
    return pq.read_table(folder / "results.parquet").to_pylist()


def test_what_a_table_holds(plan, folder):
    calls = []
    result = here(plan, folder, progress=lambda done, of: calls.append((done, of)))
    assert calls == [(done, TASKS) for done in range(TASKS + 1)]
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        "parts",
        "results.parquet",
        "sweep.json",
        "sweep.toml",
        "timings.parquet",
    ]
    assert (folder / "sweep.toml").read_text() == TEXT
    table = pq.read_table(folder / "results.parquet")
    assert table.schema.metadata[b"format"] == b"hvae-mnn-sweep/1"
    assert table.column_names == [
        *("sweep", "grid", "kind", "model", "seed", "task", "status", "reason", "settings"),
        *("noise.programming.sigma", "hardware.tiles.rows", "top1", "ppl", "mean_error", "sentences", "tokens"),
    ]
    rows = table.to_pylist()
    assert [(row["grid"], row["kind"]) for row in rows] == (
        [("clean", kind) for kind in ("digital", "unigram", "digital_bits", *["point"] * 3)]
        + [("spread", kind) for kind in ("digital", "unigram", "digital_bits", *["point"] * 12)]
    )
    assert {row["sentences"] for row in rows} == {3}
    point = rows[-1]
    assert (point["seed"], point["noise.programming.sigma"], point["hardware.tiles.rows"]) == (2, 0.2, "all")
    assert json.loads(point["settings"]) == {
        "model": "net",
        "hardware.tiles.rows": "all",
        "noise.programming.error": "lognormal",
        "noise.programming.sigma": 0.2,
    }
    # Each row is what the task gives by itself.
    for row in (rows[0], rows[1], rows[8], point):
        task = plan.tasks[row["task"]]
        expected = run_task(task).metrics
        assert {name: row[name] for name in ("top1", "ppl", "mean_error") if name in expected} == expected
    assert rows[1]["mean_error"] is None  # of the unigram model
    timings = pq.read_table(folder / "timings.parquet").to_pylist()
    assert {row["task"] for row in timings} == set(plan.tasks)
    assert all(row["total"] > 0 for row in timings)
    assert set(json.loads(timings[-1]["facts"])) >= {"stuck_on", "stuck_off"}
    summary = json.loads((folder / "sweep.json").read_text())
    assert (summary["tasks"], summary["done"], summary["failed"], summary["rows"]) == (TASKS, TASKS, 0, 21)
    assert not result.failed


def test_the_same_command_runs_nothing_twice(plan_of, folder):
    here(plan_of(), folder)
    before = (folder / "results.parquet").read_bytes()

    def none(task):
        raise AssertionError("it is there already")

    again = here(plan_of(), folder, run=none)
    assert again.kept == TASKS
    assert (folder / "results.parquet").read_bytes() == before


def test_a_changed_file_adds_and_removes(plan_of, folder):
    here(plan_of(), folder)
    before = {row["task"]: row for row in rows_of(folder)}
    ran = []

    def note(task):
        ran.append(task.key)
        return run_task(task)

    changed = plan_of(TEXT.replace("[0.05, 0.2]", "[0.2, 0.3]"))
    result = here(changed, folder, run=note)
    assert (len(ran), result.kept) == (6, TASKS - 6)
    rows = rows_of(folder)
    assert {row["noise.programming.sigma"] for row in rows} == {None, 0.2, 0.3}
    assert all(row == before[row["task"]] for row in rows if row["task"] in before and row["grid"] == "spread")
    assert len(list((folder / "parts").iterdir())) == TASKS + 6  # what was computed once stays
    ran.clear()
    here(plan_of(), folder, run=note)
    assert ran == []


def test_worker_processes_change_nothing(plan, tmp_path):
    tables = []
    with Cluster.local(2) as cluster:
        for name, where in (("here", Cluster.here()), ("there", cluster)):
            run_sweep(plan, tmp_path / name, where)
            tables.append((tmp_path / name / "results.parquet").read_bytes())
    assert tables[0] == tables[1]


def difficult():
    """Made within a function, so that it travels by value."""

    def run(task):
        from dataclasses import replace

        from hvae_mnn.errors import ManifestError
        from hvae_mnn.sweeps.point import run_task

        if task.kind == "point" and task.seed == 0 and task.noise["programming"]["sigma"] == 0.2:
            raise ManifestError("no such point;\ntake another")
        outcome = run_task(task)
        if task.kind == "point" and task.seed == 1 and task.noise["programming"]["sigma"] == 0.2:
            return replace(outcome, metrics=outcome.metrics | {"ppl": float("nan"), "top1": float("inf")})
        if task.kind == "point" and task.seed == 2 and task.noise["programming"]["sigma"] == 0.2:
            return [][task.seed]
        return outcome

    return run


@pytest.mark.parametrize("where", ["here", "there"])
def test_failed_points_are_kept_with_their_reason_and_the_sweep_goes_on(plan, folder, where):
    with Cluster.here() if where == "here" else Cluster.local(2) as cluster:
        result = run_sweep(plan, folder, cluster, run=difficult())
    assert len(result.failed) == 6
    failed = [row for row in rows_of(folder) if row["status"] == "failed"]
    assert [(row["seed"], row["noise.programming.sigma"]) for row in failed] == [(0, 0.2), (1, 0.2), (2, 0.2)] * 2
    reasons = ("no such point; take another", "not finite: top1 is inf, ppl is nan", "failed: IndexError: list index")
    for row, reason in zip(failed, reasons * 2, strict=True):
        assert reason in row["reason"]
        assert [row[name] for name in ("top1", "ppl", "mean_error", "sentences")] == [None] * 4
    assert sum(row["status"] == "done" for row in rows_of(folder)) == 21 - 6
    # They stay failed, until it is asked to try again.
    again = here(plan, folder)
    assert (again.kept, len(again.failed)) == (TASKS, 6)
    assert json.loads((folder / "sweep.json").read_text())["failed"] == 6
    again = here(plan, folder, retry_failed=True)
    assert (again.kept, len(again.failed)) == (TASKS - 6, 0)
    undisturbed = here(plan, folder.parent / "undisturbed").folder
    assert (folder / "results.parquet").read_bytes() == (undisturbed / "results.parquet").read_bytes()


@pytest.mark.slow
def test_a_task_that_kills_its_worker_fails_alone(plan, folder):
    def deadly(task):
        import os
        import signal

        from hvae_mnn.sweeps.point import run_task

        if task.kind == "point" and task.seed == 1 and task.noise["programming"]["sigma"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return run_task(task)

    with Cluster.local(2) as cluster:
        result = run_sweep(plan, folder, cluster, run=deadly)
    assert len(result.finished) == TASKS
    (failed,) = result.failed
    assert "failed twice on 2 local workers: the worker at tcp://" in failed.reason


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "swapped", "text"])
def test_a_damaged_part_is_noticed_and_run_again(plan, folder, damage):
    here(plan, folder)
    before = (folder / "results.parquet").read_bytes()
    keys = [key for key, task in plan.tasks.items() if task.kind == "point"]
    path = part_path(folder, keys[0])
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped":
        value = struct.pack("<d", next(row["mean_error"] for row in rows_of(folder) if row["task"] == keys[0]))
        assert content.count(value) == 1
        path.write_bytes(content.replace(value, value[:3] + bytes([value[3] ^ 1]) + value[4:]))
    elif damage == "swapped":
        shutil.copy(part_path(folder, keys[1]), path)
    else:
        path.write_text("hello")
    again = here(plan, folder)
    assert (again.mended, again.kept, len(again.failed)) == ((path,), TASKS - 1, 0)
    assert (folder / "results.parquet").read_bytes() == before
    assert find_task(folder, keys[0]).task == plan.tasks[keys[0]]


def with_format(path, name):
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.replace_schema_metadata(None if name is None else {b"format": name}), path)


@pytest.mark.parametrize("name", [b"hvae-mnn-sweep/9", None])
@pytest.mark.parametrize("which", ["part", "results"])
def test_results_of_another_version_are_refused(plan, folder, which, name, capsys):
    here(plan, folder)
    path = folder / "results.parquet" if which == "results" else part_path(folder, next(iter(plan.tasks)))
    with_format(path, name)
    expected = rf"{path.name} has format {(name or b'none').decode()}; allowed: hvae-mnn-sweep/1, which this version"
    with pytest.raises(InputError, match=expected):
        here(plan, folder)
    with pytest.raises(SystemExit) as caught:
        main(["sweep", "small.toml", "--out", str(folder), "--workers", "1"])
    assert caught.value.code == 2
    assert "choose another folder with --out, or begin anew in this one with --fresh" in capsys.readouterr().err
    assert here(plan, folder, fresh=True).kept == 0


def without_checksum(path):
    """Rewrite a table as earlier versions did."""
    table = read_table(path)
    pq.write_table(table, path, write_page_checksum=True, write_statistics=False, use_dictionary=False)


def test_a_sweep_of_an_earlier_version_goes_on_and_says_once_that_it_has_no_checksums(plan, folder, capsys):
    here(plan, folder)
    before = (folder / "results.parquet").read_bytes()
    for path in (folder / "results.parquet", *(folder / "parts").iterdir()):
        without_checksum(path)
    with pytest.warns(UncheckedFileWarning) as issued:
        assert here(plan, folder).kept == TASKS
    assert [str(note.message) for note in issued] == [
        f"{TASKS} of the results in {folder} carry no checksum, so damage to them cannot be noticed"
    ]
    assert (folder / "results.parquet").read_bytes() == before
    main(["sweep", "small.toml", "--out", str(folder), "--workers", "1"])
    notes = [line for line in capsys.readouterr().err.splitlines() if "note:" in line]
    assert len(notes) == 1
    assert f"note: {TASKS} of the results in {folder} carry no checksum" in notes[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_part_with_a_metric_that_is_no_number_is_run_again(plan, folder, value):
    here(plan, folder)
    path = part_path(folder, next(iter(plan.tasks)))
    row = read_table(path).to_pylist()[0]
    row["metrics"] = [(name, value if name == "ppl" else number) for name, number in row["metrics"]]
    write_rows(path, [row], read_table(path).schema)
    assert here(plan, folder).mended == (path,)


def test_a_damaged_table_is_written_anew(plan, folder):
    here(plan, folder)
    before = (folder / "results.parquet").read_bytes()
    (folder / "results.parquet").write_bytes(before[:100])
    here(plan, folder)
    assert (folder / "results.parquet").read_bytes() == before


def test_one_process_at_a_time(plan, folder):
    here(plan, folder)
    with alone(folder), pytest.raises(RunError, match="is being run by another process; wait for it"):
        here(plan, folder)


def test_an_interrupted_sweep_keeps_what_came(plan, folder):
    ran = []

    def until_the_seventh(task):
        if len(ran) == 7:
            raise KeyboardInterrupt
        ran.append(task.key)
        return run_task(task)

    with pytest.raises(KeyboardInterrupt):
        here(plan, folder, run=until_the_seventh)
    assert {row["task"] for row in rows_of(folder)} == set(ran)
    assert not (folder / "sweep.json").exists()  # it is not finished
    (folder / "parts" / ".half.parquet.x.part").write_bytes(b"PAR1")
    assert here(plan, folder).kept == 7
    assert not list((folder / "parts").glob(".*"))


def test_find_task(plan, folder):
    here(plan, folder)
    key = rows_of(folder)[-1]["task"]
    assert find_task(folder, key[:10]).task == plan.tasks[key]
    with pytest.raises(InputError, match="unknown point 'xyz'; allowed: keys in the column task"):
        find_task(folder, "xyz")
    with pytest.raises(InputError, match=f"{TASKS} points have keys that begin with ''"):
        find_task(folder, "")


def test_summary_by_hand(plan, folder):
    result = here(plan, folder)
    points = summarise(plan, result.finished)
    assert len(points) == 2 * 3 + 1 + 4
    rows = [row for row in rows_of(folder) if row["noise.programming.sigma"] == 0.2][3:]
    values = [row["mean_error"] for row in rows]
    mean = sum(values) / 3
    deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert points[-1].mean("mean_error") == pytest.approx(mean, rel=1e-12)
    assert points[-1].deviation("mean_error") == pytest.approx(deviation, rel=1e-12)
    unigram = next(point for point in points if point.kind == "unigram")
    assert unigram.mean("mean_error") is None
    assert unigram.deviation("ppl") is None


def test_the_command_and_its_exit_codes(plan, folder, capsys):
    main(["sweep", "small.toml", "--workers", "1"])
    printed = capsys.readouterr().out
    for part in (
        "clean: mean",
        "spread: mean",
        "digital, 8 and 10 bits",
        "unigram",
        "programming.sigma 0.05, tiles.rows all",
        f"{TASKS} tasks, 0 of them finished before; 0 failed",
        "wrote runs/small/: results, timings (.parquet)",
    ):
        assert part in printed
    assert "±" in printed
    here(plan, folder, run=difficult())
    with pytest.raises(SystemExit) as caught:
        main(["sweep", "small.toml", "--out", str(folder)])
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    assert "6 failed" in printed
    assert "failed: no such point; take another" in printed
    first = part_path(folder, rows_of(folder)[0]["task"])
    first.write_bytes(b"")
    main(["sweep", "small.toml", "--out", str(folder), "--retry-failed", "--workers", "1"])
    printed = capsys.readouterr().out
    assert f"{first} was damaged; its task was run again" in printed
    assert f"{TASKS} tasks, {TASKS - 7} of them finished before; 0 failed" in printed


def test_the_api_goes_on(plan, tmp_path):
    here(plan, tmp_path / "runs" / "small")
    result = sweep("small.toml")
    assert (str(result.folder), result.kept, len(result.finished)) == ("runs/small", TASKS, TASKS)
    assert sweep(plan, out="runs/small", workers=2).kept == TASKS


def test_errors_of_ours_keep_one_line(plan, folder):
    def wrong(task):
        raise ManifestError("one\ntwo")

    assert {one.reason for one in here(plan, folder, run=wrong).failed} == {"one two"}
    assert pa.types.is_floating(pq.read_schema(folder / "results.parquet").field("ppl").type)
