"""Clustering-based window reduction: windows of options lose all but their best, until one question can order the rest.

With n options, windows of K and `keep` kept of each, that takes ceil((n - K) / (K - keep)) + 1 questions.
"""

from collections import defaultdict

from intarsia.classification import prompts
from intarsia.classification.reducers.reduction import Reduction
from intarsia.classification.streams import generator


async def window_reduction(reduction: Reduction) -> list[str]:
    """Returns the `k` options that the last question puts first.

    A window whose answer names no option is halved and asked for again, and a half that fails again keeps its nearest
    options by sentence embedding: no answer of the model, however strange, removes a whole window.
    """
    questions = reduction.questions
    config, left = questions.config, list(reduction.options)
    while len(left) > max(config.window, config.k):
        # The last window is smaller if it would leave fewer than the candidates that are wanted.
        size = min(config.window, len(left) - config.k + config.window_keep)
        window = _window(reduction, left, size)
        kept = await _best_of(reduction, window)
        left = [option for option in left if option not in window or option in kept]
    shown = questions.mix(left)
    prompt = prompts.pick_several(questions.labels, shown, reduction.text, config.k)
    chosen = await questions.list(prompt, shown, "last-window", config.k)
    return chosen or reduction.nearest(left, config.k)


def _window(reduction: Reduction, left: list[str], size: int) -> list[str]:
    """Returns the next window: one option of each cluster, or the members of the largest clusters."""
    assert reduction.vectors is not None, "reducers that compare vectors are given an encoder"
    questions = reduction.questions
    chance = generator(questions.config.seed, questions.item, -1 - questions.calls)
    members: dict[int, list[str]] = defaultdict(list)
    for option, cluster in zip(left, reduction.vectors.clusters(left, size), strict=True):
        members[cluster].append(option)
    if questions.config.windows == "similar":
        clusters = sorted(members.values(), key=len, reverse=True)
        return [option for cluster in clusters for option in cluster][:size]
    window = [chance.choice(cluster) for cluster in members.values()]
    # Labels with the same vector are one cluster, so there may be fewer clusters than places.
    rest = [option for option in left if option not in window]
    return window + chance.sample(rest, size - len(window))


async def _best_of(reduction: Reduction, window: list[str]) -> list[str]:
    keep = reduction.questions.config.window_keep
    kept = await _ask(reduction, window, keep, "window")
    if kept:
        return kept
    halves = window[: len(window) // 2], window[len(window) // 2 :]
    answers = []
    for half in halves:
        most = min(-(-keep // 2), len(half))
        answers.append(await _ask(reduction, half, most, "half-window") or reduction.nearest(half, most))
    # In turns, so that both halves are heard if there is room for fewer.
    in_turns = [answer[place] for place in range(keep) for answer in answers if place < len(answer)]
    return in_turns[:keep]


async def _ask(reduction: Reduction, options: list[str], most: int, stage: str) -> list[str]:
    questions = reduction.questions
    shown = questions.mix(options)
    prompt = prompts.pick_several(questions.labels, shown, reduction.text, most)
    return await questions.list(prompt, shown, stage, most)
