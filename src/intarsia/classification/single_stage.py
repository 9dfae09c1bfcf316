"""What a classification is compared with: one question over all options, votes of it, or no question."""

from collections import Counter

import numpy as np

from intarsia.classification import prompts
from intarsia.classification.asking import Questions
from intarsia.classification.demonstrations import Demonstrations
from intarsia.classification.duels import answer_probability
from intarsia.classification.prompts import Example
from intarsia.classification.vectors import LabelVectors

_ONE_VOTE = 2 / 3  # Laplace's rule: (votes + 1) / (answers + 2)
_SHARPNESS = 30.0

Scores = dict[str, float]
"""Labels with probabilities, the most likely first; what is missing to 1 belongs to labels that were not named."""


async def ask_once(
    questions: Questions, text: str, options: tuple[str, ...], demonstrations: Demonstrations | None
) -> Scores:
    """Asks for the one option that fits best: plainly, step by step, or after examples."""
    method = questions.config.method
    examples: list[Example] = []
    if method == "few_shot" and demonstrations is not None:
        examples = demonstrations.draw(questions.config.few_shot, questions.item, questions.calls)
    shown = questions.mix(options)
    prompt = prompts.pick_one(questions.labels, shown, text, steps=method == "direct_cot", examples=examples)
    mapped, reply = await questions.pick(prompt, shown, method)
    if mapped is None:
        return {}
    probability = answer_probability(reply)
    return {mapped.label: _ONE_VOTE if probability is None else probability}


async def ask_votes(questions: Questions, text: str, options: tuple[str, ...]) -> Scores:
    """Asks several times over shuffled options, step by step and with sampling (Wang et al. 2023); shares of votes."""
    votes: Counter[str] = Counter()
    for draw in range(questions.config.votes):
        shown = questions.mix(options)
        prompt = prompts.pick_one(questions.labels, shown, text, steps=True)
        mapped, _ = await questions.pick(
            prompt, shown, "vote", temperature=questions.config.vote_temperature, draw=draw
        )
        votes.update([mapped.label] if mapped else [])
    return {label: count / questions.config.votes for label, count in votes.most_common()}


def nearest_label(vectors: LabelVectors, text: str, options: tuple[str, ...], prototypes: str) -> Scores:
    """Ranks options by sentence embedding; the probabilities are a softmax of cosines times 30."""
    closeness = _SHARPNESS * (vectors.of_labels(options, prototypes) @ vectors.of_text(text)).astype(float)
    chances = np.exp(closeness - closeness.max())
    chances /= chances.sum()
    return {options[place]: float(chances[place]) for place in np.argsort(-closeness, kind="stable")}
