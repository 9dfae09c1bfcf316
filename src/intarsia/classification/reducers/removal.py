"""Striking out up to half of the options first."""

from dataclasses import replace

from intarsia.classification import prompts
from intarsia.classification.reducers.itr import iterative_top_reduction
from intarsia.classification.reducers.reduction import Reduction


async def removal(reduction: Reduction) -> list[str]:
    """Asks which options, half of them at most, can be ruled out, then picks the best of the others one by one.

    An answer that names no option rules none out.
    """
    questions = reduction.questions
    shown = questions.mix(reduction.options)
    most = min(len(shown) // 2, len(shown) - questions.config.k)
    prompt = prompts.strike_out(questions.labels, shown, reduction.text, most)
    struck = set(await questions.list(prompt, shown, "remove", most))
    left = tuple(option for option in reduction.options if option not in struck)
    return await iterative_top_reduction(replace(reduction, options=left))
