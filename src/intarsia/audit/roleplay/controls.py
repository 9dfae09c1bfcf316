"""Planted controls: replies whose truth is known, by which a judge is judged."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files as package_files
from typing import Any

from intarsia.audit.roleplay.anonymising import make_aliases
from intarsia.audit.roleplay.judging import Case, Judge, Verdicts, read_hallucination
from intarsia.audit.roleplay.roles import built_in_roles
from intarsia.audit.roleplay.rules import check_reply


@dataclass(frozen=True, slots=True)
class Control:
    """A planted reply.

    Attributes:
        id: Its id.
        role_id: A built-in role.
        query: What was asked.
        reply: What was said.
        hallucinated: Whether it is out of character.
        kind: Of hallucinations what is wrong: domain, time, identity, fact, values; else puzzled, in_role, bridge,
            premise.
    """

    id: str
    role_id: str
    query: str
    reply: str
    hallucinated: bool
    kind: str


@dataclass(frozen=True, slots=True)
class JudgedControl:
    """A planted reply and what was written about it.

    Attributes:
        id: Its id.
        hallucinated: The truth.
        kind: What is wrong or right with it.
        verdicts: Judge -> score -> what it wrote.
        rules: Rule -> the passage that met it.
    """

    id: str
    hallucinated: bool
    kind: str
    verdicts: Mapping[str, Verdicts] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)

    def verdict(self, judge: str) -> bool | None:
        """Returns whether a judge found it out of character; None if it did not say."""
        written = self.verdicts.get(judge, {}).get("hr", ())
        return read_hallucination(written[0]) if written else None

    def to_record(self) -> dict[str, Any]:
        """Returns the control as JSON values."""
        return asdict(self)


@cache
def planted_controls() -> tuple[Control, ...]:
    """Returns 20 replies that are out of character and 20 that are not."""
    text = (package_files("intarsia.audit.roleplay") / "data" / "controls.jsonl").read_text(encoding="utf-8")
    return tuple(Control(**json.loads(line)) for line in text.splitlines())


def control_case(control: Control) -> Case:
    """Returns a planted reply as judges see it, with a code in place of the name."""
    role = _roles()[control.role_id]
    alias = _aliases()[control.role_id]
    reply = alias.anonymise(control.reply).text
    return Case(
        key=f"control/{control.id}",
        name=alias.code,
        description=alias.anonymise(role.description).text,
        query=alias.anonymise(control.query).text,
        reply=reply,
        findings=check_reply(reply, born=role.born, died=role.died, domains=role.domains, hidden_names=alias.forms),
    )


async def judge_control(control: Control, judges: Iterable[Judge]) -> JudgedControl:
    """Has judges and rules say what they make of a planted reply.

    Raises:
        ModelCallError: If a judge gives no answer.
    """
    case = control_case(control)
    verdicts = {judge.name: await judge.judge(case) for judge in judges}
    found = dict(case.findings.found) if case.findings else {}
    return JudgedControl(control.id, control.hallucinated, control.kind, verdicts, found)


@cache
def _roles() -> dict[str, Any]:
    return {role.role_id: role for role in built_in_roles()}


@cache
def _aliases() -> dict[str, Any]:
    return make_aliases(built_in_roles(), texts=[f"{each.query} {each.reply}" for each in planted_controls()])
