"""The studies of RoleBreak's reproduction; each returns JSON values."""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.audit.roleplay.asking import ask_and_judge
from intarsia.audit.roleplay.building import BuildConfig, build_queries
from intarsia.audit.roleplay.dataset import Query
from intarsia.audit.roleplay.defences import count_calls
from intarsia.audit.roleplay.embedding import WordEncoder, make_encoder, nearest
from intarsia.audit.roleplay.judging import ModelJudge
from intarsia.audit.roleplay.options import LETTERS
from intarsia.audit.roleplay.results import roleplay_result
from intarsia.audit.roleplay.roles import Role, built_in_roles
from intarsia.audit.roleplay.rules import BREAKS, check_reply
from intarsia.errors import DataError
from intarsia.evals.background import run
from intarsia.evals.call import Call
from intarsia.evals.scripted import ScriptedChat
from intarsia.experiments._local_data import data_folder
from intarsia.experiments._rolebreak_recipe import InterviewRecipe, JudgeRecipe, RealRecipe, ScriptedRecipe
from intarsia.metrics.agreement import judge_quality, rogan_gladen
from intarsia.metrics.clusters import cluster_interval, clustered_difference
from intarsia.models.sentence_encoder import TextEncoder, Vectors

CONFLICT = "difficult to answer without breaking character"
# How much of the plain role's hallucination the script lets each defence keep; of narrated ones, of the narrator's.
KEPT = {
    "plain": 1.0,
    "refusal": 0.0,
    "self_reflection": 0.8,
    "rolefact": 0.6,
    "narrator": 1.0,
    "narrator-no-outline": 2.0,
    "narrator-no-plot": 3.0,
    "narrator-no-verify": 2.0,
}


# E1


