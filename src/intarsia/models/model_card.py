"""The few facts Intarsia reads from and writes to a model card (the front matter of `README.md`)."""

from collections.abc import Mapping
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
    write_card(folder, facts, f"Converted by Intarsia from `{source}`.\n")


def write_card(folder: Path, facts: Mapping[str, Any], text: str) -> None:
    """Writes a folder's `README.md`: facts as its front matter, and text (Markdown)."""
    front_matter = yaml.safe_dump(dict(facts), sort_keys=True, allow_unicode=True)
    (folder / "README.md").write_text(f"---\n{front_matter}---\n\n{text}", encoding="utf-8")
