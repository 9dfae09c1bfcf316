"""The queries of an audit: the record, and the folder they are kept in.

queries.jsonl      a query a line
cards.json         what the model may be told of each role: code and description, names taken out
names.json         the names the codes stand for, and what stood where: never shown to a model
manifest.json      settings, counts by attack, and SHA-256 of each file
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.audit.roleplay.anonymising import Alias, Anonymised
from intarsia.audit.roleplay.prompts import Card
from intarsia.errors import DataError, InputError, RunExistsError

QUERIES, CARDS, NAMES, MANIFEST = "queries.jsonl", "cards.json", "names.json", "manifest.json"


@dataclass(frozen=True, slots=True)
class Query:
    """A question put to a role.

    Attributes:
        id: Unique in its data set.
        role_id: The role that is asked.
        role_code: What the model knows it as.
        role_name: Its name; no model is shown it.
        description: Who it is, names taken out.
        attack: The attack.
        domain: Of the multi-domain attack: the domain asked about.
        language: Language of the query.
        query: The question, names taken out.
        base_query_id: Of queries made from a base query: which.
        source_role_id: The role the query was written for; another one under perturbation.
        adjacent_role_ids: The three nearest other roles, nearest first.
        near_query_ids: The three nearest queries with another text, of the same role first.
        expects: What a good reply does.
        seed: Seed of the data set.
        generator: The model that wrote it, or `built-in`.
    """

    id: str
    role_id: str
    role_code: str
    role_name: str
    description: str
    attack: str
    domain: str | None
    language: str
    query: str
    base_query_id: str | None
    source_role_id: str
    adjacent_role_ids: tuple[str, ...]
    near_query_ids: tuple[str, ...]
    expects: str = "in_character"
    seed: int = 0
    generator: str = "built-in"


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """What is known of a role beside its card.

    Attributes:
        card: What the model is told.
        born: Year of birth.
        died: Year of death.
        domains: Domains the character knows about.
        names: Its names; no model is shown them.
    """

    card: Card
    born: int | None
    died: int | None
    domains: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoleQueries:
    """A data set.

    Attributes:
        queries: All queries.
        roles: Role id -> what is known of the role.
        originals: Query id -> names that stood in it, in order.
        mean_neighbour_cosine: How near the nearest other role is, on average: near ones make role fidelity hard.
        settings: What it was made with.
    """

    queries: tuple[Query, ...]
    roles: Mapping[str, RoleFacts]
    originals: Mapping[str, tuple[str, ...]]
    mean_neighbour_cosine: float
    settings: Mapping[str, Any]

    def by_attack(self) -> dict[str, int]:
        """Returns attack -> number of queries."""
        return dict(Counter(query.attack for query in self.queries))

    def restore(self, query: Query) -> str:
        """Returns a query with the names of its role that it had."""
        alias = Alias(query.role_code, self.roles[query.role_id].names)
        return alias.restore(Anonymised(query.query, self.originals.get(query.id, ())))


def write_queries(folder: str | Path, data: RoleQueries, *, overwrite: bool = False) -> dict[str, Any]:
    """Writes a data set and returns its manifest.

    Raises:
        RunExistsError: If the folder holds anything, unless `overwrite`.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise RunExistsError(folder, what="files")
    cards = {
        id: {
            **facts.card._asdict(),
            "born": facts.born,
            "died": facts.died,
            "domains": list(facts.domains),
        }
        for id, facts in data.roles.items()
    }
    names = {
        "roles": {id: {"code": facts.card.name, "names": list(facts.names)} for id, facts in data.roles.items()},
        "queries": {id: list(forms) for id, forms in data.originals.items() if forms},
    }
    with files.atomic_folder(folder, overwrite=True) as made:
        files.write_text(
            made / QUERIES, "".join(json.dumps(asdict(q), ensure_ascii=False) + "\n" for q in data.queries)
        )
        files.write_json(made / CARDS, cards)
        files.write_json(made / NAMES, names)
        manifest = {
            "data": "rolebreak",
            "settings": dict(data.settings),
            "queries": data.by_attack(),
            "roles": len(data.roles),
            "mean_neighbour_cosine": round(data.mean_neighbour_cosine, 4),
            "files": {name: _sha256(made / name) for name in (QUERIES, CARDS, NAMES)},
        }
        files.write_json(made / MANIFEST, manifest)
    return manifest


def read_queries(folder: str | Path) -> RoleQueries:
    """Reads a data set and checks it against its manifest.

    Raises:
        InputError: If there is no data set.
        DataError: If a file was changed since it was written, or is broken.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise InputError("the folder holds no role-play queries", where=folder, fix="make one: audit roleplay build")
    manifest = files.read_json(folder / MANIFEST)
    for name, expected in manifest.get("files", {}).items():
        if not (folder / name).is_file() or _sha256(folder / name) != expected:
            raise DataError(
                "the file is missing or was changed after the data set was made",
                file=folder / name,
                fix="build the data set again",
            )
    cards, names = files.read_json(folder / CARDS), files.read_json(folder / NAMES)
    roles = {
        id: RoleFacts(
            Card(card["name"], card["description"], card["wiki"]),
            card["born"],
            card["died"],
            tuple(card["domains"]),
            tuple(names["roles"][id]["names"]),
        )
        for id, card in cards.items()
    }
    queries = []
    for number, line in enumerate((folder / QUERIES).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            queries.append(query_from_record(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(f"not a query: {error}", file=folder / QUERIES, line=number) from None
    originals = {id: tuple(forms) for id, forms in names["queries"].items()}
    return RoleQueries(tuple(queries), roles, originals, manifest["mean_neighbour_cosine"], manifest["settings"])


def query_from_record(record: Mapping[str, Any]) -> Query:
    """Returns the query of a record that `dataclasses.asdict` wrote."""
    unknown = set(record) ^ {field.name for field in fields(Query)}
    if unknown:
        raise ValueError(f"fields missing or unknown: {', '.join(sorted(unknown))}")
    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in record.items()
    }
    return Query(**kept)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
