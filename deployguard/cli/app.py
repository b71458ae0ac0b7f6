"""The command line: errors → exit codes. Every command is one file; what is heavy is imported when it runs."""

import os
import signal
import sys
from contextlib import suppress
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from deployguard.errors import DeployguardError, Interrupted

EXIT_CODES = """\b
Exit codes: 0 done · 1 a step failed, all was rolled back · 2 usage or runbook
not valid · 3 refused, nothing was changed · 4 waiting, resume later · 5 a person
is needed · 6 another run holds the environment · 7 interrupted, resume continues
· 8 journal or backup damaged"""

_TYPERS_INTERRUPTED = 130
"""What typer ends with for a KeyboardInterrupt: in a command, before it began, or while its end is told."""


class Commands(TyperGroup):
    """Turns every foreseeable stop into a message and its exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer brings a click of its own, whose types have no public name
        """Run the command; what it raises on purpose never becomes a traceback."""
        try:
            return super().invoke(ctx)
        except DeployguardError as error:
            from deployguard.cli.console import show_error

            with suppress(OSError):
                show_error(error)
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            # whoever read our output is gone: not an error of ours, and nothing more to say
            sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115, PTH123
            raise typer.Exit(0) from None


app = typer.Typer(
    cls=Commands,
    help="Carry out a risky change to a live system by runbook: "
    "checked first, reversible at every point, with proof.\n\n" + EXIT_CODES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _register() -> None:
    from deployguard.cli import (
        abort,
        approve,
        backup,
        check,
        data,
        deploy,
        init,
        keys,
        logs,
        pause,
        plan,
        preflight,
        report,
        rollback,
        runs,
        schema,
        show,
        version,
        watch,
    )  # fmt: skip

    for module in (
        init,
        check,
        schema,
        preflight,
        plan,
        deploy,
        rollback,
        pause,
        abort,
        runs,
        show,
        logs,
        watch,
        report,
        version,
    ):
        app.command(module.__name__.rpartition(".")[2])(module.command)
    app.command()(approve.approve)
    app.command()(approve.reject)
    app.add_typer(keys.app, name="keys")
    app.add_typer(data.app, name="data")
    app.add_typer(backup.app, name="backup")


_register()


def main() -> None:
    """Entry point of the program."""
    # pydantic would look through every installed package for plugins, and let them into what is read and checked
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _take_what_is_closed()
    try:
        app()
    except SystemExit as ended:
        if ended.code != _TYPERS_INTERRUPTED:
            raise
        print("interrupted", file=sys.stderr)
        raise SystemExit(Interrupted.exit_code) from None
    finally:
        # Ctrl-C is too late by now: Python would only show where it was in its own end
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _let_go_of(sys.stdout)


def _take_what_is_closed() -> None:
    # started without them, a journal opened next would become our standard output
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(fd, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115, PTH123 - for good


def _let_go_of(stream: TextIO) -> None:
    # at its end Python writes what is left, and where nobody reads any more that would take the exit code's place
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
