"""Building the questions of a data set, lazily and in a fixed order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.answers import canonical_answer
from intarsia.audit.causal.config import BenchmarkConfig, GraphConfig
from intarsia.audit.causal.generator import draw_graph, query_nodes, treatments_and_outcomes
from intarsia.audit.causal.graphs import CausalGraph, canonical_form
from intarsia.audit.causal.models import draw_model
from intarsia.audit.causal.names import Names, Words, draw_names
from intarsia.audit.causal.problems import (
    Problem,
    adjustment_problem,
    draw_state_problem,
    draw_world,
    path_problem,
    steps,
)
from intarsia.audit.causal.prompts import PromptConfig, render_prompt
from intarsia.audit.causal.questions import Complexity, Question, complexity
from intarsia.audit.causal.streams import Stream
from intarsia.errors import InputError, IntarsiaError

OWN_NAMES = "own"
"""The name style of a user's graph that keeps its names."""

_TRIES = 100


@dataclass(frozen=True)
class Subject:
    """A graph that questions are about.

    Args:
        id: Unique in the data set.
        graph: The graph.
        effect: The effect CP and BA ask about, if there is one.
        query: The events FI and CI ask about.
        group: Shape group, or `"user"`.
        level: Nodes in every tier, or 0.
        path_iters: Passes of the generator, or 0.
        own_names: The names of a user's graph.
    """

    id: str
    graph: CausalGraph
    effect: Adjustment | None
    query: tuple[int, ...]
    group: str
    level: int = 0
    path_iters: int = 0
    own_names: Names | None = None

    @cached_property
    def measures(self) -> Complexity:
        """The complexity of graph and effect, valid sets not counted."""
        return complexity(self.graph, self.effect, minimal_sets=False)

    @cached_property
    def measures_with_sets(self) -> Complexity:
        """The complexity of graph and effect, valid sets counted."""
        return complexity(self.graph, self.effect, minimal_sets=True)


def generate_questions(
    config: BenchmarkConfig, *, words: Words | None = None, subjects: Sequence[Subject] | None = None
) -> Iterator[Question]:
    """Yields the questions of a data set: graph by graph, task by task, name style by name style.

    Args:
        config: The data set.
        words: Word lists of yours for `config.names`.
        subjects: Graphs of yours; they take the place of drawn ones.

    Raises:
        UnknownNameError: If a name style is unknown.
        InputError: If a style has too few words, or a graph too few events for the what-ifs.
    """
    if subjects is None:
        seen: set[object] = set()
        for shape in config.shapes():
            _check_what_ifs(config, shape)
            for index in range(config.graphs):
                subject = draw_subject(config, shape, index)
                form = canonical_form(subject.graph) if config.unique else None
                if form is None or form not in seen:
                    seen.add(form)
                    yield from _of_drawn_graph(subject, config, shape, index, words)
    else:
        for subject in subjects:
            yield from _in_words(subject, _path_problems(subject, config), config, words)
            yield from _in_words(subject, _state_problems(subject, config), config, words)


def _of_drawn_graph(
    subject: Subject, config: BenchmarkConfig, shape: GraphConfig, index: int, words: Words | None
) -> Iterator[Question]:
    yield from _in_words(subject, _path_problems(subject, config), config, words)
    if {"FI", "CI"} & set(config.tasks):
        if not subject.query:
            subject = draw_subject(config, shape, index, needs_query=True)
        yield from _in_words(subject, _state_problems(subject, config), config, words)


def _check_what_ifs(config: BenchmarkConfig, shape: GraphConfig) -> None:
    # The last tier may be asked about as a whole, so its nodes are not counted on.
    most = shape.size - shape.tiers[-1]
    if "CI" in config.tasks and max(config.what_ifs) > most and not config.clip:
        raise InputError(
            f"{max(config.what_ifs)} what-ifs are asked for, but of the {shape.size} events of a graph only {most} can "
            "be changed for certain",
            where="what_ifs",
            fix="ask for fewer, or let questions be clipped",
        )


