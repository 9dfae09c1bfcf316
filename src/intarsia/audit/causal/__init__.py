"""The causal generalization benchmark: never-seen causal questions with machine-proved answers.

Names are imported when they are first used.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "BASELINES": "baselines",
    "Adjustment": "adjustment",
    "Answer": "answers",
    "BenchmarkConfig": "config",
    "BooleanModel": "models",
    "CausalGraph": "graphs",
    "Complexity": "questions",
    "GraphConfig": "config",
    "Problem": "problems",
    "PromptConfig": "prompts",
    "Question": "questions",
    "Score": "scoring",
    "Summary": "summary",
    "WordList": "names",
    "abduce": "models",
    "accuracy_by_complexity": "summary",
    "causal_paths": "paths",
    "compare_names": "summary",
    "d_separated": "separation",
    "derivation_steps": "models",
    "draw_graph": "generator",
    "from_record": "questions",
    "mcnemar": "statistics",
    "parse_answer": "answers",
    "generate_questions": "building",
    "read_dataset": "dataset",
    "read_graphs": "user_graphs",
    "read_words": "names",
    "score": "scoring",
    "score_answer": "scoring",
    "solve": "solver",
    "summarise": "summary",
    "to_record": "questions",
    "user_graph": "user_graphs",
    "wilson": "statistics",
    "write_dataset": "dataset",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'intarsia.audit.causal' has no attribute {name!r}")
    return getattr(import_module(f"intarsia.audit.causal.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
