"""Codes in place of names: a model that knows the name from its training would play another game."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from intarsia.audit.roleplay.roles import Role
from intarsia.errors import InputError

# Parts of names that are words of their own; they are replaced only within a whole name.
_NOT_ALONE = frozenset(
    """al an and bin captain christ de del den der di du duke emperor empress general great ibn king la lady le lord
    magnificent of pope prince princess queen saint san sir the van von""".split()  # noqa: SIM905
)
_LETTERS, _DIGITS = "abcdefghjkmnpqrstuvwxyz", "23456789"


class Anonymised(NamedTuple):
    """A text with codes for names.

    Attributes:
        text: The text.
        forms: What stood at each code, in order.
    """

    text: str
    forms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alias:
    """The code of a role and the names it stands for.

    Attributes:
        code: Three letters and digits.
        forms: Full name, aliases and single names, longest first.
    """

    code: str
    forms: tuple[str, ...]

    def anonymise(self, text: str) -> Anonymised:
        """Replaces every form of the name, whatever its case; a possessive ending stays."""
        found: list[str] = []

        def put(match: re.Match[str]) -> str:
            found.append(match[0])
            return self.code

        return Anonymised(self._pattern().sub(put, text), tuple(found))

    def restore(self, anonymised: Anonymised) -> str:
        """Returns the text that was anonymised.

        Raises:
            InputError: If the text has not as many codes as there are forms.
        """
        parts = re.split(rf"(?<!\w){self.code}(?!\w)", anonymised.text)
        if len(parts) != len(anonymised.forms) + 1:
            raise InputError(
                f"{len(anonymised.forms)} names cannot be put into {len(parts) - 1} places", where=f"code {self.code}"
            )
        return parts[0] + "".join(form + part for form, part in zip(anonymised.forms, parts[1:], strict=True))

    def names_in(self, text: str) -> list[str]:
        """Returns the forms that occur in a text."""
        return self._pattern().findall(text)

    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, self.forms))})(?!\w)", re.IGNORECASE)


def name_forms(role: Role) -> tuple[str, ...]:
    """Returns all forms of a role's name, longest first: full name, aliases, and names that can stand alone."""
    whole = {role.name, *role.aliases}
    tokens = {token for token in re.findall(r"[^\W\d_][\w'’-]*", role.name) if len(token) > 2}
    alone = {token for token in tokens if token.casefold() not in _NOT_ALONE}
    return tuple(sorted(whole | alone, key=lambda form: (-len(form), form)))


def make_aliases(roles: Sequence[Role], seed: int = 0, texts: Iterable[str] = ()) -> dict[str, Alias]:
    """Gives every role a code that no text holds, the same for the same role id and seed.

    Args:
        roles: The roles.
        seed: Other seeds give other codes.
        texts: Further texts in which no code may occur.

    Returns:
        Role id -> its alias.
    """
    held = " ".join([*texts, *(f"{role.name} {role.description} {role.wiki}" for role in roles)]).casefold()
    aliases: dict[str, Alias] = {}
    taken: set[str] = set()
    for role in sorted(roles, key=lambda role: role.role_id):
        attempt = 0
        while (code := _code(role.role_id, seed, attempt)) in taken or re.search(rf"(?<!\w){code}(?!\w)", held):
            attempt += 1
        taken.add(code)
        aliases[role.role_id] = Alias(code, name_forms(role))
    return aliases


def _code(role_id: str, seed: int, attempt: int) -> str:
    number = int.from_bytes(hashlib.sha256(f"{seed}/{role_id}/{attempt}".encode()).digest()[:8], "big")
    number, digit = divmod(number, len(_DIGITS))
    number, first = divmod(number, len(_LETTERS))
    # A digit among letters, so that a code is no word.
    return f"{_DIGITS[digit]}{_LETTERS[first]}{_LETTERS[number % len(_LETTERS)]}"
