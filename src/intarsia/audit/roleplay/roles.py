"""Role cards: whom a model is to play, and what that character can know."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import yaml

from intarsia.audit.roleplay.domains import DOMAINS
from intarsia.errors import DataError, InputError, UnknownNameError


@dataclass(frozen=True, slots=True)
class BaseQuery:
    """A question fit for a character.

    Attributes:
        text: In English.
        translations: Language -> the same question.
    """

    text: str
    translations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Role:
    """A character.

    Attributes:
        role_id: Short and unique.
        name: Full name; an audit never shows it to the model.
        description: Who it is, in a line or two.
        born: Year of birth, negative before our era; None if unknown or invented.
        died: Year of death.
        domains: Those of the twenty query domains that the character knows about.
        omissions: Points of its life that are disputed or easily overlooked.
        aliases: Further names.
        queries: Questions fit for it.
        wiki: A longer text about it.

    Raises:
        DataError: If name or description is empty, or it died before it was born.
        UnknownNameError: If a domain is none of the twenty.
    """

    role_id: str
    name: str
    description: str
    born: int | None = None
    died: int | None = None
    domains: tuple[str, ...] = ()
    omissions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    queries: tuple[BaseQuery, ...] = ()
    wiki: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise DataError("the role card has no name", field="name", fix="say who is to be played")
        if not self.description.strip():
            raise DataError(
                f"the card of {self.name} has no description", field="description", fix="say in a line who that is"
            )
        if self.born is not None and self.died is not None and self.died < self.born:
            raise DataError(
                f"{self.name} died in {self.died}, before being born in {self.born}",
                field="died",
                fix="years before our era are negative",
            )
        for domain in self.domains:
            if domain not in DOMAINS:
                raise UnknownNameError("domain", domain, DOMAINS, where=f"card of {self.name}")


def built_in_roles(count: int | None = None) -> list[Role]:
    """Returns the 76 characters that come with Intarsia, from Babylon to the twentieth century.

    Args:
        count: How many, spread evenly over the list; by default all.

    Raises:
        InputError: If there are not so many.
    """
    roles = _built_in()
    if count is None:
        return list(roles)
    if not 1 <= count <= len(roles):
        raise InputError(f"{count} roles are asked for, but {len(roles)} come with Intarsia")
    return [roles[index * len(roles) // count] for index in range(count)]


def read_roles(path: str | Path) -> list[Role]:
    """Reads role cards: a JSONL file with a card a line, or a YAML or JSON file with one card or a list.

    Raises:
        InputError: If there is no such file.
        DataError: If a card lacks a name or a description, or two are alike.
        UnknownNameError: If a field or a domain is unknown.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file of role cards", where=path)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        roles = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    roles.append(role_from_record(json.loads(line)))
                except json.JSONDecodeError as error:
                    raise DataError(f"not a role card: {error.msg}", file=path, line=number) from None
                except DataError as error:
                    raise DataError(error.what, file=path, line=number, fix=error.fix) from None
    else:
        content = parse_card(text, path)
        roles = [role_from_record(card) for card in (content if isinstance(content, list) else [content])]
    return require_distinct(roles, path)


def read_role(path: str | Path) -> Role:
    """Reads the card of one character.

    Raises:
        InputError: If the file holds several, or is missing.
        DataError: If the card is not complete.
    """
    roles = read_roles(path)
    if len(roles) != 1:
        raise InputError(f"the file holds {len(roles)} role cards", where=path, fix="give a file with one")
    return roles[0]


def parse_card(text: str, where: str | Path | None = None) -> Any:
    """Returns the mapping or list that a YAML or JSON text holds.

    Raises:
        DataError: If it is neither.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"not a role card: {str(error).splitlines()[0]}", file=where) from None


def role_from_record(record: Any) -> Role:
    """Makes a role of a card's fields; those of `Role`, with `queries` as texts or `{text, translations}`.

    Raises:
        DataError: If it is not a mapping, or lacks a name or a description.
        UnknownNameError: If a field is unknown.
    """
    if not isinstance(record, Mapping):
        raise DataError("a role card is a mapping with name and description", fix="see the page about role-play audits")
    known = {field.name for field in fields(Role)}
    for name in record:
        if name not in known:
            raise UnknownNameError("field of a role card", str(name), known)
    values = dict(record)
    for name in ("name", "description", "wiki"):
        values[name] = str(values.get(name) or "").strip()
    values["role_id"] = str(values.get("role_id") or "-".join(re.findall(r"\w+", values["name"].lower())))
    for name in ("born", "died"):
        if values.get(name) is not None and not isinstance(values[name], int):
            raise DataError(f"{name} is {values[name]!r}, but it must be a year", field=name)
    for name in ("domains", "omissions", "aliases"):
        values[name] = tuple(values.get(name) or ())
    values["queries"] = tuple(_query(query) for query in values.get("queries") or ())
    return Role(**values)


def role_to_record(role: Role) -> dict[str, Any]:
    """Returns the card as JSON values."""
    record = asdict(role)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in record.items()}


def require_distinct(roles: Sequence[Role], where: str | Path | None = None) -> list[Role]:
    """Returns the roles, if there are any and no two share id or name.

    Raises:
        DataError: Otherwise.
    """
    if not roles:
        raise DataError("there are no role cards", file=where)
    for kind, values in (("id", [role.role_id for role in roles]), ("name", [role.name.casefold() for role in roles])):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise DataError(f"two role cards have the {kind} {twice!r}", file=where, fix="remove or rename one of them")
    return list(roles)


def _query(value: Any) -> BaseQuery:
    if isinstance(value, str):
        return BaseQuery(value, {})
    if isinstance(value, BaseQuery):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):
        raise DataError("a query of a role card is a text, or has text and translations", field="queries")
    return BaseQuery(value["text"], dict(value.get("translations") or {}))


@cache
def _built_in() -> tuple[Role, ...]:
    text = (package_files("intarsia.audit.roleplay") / "data" / "roles.jsonl").read_text(encoding="utf-8")
    return tuple(role_from_record(json.loads(line)) for line in text.splitlines())


def names_of(roles: Iterable[Role]) -> dict[str, str]:
    """Returns role id -> name."""
    return {role.role_id: role.name for role in roles}
