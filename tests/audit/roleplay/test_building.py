"""Cards, codes, attacks and data sets."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.audit.roleplay import (
    BuildConfig,
    Role,
    RoleQueries,
    WordEncoder,
    build_queries,
    built_in_roles,
    read_queries,
    read_role,
    read_roles,
    write_queries,
)
from intarsia.audit.roleplay.anonymising import make_aliases
from intarsia.audit.roleplay.attacks import read_multi_domain, read_omission, write_multi_domain
from intarsia.audit.roleplay.building import built_in_multi_domain
from intarsia.audit.roleplay.domains import DOMAINS
from intarsia.audit.roleplay.embedding import nearest
from intarsia.errors import DataError, InputError, UnknownNameError
from intarsia.evals import ScriptedChat, run
from intarsia.models.sentence_encoder import SentenceEncoder

ROLES = built_in_roles(6)


def build(roles: list[Role] = ROLES, generator: ScriptedChat | None = None, **settings: object) -> RoleQueries:
    return run(build_queries(roles, BuildConfig(**settings), encoder=WordEncoder(), generator=generator))  # type: ignore[arg-type]


def test_there_are_enough_roles_of_many_times_and_they_are_complete() -> None:
    roles = built_in_roles()
    assert len(roles) >= 60
    assert sum((role.died or 0) < 500 for role in roles) >= 10
    assert all(len(role.queries) == 5 and len(role.omissions) == 2 and role.domains for role in roles)
    assert all("Chinese" in query.translations for role in roles for query in role.queries)


def test_anonymised_texts_can_be_restored_and_hold_no_name() -> None:
    roles = built_in_roles()
    aliases = make_aliases(roles)
    assert len({alias.code for alias in aliases.values()}) == len(roles)
    for role in roles:
        alias = aliases[role.role_id]
        text = f"Is {role.name}'s house {role.name.upper()}? {role.description}"
        anonymised = alias.anonymise(text)
        assert alias.restore(anonymised) == text
        assert not alias.names_in(anonymised.text)


def test_no_name_reaches_a_model() -> None:
    data = build()
    for query in data.queries:
        facts = data.roles[query.role_id]
        shown = f"{query.query} {facts.card.name} {facts.card.description}".casefold()
        assert not [name for name in facts.names if f" {name.casefold()} " in f" {shown} "]


def test_each_attack_keeps_what_it_must() -> None:
    data = build(attacks=("multi_domain", "multilingual", "omission", "perturbation", "perturbation_multilingual"))
    own = {role.role_id: role for role in ROLES}
    assert data.by_attack() == {
        "multi_domain": 60,
        "omission": 30,
        "multilingual": 30,
        "perturbation": 30,
        "perturbation_multilingual": 30,
    }
    for query in data.queries:
        assert query.role_id not in query.adjacent_role_ids
        assert len({*query.adjacent_role_ids}) == len({*query.near_query_ids}) == 3
        if query.attack == "multi_domain":
            assert query.domain not in own[query.role_id].domains
        if query.attack in ("multilingual", "perturbation"):
            role_id, number = str(query.base_query_id).split("/")
            base = own[role_id].queries[int(number) - 1]
            assert query.source_role_id == role_id
        if query.attack == "multilingual":
            assert (query.role_id, query.query) == (role_id, base.translations["Chinese"])
        if query.attack == "perturbation":
            assert query.role_id != role_id
            assert query.query == base.text


def test_neighbours_do_not_depend_on_the_order_of_cards_and_ties_go_by_id() -> None:
    shuffled = list(ROLES)
    random.Random(1).shuffle(shuffled)
    assert build().queries == build(shuffled).queries
    same = np.ones((4, 1), dtype=np.float32)
    assert nearest(same, ["b", "d", "a", "c"], 3)["b"] == ["a", "c", "d"]


def test_what_is_written_is_read_and_changes_are_noticed(tmp_path: Path) -> None:
    data = build()
    write_queries(tmp_path / "set", data)
    assert read_queries(tmp_path / "set").queries == data.queries
    with (tmp_path / "set" / "queries.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"(?s)was changed.*build the data set again"):
        read_queries(tmp_path / "set")


def test_generator_lines_are_read_and_render_back() -> None:
    queries = built_in_multi_domain(ROLES[0], 10)
    assert read_multi_domain(write_multi_domain(queries), ROLES[0].domains) == queries
    text = "[Film] Query 1: A?\n[Film] Query 2: B?\n[Cheese] Query 3: C?\n**[music] Query 4:** D?"
    assert [query.domain for query in read_multi_domain(text)] == ["Film", "Music"]
    assert read_omission("Query 1: A?\nQuery 2: A?\nother\nQuery 3: B?") == ["A?", "B?"]


def test_a_generator_writes_and_a_lazy_one_is_asked_three_times() -> None:
    roles = [replace(role, wiki="Once. There was more.") for role in ROLES]

    def writes(call: object) -> str:
        lines = "\n".join(f"[{name}] Query 1: What of {name}?" for name in DOMAINS)
        return lines + "\n" + "\n".join(f"Query {n}: Why {n}?" for n in range(5))

    model = ScriptedChat(writes, name="writer")
    data = build(roles, model, attacks=("multi_domain", "omission"))
    assert {query.generator for query in data.queries} == {"writer"}
    assert all(call.temperature == 0.8 for call in model.calls)
    lazy = ScriptedChat(lambda call: "[Film] Query 1: A?", name="lazy")
    with pytest.raises(InputError, match=r"(?s)wrote 1 of 10 queries of the attack multi_domain in 3 tries.*lazy"):
        build(roles, lazy, attacks=("multi_domain",))
    assert len(lazy.calls) == 3


def card(**changes: object) -> dict[str, object]:
    return {"name": "Enlil", "description": "A baker of Babylon.", **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([card(name="")], "no name"),
        ([card(), card()], "two role cards have the"),
        ([card(description=" ")], "the card of Enlil has no description"),
        ([card(born=30, died=-30)], "before being born"),
        ([card(domains=["Cheese"])], "Cheese"),
        ([card(colour="red")], "colour"),
        ([], "no role cards"),
    ],
)
def test_bad_cards_are_explained(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_roles(path)


def test_a_yaml_card_is_read_and_several_are_too_many(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("name: Enlil\ndescription: A baker.\ndied: -1700\n")
    assert read_role(tmp_path / "one.yaml").died == -1700
    (tmp_path / "two.yaml").write_text("- {name: A, description: a}\n- {name: B, description: b}\n")
    with pytest.raises(InputError, match="holds 2 role cards"):
        read_role(tmp_path / "two.yaml")
    with pytest.raises(InputError, match="no such file of role cards"):
        read_roles(tmp_path / "none.yaml")


def test_missing_parts_are_named_with_what_to_do() -> None:
    with pytest.raises(DataError, match=r"(?s)3 roles, but role fidelity needs 4.*add role cards"):
        build(ROLES[:3])
    bare = [replace(role, queries=()) for role in ROLES]
    with pytest.raises(DataError, match=r"(?s)no base queries.*add queries to the card"):
        build(bare)
    with pytest.raises(DataError, match=r"(?s)no translation into Korean.*generator that translates"):
        build(language="Korean")
    with pytest.raises(DataError, match=r"(?s)no wiki text.*allow the fallback"):
        build(attacks=("omission",), fallback=False)
    with pytest.raises(UnknownNameError, match="multi_domian"):
        build(attacks=("multi_domian",))
    with pytest.raises(UnknownNameError, match="Klingon"):
        build(language="Klingon")
    with pytest.raises(InputError, match="no-such-encoder"):
        SentenceEncoder("asset:no-such-encoder").embed(["a"])
