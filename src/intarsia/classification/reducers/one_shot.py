"""One question for the few most likely options."""

from intarsia.classification import prompts
from intarsia.classification.reducers.reduction import Reduction


async def one_shot(reduction: Reduction) -> list[str]:
    """Returns the options that one answer lists, `top` at most; the first option shown if it lists none."""
    questions = reduction.questions
    most = min(questions.config.top, questions.config.k)
    shown = questions.mix(reduction.options)
    prompt = prompts.pick_several(questions.labels, shown, reduction.text, most)
    return await questions.list(prompt, shown, "one-shot", most) or shown[:1]
