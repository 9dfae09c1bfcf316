"""Answers that need no reasoning, which a score has to beat, and the exact solver; as responders and as models."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.answers import set_answer, state_answer
from intarsia.audit.causal.bitsets import bits
from intarsia.audit.causal.problems import AdjustmentKey, StateKey
from intarsia.audit.causal.questions import Question
from intarsia.audit.causal.solver import solve
from intarsia.audit.causal.streams import Stream
from intarsia.errors import InputError, UnknownNameError
from intarsia.evals.call import Call
from intarsia.evals.scripted import ScriptedChat

Responder = Callable[[Question], str]
"""Anything that answers questions."""


def empty_set(question: Question) -> str:
    """BA: adjusts for nothing."""
    _adjustment(question)
    return set_answer([])


def treatment_parents(question: Question) -> str:
    """BA: adjusts for the causes of the treatments, which is always right where these lie in one tier."""
    return _chosen(question, _adjustment(question).treatment_parents)


def random_set(question: Question, seed: int = 0) -> str:
    """BA: adjusts for each factor that is no treatment or outcome with probability one half."""
    adjustment = _adjustment(question)
    stream = Stream(seed, "random set", question.pair_id)
    others = bits(adjustment.graph.nodes & ~adjustment.treatments & ~adjustment.outcomes)
    return set_answer([question.labels[node] for node in others if stream.below(2)])


def copy_factual(question: Question) -> str:
    """CI: answers as if nothing had been supposed otherwise."""
    key = question.problem.key
    if not isinstance(key, StateKey) or not key.factual:
        raise InputError(f"question {question.id} is not counterfactual: there are no facts to copy")
    return state_answer({question.labels[node]: state for node, state in zip(key.query, key.factual, strict=True)})


def majority(questions: Iterable[Question]) -> Responder:
    """FI and CI: answers every event with the state that is most frequent among the questions."""
    counts: Counter[str] = Counter()
    for question in questions:
        if isinstance(question.problem.key, StateKey):
            counts.update(question.problem.key.states)
    if not counts:
        raise InputError("there is no FI or CI question to count the states of")
    # Ties go to the first in the alphabet, so that the order of questions does not matter.
    most_frequent = min(counts, key=lambda state: (-counts[state], state))

    def respond(question: Question) -> str:
        key = question.problem.key
        if not isinstance(key, StateKey):
            raise InputError(f"question {question.id} does not ask for states")
        return state_answer({question.labels[node]: most_frequent for node in key.query})

    return respond


BASELINES: Mapping[str, tuple[str, Responder]] = MappingProxyType(
    {
        "copy-factual": ("CI", copy_factual),
        "empty-set": ("BA", empty_set),
        "random-set": ("BA", random_set),
        "treatment-parents": ("BA", treatment_parents),
    }
)
"""Baselines by name, with the task they are for; `majority` needs to see the questions first."""

BASELINE_TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "solver": ("CP", "BA", "FI", "CI"),
        "majority": ("FI", "CI"),
        **{name: (task,) for name, (task, _) in BASELINES.items()},
    }
)
"""The tasks that each baseline answers when it is asked as a model."""


def responder(name: str, questions: Iterable[Question]) -> Responder:
    """Returns a baseline by name.

    Args:
        name: A key of `BASELINE_TASKS`.
        questions: All questions it will be asked.

    Raises:
        UnknownNameError: If there is no such baseline.
        InputError: If `majority` has no states to count.
    """
    if name not in BASELINE_TASKS:
        raise UnknownNameError("baseline", name, BASELINE_TASKS)
    if name == "solver":
        return lambda question: solve(question.prompt)
    return majority(questions) if name == "majority" else BASELINES[name][1]


def baseline_model(name: str, questions: Iterable[Question] = ()) -> ScriptedChat:
    """Returns a baseline as a chat model, which knows its questions by their prompts.

    Args:
        name: A key of `BASELINE_TASKS`. The solver reads the prompts only; the others need the questions.
        questions: All questions it will be asked.

    Raises:
        UnknownNameError: If there is no such baseline.
        InputError: If it needs questions and there are none, or `majority` has no states to count.
    """
    known = {question.prompt: question for question in questions}
    if not known and name in BASELINE_TASKS and name != "solver":
        raise InputError(
            f"baseline {name!r} needs the answer keys of the questions", fix="give the data set: -M dataset=FOLDER"
        )
    respond = responder(name, known.values())

    def script(call: Call) -> str:
        if name == "solver":
            return solve(call.prompt)
        if call.prompt not in known:
            raise InputError(f"baseline {name!r} is asked what is not in its data set", where=call.key)
        return respond(known[call.prompt])

    return ScriptedChat(script, name=f"baseline:{name}")


def _adjustment(question: Question) -> Adjustment:
    key = question.problem.key
    if not isinstance(key, AdjustmentKey):
        raise InputError(f"question {question.id} does not ask for an adjustment set")
    return Adjustment(question.problem.graph, key.treatments, key.outcomes)


def _chosen(question: Question, members: int) -> str:
    return set_answer([question.labels[node] for node in bits(members)])
