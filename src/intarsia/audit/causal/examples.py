"""The worked examples of few-shot prompts: two for every task, two more for partial evidence.

Only the reasoning is written by hand; the answers are worked out like those of every other problem.
"""

from dataclasses import dataclass
from functools import cache

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.graphs import CausalGraph
from intarsia.audit.causal.models import BooleanModel
from intarsia.audit.causal.names import Names
from intarsia.audit.causal.problems import Problem, adjustment_problem, path_problem, state_problem

_WORDS = ("tavo", "milu", "resk", "bonda", "fenig")
_TAVO, _MILU, _RESK, _BONDA, _FENIG = range(5)


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A problem with the reasoning that leads to its answer.

    Args:
        problem: The problem.
        names: What its nodes are called.
        reasoning: The steps, without the answer's lines.
    """

    problem: Problem
    names: Names
    reasoning: str


@cache
def worked_examples(task: str, evidence: str = "full") -> tuple[WorkedExample, WorkedExample]:
    """Returns the two worked examples of a task."""
    if task == "CP":
        return _causal_paths()
    if task == "BA":
        return _backdoor_adjustment()
    if evidence == "partial":
        return _partial_factual() if task == "FI" else _partial_counterfactual()
    return _factual() if task == "FI" else _counterfactual()


def _causal_paths() -> tuple[WorkedExample, WorkedExample]:
    two_ways = _graph(4, (_TAVO, _MILU), (_TAVO, _RESK), (_MILU, _BONDA), (_RESK, _BONDA))
    only_common_cause = _graph(4, (_TAVO, _MILU), (_TAVO, _RESK), (_MILU, _BONDA))
    return (
        _example(
            path_problem(two_ways, 1 << _TAVO, 1 << _BONDA),
            "tavo acts on milu and on resk. milu acts on bonda, and that is one path. resk acts on bonda too, and that "
            "is another. Nothing else follows from tavo.",
        ),
        _example(
            path_problem(only_common_cause, 1 << _MILU, 1 << _RESK),
            "milu acts on bonda only, and bonda acts on nothing. tavo acts on resk, but milu does not act on tavo. So "
            "no path along the relations leads from milu to resk.",
        ),
    )


def _backdoor_adjustment() -> tuple[WorkedExample, WorkedExample]:
    confounder = _graph(3, (_TAVO, _MILU), (_TAVO, _RESK), (_MILU, _RESK))
    collider = _graph(5, (_TAVO, _RESK), (_TAVO, _BONDA), (_MILU, _BONDA), (_MILU, _FENIG), (_RESK, _FENIG))
    return (
        _example(
            adjustment_problem(Adjustment(confounder, 1 << _MILU, 1 << _RESK)),
            "The backdoor path milu <- tavo -> resk goes through the common cause tavo. No other path begins with a "
            "relation into milu. tavo is no effect of milu, so adjusting for it blocks the path.",
        ),
        _example(
            adjustment_problem(Adjustment(collider, 1 << _RESK, 1 << _FENIG)),
            "The only backdoor path is resk <- tavo -> bonda <- milu -> fenig. Two relations meet in bonda, so the "
            "path is blocked as it is; adjusting for bonda would open it. Nothing needs to be adjusted for.",
        ),
    )


def _factual() -> tuple[WorkedExample, WorkedExample]:
    chain = _model((), (((_TAVO, False),),), (((_MILU, True),),))
    either = _model((), (), (((_TAVO, True),), ((_MILU, False),)), (((_TAVO, False), (_RESK, False)),))
    return (
        _example(
            _states(chain, {_TAVO: True}, {}, _RESK),
            "tavo happened, so milu happens. resk happens only if milu does not happen.",
        ),
        _example(
            _states(either, {_TAVO: True, _MILU: True}, {}, _BONDA),
            "tavo happened, so the first condition of resk fails; milu happened, so its second condition holds, and "
            "resk happens. tavo and resk both happen, so the condition of bonda holds.",
        ),
    )


def _counterfactual() -> tuple[WorkedExample, WorkedExample]:
    chain = _model((), (((_TAVO, False),),), (((_MILU, True),),))
    either = _model((), (), (((_TAVO, False),),), (((_MILU, True),), ((_RESK, False),)))
    return (
        _example(
            _states(chain, {_TAVO: True}, {_TAVO: False}, _RESK),
            "If tavo had not happened, the only condition of milu would fail, and milu would not happen. resk happens "
            "if milu does not happen.",
        ),
        _example(
            _states(either, {_TAVO: True, _MILU: True}, {_RESK: False}, _BONDA),
            "resk is supposed not to have happened, whatever tavo did. milu happened, so the first condition of bonda "
            "fails; its second needs resk and fails too.",
        ),
    )


def _partial_factual() -> tuple[WorkedExample, WorkedExample]:
    both = _model((), (), (((_TAVO, False), (_MILU, False)),))
    tell_tale = _model((), (((_TAVO, False),),), (((_TAVO, True),),))
    return (
        _example(
            _states(both, {_TAVO: True}, {}, _RESK, "partial"),
            "resk needs tavo and milu. tavo happened, but milu may have happened or not, and nothing observed tells "
            "which.",
        ),
        _example(
            _states(tell_tale, {_MILU: True}, {}, _RESK, "partial"),
            "milu happened, and its only condition is tavo, so tavo must have happened. resk happens only if tavo does "
            "not happen.",
        ),
    )


def _partial_counterfactual() -> tuple[WorkedExample, WorkedExample]:
    tell_tale = _model((), (((_TAVO, False),),), (((_TAVO, False), (_MILU, True)),))
    open_cause = _model((), (), (((_TAVO, False),),), (((_MILU, False), (_RESK, True)),))
    return (
        _example(
            _states(tell_tale, {_MILU: True}, {_MILU: False}, _RESK, "partial"),
            "milu happened in fact, and its only condition is tavo, so tavo happened. Supposing milu away does not "
            "change tavo. Then tavo happens and milu does not, which is the condition of resk.",
        ),
        _example(
            _states(open_cause, {_TAVO: True}, {_RESK: False}, _BONDA, "partial"),
            "With resk supposed away, bonda happens if milu happens. Nothing observed tells whether milu happened.",
        ),
    )


def _graph(count: int, *edges: tuple[int, int]) -> CausalGraph:
    return CausalGraph.from_edges(count, edges)


def _model(*terms: tuple[tuple[tuple[int, bool], ...], ...]) -> BooleanModel:
    return BooleanModel(terms)


def _states(
    model: BooleanModel, observed: dict[int, bool], assigned: dict[int, bool], query: int, evidence: str = "full"
) -> Problem:
    graph = CausalGraph(model.parents, tuple((node,) for node in range(len(model.terms))))
    return state_problem(graph, model, tuple(observed.items()), tuple(assigned.items()), (query,), evidence=evidence)


def _example(problem: Problem, reasoning: str) -> WorkedExample:
    names = _WORDS[: problem.graph.size]
    return WorkedExample(problem, Names(names, names), reasoning)
