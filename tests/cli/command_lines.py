"""The command lines in help texts, documents and scripts, and whether they would be understood."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import rich_click as click

from hvae_mnn.cli.main import COMMANDS, cli
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.nonidealities.file import read_nonidealities
from hvae_mnn.devices.presets import find_device
from hvae_mnn.evaluation.text_metrics import METRICS
from hvae_mnn.models.presets import parse_cells

ROOT = Path(__file__).parents[2]
_PROGRAM = r"(?:\$\w+|\$\(BIN\)/hvae-mnn|\.venv/bin/hvae-mnn|hvae-mnn)"
_ENDS = {">", "|", "&&", ";", ")", "||"}
_PLACEHOLDER = re.compile(r"[A-Z_]+|.*[$<*].*")
"""What a person fills in: KEY, "$data", <name>."""


def examples(text: str) -> list[str]:
    """The commands in a help text: lines of their own."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("hvae-mnn ")]


def in_script(text: str) -> Iterator[str]:
    """The commands of a shell script or a Makefile, whatever variable holds the program."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.match(rf"\s*(?:@|\[.*\] \|\| )?{_PROGRAM} ((?:{'|'.join(COMMANDS)})\b.*)", line)
        if found:
            yield f"hvae-mnn {found[1]}"


def in_document(text: str) -> Iterator[str]:
    """The commands of a Markdown document: in blocks, a remark after two spaces; and inline, `hvae-mnn` left out or
    not."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith("hvae-mnn "):
            yield re.split(r" {2,}(?!-)", line)[0]
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)):
        words = span.removeprefix("hvae-mnn ").split()
        if words[0] in COMMANDS and (len(words) > 1 or span.startswith("hvae-mnn ")):
            yield f"hvae-mnn {' '.join(words)}"


def words_of(line: str) -> list[str]:
    """The words that the program gets."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _ENDS:
            break
        words.append(word)
    assert words[0] == "hvae-mnn"
    return [word for word in words[1:] if word not in ("$@", "--help")]


def understood(line: str, whole: bool = True) -> click.Context:
    """Click's context of a command line; fails as the command would. Not `whole`: required parts may be missing."""
    words, context = words_of(line), click.RichContext(cli, info_name="hvae-mnn")
    while isinstance(context.command, click.RichGroup):
        _, command, words = context.command.resolve_command(context, words)
        assert command is not None
        if isinstance(command, click.RichGroup):
            context = click.RichContext(command, info_name=command.name, parent=context)
            continue
        try:
            return command.make_context(command.name, list(words), parent=context)
        except (click.MissingParameter, click.BadOptionUsage):
            if whole:
                raise
            if words and words[-1].startswith("--"):  # an option is mentioned, without a value
                assert any(words[-1] in param.opts for param in command.params)
                words = words[:-1]
            return command.make_context(command.name, list(words), parent=context, resilient_parsing=True)
    raise AssertionError(line)


def check_values(context: click.Context) -> None:
    """That presets, settings, metrics, grids and files of `experiments/` exist; what a person fills in is not looked
    at."""
    command = str(context.command.name)
    for name, value in context.params.items():
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None and not _PLACEHOLDER.fullmatch(str(one)):
                _check(command, name, str(one))
    if context.params.get("grid"):
        for sweep in context.params["sweeps"]:
            file = ROOT / "experiments" / f"{sweep.name}.toml"
            stored = tomllib.loads(file.read_text(encoding="utf-8"))
            assert context.params["grid"] in [grid["name"] for grid in stored["grid"]], f"{file.name} has no such grid"
            assert set(context.params["metrics"]) <= set(stored.get("metrics", METRICS)), file.name


def _check(command: str, name: str, value: str) -> None:
    if value.startswith("experiments/"):
        assert (ROOT / value).is_file(), value
    if value.endswith(".toml"):
        return
    if name == "hardware" or (command == "show" and name == "name"):
        read_hardware(value)
    elif name in ("device", "preset") and command in ("iv", "program", "ir-drop", "build-netlist"):
        find_device(value)
    elif name == "changes":
        read_nonidealities(None, [*_LOGNORMAL, value])
    elif name == "metrics":
        assert value in METRICS, value
    elif name == "encoder_cells":
        parse_cells(value)


_LOGNORMAL = ["programming.error=lognormal"]
"""Makes any sigma right."""
