"""Tables of an audit: the four scores with intervals over roles, differences of defences, and how good the judge is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from intarsia.audit.failures import count_reasons, require_replies
from intarsia.audit.roleplay.attacks import ATTACKS
from intarsia.audit.roleplay.controls import JudgedControl
from intarsia.audit.roleplay.judged import JudgedReply
from intarsia.audit.roleplay.judging import HR, METRICS, QF, RF, RULE_JUDGE, SC
from intarsia.audit.roleplay.options import LETTERS
from intarsia.audit.roleplay.rules import BREAKS, RULES
from intarsia.errors import InputError, IntarsiaError
from intarsia.metrics.agreement import (
    JudgeQuality,
    cohen_kappa,
    corrected_interval,
    judge_quality,
    krippendorff_alpha,
    rogan_gladen,
    uniformity_p,
)
from intarsia.metrics.clusters import cluster_draws, clustered_difference
from intarsia.metrics.intervals import percentile_interval

Row = dict[str, Any]

ALL = "all"
MOST_UNSCORED = 0.05
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class RoleplayResult:
    """What an audit found, in tables of JSON values. Shares lie between 0 and 1, coherence between 1 and 5.

    Args:
        model: The model that played.
        judges: Those who judged; the scores are the first one's.
        queries: Replies asked for, over all defences.
        unanswered: How many of them were not given; they are in no score.
        errors: Why, with how often.
        table: The scores by defence and attack, and over all attacks.
        differences: Of every two defences on the same queries.
        rules: How often each rule is met, by defence.
        calls: Calls of the model by defence, outlines and calibration not counted; answers not marked as asked; and how
            sure of a fact RoleFact had the model be.
        judging: Of each judge: planted controls, agreement with the rules, positions, length, unread verdicts.
        alpha: Agreement of the judges on hallucination (Krippendorff); None with one judge.
        mean_neighbour_cosine: How near the nearest other role is on average.
        same_model: Judges that are the model itself.
    """

    model: str
    judges: Sequence[str]
    queries: int
    unanswered: int
    errors: Mapping[str, int]
    table: Sequence[Row]
    differences: Sequence[Row]
    rules: Sequence[Row]
    calls: Sequence[Row]
    judging: Sequence[Row]
    alpha: float | None
    mean_neighbour_cosine: float | None
    same_model: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Returns the result as JSON values."""
        return asdict(self)


def roleplay_result(
    replies: Sequence[JudgedReply],
    controls: Sequence[JudgedControl],
    *,
    model: str,
    judges: Sequence[str],
    mean_neighbour_cosine: float | None = None,
    allow_unscored: bool = False,
    seed: int = 0,
) -> RoleplayResult:
    """Makes the tables; no model is called, and the order of replies does not matter.

    Args:
        replies: Judged replies.
        controls: Judged planted replies.
        model: Name of the model that played.
        judges: Names of the judges.
        mean_neighbour_cosine: Of the data set.
        allow_unscored: Whether more than 5 % of a judge's writings may lack a verdict.
        seed: Of the bootstrap.

    Raises:
        InputError: If there is no judge.
        IntarsiaError: If there is no reply at all, or too many of a judge's writings cannot be read.
    """
    answered = sorted((each for each in replies if each.reply is not None), key=lambda each: (each.defence, each.id))
    reasons = count_reasons(each.error for each in replies if each.reply is None)
    require_replies(len(answered), model, reasons)
    if not judges:
        raise InputError("there is no judge", fix="name one: a model, or rules")
    if not allow_unscored:
        _require_read(answered, controls, judges)
    defences = list(dict.fromkeys(each.defence for each in replies))
    attacks = sorted({each.attack for each in replies}, key=list(ATTACKS).index)
    quality = _quality(controls, judges[0])
    table = []
    for defence in defences:
        for attack in [*attacks, ALL]:
            chosen = [each for each in answered if each.defence == defence and attack in (each.attack, ALL)]
            if chosen:
                table.append({"defence": defence, "attack": attack, **_scores(chosen, judges[0], quality, seed)})
    return RoleplayResult(
        model=model,
        judges=list(judges),
        queries=len(replies),
        unanswered=len(replies) - len(answered),
        errors=reasons,
        table=table,
        differences=_differences(answered, defences, judges[0], seed),
        rules=[_rules(answered, defence) for defence in defences],
        calls=[_calls(answered, defence) for defence in defences],
        judging=[_judging(answered, controls, judge) for judge in judges],
        alpha=_alpha(answered, judges) if len(judges) > 1 else None,
        mean_neighbour_cosine=mean_neighbour_cosine,
        same_model=[judge for judge in judges if judge == model],
    )


