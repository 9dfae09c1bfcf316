"""Iterative top reduction: the best option is picked and set aside, `k` times."""

from intarsia.classification import prompts
from intarsia.classification.reducers.reduction import Reduction

_MOST_FAILURES = 4


async def iterative_top_reduction(reduction: Reduction) -> list[str]:
    """Returns the picks in their order, which is their rank.

    An answer that names no option is asked for once more in laxer words. If that fails too, what was picked so far is
    all there is; if nothing was, the question is asked anew, and after more than four failures the first option shown
    is taken.
    """
    questions, labels = reduction.questions, reduction.questions.labels
    left, picked, failures = list(reduction.options), list[str](), 0
    while left and len(picked) < questions.config.k:
        shown = questions.mix(left)
        mapped, _ = await questions.pick(prompts.pick_one(labels, shown, reduction.text), shown, "itr")
        if mapped is None:
            failures += 1
            again = questions.mix(left)
            mapped, _ = await questions.pick(prompts.pick_one_laxly(labels, again, reduction.text), again, "itr-again")
            failures += mapped is None
        if mapped is not None:
            picked.append(mapped.label)
            left.remove(mapped.label)
        elif picked:
            break
        elif failures > _MOST_FAILURES:
            return shown[:1]
    return picked
