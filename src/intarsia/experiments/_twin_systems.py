"""Which systems of the discriminative part are asked, for one set of experts."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from intarsia.experiments._twin_encoders import Answers, EncoderStudy
from intarsia.experiments._twin_names import ADAMERGING, BASE, EXPERTS, FISHER, MAIN, REGMEAN, ROUTED, STATIC, UNTUNED
from intarsia.experiments._twin_scores import WRONG


def study(work: EncoderStudy, *, full: bool) -> dict[str, Any]:
    """Asks every system and returns the JSON-able findings.

    Args:
        work: The experts.
        full: Whether to compare everything; if not, only what shows how static merging and Twin-Merging differ.

    Returns:
        `systems`: answers by name; `settings`: what was tuned; `routing`; `curve`: for each number of tasks, systems'
        answers; `speed`, `storage`; the encoder's `width`.
    """
    stage, recipe = work.stage, work.recipe
    for name in work.tasks:
        stage(f"expert-{name}", partial(_trained, work, name))
    systems = {EXPERTS: stage("own", work.own_answers)}
    settings: dict[str, Any] = {}
    if full:
        systems[BASE] = stage("base", partial(work.ask, {}, work.tasks))
    untuned = {"weight": recipe.gamma}
    systems[UNTUNED] = stage(
        "untuned", lambda: work.ask(work.merged("task_arithmetic", untuned, work.tasks), work.tasks)
    )
    curve: dict[str, dict[str, Any]] = {}
    for count in range(2 if full else len(work.tasks), len(work.tasks) + 1):
        names = work.tasks[:count]
        curve[str(count)] = {}
        for method in recipe.baselines:
            found = stage(f"{method}-{count}", partial(work.tuned, method, names))
            curve[str(count)][STATIC[method]] = found["answers"]
            if count == len(work.tasks):
                systems[STATIC[method]] = found["answers"]
                settings[STATIC[method]] = found["params"]
    if full:
        systems[FISHER] = stage("fisher", work.fisher)
        systems[REGMEAN] = stage("regmean", work.regmean)
        systems[ADAMERGING] = stage("adamerging", work.adamerging)
    routing = stage("routing", lambda: work.route(work.twin))
    for number, (name, ask) in enumerate(work.twin_systems(routing)):
        if full or name == MAIN:
            systems[name] = stage(f"twin-{number}", ask)
    systems[ROUTED] = with_routed_heads(systems[MAIN], routing)
    findings: dict[str, Any] = {"systems": systems, "settings": settings, "routing": routing, "curve": curve}
    findings["width"] = stage("width", lambda: work.base.model.config.hidden_size)
    if full:
        findings["storage"] = stage("storage", work.storage)
        findings["speed"] = stage("speed", work.speed)
        for count in range(2, len(work.tasks)):
            names = work.tasks[:count]
            curve[str(count)][MAIN] = stage(f"twin-of-{count}", partial(_twin_of, work, names))
    curve[str(len(work.tasks))][MAIN] = systems[MAIN]
    return findings


def _trained(work: EncoderStudy, name: str) -> str:
    return work.train(name).name


def _untuned(work: EncoderStudy) -> Answers:
    merged = work.merged("task_arithmetic", {"weight": work.recipe.gamma}, work.tasks)
    return work.ask(merged, work.tasks)


def _twin_of(work: EncoderStudy, names: Sequence[str]) -> Answers:
    twin = work.build_twin(names, rank=work.at_share(), gamma=work.recipe.gamma)
    return work.ask_twin(twin, work.mixture(twin, work.route(twin)))


def with_routed_heads(answers: Answers, routing: Mapping[str, Any]) -> Answers:
    """Answers where the head of the likeliest expert answers: a wrong pick is an error, a right one changes nothing."""
    chosen = {name: np.array(weights).argmax(-1) for name, weights in routing.items()}
    return {
        name: [answer if pick == index else WRONG for answer, pick in zip(answers[name], chosen[name], strict=True)]
        for index, name in enumerate(answers)
    }