def draw_subject(config: BenchmarkConfig, shape: GraphConfig, index: int, *, needs_query: bool = False) -> Subject:
    """Draws the graph with this number of a shape.

    Args:
        config: The data set.
        shape: One of `config.shapes()`.
        index: Number of the graph among those of its shape.
        needs_query: Whether the graph is drawn again until an event can be asked about.

    Raises:
        IntarsiaError: If 100 draws give no such graph.
    """
    cell = f"{config.group}-n{shape.tiers[0]}-p{shape.path_iters}"
    for attempt in range(_TRIES):
        graph = draw_graph(shape, Stream(config.seed, "graph", cell, index, attempt))
        query = query_nodes(graph)
        if query or not needs_query:
            effect = Adjustment(graph, *treatments_and_outcomes(graph, shape))
            # A graph that was drawn again says so in its name: it is not the one CP and BA ask about.
            again = f"r{attempt}" if attempt else ""
            return Subject(
                f"{cell}-{index:04d}{again}", graph, effect, query, config.group, shape.tiers[0], shape.path_iters
            )
    raise IntarsiaError(
        f"{_TRIES} graphs of cell {cell} have no event of the last tier with a cause",
        fix="raise the probabilities of chains, forks or colliders, or the number of passes",
    )


def _path_problems(subject: Subject, config: BenchmarkConfig) -> Iterator[tuple[str, Problem]]:
    effect = subject.effect
    if effect is None:
        return
    if "CP" in config.tasks:
        yield "CP", path_problem(subject.graph, effect.treatments, effect.outcomes)
    if "BA" in config.tasks:
        yield "BA", adjustment_problem(effect, minimal_sets=config.minimal_sets)


def _state_problems(subject: Subject, config: BenchmarkConfig) -> Iterator[tuple[str, Problem]]:
    if not subject.query:
        return
    seed, graph = config.seed, subject.graph
    model = draw_model(graph, Stream(seed, "model", subject.id))
    world = draw_world(model, config.root_states, Stream(seed, "roots", subject.id))
    counts = [0] if "FI" in config.tasks else []
    counts += config.what_ifs if "CI" in config.tasks else ()
    for count in counts:
        name = f"CI{count}" if count else "FI"
        stream = Stream(seed, "what-ifs and evidence", subject.id, count)
        yield name, draw_state_problem(graph, world, subject.query, count, config, stream)


def _in_words(
    subject: Subject, problems: Iterator[tuple[str, Problem]], config: BenchmarkConfig, words: Words | None
) -> Iterator[Question]:
    all_names = {style: _names(subject, style, config.seed, words) for style in config.names}
    for name, problem in problems:
        with_sets = config.minimal_sets and problem.task == "BA"
        measures = subject.measures_with_sets if with_sets else subject.measures
        measures = replace(measures, steps=steps(problem))
        for style, names in all_names.items():
            labels = names.events if problem.task in ("FI", "CI") else names.factors
            for prompt_style in config.prompts:
                # Shared by all name styles and prompt styles, so that pairs differ in one thing only.
                order = Stream(config.seed, "order", subject.id, name) if config.shuffle_sentences else None
                prompt = PromptConfig(prompt_style, config.closed_world_hint)
                yield Question(
                    id=f"{subject.id}:{name}:{style}:{prompt_style}",
                    pair_id=f"{subject.id}:{name}:{prompt_style}",
                    graph_id=subject.id,
                    names=style,
                    prompt_style=prompt_style,
                    group=subject.group,
                    level=subject.level,
                    path_iters=subject.path_iters,
                    prompt=render_prompt(problem, names, prompt, order),
                    answer=canonical_answer(problem, labels),
                    labels=labels,
                    problem=problem,
                    complexity=measures,
                )


def _names(subject: Subject, style: str, seed: int, words: Words | None) -> Names:
    if style == OWN_NAMES and subject.own_names is not None:
        return subject.own_names
    return draw_names(style, subject.graph.size, Stream(seed, "names", subject.id, style), words)
