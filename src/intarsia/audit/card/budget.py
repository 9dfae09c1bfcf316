"""How a number of calls is divided among the audits: the largest questions that fit, the same for every model."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from intarsia.audit.bias.asking import most_calls
from intarsia.audit.bias.config import RejudgeConfig
from intarsia.errors import ConfigError

SUITES = ("causal", "roleplay", "bias")

SHARES = {"causal": 0.3, "roleplay": 0.4, "bias": 0.3}
"""Shares of the calls."""

# One test of each category first, then more of gender and race.
BIAS_TESTS = (
    "gender-career", "race", "age", "religion-islam", "disability", "weight", "sexuality", "skin-tone", "wealth",
    "migration", "gender-science", "gender-power", "gender-occupation", "religion-judaism", "race-names",
    "gender-career-names", "gender-power-roles",
)  # fmt: skip

_CAUSAL_QUESTIONS = 6
"""Of a graph: paths, adjustment, facts, and counterfactuals with one to three what-ifs."""
_NEUTRAL = 20
_JUDGED = 4


@dataclass(frozen=True)
class AllPlan:
    """What each audit asks, in the words of its own settings.

    Attributes:
        causal: Of `BenchmarkConfig`; None if the audit does not fit.
        roleplay: Number of roles and fields of `BuildConfig`; None if it does not fit.
        bias: Of `RejudgeConfig`; None if it does not fit.
        calls: Most calls of each audit.
    """

    causal: dict[str, Any] | None
    roleplay: dict[str, Any] | None
    bias: dict[str, Any] | None
    calls: dict[str, int]


def plan_calls(budget: int, *, suites: tuple[str, ...] = SUITES, judged: bool = True, controls: int = 0) -> AllPlan:
    """Divides a number of calls. The plan depends on nothing but these numbers, so that cards can be compared.

    Args:
        budget: Most calls in all, judges included.
        suites: Audits to run; the shares of the others are theirs.
        judged: Whether a model judges role-play, which takes four calls a reply and one a planted control.
        controls: Planted controls of role-play.

    Raises:
        ConfigError: If the budget is too small for any audit.
    """
    total = sum(SHARES[suite] for suite in suites)
    limits = {suite: int(budget * SHARES[suite] / total) for suite in suites}
    plans: dict[str, Any] = {
        "causal": _causal(limits.get("causal", 0)),
        "roleplay": _roleplay(limits.get("roleplay", 0), judged, controls),
        "bias": _bias(limits.get("bias", 0)),
    }
    calls = {name: plan[1] for name, plan in plans.items() if plan is not None}
    if not calls:
        raise ConfigError("budget", budget, "at least 400 calls, or no audit fits into its share")
    return AllPlan(**{name: None if plan is None else plan[0] for name, plan in plans.items()}, calls=calls)


def _causal(limit: int) -> tuple[dict[str, Any], int] | None:
    best: tuple[dict[str, Any], int] | None = None
    for levels, iters in (((1, 2), (3, 5)), ((1, 2, 3), (3, 5)), ((1, 2, 3), (3, 4, 5, 6))):
        graph_calls = _CAUSAL_QUESTIONS * len(levels) * len(iters)
        graphs = limit // graph_calls
        if graphs >= 1 and (best is None or graphs * graph_calls >= best[1]):
            best = {"levels": list(levels), "path_iters": list(iters), "graphs": graphs}, graphs * graph_calls
    return best


def _bias(limit: int) -> tuple[dict[str, Any], int] | None:
    best: tuple[dict[str, Any], int] | None = None
    # Enough completions of a test go before more tests: ten pairs are the least that a verdict rests on.
    for tests, templates, draws in product((1, 2, 4, 6, 8, 10, 13, 17), (4, 6, 10), (4, 8, 20)):
        config = RejudgeConfig(
            tests=BIAS_TESTS[:tests],
            templates=templates,
            draws=draws,
            scales=("agree2",) if templates < 10 else ("agree2", "likert5"),
            neutral=_NEUTRAL if templates < 10 else 40,
        )
        calls = most_calls(tests * templates * draws, config.neutral, config)
        if templates * draws >= 16 and calls <= limit and (best is None or calls > best[1]):
            settings = config.to_json()
            kept = ("tests", "templates", "draws", "scales", "neutral")
            best = {name: settings[name] for name in kept}, calls
    return best


def _roleplay(limit: int, judged: bool, controls: int) -> tuple[dict[str, Any], int] | None:
    # Each query is one call of the model that plays, and four of a judge that is a model.
    each = 1 + (_JUDGED if judged else 0)
    fixed = controls if judged else 0
    for multi_domain, omission, base in ((10, 5, 5), (4, 2, 2), (2, 1, 1)):
        queries = multi_domain + omission + 2 * base
        roles = min((limit - fixed) // (queries * each), 60)
        if roles >= 4:
            settings = {"roles": roles, "multi_domain": multi_domain, "omission": omission, "base": base}
            return settings, fixed + roles * queries * each
    return None
