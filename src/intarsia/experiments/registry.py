"""The experiments there are: one module each in this package, found by its file name.

An experiment module is `<slug with underscores>.py` and decorates one function. It imports rooms inside that function,
so that listing experiments costs nothing:

    @experiment(
        "twin-merging",
        title="Twin-Merging: one model for many experts",
        paper="Twin-Merging, NeurIPS 2024, arXiv 2406.15479",
        claims=[Claim("above-static", "Twin-Merging scores above every static merge", "Table 1")],
    )
    def run(context: Context) -> Outcome: ...
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from intarsia.errors import DataError, InputError, UnknownNameError
from intarsia.experiments.context import Context
from intarsia.experiments.provenance import checkout
from intarsia.experiments.records import Claim, Outcome

Run = Callable[[Context], Outcome]

# The modules of this package that are no experiments; helpers of experiments begin with an underscore.
_HARNESS = frozenset(
    {"cells", "context", "plots", "provenance", "records", "registry", "report", "result_page", "runner"}
)

_experiments: dict[str, "Experiment"] = {}


@dataclass(frozen=True, slots=True)
class Experiment:
    """A registered experiment.

    Args:
        slug: Its name on the command line.
        title: Heading of its report.
        paper: Title, venue and number of the paper.
        claims: The paper's statements that the experiment judges, not judged yet.
        run: The function.
    """

    slug: str
    title: str
    paper: str
    claims: tuple[Claim, ...]
    run: Run


def experiment(slug: str, *, title: str, paper: str, claims: Sequence[Claim] = ()) -> Callable[[Run], Run]:
    """Registers the decorated function as the experiment `slug`.

    Args:
        slug: Its name on the command line; the module is named so, with underscores.
        title: Heading of its report.
        paper: Title, venue and number of the paper.
        claims: The statements its outcome judges; the outcome has to return each of them.
    """

    def register(run: Run) -> Run:
        _experiments[slug] = Experiment(slug, title, paper, tuple(claims), run)
        return run

    return register


def names() -> list[str]:
    """The slugs of all experiments, without importing them."""
    import intarsia.experiments as room

    modules = [module.name for module in pkgutil.iter_modules(room.__path__)]
    found = {name.replace("_", "-") for name in modules if name not in _HARNESS and not name.startswith("_")}
    return sorted(found | set(_experiments))


def get(slug: str) -> Experiment:
    """Finds an experiment by its slug.

    Raises:
        UnknownNameError: If there is none of this name.
    """
    if slug not in names():
        raise UnknownNameError("experiment", slug, names())
    if slug not in _experiments:
        importlib.import_module(f"intarsia.experiments.{slug.replace('-', '_')}")
    return _experiments[slug]


def recipes() -> Path:
    """The folder of recipes: the checkout's, or the one installed with the package."""
    root = checkout()
    return root / "recipes" if root is not None else Path(__file__).resolve().parents[1] / "_recipes"


def scales(slug: str) -> list[str]:
    """The scales an experiment has a recipe for."""
    return sorted(path.stem for path in (recipes() / slug).glob("*.yaml"))


def recipe(slug: str, scale: str) -> dict[str, object]:
    """Reads `recipes/<slug>/<scale>.yaml`.

    Raises:
        UnknownNameError: If the experiment has no such scale.
        InputError: If it has no recipe at all.
        DataError: If the file is not a YAML mapping.
    """
    known = scales(slug)
    if not known:
        raise InputError(f"experiment {slug!r} has no recipe", where=recipes() / slug)
    if scale not in known:
        raise UnknownNameError("scale", scale, known, where=recipes() / slug)
    path = recipes() / slug / f"{scale}.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise DataError(f"not valid YAML: {error.problem}", file=path, line=line) from None
    if not isinstance(config, dict):
        raise DataError("a recipe is a mapping of settings", file=path)
    return config
