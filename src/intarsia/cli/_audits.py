"""What the commands of all audits share: what they say, where reports go, and results as JSON."""

import functools
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from intarsia.cli import console

if TYPE_CHECKING:
    from intarsia.audit.run_folder import Tables

# Options that mean the same in every audit.
MaxCalls = Annotated[int | None, typer.Option(min=0, help="Do not start if more calls may be needed.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Calls at once.")]
BaseUrl = Annotated[str | None, typer.Option(help="Where the model is served.")]
Timeout = Annotated[int, typer.Option(min=1, help="Seconds until a call counts as failed.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Throw away what the folder holds.")]
ReportFolder = Annotated[
    Path | None, typer.Option(help="Folder for report and tables.", show_default="the run's own folder")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


_Made = TypeVar("_Made")


class Result(Protocol):
    """What an audit found, and how much of it got no reply."""

    @property
    def unanswered(self) -> int: ...

    @property
    def errors(self) -> Mapping[str, int]: ...


def command() -> str:
    """Returns the user's command, for the record of a run."""
    return f"intarsia {shlex.join(sys.argv[1:])}"


def say(text: str) -> None:
    """Tells the user something on stderr. Names of models and folders may hold brackets: they are no markup here."""
    console.err().print(text, markup=False, soft_wrap=True)


def tell(text: str) -> None:
    """Prints a line of the result on stdout."""
    console.out().print(text, markup=False, soft_wrap=True)


def report_folder(runs: Sequence[Path], output: Path | None) -> Path:
    """Returns where a report is written.

    Raises:
        InputError: If it is of logs or of several runs, and no folder is given.
    """
    from intarsia.errors import InputError

    if output is None and (len(runs) > 1 or not runs[0].is_dir()):
        raise InputError("logs and several runs have no folder of their own", fix="say where to write: --output FOLDER")
    return output or runs[0]


def print_results(results: "Sequence[Tables]") -> None:
    """Prints results as JSON: one result, or a list of several."""
    from intarsia.audit.run_folder import as_tables

    console.print_json(as_tables(results))


def warn(text: str) -> None:
    """Prints what must be read with a result on stderr; the run itself did not fail."""
    console.err().print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


def warn_unanswered(result: Result, total: int, what: str) -> None:
    """Tells what got no reply, with the reasons."""
    if result.unanswered:
        from intarsia.audit.failures import told

        warn(f"{result.unanswered} of {total} {what} got no reply: {told(result.errors)}")


def say_where(report: Path, *, unanswered: int = 0) -> None:
    """Says where the report is, and how to ask again what got no reply."""
    if unanswered:
        say("run the same command again to ask those without a reply")
    say(f"report: {report}")


def with_options(options: Callable[..., _Made]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of another function as well, so that commands which share them list them once.

    Args:
        options: Its parameters are the options; the command gets what it returns as its first argument.
    """

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(options)
        _, *own = inspect.signature(run).parameters.values()

        @functools.wraps(run)
        def command(**values: Any) -> None:
            made = options(**{name: values.pop(name) for name in shared.parameters})
            run(made, **values)

        # By keyword, an option without a default may stand after one that has one.
        parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in (*own, *shared.parameters.values())]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate
