"""Making the queries of an audit from role cards, with a generator model or from what comes with Intarsia."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from intarsia.audit.roleplay import attacks
from intarsia.audit.roleplay.anonymising import Alias, make_aliases
from intarsia.audit.roleplay.attacks import COMBINED, MULTI_DOMAIN, MULTILINGUAL, OMISSION, PERTURBATION, DomainQuery
from intarsia.audit.roleplay.dataset import Query, RoleFacts, RoleQueries
from intarsia.audit.roleplay.domains import DOMAINS, domain_queries
from intarsia.audit.roleplay.embedding import nearest
from intarsia.audit.roleplay.prompts import Card
from intarsia.audit.roleplay.roles import BaseQuery, Role, require_distinct
from intarsia.errors import ConfigError, DataError, InputError
from intarsia.evals.protocol import ChatModel, user
from intarsia.models.sentence_encoder import TextEncoder, Vectors

NEIGHBOURS = 3
TRIES = 3
GENERATOR_TEMPERATURE = 0.8

Found = TypeVar("Found")


@dataclass(frozen=True)
class BuildConfig:
    """Which queries are made.

    Attributes:
        attacks: Names of attacks.
        multi_domain: Queries of the multi-domain attack for each role (paper: 10 domains).
        omission: Queries of the omission attack for each role (paper: 5).
        base: Base queries of each role that are translated and perturbed.
        language: Language of the multilingual attack (paper: Chinese).
        fallback: Whether the omission attack may do without a wiki text, or without a generator, by putting points of
            the card into templates.
        seed: Of codes and choices.

    Raises:
        UnknownNameError: If an attack or the language is unknown.
        ConfigError: If a number is out of range.
    """

    attacks: tuple[str, ...] = ("multi_domain", "multilingual", "omission", "perturbation")
    multi_domain: int = 10
    omission: int = 5
    base: int = 5
    language: str = "Chinese"
    fallback: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        attacks.require_attacks(self.attacks)
        attacks.require_language(self.language)
        if not self.attacks:
            raise ConfigError("attacks", self.attacks, f"one or more of {', '.join(attacks.ATTACKS)}")
        for name, most in (("multi_domain", len(DOMAINS)), ("omission", 50), ("base", 50)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(name, getattr(self, name), f"between 1 and {most}")


async def build_queries(
    roles: Sequence[Role],
    config: BuildConfig | None = None,
    *,
    encoder: TextEncoder,
    generator: ChatModel | None = None,
    each: Callable[[], None] = lambda: None,
) -> RoleQueries:
    """Makes the queries.

    Args:
        roles: Four or more roles.
        config: Which queries.
        encoder: Finds the nearest roles and queries.
        generator: Writes and translates queries; without one, what comes with the cards and with Intarsia is used.
        each: Called after each role.

    Raises:
        DataError: If there are fewer than four roles, two are alike, or a card lacks what an attack needs.
        InputError: If the generator does not write as many queries as asked for.
    """
    config = config or BuildConfig()
    roles = sorted(require_distinct(roles), key=lambda role: role.role_id)
    if len(roles) <= NEIGHBOURS:
        raise DataError(
            f"there are {len(roles)} roles, but role fidelity needs 4: one and its three nearest",
            fix="add role cards, or use the built-in ones",
        )
    _require_parts(roles, config, generator)
    aliases = make_aliases(roles, config.seed, _texts(roles))
    cards = {role.role_id: _card(role, aliases[role.role_id]) for role in roles}
    # Described without names: with them, roles of one family or one title would look alike.
    vectors = encoder.embed([cards[role.role_id].description for role in roles])
    ids = [role.role_id for role in roles]
    adjacent = nearest(vectors, ids, NEIGHBOURS)
    writer = _Writer(config, generator, cards)
    queries: list[Query] = []
    originals: dict[str, tuple[str, ...]] = {}
    by_id = {role.role_id: role for role in roles}

    def add(attack: str, role: Role, source: Role, number: int, text: str, **more: Any) -> None:
        alias = aliases[role.role_id]
        anonymised = alias.anonymise(text)
        text = anonymised.text
        if source is not role:
            # Perturbation must not tell whose question it was: that name goes too, as the asked one's code would not.
            text = aliases[source.role_id].anonymise(text).text
        id = (
            f"{attack}/{role.role_id}/{number}"
            if source is role
            else f"{attack}/{role.role_id}/{source.role_id}-{number}"
        )
        originals[id] = anonymised.forms
        queries.append(
            Query(
                id,
                role.role_id,
                alias.code,
                role.name,
                cards[role.role_id].description,
                attack,
                more.get("domain"),
                more.get("language", "English"),
                text,
                more.get("base_query_id"),
                source.role_id,
                tuple(adjacent[role.role_id]),
                (),
                seed=config.seed,
                generator=more.get("generator", "built-in"),
            )
        )

    for role in roles:
        other = by_id[adjacent[role.role_id][0]]
        base = list(enumerate(role.queries[: config.base], start=1))
        if MULTI_DOMAIN in config.attacks:
            for number, (domain, text) in enumerate(await writer.multi_domain(role), start=1):
                add(MULTI_DOMAIN, role, role, number, text, domain=domain, generator=writer.name)
        if OMISSION in config.attacks:
            texts, by = await writer.omission(role)
            for number, text in enumerate(texts, start=1):
                add(OMISSION, role, role, number, text, generator=by)
        for number, query in base:
            id = f"{role.role_id}/{number}"
            if MULTILINGUAL in config.attacks or COMBINED in config.attacks:
                translated, by = await writer.translation(role, query)
                told = {"language": config.language, "base_query_id": id, "generator": by}
                if MULTILINGUAL in config.attacks:
                    add(MULTILINGUAL, role, role, number, translated, **told)
                if COMBINED in config.attacks:
                    add(COMBINED, other, role, number, translated, **told)
            if PERTURBATION in config.attacks:
                add(PERTURBATION, other, role, number, query.text, base_query_id=id)
        each()
    near = near_queries(queries, encoder)
    queries = [replace(query, near_query_ids=tuple(near[query.id])) for query in queries]
    facts = {
        role.role_id: RoleFacts(cards[role.role_id], role.born, role.died, role.domains, aliases[role.role_id].forms)
        for role in roles
    }
    settings = {**asdict(config), "attacks": list(config.attacks), "generator": writer.name}
    return RoleQueries(tuple(queries), facts, originals, _mean_nearest(vectors), settings)


def near_queries(queries: Sequence[Query], encoder: TextEncoder) -> dict[str, list[str]]:
    """Returns, for each query, the three nearest with another text: those put to the same role first.

    Raises:
        DataError: If there are not three others.
    """
    texts = sorted({query.query for query in queries})
    if len(texts) <= NEIGHBOURS:
        raise DataError(
            f"there are {len(texts)} different queries, but query fidelity needs 4",
            fix="ask for more attacks or queries",
        )
    vectors = dict(zip(texts, encoder.embed(texts).astype(np.float64), strict=True))
    matrix = np.stack([vectors[query.query] for query in queries])
    found = {}
    for query in queries:
        cosines = np.round(matrix @ vectors[query.query], 6)
        order = sorted(
            range(len(queries)), key=lambda o: (queries[o].role_id != query.role_id, -cosines[o], queries[o].id)
        )
        chosen: dict[str, str] = {}
        for other in order:
            if queries[other].query != query.query:
                chosen.setdefault(queries[other].query, queries[other].id)
            if len(chosen) == NEIGHBOURS:
                break
        found[query.id] = list(chosen.values())
    return found


class _Writer:
    """Gets the texts of queries, from the generator or from what is at hand."""

    def __init__(self, config: BuildConfig, generator: ChatModel | None, cards: Mapping[str, Card]) -> None:
        self._config = config
        self._generator = generator
        self._cards = cards
        self.name = generator.name if generator is not None else "built-in"

    async def multi_domain(self, role: Role) -> list[DomainQuery]:
        count = self._config.multi_domain
        if self._generator is None:
            return built_in_multi_domain(role, count, self._config.seed)
        prompt = attacks.multi_domain_prompt(self._cards[role.role_id], count)
        return await self._generate(
            prompt, lambda text: attacks.read_multi_domain(text, role.domains), count, role, MULTI_DOMAIN
        )

    async def omission(self, role: Role) -> tuple[list[str], str]:
        count = self._config.omission
        if self._generator is None or not role.wiki:
            texts = [template.format(seed) for template in attacks.OMISSION_TEMPLATES for seed in role.omissions]
            # Every point is asked about before the templates repeat.
            return _spread(texts, count, f"{self._config.seed}/{role.role_id}"), "built-in"
        prompt = attacks.omission_prompt(self._cards[role.role_id], count)
        return await self._generate(prompt, attacks.read_omission, count, role, OMISSION), self.name

    async def translation(self, role: Role, query: BaseQuery) -> tuple[str, str]:
        language = self._config.language
        if language in query.translations:
            return query.translations[language], "built-in"
        assert self._generator is not None, "checked before"
        prompt = attacks.translation_prompt(query.text, language)
        return (
            await self._generate(prompt, lambda text: [text.strip()] if text.strip() else [], 1, role, MULTILINGUAL)
        )[0], self.name

    async def _generate(
        self, prompt: str, read: Callable[[str], list[Found]], count: int, role: Role, attack: str
    ) -> list[Found]:
        generator = self._generator
        assert generator is not None, "checked before"
        most = 0
        for attempt in range(TRIES):
            seed = self._config.seed * TRIES + attempt
            key = f"{attack}/{role.role_id}/{seed}"
            reply = await generator.chat([user(prompt)], temperature=GENERATOR_TEMPERATURE, seed=seed, key=key)
            found = read(reply.text)
            if len(found) >= count:
                return found[:count]
            most = max(most, len(found))
        raise InputError(
            f"the generator wrote {most} of {count} queries of the attack {attack} in {TRIES} tries",
            where=f"role {role.role_id}, {generator.name}",
            fix="use a stronger generator, or ask for fewer queries",
        )


def built_in_multi_domain(role: Role, count: int, seed: int = 0) -> list[DomainQuery]:
    """Returns questions of domains that are not the role's own, from those that come with Intarsia.

    Raises:
        DataError: If the role knows too many of the domains.
    """
    foreign = [domain for domain in DOMAINS if domain not in role.domains]
    if len(foreign) < count:
        raise DataError(
            f"{role.name} knows all but {len(foreign)} of the domains, but {count} are asked about",
            field="domains",
            fix=f"ask for at most {len(foreign)} queries of the attack {MULTI_DOMAIN}",
        )
    chosen = set(_spread(foreign, count, f"{seed}/{role.role_id}/domains"))
    return [
        DomainQuery(domain, _spread(list(domain_queries()[domain]), 1, f"{seed}/{role.role_id}/{domain}")[0])
        for domain in foreign
        if domain in chosen
    ]


def _require_parts(roles: Sequence[Role], config: BuildConfig, generator: ChatModel | None) -> None:
    for role in roles:
        where = f"card of {role.name}"
        if {MULTILINGUAL, PERTURBATION, COMBINED} & set(config.attacks) and not role.queries:
            raise DataError(
                f"the card has no base queries, which the attacks {MULTILINGUAL} and {PERTURBATION} need",
                file=where,
                field="queries",
                fix="add queries to the card, or leave these attacks out",
            )
        if {MULTILINGUAL, COMBINED} & set(config.attacks) and generator is None:
            for query in role.queries[: config.base]:
                if config.language not in query.translations:
                    raise DataError(
                        f"a query has no translation into {config.language}: {query.text!r}",
                        file=where,
                        field="queries",
                        fix="add it to the card, or give a generator that translates",
                    )
        if OMISSION in config.attacks:
            if not config.fallback and (generator is None or not role.wiki):
                raise DataError(
                    "the card has no wiki text for the omission attack"
                    if not role.wiki
                    else "the omission attack has no generator",
                    file=where,
                    field="wiki",
                    fix="add one, or allow the fallback to templates",
                )
            if (generator is None or not role.wiki) and not role.omissions:
                raise DataError(
                    "the card has neither wiki text with a generator nor omissions for the omission attack",
                    file=where,
                    field="omissions",
                    fix="add omissions to the card: points of its life that are disputed or overlooked",
                )


def _card(role: Role, alias: Alias) -> Card:
    return Card(alias.code, alias.anonymise(role.description).text, alias.anonymise(role.wiki).text)


def _texts(roles: Sequence[Role]) -> list[str]:
    return [text for role in roles for query in role.queries for text in (query.text, *query.translations.values())]


def _spread(items: list[Any], count: int, key: str) -> list[Any]:
    """Returns `count` of the items, chosen by a hash of the key, the same on every machine."""
    order = sorted(range(len(items)), key=lambda place: hashlib.sha256(f"{key}/{place}".encode()).digest())
    return [items[place] for place in order[:count]]


def _mean_nearest(vectors: Vectors) -> float:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return float(cosines.max(axis=1).mean())
