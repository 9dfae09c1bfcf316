"""Recipes: the file that says which experts to train, how to merge them and what to measure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.finetune.config import ExpertConfig


@dataclass(frozen=True)
class TaskRecipe:
    """One task: labelled texts an expert learns.

    Attributes:
        data: A file, a name of `intarsia data`, or a hub id.
        fields: Which column of the data is the `text` and which the `label` (or `prompt` and `target`).
        where: For a column of the data, the values (as text) a row must have one of. For files of several data sets.
        schema: `classification` or `text-to-text`.
        labels: The answer to write for each label of the data. Labels left out are written as they are; with
            `only_listed` their rows are left out.
        only_listed: Whether rows whose label is not in `labels` are left out.
        question: What is asked about each text, on a line of its own after it.
        max_text_tokens: Texts are cut after so many tokens; the question is not.
        train: Training rows.
        dev: Rows on which the baselines' settings are chosen.
        test: Rows everything is measured on.
        train_split: Name of the split training and, if there is no dev split, dev rows are taken from.
        dev_split: Name of the split dev rows are taken from.
        test_split: Name of the split test rows are taken from.
        balance: Whether training rows are drawn evenly over labels.
    """

    data: str
    fields: dict[str, str] = field(default_factory=dict)
    where: dict[str, list[str]] = field(default_factory=dict)
    schema: str = "classification"
    labels: dict[str, str] = field(default_factory=dict)
    only_listed: bool = False
    question: str = ""
    max_text_tokens: int = 32
    train: int = 400
    dev: int = 48
    test: int = 120
    train_split: str = "train"
    dev_split: str = "dev"
    test_split: str = "test"
    balance: bool = True

    def __post_init__(self) -> None:
        if self.schema not in ("classification", "text-to-text"):
            raise ConfigError("schema", self.schema, "'classification' or 'text-to-text'")
        for name in ("max_text_tokens", "train", "dev", "test"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "at least 1")


@dataclass(frozen=True)
class MergeRecipe:
    """How the experts are fitted into one model.

    Attributes:
        rank: Rank of the exclusive residuals in the saved model.
        ranks: Ranks measured in the report.
        gamma: Scale of the shared expert's task arithmetic (Twin-Merging, Section 3.2: 0.3 for LoRA experts).
        router_texts: Training prompts of each task the router learns from.
        baselines: Settings tried on the dev rows for each static method: method name to lists of parameter values.
    """

    rank: int = 8
    ranks: tuple[int, ...] = (1, 4, 8)
    gamma: float = 0.3
    router_texts: int = 160
    baselines: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError("rank", self.rank, "1 or more")
        for rank in self.ranks:
            if not 0 <= rank <= self.rank:
                raise ConfigError("ranks", rank, f"from 0 to {self.rank}, the rank of the saved model")


@dataclass(frozen=True)
class Recipe:
    """A whole job: base model and labelled data in, experts, one merged model and a report out.

    Attributes:
        model: The base model: hub id, folder, GGUF file or `asset:NAME`.
        tasks: The tasks by name.
        name: Title of the report.
        instruction: The system message every prompt is asked under; the same for all tasks.
        expert: How each expert is trained.
        merge: How they are merged.
        seed: Seed of everything drawn.
    """

    model: str
    tasks: dict[str, TaskRecipe]
    name: str = "Experts and their merge"
    instruction: str = "Answer with one label."
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    merge: MergeRecipe = field(default_factory=MergeRecipe)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ConfigError("tasks", self.tasks, "at least one task")
        for name in self.tasks:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ConfigError("tasks", name, "names of letters, digits, '-' and '_': they name folders")

    @classmethod
    def from_file(cls, path: str | Path) -> "Recipe":
        """Reads a recipe.

        Raises:
            InputError: If the file is missing or is not YAML.
            UnknownNameError: If a key is unknown; the message suggests the nearest.
            ConfigError: If a value is of the wrong type or not allowed.
        """
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError("there is no such recipe", where=path, fix="see `intarsia run --help`") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"the recipe is not valid YAML: {error}", where=path) from None
        recipe: Recipe = parse(cls, content, where=str(path))
        return recipe


def parse(kind: Any, value: Any, *, where: str) -> Any:
    """Builds a value of type `kind` (dataclasses, dicts, lists, tuples, plain types) from parsed YAML, strictly.

    Raises:
        UnknownNameError: For an unknown key.
        ConfigError: For a missing key or a value of the wrong type.
    """
    if is_dataclass(kind):
        return _parse_dataclass(kind, value, where=where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is dict and isinstance(value, Mapping):
        return {str(key): parse(arguments[1], item, where=f"{where}: {key}") for key, item in value.items()}
    if origin in (list, tuple) and isinstance(value, list):
        return origin(parse(arguments[0], item, where=where) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(where.rsplit(": ", 1)[-1], value, " or ".join(map(repr, arguments)), where=where)
        return value
    if type(None) in arguments:
        return None if value is None else parse(arguments[0], value, where=where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = origin or kind
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise ConfigError(where.rsplit(": ", 1)[-1], value, f"of type {getattr(plain, '__name__', plain)}", where=where)
    return value


def _parse_dataclass(kind: Any, value: Any, *, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(where.rsplit(": ", 1)[-1], value, "a mapping of settings", where=where)
    hints = get_type_hints(kind)
    known = [entry.name for entry in fields(kind)]
    for key in value:
        if key not in known:
            raise UnknownNameError("key", str(key), known, where=where)
    missing = [name for name in ("model", "tasks", "data") if name in known and name not in value]
    if missing:
        raise InputError(f"the recipe does not say {missing[0]!r}", where=where, fix=f"add `{missing[0]}: ...`")
    parsed = {key: parse(hints[key], item, where=f"{where}: {key}") for key, item in value.items()}
    try:
        return kind(**parsed)
    except ConfigError as error:
        raise InputError(error.what, where=where, fix=error.fix) from None
