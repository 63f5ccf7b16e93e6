"""The commands as click has them, found by walking its tree."""

from __future__ import annotations

from collections.abc import Iterator

import rich_click as click

from hvae_mnn.cli.main import cli

Leaf = tuple[tuple[str, ...], click.Command]
"""The words that call a command, and the command."""


def commands(command: click.Command = cli, words: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every group and command, `hvae-mnn` itself with no words."""
    yield words, command
    if isinstance(command, click.RichGroup):
        context = click.RichContext(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*words, name))


LEAVES = [(words, command) for words, command in commands() if not isinstance(command, click.RichGroup)]
"""Those that do something."""
