"""`hvae-mnn finetune`, and `verify-point` in both of its spellings, as a person calls them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from hvae_mnn.cli.main import cli
from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.models.checkpoint import load_checkpoint


def call(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_finetune_leaves_a_checkpoint_a_history_and_a_figure(make_checkpoint, tmp_path):
    noise = tmp_path / "noise.toml"
    noise.write_text('[programming]\nerror = "lognormal"\nsigma = 0.3\n', encoding="utf-8")
    short = [
        "--updates",
        4,
        "--validate-every",
        2,
        "--valid-sentences",
        4,
        "--batch-size",
        4,
        "--out",
        tmp_path / "out",
    ]
    arguments = ["finetune", make_checkpoint("gru"), "--noise", noise, "--set", "stuck.off=0.01", *short]
    done = call(*arguments)
    assert done.exit_code == 0, done.output
    assert "next word right" in done.output
    found = load_checkpoint(tmp_path / "out/best.pt").metrics["finetuned"]
    assert found["noise"]["stuck"]["off"] == 0.01
    assert found["noise"]["programming"]["sigma"] == 0.3
    history = json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"))["history"]
    assert [record["update"] for record in history] == [0, 2, 4]
    for ending in ("png", "svg"):
        assert (tmp_path / f"out/finetune.{ending}").stat().st_size > 5_000
    again = call(*arguments, "--resume")
    assert again.exit_code == 0
    assert again.output.splitlines()[0] == done.output.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--updates", 0], "--updates is 0"),
        (["--updates", -1, "--clip-weights", 2], "--updates is -1; allowed: a whole number from 0"),
        (["--set", "stuck.on=2"], "stuck.on is 2"),
        (["--hardware", "tile63"], "tile63"),
        (["--noise", "nowhere.toml"], "no noise file at nowhere.toml"),
    ],
)
def test_what_finetune_refuses(make_checkpoint, tmp_path, arguments, message):
    done = call("finetune", make_checkpoint("lstm"), "--out", tmp_path / "out", *arguments)
    assert isinstance(done.exception, HvaeMnnError)
    assert done.exception.exit_code == 2
    assert message in str(done.exception)
    assert "\n" not in str(done.exception) or "tile63" in message
    assert not (tmp_path / "out").exists()


def test_a_point_needs_its_sweep_and_a_key_that_is_there(tmp_path):
    assert "--point needs the folder of a sweep" in call("verify", "--point", "3f").output
    assert "--arrays belongs to verify-point" in str(call("verify", tmp_path, "--arrays", 2).exception)
    for words in (("verify", tmp_path, "--point", "3f"), ("verify-point", tmp_path, "3f")):
        done = call(*words)
        assert isinstance(done.exception, HvaeMnnError)
        assert "holds no results of a sweep; run hvae-mnn sweep" in str(done.exception)
