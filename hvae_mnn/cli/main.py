"""The command `hvae-mnn`: its subcommands, and errors as one line with an exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import sys

import rich_click as click
from click import exceptions as click_exceptions
from rich.console import Console

from hvae_mnn.cli.mistakes import Group, asks_for_help, one_line
from hvae_mnn.cli.signals import Ended, ending_in_order, leave_with_code
from hvae_mnn.cli.streams import guarded_streams, show_error, shown_notes
from hvae_mnn.errors import EnvironmentProblem, HvaeMnnError
from hvae_mnn.owned import remove_abandoned, temporary_root
from hvae_mnn.version import __version__

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
    "generate",
    "sweep",
    "verify-point",
    "finetune",
    "reproduce",
    "plot",
)
"""In the order of the work."""
_FULL = "the disk is full; free some space, or choose another folder"
_LIMITS = {
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n), or use fewer workers",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.EAGAIN: "no more processes or threads may be started; raise the limit (ulimit -u), or use fewer workers",
    errno.ENOMEM: "memory ran out; use fewer workers, or a larger machine",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
}
"""Cause and remedy by the operating system's error number."""
_THREAD, _MEMORY = "can't start new thread", "can't allocate memory"
"""Python's and torch's words for the same."""


def _machine_says(error: Exception) -> str | None:
    """One line for an error that is the machine's; None for one that is the program's."""
    if isinstance(error, OSError):
        said = _LIMITS.get(error.errno or 0, error.strerror or str(error))
        return f"{error.filename}: {said}" if error.filename is not None else said
    if isinstance(error, MemoryError) or _MEMORY in str(error):
        return _LIMITS[errno.ENOMEM]
    return _LIMITS[errno.EAGAIN] if _THREAD in str(error) else None


def _not_about_caches(record: logging.LogRecord) -> bool:
    """Matplotlib warns about every start without a home, and makes a cache for that start."""
    said = record.getMessage()
    return "temporary cache directory" not in said and "mkdir -p failed" not in said


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


EPILOG = """
Examples:

    hvae-mnn train --preset tiny --out checkpoints/demo

    hvae-mnn build-netlist checkpoints/demo/best.pt

    hvae-mnn simulate netlists/demo --steps 40

    hvae-mnn simulate --help
"""


@click.command_panel("This machine", commands=["doctor"])
@click.command_panel("Devices and hardware", commands=["hardware", "iv", "program", "ir-drop"])
@click.command_panel("Sweeps and figures", commands=["sweep", "verify-point", "plot"])
@click.command_panel("Networks in the circuit", commands=["build-netlist", "simulate", "verify", "cost"])
@click.command_panel("Models of text", commands=["train", "evaluate", "generate", "finetune", "reproduce"])
@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hvae-mnn")
def cli() -> None:
    """Run a recurrent text VAE on memristor crossbars in ngspice: train it, export it, run text through it."""


def main(args: list[str] | None = None) -> None:
    """Entry point: runs the command line and turns known errors into one line on stderr and an exit code."""
    logging.getLogger("matplotlib").addFilter(_not_about_caches)
    with guarded_streams() as stdout, shown_notes(), ending_in_order() as ended:
        if args is None:
            leave_with_code(ended)
        code = _run(args, ended)
        if code or stdout.lost:
            sys.exit(code or 1)


def _run(args: list[str] | None, ended: Ended) -> int:
    """Run the command line; returns the exit code."""
    try:
        with contextlib.suppress(HvaeMnnError):
            remove_abandoned(temporary_root())
        try:
            cli.main(args=args, prog_name="hvae-mnn", standalone_mode=False)
        finally:
            sys.stdout.flush()
    except click_exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        Console(stderr=True).print(str(ended))
        return ended.code
    except click.ClickException as error:
        if asks_for_help(error):
            error.show()
        else:
            show_error(one_line(error))
        return error.exit_code
    except HvaeMnnError as error:
        show_error(error)
        return error.exit_code
    except (OSError, MemoryError, RuntimeError) as error:
        line = _machine_says(error)
        if line is None:
            raise
        show_error(line)
        return EnvironmentProblem.exit_code
    return 0
