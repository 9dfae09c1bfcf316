"""The settings of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from intarsia.errors import ConfigError, UnknownNameError

TASKS = ("CP", "BA", "FI", "CI")
"""Causal path discovery, backdoor adjustment, factual inference, counterfactual inference."""
PROMPT_STYLES = ("zero_shot", "one_shot", "two_shot", "zero_cot", "one_cot", "two_cot", "mis_hint")
EVIDENCE = ("full", "partial")
ROOT_STATES = ("true", "random")
EXTRACTORS = ("rules", "model")
"""Who reads replies: rules, or a model where the rules fail."""

GROUPS: Mapping[str, tuple[int, tuple[int, ...]]] = MappingProxyType(
    {"00": (5, (1, 2, 3)), "10": (6, (1, 2, 3)), "20": (7, (1, 2)), "30": (8, (1, 2))}
)
"""Shape groups of the published generator: number of tiers, and the nodes a tier may have (the level)."""


@dataclass(frozen=True)
class GraphConfig:
    """How a graph is drawn.

    Attributes:
        tiers: Nodes of every tier, at least three tiers.
        path_iters: How often the motifs of every node are drawn (3 to 6 in the published code).
        chain: Probability that a node gets a chain through it.
        fork: Probability that it gets two children.
        collider: Probability that it gets two parents.
        distance: How far apart treatments and outcomes are, in (0, 1]; 1 is the second and the second-last tier.

    Raises:
        ConfigError: If a value is out of range.
    """

    tiers: tuple[int, ...] = (1, 1, 1, 1, 1)
    path_iters: int = 3
    chain: float = 0.1
    fork: float = 0.1
    collider: float = 0.1
    distance: float = 1.0

    def __post_init__(self) -> None:
        if len(self.tiers) < 3:
            raise ConfigError("tiers", list(self.tiers), "at least three tiers")
        if min(self.tiers) < 1:
            raise ConfigError("tiers", list(self.tiers), "tiers of at least one node")
        if self.path_iters < 1:
            raise ConfigError("path_iters", self.path_iters, "at least 1")
        for name in ("chain", "fork", "collider"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, getattr(self, name), "a probability between 0 and 1")
        if self.chain + self.fork + self.collider > 1:
            total = self.chain + self.fork + self.collider
            raise ConfigError("chain + fork + collider", total, "at most 1 together")
        if not 0 < self.distance <= 1:
            raise ConfigError("distance", self.distance, "above 0 and at most 1")

    @property
    def size(self) -> int:
        """Number of nodes."""
        return sum(self.tiers)

    @property
    def treatment_and_outcome_tier(self) -> tuple[int, int]:
        """The tiers of treatments and of outcomes."""
        inner = len(self.tiers) - 2
        offset = round(inner / 2 * (1 - self.distance))
        return 1 + offset, max(len(self.tiers) - 2 - offset, 2 + offset)


@dataclass(frozen=True)
class BenchmarkConfig:
    """A data set: which graphs, which questions about them, in which words.

    Attributes:
        group: Shape group: `"00"` 5 tiers, `"10"` 6, `"20"` 7, `"30"` 8. The paper's tests use `"00"`.
        levels: Nodes of every tier; empty: all levels of the group.
        path_iters: Numbers of passes of the generator; more passes give more edges.
        graphs: Graphs for every level and number of passes.
        tasks: CP, BA, FI, CI.
        what_ifs: Numbers of what-ifs of the CI questions.
        names: Name styles: specific, pseudo, letters, bio, che, eco, phy, or one of your own words.
        prompts: Prompt styles: zero_shot, one_shot, two_shot, zero_cot, one_cot, two_cot, mis_hint.
        evidence: `"full"`: the state of every root is observed; `"partial"`: some are hidden, other events are shown.
        root_states: `"true"`: every root happens, as published; `"random"`: a fair coin each.
        distance: How far apart treatments and outcomes are.
        chain: Probability of a chain through a node.
        fork: Probability of a fork at a node.
        collider: Probability of a collider at a node.
        minimal_sets: Whether the minimal valid adjustment sets are listed and all valid ones counted.
        closed_world_hint: Whether FI and CI prompts say that nothing happens without a listed condition.
        shuffle_sentences: Whether the sentences of the context come in random order.
        unique: Whether graphs that are like an earlier one but for names are left out.
        clip: Whether a CI question takes fewer what-ifs where there are too few events, instead of being an error.
        seed: Seed of everything.

    Raises:
        ConfigError: If a value is out of range.
        UnknownNameError: If a group, task or prompt style is unknown.
    """

    group: str = "00"
    levels: tuple[int, ...] = ()
    path_iters: tuple[int, ...] = (3, 4, 5, 6)
    graphs: int = 50
    tasks: tuple[str, ...] = ("CP", "BA", "FI", "CI")
    what_ifs: tuple[int, ...] = (1, 2, 3)
    names: tuple[str, ...] = ("specific",)
    prompts: tuple[str, ...] = ("zero_shot",)
    evidence: str = "full"
    root_states: str = "true"
    distance: float = 1.0
    chain: float = 0.1
    fork: float = 0.1
    collider: float = 0.1
    minimal_sets: bool = True
    closed_world_hint: bool = True
    shuffle_sentences: bool = False
    unique: bool = False
    clip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _require_known("group", [self.group], GROUPS)
        _require_known("task", self.tasks, TASKS)
        _require_known("prompt style", self.prompts, PROMPT_STYLES)
        _require_known("kind of evidence", [self.evidence], EVIDENCE)
        _require_known("kind of root states", [self.root_states], ROOT_STATES)
        for name in ("path_iters", "tasks", "what_ifs", "names", "prompts"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ConfigError(name, list(values), "one or more different values")
        if any(level < 1 for level in self.levels):
            raise ConfigError("levels", list(self.levels), "tiers of at least one node")
        if self.graphs < 1:
            raise ConfigError("graphs", self.graphs, "at least 1")
        if min(self.what_ifs) < 1:
            raise ConfigError("what_ifs", list(self.what_ifs), "at least 1")
        if self.evidence == "partial" and not self.closed_world_hint:
            # Without the hint nothing tells a hidden root from an event that happens by itself.
            raise ConfigError("closed_world_hint", False, "true with partial evidence")
        self.shapes()  # checks every shape

    def shapes(self) -> list[GraphConfig]:
        """The shape of every cell of the data set: level by level, pass count by pass count."""
        count, levels = GROUPS[self.group]
        motifs = {"chain": self.chain, "fork": self.fork, "collider": self.collider, "distance": self.distance}
        return [
            GraphConfig((level,) * count, path_iters, **motifs)
            for level in self.levels or levels
            for path_iters in self.path_iters
        ]


def _require_known(kind: str, given: Sequence[str], known: Sequence[str] | Mapping[str, object]) -> None:
    for name in given:
        if name not in known:
            raise UnknownNameError(kind, name, known)
