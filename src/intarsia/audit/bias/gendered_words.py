"""Words by which a text tells whether it speaks of a man or of a woman, and the same text of the other."""

import re
from typing import Literal

Gender = Literal["male", "female"]

_PRONOUNS: tuple[tuple[str, str], ...] = (
    ("he", "she"),
    ("him", "her"),
    ("his", "her"),
    ("his", "hers"),
    ("himself", "herself"),
)
_NOUNS: tuple[tuple[str, str], ...] = (
    ("man", "woman"),
    ("men", "women"),
    ("boy", "girl"),
    ("boys", "girls"),
    ("father", "mother"),
    ("fathers", "mothers"),
    ("brother", "sister"),
    ("brothers", "sisters"),
    ("husband", "wife"),
    ("husbands", "wives"),
    ("son", "daughter"),
    ("sons", "daughters"),
    ("uncle", "aunt"),
    ("uncles", "aunts"),
    ("grandfather", "grandmother"),
    ("grandfathers", "grandmothers"),
    ("king", "queen"),
    ("kings", "queens"),
    ("gentleman", "lady"),
    ("mr", "mrs"),
    ("mr", "ms"),
)
# Those at the same place stand for one another in the reversed text.
_MALE_NAMES = """Thomas Robert Andrew Stephen James John Michael David William Richard Joseph Charles Daniel Matthew
    Anthony Hugo Paul Steven Kenneth George Edward Brian Ronald Kevin Jason Jeffrey Ryan Jacob Gary Nicholas Eric
    Jonathan Larry Felix Scott Benjamin Samuel Raymond Gregory Alexander Patrick Jack Dennis Peter Henry Arthur
    Oliver Liam Ethan Noah Lucas Leo Marcus Carlos Ahmed Ravi Hiroshi Ivan Tom Bob Jim Joe Ben Luke Adam Simon
    Victor Walter Harold Albert Ernest Julian""".split()  # noqa: SIM905
_FEMALE_NAMES = """Laura Susan Nicole Alice Mary Patricia Jennifer Linda Elizabeth Barbara Jessica Sarah Karen Lisa
    Nancy Betty Margaret Sandra Ashley Kimberly Emily Donna Michelle Carol Amanda Melissa Deborah Stephanie Rebecca
    Sharon Cynthia Kathleen Amy Angela Anna Brenda Pamela Emma Helen Samantha Katherine Christine Rachel Carolyn Janet
    Maria Diana Olivia Sophia Isabella Ava Mia Maya Carmen Fatima Priya Yuki Natasha Jane Sally Kate Lucy Ella
    Rosa Eva Sylvia Clara Martha Edith Florence Ada Julia""".split()  # noqa: SIM905
_NAMES = tuple(zip(_MALE_NAMES, _FEMALE_NAMES, strict=True))
_WORD = re.compile(r"[^\W\d_]+")
# "her book" is "his book", but "saw her and left" is "saw him and left".
_OWNED = re.compile(r"\s+(?!(?:and|or|as|at|in|on|for|to|with|when|because|is|was)\b)\w")


def word_gender(word: str) -> Gender | None:
    """Returns the gender of a pronoun, a noun such as `sisters`, or a first name; None of other words."""
    return next((lexicon[word.casefold()] for lexicon in _LEXICONS if word.casefold() in lexicon), None)


def text_gender(text: str) -> Gender | None:
    """Returns whom a text speaks of: by its pronouns; if it has none, by first names; and then by nouns.

    Returns:
        None if it speaks of nobody, or of both.
    """
    words = _WORD.findall(text)
    for lexicon in _LEXICONS:
        # A name has a capital: "Jack", not "to jack".
        said = [word for word in words if lexicon is not _OF_NAMES or word[0].isupper()]
        found = {lexicon[word.casefold()] for word in said if word.casefold() in lexicon}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def exchange_gender(text: str) -> str:
    """Returns the same text of the other gender: pronouns, first names and nouns exchanged."""

    def other(match: re.Match[str]) -> str:
        word, rest = match[0], text[match.end() :]
        key = word.casefold()
        if key == "her":
            put = "his" if _OWNED.match(rest) else "him"
        elif key == "his":
            put = "her" if _OWNED.match(rest) else "hers"
        elif key in _OF_NAMES and not word[0].isupper():
            put = word
        else:
            put = _OTHERS.get(key, word)
        return put.capitalize() if word[0].isupper() and put != word else put

    return _WORD.sub(other, text)


def _lexicon(pairs: tuple[tuple[str, str], ...]) -> dict[str, Gender]:
    found: dict[str, Gender] = {}
    for male, female in pairs:
        found[male.casefold()], found[female.casefold()] = "male", "female"
    return found


_OF_NAMES = _lexicon(_NAMES)
_LEXICONS = (_lexicon(_PRONOUNS), _OF_NAMES, _lexicon(_NOUNS))
_OTHERS: dict[str, str] = {}
for _male, _female in (*_PRONOUNS, *_NAMES, *_NOUNS):
    _OTHERS.setdefault(_male.casefold(), _female.casefold())
    _OTHERS.setdefault(_female.casefold(), _male.casefold())
