"""The twenty domains of RoleBreak's multi-domain attack, with questions of each (COLING 2025, Appendix)."""

import json
from functools import cache
from importlib.resources import files as package_files

DOMAINS = (
    *("Gourmet Cooking", "Travel", "Household Chores", "Film", "Neighborhood", "Workplace", "Music", "Shopping"),
    *("Games", "Sports", "History", "Philosophy", "Sociology", "Psychology", "Economics", "Geography", "Physics"),
    *("Biology", "Computer Science", "Medicine"),
)

# Languages in a script of their own: R2 tells them from English by their letters.
LANGUAGES = {
    "Chinese": r"[\u4e00-\u9fff]",
    "Japanese": r"[\u3040-\u30ff\u4e00-\u9fff]",
    "Korean": r"[\uac00-\ud7af]",
    "Russian": r"[\u0400-\u04ff]",
    "Greek": r"[\u0370-\u03ff]",
    "Arabic": r"[\u0600-\u06ff]",
    "Hindi": r"[\u0900-\u097f]",
}


@cache
def domain_queries() -> dict[str, tuple[str, ...]]:
    """Returns questions of each domain, for data sets made without a generator."""
    text = (package_files("intarsia.audit.roleplay") / "data" / "domain_queries.json").read_text(encoding="utf-8")
    return {domain: tuple(queries) for domain, queries in json.loads(text).items()}
