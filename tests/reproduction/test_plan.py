"""Plans of tables: those of the package, what goes before what, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import hvae_mnn
from hvae_mnn.errors import InputError
from hvae_mnn.models.rows import ROWS
from hvae_mnn.reproduction.plan import TABLES, plan_path, read_plan
from hvae_mnn.reproduction.task import make_tasks


@pytest.mark.parametrize("table", ["table2", "table4"])
@pytest.mark.parametrize("profile", ["cpu", "paper", "demo"])
def test_the_packages_own_plans(table, profile):
    plan = read_plan(table, profile=profile)
    assert {entry.row for entry in plan.entries} <= set(ROWS)
    assert plan.note
    assert all(entry.effort.importance_samples for entry in plan.entries)


def test_the_packages_own_plans_are_packaged():
    """A wheel has them where `plan_path` looks for them."""
    project = Path(hvae_mnn.__file__).parents[1] / "pyproject.toml"
    wheel = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    for table in TABLES:
        assert plan_path(table).parent.name == "experiments"
        assert wheel["force-include"][f"experiments/{table}.toml"] == f"hvae_mnn/experiments/{table}.toml"


def test_the_profile_cpu_has_one_seed_for_slow_rows_and_the_lead_text():
    plan = read_plan("table2", corpora=["ptb20"])
    (corpus,) = plan.corpora
    assert (corpus.longest, corpus.tokenizer, corpus.stands_for, corpus.is_same) == (20, "plain", "ptb", False)
    seeds = {entry.row: entry.effort.seeds for entry in plan.entries}
    assert {row for row, count in seeds.items() if count == 1} == {"sa-vae", "sri-vae", "lag-vae"}
    sizes = {"embedding_size": 128, "hidden_size": 128, "latent_size": 32}
    assert all(entry.effort.settings == sizes for entry in plan.entries)  # all else is the row's


def test_table_4_has_the_twelve_rows_of_the_paper():
    rows = [entry.row for entry in read_plan("table4", corpora=["yelp_short"]).entries]
    assert rows[:3] == ["twr-rnn", "twr-gru", "twr-lstm"]
    assert len([row for row in rows if row.startswith("hsr-") and row.count("-") == 2]) == 9


def test_the_particular_goes_before_the_general(plan_file):
    path = plan_file(
        ("longest = 12\n", "longest = 12\nepochs = 3\nset = { batch_size = 8 }\n"),
        ("seeds = 2\n", "seeds = 2\nepochs = 5\n"),
        (
            "[profiles.cpu.corpora.short]",
            "[profiles.cpu.rows]\nhsr-gru-gru = { epochs = 4 }\n\n[profiles.cpu.corpora.short]",
        ),
    )
    efforts = {entry.row: entry.effort for entry in read_plan("table2", path).entries}
    assert {row: effort.epochs for row, effort in efforts.items()} == {
        "hsr-lstm-lstm": 5,
        "hsr-gru-gru": 4,
        "hsr-lstm-lstm-last": 3,
    }
    assert efforts["hsr-gru-gru"].settings == {
        "embedding_size": 6,
        "hidden_size": 8,
        "latent_size": 3,
        "learning_rate": 0.01,
        "batch_size": 8,
    }
    assert [effort.seeds for effort in efforts.values()] == [2, 1, 1]
    assert {entry.effort.seeds for entry in read_plan("table2", path, seeds=3).entries} == {3}


def test_patterns_of_rows_stand_for_all_of_them_and_a_rows_own_table_goes_before(plan_file):
    rows = '[profiles.cpu.rows]\nhsr-gru-gru = { epochs = 7 }\n"hsr-*" = { epochs = 4 }\n"*-last" = { seeds = 3 }\n\n'
    path = plan_file(("[profiles.cpu.corpora.short]", f"{rows}[profiles.cpu.corpora.short]"))
    efforts = {entry.row: entry.effort for entry in read_plan("table2", path).entries}
    assert {row: (effort.epochs, effort.seeds) for row, effort in efforts.items()} == {
        "hsr-lstm-lstm": (4, 2),
        "hsr-gru-gru": (7, 1),
        "hsr-lstm-lstm-last": (4, 3),
    }
    rows = '[profiles.cpu.rows]\n"twr-*" = { seeds = 3 }\n\n'
    path = plan_file(("[profiles.cpu.corpora.short]", f"{rows}[profiles.cpu.corpora.short]"))
    with pytest.raises(InputError, match=r"profiles.cpu.rows: unknown row of this plan 'twr-\*'"):
        read_plan("table2", path)


def test_rows_and_corpora_are_chosen_in_the_plans_order(plan_file):
    plan = read_plan("table2", plan_file(), rows=["hsr-lstm-lstm-last", "hsr-lstm-lstm"], corpora=["short"])
    assert [entry.row for entry in plan.entries] == ["hsr-lstm-lstm", "hsr-lstm-lstm-last"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"hsr-gru-gru",', '"hsr-gru-gur",'), "rows: unknown row 'hsr-gru-gur'; did you mean 'hsr-gru-gru'?"),
        (('"hsr-gru-gru",', '"hsr-lstm-lstm",'), "rows names hsr-lstm-lstm twice"),
        (('table = "table2"', 'table = "table4"'), "it is a plan of table4, asked for is table2"),
        (("epochs = 2", "epochs = 0"), "profiles.cpu.epochs is 0; allowed: a whole number from 1 on"),
        (("epochs = 2", "epoch = 2"), "unknown key of a plan 'profiles.cpu.epoch'; did you mean 'epochs'?"),
        (("epochs = 2\n", ""), "profiles.cpu.corpora.short: no epochs for hsr-lstm-lstm; give it in profiles.cpu"),
        (("longest = 12", 'longest = "12"'), 'profiles.cpu.corpora.short.longest is "12"; allowed: a number of words'),
        (("longest = 12", 'tokenizer = "twrr"'), "unknown tokenizer 'twrr'; did you mean 'twr'?"),
        (('stands_for = "ptb"', 'stands_for = "yelp"'), "unknown corpus of the paper 'yelp'"),
        (("short.rows.hsr-lstm-lstm]", "short.rows.lm]"), "unknown row of this plan 'lm'"),
        (("longest = 12", 'only = ["lm"]'), "corpora.short.only: unknown row of this plan 'lm'"),
        (("[profiles.cpu.corpora.short]", "[profiles.cpu.corpora.'a b']"), "profiles.cpu.corpora"),
        (('title = "Small"', ""), "title is missing"),
        (('title = "Small"', "title = Small"), "cannot be read as TOML"),
    ],
)
def test_a_wrong_plan_is_refused_in_lines_of_its_own(plan_file, change, message):
    with pytest.raises(InputError) as caught:
        read_plan("table2", plan_file(change))
    assert message in str(caught.value)
    assert "plan.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "cpuu"}, "unknown profile 'cpuu'; did you mean 'cpu'?"),
        ({"rows": ["hsr-gru"]}, "unknown row 'hsr-gru'; did you mean 'hsr-gru-gru'?"),
        ({"rows": ["twr-rnn"]}, "twr-rnn is a row of another table"),
        ({"corpora": ["shrt"]}, "unknown corpus 'shrt'; did you mean 'short'?"),
        ({"seeds": 0}, "seeds is 0; allowed: 1 to"),
    ],
)
def test_a_wrong_choice_is_refused(plan_file, options, message):
    with pytest.raises(InputError) as caught:
        read_plan("table2", plan_file(), **options)
    assert message in str(caught.value)


def test_an_unknown_table_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown table 'table22'; did you mean 'table2'"):
        read_plan("table22")


def test_rows_that_a_corpus_leaves_out(plan_file):
    path = plan_file(("longest = 12", 'only = ["hsr-lstm-lstm", "hsr-gru-gru"]'))
    assert [entry.row for entry in read_plan("table2", path).entries] == ["hsr-lstm-lstm", "hsr-gru-gru"]
    with pytest.raises(InputError, match="none of the rows hsr-lstm-lstm-last is trained on short"):
        read_plan("table2", path, rows=["hsr-lstm-lstm-last"])


def test_long_sentences_are_left_out_of_every_split(plan_file, corpora):
    from hvae_mnn.reproduction.task import corpus_of

    task = make_tasks(read_plan("table2", plan_file()), corpora)[0]
    whole = make_tasks(read_plan("table2", plan_file(("longest = 12\n", ""))), corpora)[0]
    for split in ("train", "valid", "test"):
        short, every = corpus_of(task.text).split(split), corpus_of(whole.text).split(split)
        assert short == [sentence for sentence in every if len(sentence) <= 12]
        assert len(short) < len(every)
    assert task.text.sha256 != whole.text.sha256
    assert task.model.vocabulary_size < whole.model.vocabulary_size


def test_missing_data_is_named(plan_file, corpora, tmp_path):
    plan = read_plan("table2", plan_file())
    with pytest.raises(
        InputError, match=r"profile cpu of table2: the corpus short is the folder toy of your texts.*--data"
    ):
        make_tasks(plan, None)
    with pytest.raises(InputError, match=r"corpus short: corpus folder .*toy does not exist"):
        make_tasks(plan, tmp_path)
    (tmp_path / "toy").mkdir()
    for split in ("valid", "test"):
        (tmp_path / "toy" / f"{split}.txt").write_text("a b\nb a\n")
    with pytest.raises(InputError, match=r"corpus short: no train file in .*toy"):
        make_tasks(plan, tmp_path)
    with pytest.raises(InputError, match="toy/train has 0 sentences of at most 1 words; a table needs 2"):
        make_tasks(read_plan("table2", plan_file(("longest = 12", "longest = 1"))), corpora)


def test_settings_that_no_model_has(plan_file, corpora):
    for change, message in (("hiden_size = 3", "unknown setting 'hiden_size'"), ("dropout = 2.0", "dropout is 2.0")):
        plan = read_plan("table2", plan_file(("learning_rate = 0.01", change)))
        with pytest.raises(InputError, match=f"hsr-lstm-lstm on short, profile cpu: {message}"):
            make_tasks(plan, corpora)