def scored(replies: Sequence[JudgedReply], judge: str, metric: str) -> list[tuple[JudgedReply, float]]:
    """Returns the replies that have a score, with it."""
    values = [(each, getattr(each.scores(judge), metric)) for each in replies]
    return [(each, value) for each, value in values if value is not None]


def _scores(replies: Sequence[JudgedReply], judge: str, quality: JudgeQuality | None, seed: int) -> Row:
    row: Row = {"n": len(replies), "roles": len({each.role_id for each in replies})}
    for metric in METRICS:
        pairs = scored(replies, judge, metric)
        row[metric] = _estimate(pairs, seed)
    pairs = scored(replies, judge, HR)
    row["hr_corrected"] = None
    if pairs and quality is not None and quality.sensitivity + quality.specificity > 1:
        values, clusters = [value for _, value in pairs], [each.role_id for each, _ in pairs]
        draws = cluster_draws(values, clusters, resamples=RESAMPLES, seed=seed)
        interval = corrected_interval(draws, quality, seed=seed + 1)
        value = rogan_gladen(sum(values) / len(values), quality.sensitivity, quality.specificity)
        if interval is not None:
            row["hr_corrected"] = {"value": value, "low": interval.low, "high": interval.high, "n": len(values)}
    return row


def _estimate(pairs: Sequence[tuple[JudgedReply, float]], seed: int) -> Row | None:
    if not pairs:
        return None
    values, clusters = [value for _, value in pairs], [each.role_id for each, _ in pairs]
    low, high = percentile_interval(cluster_draws(values, clusters, resamples=RESAMPLES, seed=seed), 0.95)
    return {"value": float(np.mean(values)), "low": low, "high": high, "n": len(values)}


def _differences(replies: Sequence[JudgedReply], defences: Sequence[str], judge: str, seed: int) -> list[Row]:
    rows = []
    for first, second in combinations(defences, 2):
        row: Row = {"first": second, "second": first}
        for metric in METRICS:
            of_first = {e.id: value for e, value in scored(_of(replies, second), judge, metric)}
            of_second = {e.id: (value, e.role_id) for e, value in scored(_of(replies, first), judge, metric)}
            both = sorted(of_first.keys() & of_second.keys())
            row[metric] = None
            if both:
                mean, low, high = clustered_difference(
                    [of_first[id] for id in both],
                    [of_second[id][0] for id in both],
                    [of_second[id][1] for id in both],
                    resamples=RESAMPLES,
                    seed=seed,
                )
                row[metric] = {"value": mean, "low": low, "high": high, "n": len(both)}
        rows.append(row)
    return rows


def _rules(replies: Sequence[JudgedReply], defence: str) -> Row:
    chosen = _of(replies, defence)
    shares = {rule: sum(rule in each.rules for each in chosen) / len(chosen) if chosen else None for rule in RULES}
    broken = sum(_is_break(each) for each in chosen) / len(chosen) if chosen else None
    return {"defence": defence, "n": len(chosen), **shares, "break": broken}


def _calls(replies: Sequence[JudgedReply], defence: str) -> Row:
    chosen = _of(replies, defence)
    return {
        "defence": defence,
        "replies": len(chosen),
        "calls": sum(each.calls for each in chosen),
        "format_failures": sum(each.format_failures for each in chosen),
        "revised": sum(bool(each.steps.get("revisions")) for each in chosen),
        "confidence": next((each.steps["confidence"] for each in chosen if "confidence" in each.steps), None),
    }


