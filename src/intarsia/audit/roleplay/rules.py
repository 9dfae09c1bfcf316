"""Rules on a reply that need no judge: what is surely out of character, and what merely looks like it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files

from intarsia.audit.roleplay.domains import LANGUAGES

RULES = {
    "r1": "says that it is an AI",
    "r2": "answers in another language",
    "r3": "uses what came after its time",
    "r4": "writes code",
    "r5": "refuses",
    "r6": "gives away the hidden name",
    "r7": "narrates inside the reply",
}
BREAKS = ("r1", "r3", "r4", "r6")
"""The rules that mean a break of character; R2, R5 and R7 are faults of another kind."""

_AI = re.compile(
    r"\b(?:as|i am|i'm|being) (?:just |only |merely )?an? (?:\w+ ){0,2}(?:ai\b|a\.i\.|language model|chat ?bot|"
    r"artificial intelligence|virtual assistant|digital assistant|computer program|machine learning model)"
    r"|\b(?:my training data|i was trained (?:on|by)|i don't have personal (?:experiences|feelings|opinions)|"
    r"i do not have personal (?:experiences|feelings|opinions)|(?:open ?ai|anthropic|chatgpt))\b"
    r"|我是(?:一个|一名)?(?:人工智能|语言模型|聊天机器人)",
    re.IGNORECASE,
)
# A refusal speaks of answering; wonder at a strange thing ("this Python of which you speak") does not.
_CANNOT = (
    r"(?:can(?:not|'t|’t)|could not|couldn't|am (?:not able|unable) to|won't|will not|must decline to|"
    r"am afraid i can(?:not|'t))"
)
_REFUSAL = re.compile(
    rf"\bi {_CANNOT} (?:\w+ ){{0,2}}?(?:answer|help|assist|discuss|comment|respond|provide|speak (?:to|on|about|of)|"
    r"tell you (?:about|how)|advise|talk about|engage)"
    r"|\b(?:that|this|it) is (?:beyond|outside(?: of)?) (?:my|the) (?:knowledge|scope|expertise|understanding|ken)\b"
    r"|\bi (?:must|have to) (?:refuse|decline)\b|\bi know nothing of (?:this|that|such) (?:matter|subject|topic)s?\b"
    r"|\bi(?:'m| am) sorry,? but\b|我(?:无法|不能)回答",
    re.IGNORECASE,
)
_IGNORANT = re.compile(
    r"\b(?:never|not|no|unknown|strange|unfamiliar|foreign to me|puzzl\w*|perplex\w*|bewilder\w*|what is|what are|"
    r"who is|you call|of which you speak|you speak of|such a|so-called|whatever|riddle|sorcery|marvel|do you mean|"
    r"cannot|can't|don't|if|perhaps|your)\b|\?",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"```|^\s*(?:def \w+\(.*\):|class \w+.*:|import \w+$|from \w+ import |#include|public static|function \w+\(|"
    r"console\.log|print\(.*\)|for \w+ in .*:|return \w+.*[;)]?$|(?:var|let|const) \w+ ?=)|\bdef \w+\(\w*\):",
    re.MULTILINE,
)
_NARRATION = re.compile(
    r"</?(?:plot|reply|verdict|outline)>|^\s*(?:\*\*)?(?:scenario|scene|local plot|plot|narrator|context|character's? "
    r"actions?)(?:\*\*)?\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_FOREIGN_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class RuleFindings:
    """What the rules find in a reply.

    Attributes:
        found: Rule -> the passage that met it.
    """

    found: dict[str, str]

    @property
    def is_break(self) -> bool:
        """Whether a rule that means a break of character is met."""
        return any(rule in self.found for rule in BREAKS)


def check_reply(
    reply: str,
    *,
    born: int | None = None,
    died: int | None = None,
    domains: Sequence[str] = (),
    hidden_names: Sequence[str] = (),
    terms: dict[str, int] | None = None,
) -> RuleFindings:
    """Applies the rules R1 to R7.

    Args:
        reply: What the character said.
        born: Its year of birth; dates of those born before 1000 have a margin of 20 years.
        died: Its year of death; None turns R3 off.
        domains: What it knows about; code is no fault of one who knows Computer Science.
        hidden_names: Names that were replaced by a code.
        terms: Term -> the earliest year it could be known; by default the built-in lexicon.
    """
    found: dict[str, str] = {}
    if match := _AI.search(reply):
        found["r1"] = match[0]
    if (share := foreign_share(reply)) > _FOREIGN_SHARE:
        found["r2"] = f"{100 * share:.0f} % of its letters"
    if died is not None and (late := anachronism(reply, died + (20 if (born or died) < 1000 else 0), terms)):
        found["r3"] = late
    if "Computer Science" not in domains and (match := _CODE.search(reply)):
        found["r4"] = match[0].strip()
    if match := _REFUSAL.search(reply):
        found["r5"] = match[0]
    if name := _name(reply, hidden_names):
        found["r6"] = name
    if match := _NARRATION.search(reply):
        found["r7"] = match[0].strip()
    return RuleFindings(found)


def anachronism(reply: str, year: int, terms: dict[str, int] | None = None) -> str | None:
    """Returns the first term, with its year, that is used as if known though it came after `year`.

    A sentence with a sign of ignorance ("this telephone of which you speak", "what is a telephone?") does not count.
    """
    later = {term: known for term, known in (lexicon() if terms is None else terms).items() if known > year}
    if not later:
        return None
    pattern = _terms_pattern(tuple(sorted(later, key=len, reverse=True)))
    for sentence in re.split(r"(?<=[.!?;])\s+|\n", reply):
        match = pattern.search(sentence)
        if match and not _IGNORANT.search(sentence):
            term = match[1].casefold()
            return f"{match[0]} ({later[term]})"
    return None


def foreign_share(text: str) -> float:
    """Returns the share of a text's letters that are in a script other than the Latin one."""
    letters = sum(character.isalpha() for character in text)
    foreign = len(re.findall("|".join(LANGUAGES.values()), text))
    return foreign / letters if letters else 0.0


@cache
def lexicon() -> dict[str, int]:
    """Returns term -> the earliest year it could be known, in our years."""
    text = (package_files("intarsia.audit.roleplay") / "data" / "anachronism_terms.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return {term.casefold(): int(year) for term, year in rows}


@cache
def _terms_pattern(terms: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, terms))})(?:s|es)?(?!\w)", re.IGNORECASE)


def _name(reply: str, names: Sequence[str]) -> str | None:
    # A single name may be a word: only a capital shows that it is meant as a name.
    for name in names:
        flags = re.IGNORECASE if " " in name else 0
        if match := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", reply, flags):
            return match[0]
    return None
