"""Running all audits of a model within a number of calls."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from intarsia import files
from intarsia.audit.card.budget import SUITES, plan_calls
from intarsia.audit.card.card import CARD, Card, Score, bias_scores, causal_scores, read_card, roleplay_scores
from intarsia.audit.card.comparing import Compared, compare_cards
from intarsia.errors import ConfigError, InputError, IntarsiaError, RunExistsError, UnknownNameError

_RULES = "rules"


@dataclass(frozen=True)
class CardConfig:
    """Which model is audited, and how.

    Attributes:
        model: As `intarsia audit causal run --model` takes it.
        judge: A model that judges role-play, or `rules`, which asks nobody.
        budget: Most calls in all.
        suites: Audits to run.
        base_url: Where the model is served.
        judge_base_url: Where the judge is served.
        encoder: Sentence encoder of role-play, or `words`.
        max_tokens: Most tokens of any reply; by default what each audit allows.
        concurrency: Calls at once.
        timeout: Seconds until a call counts as failed.
        seed: Of questions and sampling.

    Raises:
        UnknownNameError: If there is no such audit.
        ConfigError: If a value is out of range.
    """

    model: str
    judge: str = _RULES
    budget: int = 2000
    suites: tuple[str, ...] = SUITES
    base_url: str | None = None
    judge_base_url: str | None = None
    encoder: str = "words"
    max_tokens: int | None = None
    concurrency: int = 10
    timeout: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        for suite in self.suites:
            if suite not in SUITES:
                raise UnknownNameError("audit", suite, SUITES)
        if not self.suites:
            raise ConfigError("suites", self.suites, f"one or more of {', '.join(SUITES)}")
        if self.budget < 1:
            raise ConfigError("budget", self.budget, "at least 1")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError("max_tokens", self.max_tokens, "at least 1, or left out")

    def asked_alike(self) -> dict[str, Any]:
        """Returns what all audits must have in common for two cards to be compared."""
        return {"seed": self.seed} | ({} if self.max_tokens is None else {"max_tokens": self.max_tokens})


class _Found(NamedTuple):
    """What an audit adds to the card.

    Attributes:
        scores: Its numbers.
        warnings: What must be read with them.
        calls: Answers it got.
    """

    scores: list[Score]
    warnings: list[str]
    calls: int


@dataclass(frozen=True, slots=True)
class CardRun:
    """A finished card.

    Args:
        folder: Folder of the card, with a folder of each audit in it.
        card: The card.
        report: The HTML file.
    """

    folder: Path
    card: Card
    report: Path


def run_all(
    folder: str | Path,
    config: CardConfig,
    *,
    command: str = "",
    overwrite: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> CardRun:
    """Runs the audits one after the other and writes the card; stopped, the same call goes on.

    An audit that fails is told on the card, and the others run.

    Args:
        folder: Folder of the card.
        config: The model, the judge and the number of calls.
        command: The user's command, for the record.
        overwrite: Whether audits in the folder are thrown away first.
        progress: Whether to show progress bars.
        say: Told the number of calls before they are made.

    Raises:
        ConfigError: If the budget is too small for any audit.
        RunExistsError: If the folder holds audits with other settings.
        IntarsiaError: If all audits failed.
    """
    from intarsia.audit.card.page import card_report
    from intarsia.audit.roleplay.controls import planted_controls
    from intarsia.experiments import provenance
    from intarsia.experiments.report import write_report

    folder = Path(folder)
    is_judged = config.judge != _RULES
    plan = plan_calls(config.budget, suites=config.suites, judged=is_judged, controls=len(planted_controls()))
    told = ", ".join(f"{suite} {calls:,}" for suite, calls in plan.calls.items())
    say(f"{config.model}: at most {sum(plan.calls.values()):,} calls ({told})")
    options: dict[str, Any] = {"command": command, "overwrite": overwrite, "progress": progress, "say": say}
    runs: dict[str, Callable[[], _Found]] = {
        "causal": lambda: _causal(folder, config, plan.causal or {}, options),
        "roleplay": lambda: _roleplay(folder, config, plan.roleplay or {}, options),
        "bias": lambda: _bias(folder, config, plan.bias or {}, options),
    }
    scores: list[Score] = []
    warnings: list[str] = []
    made: dict[str, int] = {}
    failures: list[IntarsiaError] = []
    for suite in config.suites:
        if suite not in plan.calls:
            warnings.append(f"The {suite} audit did not run: {config.budget:,} calls are too few for it.")
            continue
        try:
            found = runs[suite]()
        except RunExistsError:
            raise
        except IntarsiaError as error:
            failures.append(error)
            warnings.append(f"The {suite} audit failed: {error.what}.")
            say(f"{suite}: {error}")
            continue
        scores += found.scores
        warnings += found.warnings
        made[suite] = found.calls
    if not scores:
        raise failures[0] if failures else InputError("no audit gave a score", where=folder)
    card = Card(
        model=config.model,
        judge=config.judge,
        budget=config.budget,
        calls=plan.calls,
        settings={suite: {**(getattr(plan, suite) or {}), **config.asked_alike()} for suite in plan.calls},
        scores=scores,
        warnings=warnings,
        provenance=provenance.collect(command, config.seed),
        made=made,
    )
    files.write_json(folder / CARD, card.to_json())
    return CardRun(folder, card, write_report(card_report(card), folder))


def write_comparison(first: str | Path, second: str | Path, folder: str | Path) -> tuple[list[Compared], Path]:
    """Writes `report.html` and `comparison.json` of two cards.

    Args:
        first: A card, or its folder.
        second: Another.
        folder: Where to write.

    Raises:
        InputError: If a card is missing.
        DataError: If one is something else.
    """
    from intarsia.audit.card.page import comparison_report
    from intarsia.experiments.report import write_report

    cards = read_card(first), read_card(second)
    rows = compare_cards(*cards)
    content = [
        {"suite": row.suite, "score": row.name, "first": _value(row.first), "second": _value(row.second),
         "difference": row.difference, "low": row.low, "high": row.high, "verdict": row.verdict}
        for row in rows
    ]  # fmt: skip
    files.write_json(Path(folder) / "comparison.json", {"models": [card.model for card in cards], "rows": content})
    return rows, write_report(comparison_report(*cards, rows), folder)


def _value(score: Score | None) -> float | None:
    return None if score is None else score.value


def _causal(folder: Path, config: CardConfig, settings: dict[str, Any], options: dict[str, Any]) -> _Found:
    from intarsia.audit.causal.auditing import run_audit
    from intarsia.audit.causal.config import BenchmarkConfig
    from intarsia.audit.causal.layout import AuditConfig

    benchmark = BenchmarkConfig(
        levels=tuple(settings["levels"]),
        path_iters=tuple(settings["path_iters"]),
        graphs=settings["graphs"],
        minimal_sets=False,
        seed=config.seed,
    )
    asked = AuditConfig(
        model=config.model,
        base_url=config.base_url,
        max_tokens=config.max_tokens,
        concurrency=config.concurrency,
        timeout=config.timeout,
    )
    result = run_audit(folder / "causal", asked, benchmark=benchmark, **options).result.to_json()
    warnings = _unanswered("causal", result["unanswered"], result["questions"])
    unread = sum(row["unparsable"] * row["n"] for row in result["by_task"]) / sum(row["n"] for row in result["by_task"])
    if unread > 0.5:
        warnings.append(
            f"{100 * unread:.0f} % of causal replies cannot be read and count as wrong: the model does not keep to the "
            "form, or its replies are cut off."
        )
    return _Found(causal_scores(result), warnings, result["questions"] - result["unanswered"])


def _roleplay(folder: Path, config: CardConfig, settings: dict[str, Any], options: dict[str, Any]) -> _Found:
    from intarsia.audit.roleplay.auditing import run_audit
    from intarsia.audit.roleplay.building import BuildConfig
    from intarsia.audit.roleplay.layout import AuditConfig
    from intarsia.audit.roleplay.roles import built_in_roles

    build = BuildConfig(
        multi_domain=settings["multi_domain"], omission=settings["omission"], base=settings["base"], seed=config.seed
    )
    asked = AuditConfig(
        model=config.model,
        judges=(config.judge,),
        base_url=config.base_url,
        judge_base_url=config.judge_base_url,
        seed=config.seed,
        max_tokens=config.max_tokens or AuditConfig.max_tokens,
        encoder=config.encoder,
        concurrency=config.concurrency,
        timeout=config.timeout,
    )
    done = run_audit(folder / "roleplay", asked, roles=built_in_roles(settings["roles"]), build=build, **options)
    result = done.result.to_json()
    warnings = _unanswered("role-play", result["unanswered"], result["queries"])
    for row in result["judging"]:
        if row["sensitivity"] is not None and row["sensitivity"] + row["specificity"] <= 1:
            warnings.append(
                f"The judge {row['judge']} is no better than a coin on planted controls, so its scores say nothing."
            )
        elif row["judge"] == _RULES and row["sensitivity"] is not None:
            warnings.append(
                f"Role-play was judged by rules, which see only the crudest breaks: they find "
                f"{100 * row['sensitivity']:.0f} % of planted ones."
            )
    if config.judge == config.model:
        warnings.append("The model judged its own role-play, which favours it.")
    calls = sum(row["calls"] for row in result["calls"])
    calls += sum(row["writings"] for row in result["judging"] if row["judge"] != _RULES)
    return _Found(roleplay_scores(result), warnings, calls)


def _bias(folder: Path, config: CardConfig, settings: dict[str, Any], options: dict[str, Any]) -> _Found:
    from intarsia.audit.bias.auditing import run_bias_audit
    from intarsia.audit.bias.config import RejudgeConfig
    from intarsia.audit.bias.layout import BiasAuditConfig

    protocol = RejudgeConfig.from_json({**settings, "seed": config.seed})
    if config.max_tokens is not None:
        protocol = replace(
            protocol,
            completion_tokens=min(protocol.completion_tokens, config.max_tokens),
            judgement_tokens=min(protocol.judgement_tokens, config.max_tokens),
        )
    asked = BiasAuditConfig(
        config.model, base_url=config.base_url, concurrency=config.concurrency, timeout=config.timeout
    )
    result = run_bias_audit(folder / "bias", asked, protocol, **options).result.to_json()
    warnings = _unanswered("bias", result["unanswered"], result["items"])
    for row in result["controls"]:
        if row["problems"] and row["scale"] == result["scales"][0]:
            told = "; ".join(row["problems"])
            warnings.append(f"A control of the bias audit failed: {told}. There is no verdict on bias.")
    return _Found(bias_scores(result), warnings, result["calls"])


def _unanswered(suite: str, count: int, total: int) -> list[str]:
    text = f"{count:,} of {total:,} questions of the {suite} audit got no reply and are in no number."
    return [text] if count else []
