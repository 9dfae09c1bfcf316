"""How a number of calls is divided among the audits: the largest questions that fit, the same for every model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from typing import Any, NamedTuple

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
_FEW_NEUTRAL = 12
"""Of the smallest audit: ten must be scored, or there is no verdict."""
_JUDGED = 4


class _Option(NamedTuple):
    """What an audit may ask, and the most calls that takes."""

    settings: dict[str, Any]
    calls: int


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

    Every audit gets the fewest calls it can do with, the cheapest first, and then its share of the rest.

    Args:
        budget: Most calls in all, judges included.
        suites: Audits to run; the shares of the others are theirs.
        judged: Whether a model judges role-play, which takes four calls a reply and one a planted control.
        controls: Planted controls of role-play.

    Raises:
        ConfigError: If the budget is too small for any audit.
    """
    makers: dict[str, Callable[[int], _Option | None]] = {
        "causal": _causal,
        "roleplay": partial(_roleplay, judged=judged, controls=controls),
        "bias": _bias,
    }
    least = {suite: _least(makers[suite]) for suite in suites}
    fitting: list[str] = []
    for suite in sorted(suites, key=lambda suite: (least[suite], suite)):
        if sum(least[each] for each in (*fitting, suite)) <= budget:
            fitting.append(suite)
    if not fitting:
        raise ConfigError("budget", budget, f"at least {min(least.values())} calls, or no audit fits")
    spare = budget - sum(least[suite] for suite in fitting)
    shares = sum(SHARES[suite] for suite in fitting)
    plans = {suite: makers[suite](least[suite] + int(spare * SHARES[suite] / shares)) for suite in fitting}
    kept = {suite: plans[suite] for suite in SUITES if plans.get(suite) is not None}
    settings = {suite: None if plan is None else plan.settings for suite, plan in ((s, kept.get(s)) for s in SUITES)}
    return AllPlan(**settings, calls={suite: plan.calls for suite, plan in kept.items() if plan is not None})


def _least(make: Callable[[int], _Option | None]) -> int:
    """Returns the fewest calls that an audit can do with."""
    return next(limit for limit in count() if make(limit) is not None)


def _causal(limit: int) -> _Option | None:
    best: _Option | None = None
    for levels, iters in (((1, 2), (3, 5)), ((1, 2, 3), (3, 5)), ((1, 2, 3), (3, 4, 5, 6))):
        graph_calls = _CAUSAL_QUESTIONS * len(levels) * len(iters)
        graphs = limit // graph_calls
        if graphs >= 1 and (best is None or graphs * graph_calls >= best.calls):
            settings = {"levels": list(levels), "path_iters": list(iters), "graphs": graphs}
            best = _Option(settings, graphs * graph_calls)
    return best


def _bias(limit: int) -> _Option | None:
    best: _Option | None = None
    # Enough completions of a test go before more tests: ten pairs are the least that a verdict rests on.
    designs = product((1, 2, 4, 6, 8, 10, 13, 17), (4, 6, 10), (4, 8, 20), (_NEUTRAL,))
    for tests, templates, draws, neutral in [(1, 4, 4, _FEW_NEUTRAL), *designs]:
        config = RejudgeConfig(
            tests=BIAS_TESTS[:tests],
            templates=templates,
            draws=draws,
            scales=("agree2",) if templates < 10 else ("agree2", "likert5"),
            neutral=neutral if templates < 10 else 40,
        )
        calls = most_calls(tests * templates * draws, config.neutral, config)
        if calls <= limit and (best is None or calls > best.calls):
            settings = config.to_json()
            kept = ("tests", "templates", "draws", "scales", "neutral")
            best = _Option({name: settings[name] for name in kept}, calls)
    return best


def _roleplay(limit: int, judged: bool, controls: int) -> _Option | None:
    # Each query is one call of the model that plays, and four of a judge that is a model.
    each = 1 + (_JUDGED if judged else 0)
    fixed = controls if judged else 0
    for multi_domain, omission, base in ((10, 5, 5), (4, 2, 2), (2, 1, 1)):
        queries = multi_domain + omission + 2 * base
        roles = min((limit - fixed) // (queries * each), 60)
        if roles >= 4:
            settings = {"roles": roles, "multi_domain": multi_domain, "omission": omission, "base": base}
            return _Option(settings, fixed + roles * queries * each)
    return None
