"""Role-play audits: how characters break (RoleBreak), and Narrator Mode, which keeps them whole.

Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "ATTACKS": "attacks",
    "DEFENCES": "defences",
    "Answer": "defences",
    "AuditConfig": "layout",
    "AuditRun": "auditing",
    "BuildConfig": "building",
    "DefenceConfig": "defences",
    "Defender": "defences",
    "Judged": "asking",
    "JudgedReply": "judged",
    "ModelJudge": "judging",
    "NarratorChat": "narrator",
    "NarratorConfig": "narration",
    "Query": "dataset",
    "Role": "roles",
    "RoleQueries": "dataset",
    "RoleplayResult": "results",
    "RuleFindings": "rules",
    "RuleJudge": "judging",
    "StoryPiece": "narrator",
    "Turn": "defences",
    "WordEncoder": "embedding",
    "ask_and_judge": "asking",
    "build_queries": "building",
    "built_in_roles": "roles",
    "calibrate_confidence": "rolefact",
    "check_reply": "rules",
    "count_calls": "defences",
    "development_characters": "rolefact",
    "planted_controls": "controls",
    "read_audit": "auditing",
    "read_queries": "dataset",
    "read_role": "roles",
    "read_roles": "roles",
    "roleplay_result": "results",
    "run_audit": "auditing",
    "write_audit_report": "auditing",
    "write_queries": "dataset",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
