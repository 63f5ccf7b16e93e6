"""Every example in a help text, a document or a script: its commands, options and values exist; small ones run."""

from __future__ import annotations

import pytest
import rich_click as click

from tests.cli.click_tree import LEAVES, commands
from tests.cli.command_lines import ROOT, check_values, examples, in_document, in_script, understood, words_of

ALL = list(commands())
EXAMPLES = [(words, line) for words, command in ALL for line in examples(command.epilog or "")]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "experiments" / "README.md"]
DOCUMENTS += [ROOT / "device_models" / "README.md"]
SCRIPTS = [ROOT / "Makefile", ROOT / "examples" / "01_command_line.sh", *sorted((ROOT / "experiments").glob("*.sh"))]


@pytest.mark.parametrize(("words", "command"), LEAVES, ids=["-".join(words) for words, _ in LEAVES])
def test_every_command_has_examples_of_itself(words, command):
    own = [line for line in examples(command.epilog or "") if words_of(line)[: len(words)] == list(words)]
    assert own, "no example in its help"


@pytest.mark.parametrize("words", [words for words, command in ALL if (words, command) not in LEAVES])
def test_every_group_has_examples(words):
    assert any(own == words for own, _ in EXAMPLES)


@pytest.mark.parametrize("line", [line for _, line in EXAMPLES])
def test_examples_in_help_texts_are_understood(line):
    check_values(understood(line))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_commands_in_documents_are_understood(path):
    for line in in_document(path.read_text(encoding="utf-8")):
        try:
            check_values(understood(line, whole=False))
        except Exception as error:
            raise AssertionError(f"{path.name}: {line}: {error}") from error


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_commands_in_scripts_are_understood(path):
    found = list(in_script(path.read_text(encoding="utf-8")))
    assert found
    for line in found:
        try:
            check_values(understood(line))
        except Exception as error:
            raise AssertionError(f"{path.name}: {line}: {error}") from error


def test_this_test_finds_what_it_should():
    assert len(EXAMPLES) > 50
    lines = [line for path in DOCUMENTS for line in in_document(path.read_text(encoding="utf-8"))]
    assert "hvae-mnn plot crossbar" in lines  # inline, without the program's name
    assert "hvae-mnn hardware show pair128" in lines  # in a block, its remark cut off
    scripts = [line for path in SCRIPTS for line in in_script(path.read_text(encoding="utf-8"))]
    assert len(scripts) >= sum(path.read_text(encoding="utf-8").count("simulate ") for path in SCRIPTS)
    for wrong in ("hvae-mnn simulat", "hvae-mnn simulate --stepz 3", "hvae-mnn simulate --steps x", "hvae-mnn train"):
        with pytest.raises(Exception, match=r"unknown|option|Missing|allowed"):
            understood(wrong)
    for wrong in (
        "hvae-mnn build-netlist x --hardware tile63",
        "hvae-mnn iv --device hpp",
        "hvae-mnn finetune x --set programming.sigm=1",
        "hvae-mnn plot accuracy-vs-noise runs/noise --grid programming",
        "hvae-mnn plot accuracy-vs-noise runs/noise --metric belu",
        "hvae-mnn sweep experiments/nose.toml",
    ):
        with pytest.raises(Exception, match=r"unknown|has no such|belu|nose"):
            check_values(understood(wrong))


def test_options_say_what_they_are():
    for words, command in LEAVES:
        for param in command.params:
            assert isinstance(param, click.Argument) or param.help, f"{words}: {param.name} has no help"
            if isinstance(param, click.Option):
                assert param.help[0].isupper() or param.help.split(":")[0].islower(), param.help
                assert not param.help.startswith("Of "), param.help
