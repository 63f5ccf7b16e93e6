"""The command `hvae-mnn`: its subcommands, and errors as one line with an exit code."""

from __future__ import annotations

import contextlib
import importlib
import sys

import rich_click as click
from click import exceptions as click_exceptions
from rich.console import Console
from rich.text import Text

from hvae_mnn import __version__
from hvae_mnn.cli.mistakes import Group, asks_for_help, one_line
from hvae_mnn.cli.signals import ending_in_order
from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.owned import remove_abandoned, temporary_root

COMMANDS = (
    "doctor",
    "train",
    "evaluate",
    "iv",
    "program",
    "hardware",
    "ir-drop",
    "build-netlist",
    "verify",
    "cost",
    "simulate",
    "sweep",
    "finetune",
    "plot",
)
"""In the order of the work."""


class LazyGroup(Group):
    """Imports a command's module only when it is called, so that `--help` needs neither torch nor PySpice."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command object, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hvae_mnn.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        command.name = cmd_name
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hvae-mnn")
def cli() -> None:
    """Run a recurrent text VAE in the circuit: train, export to memristor crossbars, step through ngspice."""


def main(args: list[str] | None = None) -> None:
    """Entry point: runs the command line and turns known errors into one line on stderr and an exit code."""
    with ending_in_order() as ended:
        try:
            _run(args)
        except (click.Abort, KeyboardInterrupt):
            with contextlib.suppress(OSError):  # of a terminal that was closed
                Console(stderr=True).print(str(ended))
            sys.exit(ended.code)
        except OSError:
            if ended.since is None:
                raise
            sys.exit(ended.code)


def _run(args: list[str] | None) -> None:
    try:
        with contextlib.suppress(HvaeMnnError):
            remove_abandoned(temporary_root())
        cli.main(args=args, prog_name="hvae-mnn", standalone_mode=False)
    except click_exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        if asks_for_help(error):
            error.show()
        else:
            _print_error(one_line(error))
        sys.exit(error.exit_code)
    except HvaeMnnError as error:
        _print_error(str(error))
        sys.exit(error.exit_code)


def _print_error(message: str) -> None:
    line = Text.assemble(("error:", "bold red"), f" {message}")
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)
