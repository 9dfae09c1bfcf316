"""The text of a question: the relations of the study, what is asked, and how to write the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.audit.causal.answers import canonical_answer
from intarsia.audit.causal.bitsets import bits
from intarsia.audit.causal.examples import worked_examples
from intarsia.audit.causal.names import Names
from intarsia.audit.causal.problems import AdjustmentKey, Assignment, PathKey, Problem, StateKey
from intarsia.audit.causal.streams import Stream
from intarsia.errors import InputError, UnknownNameError

NOW_YOURS = "Now the question to answer:"
"""The line between the worked examples and the question."""

_EXAMPLES = {"zero_shot": 0, "one_shot": 1, "two_shot": 2, "zero_cot": 0, "one_cot": 1, "two_cot": 2, "mis_hint": 0}
_THINK = "Think step by step before you answer."
_HINTS = {
    "CP": "Check carefully that every step of every path follows the direction of a relation, and that no path is "
    "missing.",
    "BA": "Check carefully that the factors you give block every backdoor path and are not effects of the causes.",
    "FI": "Check carefully every event between what was observed and what is asked for, one after the other.",
    "CI": "Check carefully what the supposition changes, and that causes of what is supposed do not matter any more.",
}
_FORMATS = {
    "CP": "Write every path on a line of its own, in the form `ANSWER: first factor -> next factor -> last factor`. "
    "If there is no path, write `ANSWER: none`.",
    "BA": "End with one line `ANSWER:` and the factors, separated by commas, or with `ANSWER: none` if no factor is "
    "needed.",
    "full": "End with one line for every event asked about, in the form `ANSWER: event: happens` or "
    "`ANSWER: event: does not happen`.",
    "partial": "End with one line for every event asked about, in the form `ANSWER: event: happens`, "
    "`ANSWER: event: does not happen` or `ANSWER: event: cannot be determined`.",
}
_CLOSED_WORLD = "An event with such conditions happens only if at least one of them holds."
_OPEN_ROOTS = "Any other event may have happened or not."


_REPLY_TOKENS, _REASONED_REPLY_TOKENS = 1024, 2048


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """How a problem is put into words.

    Args:
        style: zero_shot, one_shot, two_shot (worked examples), zero_cot, one_cot, two_cot (with reasoning), mis_hint.
        closed_world_hint: Whether FI and CI prompts say that nothing happens without a listed condition.

    Raises:
        UnknownNameError: If the style is unknown.
    """

    style: str = "zero_shot"
    closed_world_hint: bool = True

    def __post_init__(self) -> None:
        if self.style not in _EXAMPLES:
            raise UnknownNameError("prompt style", self.style, _EXAMPLES)


def render_prompt(problem: Problem, names: Names, config: PromptConfig, order: Stream | None = None) -> str:
    """Returns the whole prompt of a problem.

    Args:
        problem: The problem.
        names: What its nodes are called.
        config: Style of the prompt.
        order: Shuffles the sentences of the context; by default they come in topological order.
    """
    question = render_question(problem, names, config, order)
    count, thinking = _EXAMPLES[config.style], config.style.endswith("_cot")
    if config.style == "mis_hint":
        question += f"\n{_HINTS[problem.task]}"
    if thinking:
        question += f"\n{_THINK}"
    if not count:
        return question
    parts = []
    for number, example in enumerate(worked_examples(problem.task, problem.evidence)[:count], 1):
        reasoning = f"{example.reasoning}\n" if thinking else ""
        answer = canonical_answer(
            example.problem, example.names.events if _is_about_events(problem) else example.names.factors
        )
        asked = render_question(example.problem, example.names, config)
        parts.append(f"Example {number}\n{asked}\n\n{reasoning}{answer}")
    return "\n\n".join([*parts, f"{NOW_YOURS}\n{question}"])


def reply_tokens(style: str) -> int:
    """Returns how many tokens a reply may have: more where the prompt asks to think step by step."""
    return _REASONED_REPLY_TOKENS if style.endswith("_cot") else _REPLY_TOKENS


def render_question(problem: Problem, names: Names, config: PromptConfig, order: Stream | None = None) -> str:
    """Returns the question without examples and hints: context, what is asked, form of the answer."""
    study = f"a recent study in {names.science}" if names.science else "a recent study"
    sentences = _effects(problem, names) if not _is_about_events(problem) else _conditions(problem, names)
    if order is not None:
        sentences = order.shuffled(sentences)
    context = [f"Assume the following causal relations, found in {study}."]
    context += sentences or ["No factor has a causal effect on another."]
    if _is_about_events(problem) and config.closed_world_hint:
        context.append(_CLOSED_WORLD)
        if problem.evidence == "partial":
            context.append(_OPEN_ROOTS)
    answer_form = _FORMATS[problem.evidence if _is_about_events(problem) else problem.task]
    return f"{' '.join(context)}\n{_asked(problem, names)}\n{answer_form}"


def _is_about_events(problem: Problem) -> bool:
    return problem.task in ("FI", "CI")


def _effects(problem: Problem, names: Names) -> list[str]:
    return [
        f"{names.factors[cause]} has a causal effect on {listed([names.factors[node] for node in bits(children)])}."
        for cause, children in enumerate(problem.graph.children)
        if children
    ]


def _conditions(problem: Problem, names: Names) -> list[str]:
    key = _state_key(problem)
    return [
        f"{names.events[node]} happens if "
        + " and ".join(
            f"{names.events[parent]} {'does not happen' if negated else 'happens'}" for parent, negated in term
        )
        + "."
        for node, terms in enumerate(key.model.terms)
        for term in terms
    ]


def _asked(problem: Problem, names: Names) -> str:
    match problem.key:
        case PathKey(treatments, outcomes):
            return (
                f"We want to know the effect of {_factors(treatments, names)} on {_factors(outcomes, names)}. "
                "List all causal paths from each cause to each effect, that is, all paths along the direction of the "
                "relations."
            )
        case AdjustmentKey(treatments, outcomes):
            return (
                f"We want to know the effect of {_factors(treatments, names)} on {_factors(outcomes, names)}. "
                "Give one set of factors that blocks all backdoor paths, so that adjusting for them gives the effect."
            )
        case StateKey():
            return _asked_states(problem.key, problem.evidence, names)
        case None:
            raise InputError("a problem without its key cannot be put into words")


def _asked_states(key: StateKey, evidence: str, names: Names) -> str:
    parts = [f"We observed that {_happened(key.observed, names)}." if key.observed else "Nothing was observed."]
    query = listed([names.events[node] for node in key.query])
    would = "would then happen" if key.assigned else "happens"
    if key.assigned:
        parts.append(f"Suppose that {_happened(key.assigned, names, tense='had')}.")
    open_end = ", or whether that cannot be determined" if evidence == "partial" else ""
    parts.append(f"Tell of each of these events whether it {would}{open_end}: {query}.")
    return " ".join(parts)


def _happened(assignment: Assignment, names: Names, tense: str = "did") -> str:
    words = {"did": ("happened", "did not happen"), "had": ("had happened", "had not happened")}[tense]
    return listed([f"{names.events[node]} {words[0] if state else words[1]}" for node, state in assignment])


def _factors(members: int, names: Names) -> str:
    return listed([names.factors[node] for node in bits(members)])


def _state_key(problem: Problem) -> StateKey:
    if not isinstance(problem.key, StateKey):
        raise InputError(f"a {problem.task} problem without its model cannot be put into words")
    return problem.key


def listed(items: Sequence[str]) -> str:
    """Returns "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]
