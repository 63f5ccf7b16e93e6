"""Mistyped commands and options: one line each, with the nearest name."""

from __future__ import annotations

from collections.abc import Iterable

import rich_click as click
from click import exceptions as click_exceptions
from click.core import ParameterSource

from hvae_mnn.cli.options import label
from hvae_mnn.errors import InputError
from hvae_mnn.names import unknown_name


class Group(click.RichGroup):
    """Commands; an unknown one is answered with the nearest."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it; raises `InputError` for a command that does not exist."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            kind = "command" if ctx.parent is None else f"{ctx.info_name} command"
            raise InputError(unknown_name(kind, name, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def refuse_beside(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise `InputError` for parameters with these names that were given, and would be ignored silently."""
    typed = [
        label(param)
        for param in ctx.command.params
        if param.name in set(names) and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
    if typed:
        raise InputError(f"{why}; leave out {' and '.join(typed)}")


def asks_for_help(error: click.ClickException) -> bool:
    """Whether a group was called without a command, which prints its help."""
    return isinstance(error, getattr(click_exceptions, "NoArgsIsHelpError", ()))  # not in click 8.1


def one_line(error: click.ClickException) -> str:
    """What is wrong with a command line, and where to look."""
    context = getattr(error, "ctx", None)
    path = "" if context is None else context.command_path
    if isinstance(error, click_exceptions.NoSuchOption) and context is not None:
        params = context.command.get_params(context)
        names = [name for param in params for name in (*param.opts, *param.secondary_opts) if name.startswith("-")]
        return f"{path}: {unknown_name('option', error.option_name, names)}"
    said = " ".join(error.format_message().split()).rstrip(".")
    return f"{said[:1].lower()}{said[1:]}" + ("" if context is None else f"; see {path} --help")
