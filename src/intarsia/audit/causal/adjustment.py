"""Which sets of factors may be adjusted for: the adjustment criterion for sets, and Pearl's backdoor criterion.

Shpitser, VanderWeele and Robins (2010) and Perkovic et al. (2018): a set Z is valid for the effect of C on E if and
only if (i) no member is forbidden, that is, a descendant of a node (outside C) on a proper causal path from C to E, and
(ii) Z d-separates C from E in the proper backdoor graph, which lacks the first edge of every proper causal path.
A causal path is proper if it leaves C only once. Valid means that summing P(E | C, Z) P(Z) over Z gives P(E | do(C)).
"""

from dataclasses import dataclass
from functools import cached_property

from intarsia.audit.causal.bitsets import bits, minimal
from intarsia.audit.causal.graphs import CausalGraph, ancestors_of, children_of, descendants_of, union
from intarsia.audit.causal.separation import connected, d_separated, separating_sets
from intarsia.errors import InputError

MAX_CANDIDATES = 20
"""Most factors whose subsets are all judged: a column then has 2^20 bits."""


@dataclass(frozen=True)
class Adjustment:
    """The question which sets identify the joint effect of treatments on outcomes.

    Args:
        graph: The causal graph.
        treatments: Set of causes.
        outcomes: Set of effects.

    Raises:
        InputError: If one of the sets is empty or they overlap.
    """

    graph: CausalGraph
    treatments: int
    outcomes: int

    def __post_init__(self) -> None:
        if not self.treatments or not self.outcomes:
            raise InputError("an effect needs at least one treatment and one outcome")
        if self.treatments & self.outcomes:
            both = ", ".join(map(str, bits(self.treatments & self.outcomes)))
            raise InputError(
                f"treatments and outcomes overlap in node {both}", fix="give every node one of the two roles"
            )

    @cached_property
    def on_proper_paths(self) -> int:
        """Nodes outside the treatments on a proper causal path."""
        # Without edges into treatments every path from a treatment is proper.
        parents = [0 if self.treatments >> node & 1 else mask for node, mask in enumerate(self.graph.parents)]
        below = union(descendants_of(children_of(parents)), self.treatments)
        above = union(ancestors_of(parents), self.outcomes)
        return below & above & ~self.treatments

    @cached_property
    def forbidden(self) -> int:
        """Nodes that no valid set contains, the treatments and outcomes themselves included."""
        return union(self.graph.descendants, self.on_proper_paths) | self.treatments | self.outcomes

    @cached_property
    def proper_backdoor_parents(self) -> tuple[int, ...]:
        """The proper backdoor graph, as sets of parents."""
        return tuple(
            parents & ~self.treatments if self.on_proper_paths >> node & 1 else parents
            for node, parents in enumerate(self.graph.parents)
        )

    @cached_property
    def treatment_parents(self) -> int:
        """The parents of the treatments that are no treatments.

        They are a valid set if no outcome is among them and no treatment is an ancestor of another, as in one tier.
        """
        return union(self.graph.parents, self.treatments) & ~self.treatments

    @cached_property
    def canonical_set(self) -> int:
        """Ancestors of treatments and outcomes that are not forbidden: valid if any set is (Perkovic et al. 2018)."""
        return union(self.graph.ancestors, self.treatments | self.outcomes) & ~self.forbidden

    @property
    def right_set(self) -> int | None:
        """A valid set: the parents of the treatments if they are one; None if there is no valid set at all."""
        return next((chosen for chosen in (self.treatment_parents, self.canonical_set) if self.is_valid(chosen)), None)

    def is_valid(self, chosen: int) -> bool:
        """Returns whether adjusting for the set `chosen` gives the effect."""
        return not chosen & self.forbidden and d_separated(
            self.proper_backdoor_parents, self.treatments, self.outcomes, chosen
        )

    def is_backdoor_set(self, chosen: int) -> bool:
        """Returns whether `chosen` meets Pearl's rule: no descendant of a treatment, backdoor paths blocked.

        It is sufficient but not necessary: a descendant that is on no causal path may do no harm.
        """
        below = union(self.graph.descendants, self.treatments)
        if chosen & (below | self.outcomes):
            return False
        without_exits = [parents & ~self.treatments for parents in self.graph.parents]
        return d_separated(without_exits, self.treatments, self.outcomes, chosen)

    def failure(self, chosen: int) -> str | None:
        """Returns why a set is not valid, or None if it is.

        Returns:
            `"forbidden_node"`; `"open_backdoor_path"` if a path without any collider is open; `"opened_collider"` if
            only paths are that adjusting for a collider, or for a descendant of one, has opened.
        """
        if chosen & self.forbidden:
            return "forbidden_node"
        if self.is_valid(chosen):
            return None
        reached = connected(self.proper_backdoor_parents, self.treatments, chosen, through_colliders=False)
        return "open_backdoor_path" if reached & self.outcomes else "opened_collider"

    def is_minimal(self, chosen: int) -> bool:
        """Returns whether a valid set becomes invalid whenever one member is left out.

        Of d-separating sets this is the same as having no valid proper subset (van der Zander et al. 2019).
        """
        return not any(self.is_valid(chosen & ~(1 << node)) for node in bits(chosen))

    @cached_property
    def valid_sets(self) -> "ValidSets":
        """All valid sets.

        Raises:
            InputError: If more than `MAX_CANDIDATES` nodes may be in one.
        """
        candidates = tuple(bits(self.graph.nodes & ~self.forbidden))
        if len(candidates) > MAX_CANDIDATES:
            raise InputError(
                f"{len(candidates)} factors may be adjusted for, and the subsets of at most {MAX_CANDIDATES} are "
                "listed",
                fix="ask for questions without minimal sets",
            )
        column = separating_sets(self.proper_backdoor_parents, self.treatments, self.outcomes, candidates)
        return ValidSets(candidates, column)


@dataclass(frozen=True)
class ValidSets:
    """All valid sets, as a column over the factors that may be in one.

    Args:
        candidates: The factors that are not forbidden.
        column: Bit i tells whether the candidates that are bits of i are a valid set.
    """

    candidates: tuple[int, ...]
    column: int

    @property
    def count(self) -> int:
        """How many there are."""
        return self.column.bit_count()

    @cached_property
    def minimal(self) -> tuple[tuple[int, ...], ...]:
        """Those without a valid proper subset, small ones first."""
        return self._listed(minimal(self.column, len(self.candidates)))

    @property
    def all(self) -> tuple[tuple[int, ...], ...]:
        """Every one, small ones first."""
        return self._listed(self.column)

    def _listed(self, column: int) -> tuple[tuple[int, ...], ...]:
        sets = (tuple(self.candidates[index] for index in bits(case)) for case in bits(column))
        return tuple(sorted(sets, key=lambda members: (len(members), members)))
