"""The settings of a classification; the defaults are those of the published code (arXiv 2406.07001)."""

from dataclasses import dataclass

from intarsia.errors import ConfigError, UnknownNameError

METHODS = ("two_stage", "direct", "direct_cot", "few_shot", "self_consistency", "encoder")
"""Self-reduction and duels, and what they are compared with: one question over all options, and no question at all."""
REDUCERS = ("itr", "cbwr", "self_consistency", "remove", "one_shot", "encoder", "supervised")
DUELS = ("pc_cot", "zero_shot", "zero_shot_cot", "few_shot", "few_shot_cot")
TOURNAMENTS = ("king", "round_robin", "single_elimination")
DEMONSTRATIONS = ("boundary", "center", "random")
PROTOTYPES = ("names", "centroids")
WINDOWS = ("diverse", "similar")


@dataclass(frozen=True)
class ClassifierConfig:
    """How texts are classified.

    Attributes:
        method: `two_stage`, or a baseline: `direct`, `direct_cot`, `few_shot` (one question over all options),
            `self_consistency` (votes of it), `encoder` (nearest label by sentence embedding, no question).
        reducer: First stage: `itr` picks the best option `k` times, `cbwr` sieves clustered windows, `remove` first
            strikes options out, `self_consistency` and `one_shot` ask for `top` options, `encoder` takes the nearest
            labels, `supervised` the two best of a logistic regression on the examples.
        duel: Second stage: `pc_cot`, `zero_shot`, `zero_shot_cot`, `few_shot` or `few_shot_cot`.
        tournament: `king` (of the hill), `round_robin` or `single_elimination`.
        k: Candidates that reach the second stage.
        both_orders: Whether each duel is held twice, with the labels in both orders.
        demonstrations: Examples shown in duels: `boundary` (the most similar pairs across the two labels), `center`
            or `random`.
        shots: Examples of each label in a duel.
        few_shot: Examples in a question over all options of the method `few_shot`.
        window: Options in a window of `cbwr`.
        window_keep: Options that are kept of a window.
        windows: `diverse`: one label of each cluster; `similar`: the largest clusters.
        top: Options that the reducers `self_consistency` and `one_shot` keep.
        votes: Shuffled questions of self-consistency, in the reducer and in the method.
        vote_temperature: Sampling temperature of the votes of the method `self_consistency`.
        prototypes: What `encoder` compares a text with: label `names`, or `centroids` of the examples.
        temperature: Sampling temperature of all other questions.
        max_tokens: Longest answer.
        max_characters: Texts are cut after so many characters.
        context_tokens: What the model can read at once, in tokens.
        max_unmapped: Share of answers that may name no option, above which a run stops.
        abstain_below: Confidence under which a text gets no label; 0 never abstains.
        seed: Seed of every shuffle and draw.

    Raises:
        ConfigError: If a value is out of range.
        UnknownNameError: If a method, reducer, duel, tournament or kind is unknown.
    """

    method: str = "two_stage"
    reducer: str = "itr"
    duel: str = "pc_cot"
    tournament: str = "king"
    k: int = 5
    both_orders: bool = False
    demonstrations: str = "boundary"
    shots: int = 3
    few_shot: int = 5
    window: int = 16
    window_keep: int = 3
    windows: str = "diverse"
    top: int = 3
    votes: int = 5
    vote_temperature: float = 0.7
    prototypes: str = "names"
    temperature: float = 0.0
    max_tokens: int = 200
    max_characters: int = 512
    context_tokens: int = 8192
    max_unmapped: float = 0.2
    abstain_below: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("method", self.method, METHODS),
            ("reducer", self.reducer, REDUCERS),
            ("duel", self.duel, DUELS),
            ("tournament", self.tournament, TOURNAMENTS),
            ("kind of demonstrations", self.demonstrations, DEMONSTRATIONS),
            ("kind of prototypes", self.prototypes, PROTOTYPES),
            ("kind of windows", self.windows, WINDOWS),
        ):
            if name not in known:
                raise UnknownNameError(kind, str(name), known)
        for name in ("k", "few_shot", "top", "votes", "max_tokens", "max_characters", "context_tokens", "window_keep"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "at least 1")
        if self.shots < 0:
            raise ConfigError("shots", self.shots, "0 or more")
        if self.window < 2:
            raise ConfigError("window", self.window, "at least 2")
        if self.window_keep >= self.window:
            raise ConfigError(
                "window_keep", self.window_keep, f"below window, {self.window}: a window has to lose some"
            )
        for name in ("temperature", "vote_temperature"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "0 or more")
        for name in ("max_unmapped", "abstain_below"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, getattr(self, name), "between 0 and 1")

    @property
    def asks(self) -> bool:
        """Whether a chat model is asked at all."""
        return self.method != "encoder"

    @property
    def shows_pairs(self) -> bool:
        """Whether duels show examples of their two labels."""
        return self.method == "two_stage" and self.shots > 0 and self.duel in ("pc_cot", "few_shot", "few_shot_cot")

    @property
    def uses_examples(self) -> bool:
        """Whether examples make a difference."""
        return self.shows_pairs or self.needs_examples

    @property
    def needs_examples(self) -> bool:
        """Whether nothing can be done without examples."""
        by_centroids = self.prototypes == "centroids" and (self.method == "encoder" or self._reduces_by("encoder"))
        few_shot = self.method == "few_shot" or (
            self.method == "two_stage" and self.shots > 0 and self.duel in ("few_shot", "few_shot_cot")
        )
        return by_centroids or few_shot or self._reduces_by("supervised")

    def _reduces_by(self, reducer: str) -> bool:
        return self.method == "two_stage" and self.reducer == reducer