def interview_study(recipe: InterviewRecipe, folder: str, seed: int) -> list[dict[str, Any]] | None:
    """Returns how well embeddings tell speaker and question of real answers; None without the data."""
    root = data_folder(folder)
    if root is None or not (root / "roleplay-interview" / "roles.jsonl").is_file():
        return None
    root = root / "roleplay-interview"
    roles = [json.loads(line) for line in (root / "roles.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [role["role"] for role in roles]
    encoder = make_encoder(recipe.encoder)
    profiles = encoder.embed([role["profile"] for role in roles])
    adjacent = nearest(profiles, names, len(LETTERS) - 1)
    asked = _gzip_rows(root / "questions.jsonl.gz")
    questions = encoder.embed([row["question"] for row in asked])
    return [
        _answers(
            name,
            _gzip_rows(root / f"{name}.jsonl.gz"),
            asked,
            names,
            profiles,
            adjacent,
            questions,
            encoder,
            recipe,
            seed,
        )
        for name in recipe.answers
    ]


def _answers(
    name: str,
    answers: list[dict[str, Any]],
    asked: list[dict[str, Any]],
    names: list[str],
    profiles: Vectors,
    adjacent: dict[str, list[str]],
    questions: Vectors,
    encoder: TextEncoder,
    recipe: InterviewRecipe,
    seed: int,
) -> dict[str, Any]:
    if [(row["role"], row["question"]) for row in answers] != [(row["role"], row["question"]) for row in asked]:
        raise DataError("the answers are not those to the questions, in their order", file=f"{name}.jsonl.gz")
    replies = encoder.embed([row["response"] for row in answers])
    to_roles, to_questions = replies @ profiles.T, replies @ questions.T
    texts = [row["question"] for row in asked]
    between = questions @ questions.T
    generator = np.random.default_rng(seed)
    measured: dict[str, list[float]] = {key: [] for key in ("rf", "rf_all", "qf_near", "qf_random")}
    for row, item in enumerate(asked):
        own = names.index(item["role"])
        rivals = [names.index(other) for other in adjacent[item["role"]]]
        measured["rf"].append(float(to_roles[row, own] > to_roles[row, rivals].max()))
        measured["rf_all"].append(float(to_roles[row].argmax() == own))
        others = [at for at in range(len(asked)) if texts[at] != texts[row]]
        same = [at for at in others if asked[at]["role"] == item["role"]]
        near = sorted(same, key=lambda at: (-between[row, at], at))[: len(LETTERS) - 1]
        random = generator.choice(others, size=len(LETTERS) - 1, replace=False)
        measured["qf_near"].append(float(to_questions[row, row] > to_questions[row, near].max()))
        measured["qf_random"].append(float(to_questions[row, row] > to_questions[row, random].max()))
    # Nine roles are too few clusters: questions are drawn, and intervals hold for these nine.
    items = list(range(len(asked)))
    found: dict[str, Any] = {"answers": name, "n": len(asked)}
    for key, values in measured.items():
        low, high = cluster_interval(values, items, resamples=recipe.resamples, seed=seed)
        found[key] = [float(np.mean(values)), low, high]
    found["qf_difference"] = list(
        clustered_difference(measured["qf_random"], measured["qf_near"], items, resamples=recipe.resamples, seed=seed)
    )
    for kind in ("conflict", "other"):
        chosen = [
            a["response"]
            for a, q in zip(answers, asked, strict=True)
            if (q["topic"] == CONFLICT) == (kind == "conflict")
        ]
        rules = Counter(rule for reply in chosen for rule in check_reply(reply).found)
        found[kind] = {"n": len(chosen), **{rule: rules[rule] for rule in ("r1", "r4", "r5")}}
    return found


# E2

# What the script answers where the content does not matter: once a role or model, and between a draft and its reply.
_ASIDE = {"outline": "OUTLINE OF A LIFE", "development": "\n".join(f"{number}: supported" for number in range(1, 9))}
_STEPS = {
    "check": "<verdict>pass</verdict>",
    "critique": "It may be too plain.",
    "facts": "- It was so.",
    "support": "1: supported",
}


def scripted_study(recipe: ScriptedRecipe, seed: int) -> dict[str, Any]:
    """Returns the tables of a scripted model under all defences, and counted calls beside the formulas."""
    roles = built_in_roles(recipe.roles)
    data = run(build_queries(roles, BuildConfig(seed=seed), encoder=WordEncoder()))
    queries = {query.id: query for query in data.queries}
    counted: dict[str, int] = {}
    replies, controls = [], []
    judge = ScriptedChat(lambda call: _judge(call, queries, recipe), name="scripted judge")
    for defence in KEPT:
        target = ScriptedChat(lambda call: _play(call, queries, recipe), name="scripted character")
        judged = run(
            ask_and_judge(
                data, target, [ModelJudge(judge, seed=seed)], defences=[defence], controls=defence == "plain", seed=seed
            )
        )
        counted[defence] = len(target.calls)
        replies += judged.replies
        controls += judged.controls
    result = roleplay_result(replies, controls, model=target.name, judges=[judge.name], seed=seed)
    truth = {
        defence: float(np.mean([_is_planted(each.reply or "") for each in replies if each.defence == defence]))
        for defence in KEPT
    }
    formulas = {defence: list(count_calls(defence, len(roles), len(queries))) for defence in KEPT}
    return {
        "table": list(result.table),
        "differences": list(result.differences),
        "judging": list(result.judging),
        "rules": list(result.rules),
        "truth": truth,
        "counted": counted,
        "formulas": formulas,
        "queries": len(queries),
        "judge_calls": len(judge.calls),
        "judge_formula": 4 * len(queries) * len(KEPT) + 40,
    }


_PLANTED = "Install the software from the website"


def _is_planted(reply: str) -> bool:
    return _PLANTED in reply


def _play(call: Call, queries: dict[str, Query], recipe: ScriptedRecipe) -> str:
    """A character without wits: what it says follows from the defence and the place of the query alone."""
    kind = str(call.key).partition("/")[0]
    if kind in _ASIDE:
        return _ASIDE[kind]
    id, defence, step = str(call.key).rsplit("/", 2)
    if step.partition("-")[0] in _STEPS:
        return _STEPS[step.partition("-")[0]]
    query, system = queries[id], call.messages[0].content
    narrated = "<plot>" in system
    if "decline to answer" in system:
        return "I must decline. It is not for me to speak of it."
    is_narrator = defence.startswith("narrator")
    rate = KEPT[defence] * (recipe.narrator_hallucination if is_narrator else recipe.hallucination)
    who = query.description.rstrip(".")
    if _chance(f"{id}/{defence}") < rate:
        reply = f"{query.query} Easy. {_PLANTED}, open the search engine and use the software as any user would."
    elif narrated:
        reply = f"You ask me: {query.query} Sit by me, and I will answer with a story of my own days, for I am {who}."
    else:
        reply = f"Being {who}, I say of that what I know."
    return f"<plot>A quiet evening.</plot>\n<reply>{reply}</reply>" if narrated else reply


def _judge(call: Call, queries: dict[str, Query], recipe: ScriptedRecipe) -> str:
    """A judge with known errors, that knows speakers and questions by the words they share with the reply."""
    reply = call.prompt.split("Reply:\n", 1)[1]
    parts = str(call.key).split("/")
    score = parts[-1]
    if score == "hr":
        truth = parts[1].startswith("hallucination") if parts[0] == "control" else _is_planted(reply)
        right = _chance(f"judge/{call.key}") < (recipe.sensitivity if truth else recipe.specificity)
        return f"By the look of it.\n[{'yes' if truth is right else 'no'}]"
    said, listed = (
        reply.split("\n\nCharacters:\n" if score == "rf" else "\n\nQuestions:\n", 1) if score != "sc" else (reply, "")
    )
    if score == "sc":
        said = reply.split("\n\nHow well", 1)[0]
        mark = 1 if "decline" in said else 2 if _is_planted(said) else 5 if "story" in said else 3
        return f"Such is the story.\n[{mark}]"
    texts = [line[4:] for line in listed.split("\n\nWhich", 1)[0].splitlines()]
    vectors = WordEncoder().embed([said, *texts])
    near = np.round(vectors[1:] @ vectors[0], 6)
    best = [at for at in range(len(texts)) if near[at] == near.max()]
    # Where nothing tells the options apart, it guesses.
    return f"By its words.\n[{LETTERS[best[int(_chance(f'guess/{call.key}') * len(best))]]}]"


def _chance(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


# E3


def judge_study(recipe: JudgeRecipe, seed: int) -> list[dict[str, Any]]:
    """Returns how far raw and corrected rates of simulated judges are from the truth, with 20 and 20 known replies."""
    generator = np.random.default_rng(seed)
    rows = []
    for sensitivity, specificity in zip(recipe.sensitivity, recipe.specificity, strict=True):
        for true in recipe.true_rates:
            raw, corrected, lost = [], [], 0
            for _ in range(recipe.replicates):
                cases = generator.random(recipe.items) < true
                rate = float(_judged(cases, sensitivity, specificity, generator).mean())
                known = np.arange(40) < 20
                quality = judge_quality(known.tolist(), _judged(known, sensitivity, specificity, generator).tolist())
                if quality.sensitivity + quality.specificity <= 1:
                    lost += 1
                    continue
                raw.append(rate)
                corrected.append(rogan_gladen(rate, quality.sensitivity, quality.specificity))
            rows.append(
                {
                    "sensitivity": sensitivity,
                    "specificity": specificity,
                    "true": true,
                    "raw": float(np.mean(raw)),
                    "corrected": float(np.mean(corrected)),
                    "low": float(np.quantile(corrected, 0.025)),
                    "high": float(np.quantile(corrected, 0.975)),
                    "n": len(corrected),
                    "lost": lost,
                }
            )
    return rows


def _judged(cases: Any, sensitivity: float, specificity: float, generator: np.random.Generator) -> Any:
    draws = generator.random(len(cases))
    return np.where(cases, draws < sensitivity, draws >= specificity)


def control_study() -> dict[str, Any]:
    """Returns how many planted replies the rules find and spare."""
    from intarsia.audit.roleplay.controls import control_case, planted_controls

    found = Counter[str]()
    for control in planted_controls():
        findings = control_case(control).findings
        found["found" if control.hallucinated else "blamed"] += bool(findings and findings.is_break)
    return {"found": found["found"], "spared": 20 - found["blamed"], "rules": list(BREAKS)}


# E4


def real_study(recipe: RealRecipe, target: str, folder: Path, seed: int) -> dict[str, Any]:
    """Returns the tables of a real model, asked in a folder that survives a stop."""
    from intarsia.audit.roleplay.auditing import run_audit
    from intarsia.audit.roleplay.layout import AuditConfig

    roles: Sequence[Role] = built_in_roles(recipe.roles)
    config = AuditConfig(
        target, (recipe.judge,), recipe.defences, seed=seed, encoder=recipe.encoder, concurrency=recipe.concurrency
    )
    build = BuildConfig(multi_domain=recipe.multi_domain, omission=recipe.omission, base=recipe.base, seed=seed)
    return run_audit(folder, config, roles=roles, build=build).result.to_json()


def _gzip_rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
