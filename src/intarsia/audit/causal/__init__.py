"""The causal generalization benchmark: never-seen causal questions with machine-proved answers.

Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "BASELINES": "baselines",
    "Adjustment": "adjustment",
    "Answer": "answers",
    "Answered": "answered",
    "AuditConfig": "layout",
    "AuditResult": "results",
    "AuditRun": "auditing",
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
    "audit_result": "results",
    "baseline_model": "baselines",
    "causal_paths": "paths",
    "compare_names": "summary",
    "d_separated": "separation",
    "derivation_steps": "models",
    "draw_graph": "generator",
    "from_record": "questions",
    "parse_answer": "answers",
    "generate_questions": "building",
    "read_audit": "auditing",
    "read_dataset": "dataset",
    "read_graphs": "user_graphs",
    "read_words": "names",
    "run_audit": "auditing",
    "score": "scoring",
    "score_answer": "scoring",
    "solve": "solver",
    "summarise": "summary",
    "to_record": "questions",
    "user_graph": "user_graphs",
    "write_audit_report": "auditing",
    "write_dataset": "dataset",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
