"""Data sets on disk: one question a line, and a manifest that tells how to make the same bytes again.

The same settings give the same bytes on every machine. The manifest has their SHA-256, so a file that was changed is
noticed before anything is scored with it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.audit.causal.building import Subject, generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.export import EXPORTS
from intarsia.audit.causal.names import Words
from intarsia.audit.causal.questions import Question, from_record, to_record
from intarsia.errors import DataError, InputError, RunExistsError, UnknownNameError

QUESTIONS, MANIFEST = "questions.jsonl", "manifest.json"

FORMAT = 1
"""Raised whenever the same settings would give other bytes."""


def write_dataset(
    folder: str | Path,
    config: BenchmarkConfig,
    *,
    words: Words | None = None,
    subjects: Sequence[Subject] | None = None,
    exports: Sequence[str] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Generates a data set into a new folder.

    Args:
        folder: Where `questions.jsonl`, `manifest.json` and the exports are written, whole or not at all.
        config: The data set.
        words: Word lists of yours.
        subjects: Graphs of yours, in place of drawn ones.
        exports: Further formats: `"lm-eval"`, `"huggingface"`.
        overwrite: Whether a folder that is there is replaced.

    Returns:
        The manifest.

    Raises:
        RunExistsError: If the folder is there.
        UnknownNameError: If an export or a name style is unknown.
        InputError: If the settings give no question.
    """
    folder = Path(folder)
    for name in exports:
        if name not in EXPORTS:
            raise UnknownNameError("export", name, EXPORTS)
    if folder.exists() and not overwrite:
        raise RunExistsError(folder, what="a data set")
    with files.atomic_folder(folder, overwrite=overwrite) as made:
        counts: Counter[str] = Counter()
        with (made / QUESTIONS).open("wb") as out:
            for question in generate_questions(config, words=words, subjects=subjects):
                out.write(dumped(to_record(question)))
                counts[question.task] += 1
        if not counts:
            raise InputError(
                "there is no question to ask: the graphs have no effect for CP and BA, or no event for FI and CI",
                fix="give treatments and outcomes, or choose other tasks",
            )
        for name in exports:
            EXPORTS[name](made)
        manifest = _manifest(made, config, counts, words, subjects)
        files.write_json(made / MANIFEST, manifest)
    return manifest


def _manifest(
    folder: Path,
    config: BenchmarkConfig,
    counts: Mapping[str, int],
    words: Words | None,
    subjects: Sequence[Subject] | None,
) -> dict[str, Any]:
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "benchmark": "causal-generalization",
        "format": FORMAT,
        "config": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()},
        "own_words": sorted(words) if words else [],
        "own_graphs": len(subjects) if subjects is not None else 0,
        "questions": dict(sorted(counts.items())),
        "files": {path.relative_to(folder).as_posix(): file_hash(path) for path in written},
    }


def read_dataset(path: str | Path, *, verify: bool = True) -> Iterator[Question]:
    """Yields the questions of a data set.

    Args:
        path: Its folder, or a file of questions.
        verify: Whether the file must be the one its manifest describes, if there is a manifest.

    Raises:
        DataError: If there is no such file, it was changed, or a line is no question.
    """
    path = Path(path)
    file = path / QUESTIONS if path.is_dir() else path
    if not file.is_file():
        raise DataError("there is no file of questions", file=file, fix="run intarsia audit causal generate")
    manifest = file.parent / MANIFEST
    if verify and manifest.is_file():
        _verify(file, files.read_json(manifest))
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"not valid JSON: {error.msg}", file=file, line=number) from None
            yield from_record(record, file=str(file), line=number)


def require_keys(questions: Iterable[Question], path: str | Path) -> list[Question]:
    """Returns the questions of a data set if there are any and all can be scored, so that no call is paid in vain.

    Args:
        questions: What was read.
        path: Where from, for the message.

    Raises:
        DataError: If there is no question, one comes twice, or one has no answer key.
    """
    found = list(questions)
    if not found:
        raise DataError("the data set is empty", file=path, fix="run intarsia audit causal generate")
    repeated = [id for id, count in Counter(question.id for question in found).items() if count > 1]
    if repeated:
        raise DataError(f"question {repeated[0]!r} is there more than once", file=path, field="id")
    for question in found:
        if question.problem.key is None:
            raise DataError(
                f"question {question.id!r} has no answer key, so no answer to it can be scored",
                file=path,
                fix="use the file that was generated, not one whose answers were taken out",
            )
    return found


def _verify(file: Path, manifest: Any) -> None:
    known = manifest.get("files", {}) if isinstance(manifest, dict) else {}
    if file.name in known and known[file.name] != file_hash(file):
        raise DataError(
            "the file is not the one its manifest describes",
            file=file,
            fix="generate the data set anew, or do not verify",
        )


def file_hash(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def dumped(record: Mapping[str, Any]) -> bytes:
    """Returns one line of JSON, the same everywhere."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
