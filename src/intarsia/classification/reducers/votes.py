"""Self-consistency: the same question over shuffled options several times, and the most frequent answers."""

from collections import Counter

from intarsia.classification import prompts
from intarsia.classification.reducers.reduction import Reduction


async def self_consistency(reduction: Reduction) -> list[str]:
    """Returns the `top` options that most of the `votes` answers list; of equally many, the one named earlier."""
    questions = reduction.questions
    most = min(questions.config.top, questions.config.k)
    counts: Counter[str] = Counter()
    shown = list(reduction.options)
    for _ in range(questions.config.votes):
        shown = questions.mix(reduction.options)
        prompt = prompts.pick_several(questions.labels, shown, reduction.text, questions.config.top)
        counts.update(await questions.list(prompt, shown, "vote", questions.config.top))
    # Equal counts stay in the order in which they were first named.
    return [label for label, _ in counts.most_common(most)] or shown[:1]