def _judging(replies: Sequence[JudgedReply], controls: Sequence[JudgedControl], judge: str) -> Row:
    quality = _quality(controls, judge)
    pairs = scored(replies, judge, HR)
    unread, written = _unread(replies, controls, judge)
    row: Row = {
        "judge": judge,
        "sensitivity": quality.sensitivity if quality else None,
        "specificity": quality.specificity if quality else None,
        "controls": quality.cases + quality.others if quality else 0,
        "missed": _missed(controls, judge),
        "kappa_with_rules": cohen_kappa([bool(value) for _, value in pairs], [_is_break(each) for each, _ in pairs])
        if pairs and judge != RULE_JUDGE
        else None,
        "unread": unread / written if written else None,
        "writings": written,
    }
    for score in (RF, QF):
        chosen = Counter(place for each in replies for place in each.choices(judge, score))
        counts = [chosen[place] for place in range(len(LETTERS))]
        row[f"{score}_letters"] = dict(zip(LETTERS, counts, strict=True))
        row[f"{score}_position_p"] = uniformity_p(counts) if sum(counts) else None
        near = [each for each in replies if score in each.embedding]
        row[f"{score}_embedding"] = sum(each.embedding[score] for each in near) / len(near) if near else None
        agreeing = [
            (getattr(each.scores(judge), score) >= 0.5) == each.embedding[score]
            for each in near
            if getattr(each.scores(judge), score) is not None
        ]
        row[f"{score}_embedding_agrees"] = sum(agreeing) / len(agreeing) if agreeing else None
    marks = scored(replies, judge, SC)
    row["sc_length_correlation"] = _correlation(
        [len((each.reply or "").split()) for each, _ in marks], [mark for _, mark in marks]
    )
    return row


def _alpha(replies: Sequence[JudgedReply], judges: Sequence[str]) -> float | None:
    return krippendorff_alpha([[each.scores(judge).hr for each in replies] for judge in judges])


def _quality(controls: Sequence[JudgedControl], judge: str) -> JudgeQuality | None:
    said = [(each.hallucinated, verdict) for each in controls if (verdict := each.verdict(judge)) is not None]
    if len({truth for truth, _ in said}) < 2:
        return None
    return judge_quality([truth for truth, _ in said], [verdict for _, verdict in said])


def _missed(controls: Sequence[JudgedControl], judge: str) -> dict[str, int]:
    """Counts the planted replies a judge got wrong, by kind."""
    wrong = Counter(each.kind for each in controls if each.verdict(judge) is (not each.hallucinated))
    return dict(sorted(wrong.items()))


def _unread(replies: Sequence[JudgedReply], controls: Sequence[JudgedControl], judge: str) -> tuple[int, int]:
    counts = [each.unread(judge) for each in replies]
    planted = [each for each in controls if judge in each.verdicts]
    unread = sum(count for count, _ in counts) + sum(each.verdict(judge) is None for each in planted)
    return unread, sum(total for _, total in counts) + len(planted)


def _require_read(replies: Sequence[JudgedReply], controls: Sequence[JudgedControl], judges: Sequence[str]) -> None:
    for judge in judges:
        unread, written = _unread(replies, controls, judge)
        if written and unread / written > MOST_UNSCORED:
            raise IntarsiaError(
                f"{unread:,} of {written:,} writings of the judge give no verdict, more than "
                f"{100 * MOST_UNSCORED:.0f} %",
                where=judge,
                fix="use a judge that keeps to the form, or allow unscored replies (--allow-unscored): they are in no "
                "score",
            )


def _correlation(lengths: Sequence[float], marks: Sequence[float]) -> float | None:
    if len(set(lengths)) < 2 or len(set(marks)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(lengths, marks).statistic)


def _is_break(reply: JudgedReply) -> bool:
    return any(rule in reply.rules for rule in BREAKS)


def _of(replies: Sequence[JudgedReply], defence: str) -> list[JudgedReply]:
    return [each for each in replies if each.defence == defence]
