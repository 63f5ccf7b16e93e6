"""Tables of small models, trained for real: what is done once, what resumes, what fails, who is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from hvae_mnn.errors import InputError, RunError
from hvae_mnn.files import read_sealed
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.owned import alone
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.reproduction import work
from hvae_mnn.reproduction.plan import read_plan
from hvae_mnn.reproduction.record import RECORD, add_figures, read_record, read_records
from hvae_mnn.reproduction.run import MARK, look, refuse_foreign, run_tasks
from hvae_mnn.reproduction.task import make_tasks
from hvae_mnn.training.run import train

HERE = Cluster.here()
DIVERGES = (
    "[profiles.cpu.corpora.short]",
    "[profiles.cpu.rows]\nhsr-gru-gru = { set = { learning_rate = 1e30 } }\n\n[profiles.cpu.corpora.short]",
)


@pytest.fixture
def tasks(plan_file, corpora):
    """Four tasks: two seeds of the first row."""
    return make_tasks(read_plan("table2", plan_file()), corpora)


def figures(records):
    """What must not depend on where and when a task ran."""
    return {str(place): (record.status, dict(record.paper), dict(record.proper)) for place, record in records.items()}


def files(folder: Path):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_task_is_done_once(tasks, tmp_path):
    seen = []
    records, found = run_tasks(tasks, tmp_path / "out", HERE, progress=lambda done, total: seen.append((done, total)))
    assert [record.status for record in records.values()] == ["done"] * 4
    assert not found.kept
    assert (seen[0], seen[-1]) == ((0, 12), (12, 12))  # two epochs and an evaluation each
    assert set(files(tmp_path / "out")) == {
        MARK,
        *(f"{task.place}/{name}" for task in tasks for name in ("best.pt", "metrics.json", RECORD)),
    }
    assert str(tasks[1].place) == "short/hsr-lstm-lstm/seed1"
    before = files(tmp_path / "out")
    again, found = run_tasks(tasks, tmp_path / "out", HERE)
    assert figures(again) == figures(records)
    assert len(found.kept) == 4
    assert {name: time for name, time in files(tmp_path / "out").items() if name != MARK} == {
        name: time for name, time in before.items() if name != MARK
    }


def test_a_row_is_an_ordinary_checkpoint_of_its_task(tasks, tmp_path):
    records, _ = run_tasks(tasks[:2], tmp_path / "out", HERE)
    for task in tasks[:2]:
        checkpoint = load_checkpoint(tmp_path / "out" / task.place / "best.pt")
        assert (checkpoint.model.config, checkpoint.training_config) == (task.model, task.training)
        assert checkpoint.training_config.seed == task.seed
        record = records[task.place]
        assert record.training["epochs"] == 2
        assert record.proper["importance"]["samples"] == 4
        assert record.paper["nll"] != record.proper["elbo_nll"]
    one, two = (records[task.place].proper["elbo_nll"] for task in tasks[:2])
    assert one != two


def test_workers_give_the_same_figures(tasks, tmp_path):
    here, _ = run_tasks(tasks, tmp_path / "here", HERE)
    with Cluster.local(2) as cluster:
        there, _ = run_tasks(tasks, tmp_path / "there", cluster)
    assert figures(there) == figures(here)


def test_a_training_that_was_stopped_resumes_to_the_same_weights(tasks, tmp_path):
    task, whole, halved = tasks[0], tmp_path / "whole", tmp_path / "halved"
    run_tasks([task], whole, HERE)

    class StopError(Exception):
        pass

    def stop(event):
        if event.epoch == 2 and event.batch == 2:
            raise StopError

    before = torch.get_num_threads()
    torch.set_num_threads(work.THREADS)
    (halved / task.place).mkdir(parents=True)
    shutil.copy(whole / MARK, halved / MARK)
    corpus = work.corpus_of(task.text)
    with pytest.raises(StopError):
        train(corpus, task.model, task.training, halved / task.place, resume=True, progress=stop, save_every_s=0)
    torch.set_num_threads(before)
    assert (halved / task.place / "last.pt").is_file()
    records, _ = run_tasks([task], halved, HERE)
    assert figures(records) == figures(run_tasks([task], whole, HERE)[0])
    one, two = (load_checkpoint(folder / task.place / "best.pt").model.state_dict() for folder in (whole, halved))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_row_that_diverges_is_recorded_and_the_table_runs_on(plan_file, corpora, tmp_path):
    tasks = make_tasks(read_plan("table2", plan_file(DIVERGES)), corpora)
    records, _ = run_tasks(tasks, tmp_path / "out", HERE)
    assert [record.status for record in records.values()] == ["done", "done", "failed", "done"]
    failed = records[tasks[2].place]
    assert "not finite" in failed.reason or "is nan" in failed.reason
    assert not failed.paper
    assert len(look(tasks, tmp_path / "out").kept) == 4
    assert len(look(tasks, tmp_path / "out", retry_failed=True).kept) == 3
    again, _ = run_tasks(tasks, tmp_path / "out", HERE, retry_failed=True)
    assert figures(again) == figures(records)


def test_a_damaged_record_is_made_again_without_training(tasks, tmp_path):
    out = tmp_path / "out"
    records, _ = run_tasks(tasks[:1], out, HERE)
    path = out / tasks[0].place / RECORD
    best = (out / tasks[0].place / "best.pt").read_bytes()
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"status": "failed"}))
    assert look(tasks[:1], out).damaged == [path]
    again, found = run_tasks(tasks[:1], out, HERE)
    assert found.damaged == [path]
    assert figures(again) == figures(records)
    assert (out / tasks[0].place / "best.pt").read_bytes() == best


def test_another_evaluation_does_not_train_again(tasks, plan_file, corpora, tmp_path):
    out = tmp_path / "out"
    run_tasks(tasks[:1], out, HERE)
    best = out / tasks[0].place / "best.pt"
    before = best.stat().st_mtime_ns
    path = plan_file(("importance_samples = 4", "importance_samples = 6"))
    (task, *_) = make_tasks(read_plan("table2", path), corpora)
    records, found = run_tasks([task], out, HERE)
    assert not found.kept
    assert records[task.place].proper["importance"]["samples"] == 6
    assert best.stat().st_mtime_ns == before


def test_another_training_in_the_folder_is_refused_before_any_work(tasks, plan_file, corpora, tmp_path):
    out = tmp_path / "out"
    run_tasks(tasks[:1], out, HERE)
    before = files(out)
    others = make_tasks(read_plan("table2", plan_file(("epochs = 2", "epochs = 3"))), corpora)
    message = "needs another --out: short/hsr-lstm-lstm/seed0 holds another training: it has epochs 2, the plan 3"
    with pytest.raises(InputError, match=message):
        run_tasks(others, out, HERE)
    longer = make_tasks(read_plan("table2", plan_file(("longest = 12", "longest = 11"))), corpora)
    with pytest.raises(InputError, match="seed0 holds another training: its text is another"):
        run_tasks(longer, out, HERE)
    assert files(out) == before


def test_a_second_process_and_a_foreign_folder_are_refused(tasks, tmp_path):
    out = tmp_path / "out"
    run_tasks(tasks[:1], out, HERE)
    with alone(out), pytest.raises(RunError, match="is being reproduced by another process"):
        run_tasks(tasks, out, HERE)
    with pytest.raises(RunError, match="holds results of profile cpu, asked for is paper"):
        refuse_foreign(out, "paper")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(RunError, match="exists and holds no results of hvae-mnn reproduce"):
        run_tasks(tasks, tmp_path / "other", HERE)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_a_text_that_changes_during_the_run_fails_its_task(tasks, corpora, tmp_path):
    from hvae_mnn.reproduction import task as tasks_module

    moved = tmp_path / "texts"
    shutil.copytree(corpora, moved)
    own = make_tasks(read_plan("table2", _copied_plan(tmp_path)), moved)[:1]
    with (moved / "toy" / "train.txt").open("a") as file:
        file.write("the dog barks .\n")
    tasks_module._read.cache_clear()
    records, _ = run_tasks(own, tmp_path / "out", HERE)
    assert "the text has changed since the run began" in records[own[0].place].reason


def _copied_plan(folder: Path) -> Path:
    return folder / "plan.toml"


def test_figures_from_elsewhere_are_added(tasks, tmp_path):
    out = tmp_path / "out"
    run_tasks(tasks[:1], out, HERE)
    place = out / tasks[0].place
    add_figures(place, {"next_word_right_on_hardware": 0.25})
    record = read_record(place)
    assert record is not None
    assert record.further == {"next_word_right_on_hardware": 0.25}
    assert "sha256" not in record.task
    assert read_sealed(place / RECORD, "record")["further"] == record.further
    assert [one.row for one in read_records(out)] == ["hsr-lstm-lstm"]
    with pytest.raises(InputError, match="holds no finished task"):
        add_figures(out, {"a": 1.0})
