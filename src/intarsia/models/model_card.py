"""The few facts Intarsia reads from and writes to a model card (the front matter of `README.md`)."""

from pathlib import Path
from typing import Any

import yaml


def read_model_card(folder: Path) -> dict[str, Any]:
    """Returns the front matter of a folder's `README.md`; empty if there is none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    if not text.startswith("---\n"):
        return {}
    try:
        facts = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    return facts if isinstance(facts, dict) else {}


def read_licence(folder: Path) -> str | None:
    """Returns the licence a folder's model card states."""
    licence = read_model_card(folder).get("license")
    return licence if isinstance(licence, str) else None


def write_model_card(folder: Path, *, source: str, licence: str | None) -> None:
    """Writes the card of a converted model: where it came from, and under which licence."""
    facts = {"source": source} | ({"license": licence} if licence else {})
    front_matter = yaml.safe_dump(facts, sort_keys=True, allow_unicode=True)
    text = f"---\n{front_matter}---\n\nConverted by Intarsia from `{source}`.\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
