"""The `intarsia` program: its commands, global options and what becomes of an error.

Adding a command: write `def name(...)` in its own file of this package and add one line to `PANELS`.
"""

import errno
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import intarsia
from intarsia.cli import console
from intarsia.errors import IntarsiaError

# Help shows the commands in these groups and this order; each is `module:function` (or a Typer app).
PANELS: dict[str, dict[str, str]] = {
    "Start here": {
        "quickstart": "intarsia.cli.quickstart:quickstart",
        "run": "intarsia.cli.run:run",
    },
    "Make one model": {
        "finetune": "intarsia.cli.finetune:finetune",
        "scaling": "intarsia.cli.scaling:scaling",
        "merge": "intarsia.cli.merge:merge",
        "fuse": "intarsia.cli.fuse:fuse",
        "compress": "intarsia.cli.compress:app",
    },
    "Use and measure it": {
        "evaluate": "intarsia.cli.evaluate:evaluate",
        "generate": "intarsia.cli.generate:generate",
        "chat": "intarsia.cli.chat:chat",
        "serve": "intarsia.cli.serve:serve",
        "classify": "intarsia.cli.classify:classify",
        "audit": "intarsia.cli.audit:app",
        "quantum": "intarsia.cli.quantum:app",
    },
    "Look things up": {
        "models": "intarsia.cli.models:models",
        "data": "intarsia.cli.data:data",
    },
    "Reproduce the papers": {
        "reproduce": "intarsia.cli.reproduce:reproduce",
        "report": "intarsia.cli.report:report",
    },
}
COMMANDS: dict[str, str] = {name: target for panel in PANELS.values() for name, target in panel.items()}


class _LazyCommands(MutableMapping[str, Any]):
    """Name -> command; a command's module is imported when the command is first asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, COMMANDS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, target in COMMANDS.items() if _is_there(target)])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _is_there(target: str) -> bool:
    return importlib.util.find_spec(target.partition(":")[0]) is not None


def _load(name: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    single = function
    if not isinstance(function, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode="rich")
        single.command(name)(function)
    command: Any = typer.main.get_command(single)
    command.name = name
    command.rich_help_panel = next(panel for panel, names in PANELS.items() if name in names)
    return command


class IntarsiaGroup(TyperGroup):
    """The top command.

    Loads commands when needed, takes `--debug` anywhere on the line, and turns errors into one message.
    Contexts are `Any`: their class is typer's own or click's, depending on the version of typer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = _LazyCommands()

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, without importing what they name."""
        return list(self.commands)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Moves `--debug` to the front, where the group's own options are read."""
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[:end]:
            args = ["--debug", *(argument for argument in args[:end] if argument != "--debug"), *args[end:]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; a known error becomes its message and exit code, an unknown one a hint."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            console.complain("stopped; run the same command again to resume")
            raise typer.Exit(130) from None
        except typer.Abort:
            raise
        except Exception as error:
            # Usage errors and Exit carry an exit_code too and know how to show themselves; so does a closed pipe.
            if _is_closed_pipe(error) or (hasattr(error, "exit_code") and not isinstance(error, IntarsiaError)):
                raise
            if ctx.params.get("debug"):
                traceback.print_exc()
            console.complain(_explain(error))
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


def _is_closed_pipe(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _explain(error: Exception) -> str:
    if isinstance(error, IntarsiaError):
        return str(error)
    # Libraries that write for us (safetensors, torch) wrap a full disk in errors of their own.
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in str(error):
        return (
            "the disk is full\n"
            "  fix:   free some space or choose another --output, then run the same command again: it resumes"
        )
    first_line = (str(error).strip() or "no message").splitlines()[0]
    return (
        f"unexpected failure: {type(error).__name__}: {first_line}\n"
        "  fix:   run the same command again with --debug to see where it happened"
    )


app = typer.Typer(
    name="intarsia",
    cls=IntarsiaGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"intarsia {intarsia.__version__}")
        raise typer.Exit


@app.callback()
def intarsia_options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train small language-model experts, fit them into one model, and measure what it knows.

    Begin with [cyan]intarsia quickstart[/cyan]; every command has an example in its [cyan]--help[/cyan].
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `intarsia` program.

    Args:
        arguments: The words after the program's name; by default those of this process.
    """
    app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="intarsia")


if __name__ == "__main__":
    main()
