"""The studies of the reproduction that need no chat model; each returns JSON values."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.classification.classifier import Classifier
from intarsia.classification.config import ClassifierConfig
from intarsia.classification.evaluation import label_bias, position_bias, recall_deviation
from intarsia.classification.intent_sets import IntentSet
from intarsia.classification.labels import LabelSet, label_texts
from intarsia.classification.options import arrange_options
from intarsia.classification.responder import UtilityResponder
from intarsia.classification.results import Classification, Item
from intarsia.classification.streams import generator
from intarsia.experiments._pairwise_data import CONTENT_FREE, plain
from intarsia.experiments._pairwise_recipe import BreakEvenRecipe, PairwiseRecipe, PositionRecipe, ResponderRecipe
from intarsia.metrics.scores import macro_f1
from intarsia.models.sentence_encoder import TextEncoder

Numbers = npt.NDArray[np.float64]

SYSTEMS: Mapping[str, ClassifierConfig] = {
    "one question": ClassifierConfig(method="direct"),
    "ITR + king": ClassifierConfig(duel="zero_shot"),
    "CBWR + king": ClassifierConfig(reducer="cbwr", duel="zero_shot"),
}
"""What the responder answers. It decides between two labels by their utilities, so chains of thought change nothing."""

_CONCURRENCY = 32


def _classify(classifier: Classifier, items: Sequence[Item]) -> list[Classification]:
    """Classifies items; returns what was found in their order."""

    async def everything() -> dict[int, Classification]:
        found = {}
        async for index, outcome in classifier.stream(items, concurrency=_CONCURRENCY):
            assert outcome.ok, outcome.error
            found[index] = outcome.value
        return found

    found = asyncio.run(everything())
    return [found[place] for place in range(len(items))]


# The encoder alone


def encoder_study(sets: Mapping[str, IntentSet], encoder: TextEncoder, recipe: PairwiseRecipe) -> list[dict[str, Any]]:
    """Ranks the labels of every text by sentence embedding, with label names and with centroids of examples."""
    rows = []
    for name, each in sets.items():
        for kind in ("names", "centroids"):
            ranks = gold_ranks(each, encoder, kind, recipe.shots)
            for subset in ("hard", "easy", "all"):
                items = each.subset(subset)
                chosen = np.array([ranks[item.id][0] for item in items])
                rows.append(
                    {
                        "set": name,
                        "prototypes": kind,
                        "subset": subset,
                        "labels": len(each.labels),
                        "n": len(items),
                        "first": int((chosen == 1).sum()),
                        "top": int((chosen <= recipe.break_even.k).sum()),
                        "macro_f1": macro_f1(
                            [each.gold[item.id] for item in items], [ranks[item.id][1] for item in items]
                        ),
                    }
                )
    return rows


def gold_ranks(each: IntentSet, encoder: TextEncoder, prototypes: str, shots: int) -> dict[str, tuple[int, str]]:
    """Returns for every text the rank of its label by sentence embedding, from 1, and the nearest label."""
    labels = each.labels
    if prototypes == "names":
        vectors = encoder.embed(label_texts(labels.names))
    else:
        examples = each.examples_of(labels, shots)
        rows = encoder.embed([" ".join(text.split()) for text, _ in examples])
        places = np.array([labels.index[label] for _, label in examples])
        means = np.stack([rows[places == place].mean(axis=0) for place in range(len(labels))])
        vectors = means / np.linalg.norm(means, axis=-1, keepdims=True)
    texts = encoder.embed([plain(item) for item in each.items])
    closeness = texts @ vectors.T
    gold = np.array([labels.index[each.gold[item.id]] for item in each.items])
    own = closeness[np.arange(len(gold)), gold]
    ranks = 1 + (closeness > own[:, None]).sum(axis=1)
    nearest = closeness.argmax(axis=1)
    return {
        item.id: (int(rank), labels.names[best]) for item, rank, best in zip(each.items, ranks, nearest, strict=True)
    }


# E1 and the curves of E2: how many options


class Similarities:
    """Utilities that are cosines of real embeddings.

    Args:
        labels: The labels.
        encoder: Gives the vectors.
        sharpness: Utility of a cosine of 1.
    """

    def __init__(self, labels: LabelSet, encoder: TextEncoder, sharpness: float) -> None:
        self._labels = labels
        self._encoder = encoder
        self._vectors = encoder.embed(label_texts(labels.names)) * sharpness
        self._known: dict[str, Numbers] = {}

    def __call__(self, text: str, options: Sequence[str]) -> Numbers:
        """Returns the utilities of options for a text, (options,)."""
        if text not in self._known:
            self._known[text] = (self._vectors @ self._encoder.embed([text])[0]).astype(float)
        chosen: Numbers = self._known[text][[self._labels.index[option] for option in options]]
        return chosen


def half_hard(each: IntentSet, easy: float, seed: int) -> list[Item]:
    """Returns all hard texts, and `easy` times as many easy ones drawn by the seed."""
    hard, rest = each.subset("hard"), each.subset("easy")
    count = min(len(rest), round(easy * len(hard)))
    return [*hard, *generator(seed, each.name, 0).sample(rest, count)]


def options_study(each: IntentSet, encoder: TextEncoder, recipe: ResponderRecipe, seed: int) -> list[dict[str, Any]]:
    """Classifies the same texts with 2 to all options, in one question and in two stages.

    Returns:
        For every setting, number of options and system, per text: how often it was right, how often the label was
        among the candidates, and how often two replicates differ.
    """
    items = half_hard(each, recipe.easy, seed)
    utility = Similarities(each.labels, encoder, recipe.sharpness)
    vectors = encoder.embed(label_texts(each.labels.names))
    rows = []
    for growth, bias in recipe.settings:
        responder = UtilityResponder(utility, each.labels, growth=growth, position_bias=bias, seed=seed)
        for count in recipe.options:
            number = count or len(each.labels)
            shown = [
                replace(
                    item,
                    options=arrange_options(
                        each.labels, each.gold[item.id], option_num=number, vectors=vectors, seed=seed, item=item.id
                    ),
                )
                for item in items
            ]
            for system, config in SYSTEMS.items():
                found = []
                for replicate in range(recipe.replicates):
                    settings = replace(config, seed=1000 * seed + replicate)
                    found.append(_classify(Classifier(responder, each.labels, settings, encoder=encoder), shown))
                rows.append(
                    {
                        "growth": growth,
                        "bias": bias,
                        "options": number,
                        "all": count == 0,
                        "system": system,
                        **_per_text(found, [each.gold[item.id] for item in items]),
                    }
                )
    return rows


def _per_text(found: Sequence[Sequence[Classification]], gold: Sequence[str]) -> dict[str, Any]:
    """Returns means over replicates, text by text."""
    by_text = list(zip(*found, strict=True))
    pairs = list(zip(by_text, gold, strict=True))
    return {
        "right": [float(np.mean([each.label == label for each in group])) for group, label in pairs],
        "top": [float(np.mean([label in each.candidates for each in group])) for group, label in pairs],
        "flips": [
            float(np.mean([first.label != second.label for first, second in pairwise(group)])) for group in by_text
        ],
        "calls": float(np.mean([each.calls for group in by_text for each in group])),
    }


# E2: where the right option stands


def position_study(
    each: IntentSet, encoder: TextEncoder, recipe: PositionRecipe, base: ResponderRecipe, seed: int
) -> dict[str, Any]:
    """Puts the right option at given places of a list, and first or second in duels; asks about an empty text."""
    items = half_hard(each, base.easy, seed)
    utility = Similarities(each.labels, encoder, base.sharpness)
    vectors = encoder.embed(label_texts(each.labels.names))

    def make(system: str, *, noise: bool = True, logprobs: bool = False, both_orders: bool = False) -> Classifier:
        responder = UtilityResponder(
            utility,
            each.labels,
            growth=recipe.growth,
            position_bias=recipe.position_bias,
            noise=noise,
            logprobs=logprobs,
            seed=seed,
        )
        settings = replace(SYSTEMS[system], seed=seed, both_orders=both_orders)
        return Classifier(responder, each.labels, settings, encoder=encoder)

    # Without noise all that changes an answer between two orders is the order.
    duels = {
        "one order": make("ITR + king", noise=False),
        "both orders, votes": make("ITR + king", noise=False, both_orders=True),
        "both orders, log-odds": make("ITR + king", noise=False, both_orders=True, logprobs=True),
    }
    empty = [Item(f"empty-{place}", CONTENT_FREE) for place in range(recipe.content_free)]
    return {
        "growth": recipe.growth,
        "bias": recipe.position_bias,
        "options": recipe.options,
        "lists": [
            _placed(each, items, vectors, system, make(system), recipe.options, recipe.places, 0.0)
            for system in ("one question", "ITR + king", "CBWR + king")
        ],
        "duels": [
            _placed(each, items, vectors, system, classifier, 2, (0, 1), 1.0) for system, classifier in duels.items()
        ],
        "content_free": [
            {
                "system": system,
                "bias": label_bias([found.label for found in _classify(make(system), empty)], each.labels.names),
                "n": recipe.content_free,
            }
            for system in SYSTEMS
        ],
    }


def _placed(
    each: IntentSet,
    items: Sequence[Item],
    vectors: npt.NDArray[np.float32],
    system: str,
    classifier: Classifier,
    count: int,
    places: Sequence[int],
    similar_rate: float,
) -> dict[str, Any]:
    """Classifies every text with its label at each of the places; questions show the options in this order."""
    shown, gold_places = list[Item](), list[int]()
    for item in items:
        for place in places:
            options = arrange_options(
                each.labels,
                each.gold[item.id],
                option_num=count,
                gold_position=place,
                similar_rate=similar_rate,
                vectors=vectors,
                item=item.id,
            )
            # Two stages that shuffle would hide where the label was put; what is studied is the order given.
            shown.append(replace(item, options=options, shuffle=False))
            gold_places.append(place)
    found = _classify(classifier, shown)
    chosen = [item.options.index(one.label) if one.label else None for item, one in zip(shown, found, strict=True)]
    right = [a == b for a, b in zip(chosen, gold_places, strict=True)]
    of_text = np.array([one.label or "" for one in found]).reshape(len(items), len(places))
    return {
        "system": system,
        "recall": {
            str(place): [sum(hit for hit, at in zip(right, gold_places, strict=True) if at == place), len(items)]
            for place in places
        },
        "tv": position_bias(chosen, gold_places, count),
        "deviation": recall_deviation(right, gold_places),
        "flips": [float((row[1:] != row[:-1]).mean()) for row in of_text],
    }


# E3: an encoder that reduces, and duels that are sometimes wrong


def break_even_study(
    sets: Mapping[str, IntentSet], encoder: TextEncoder, recipe: BreakEvenRecipe, shots: int, seed: int
) -> list[dict[str, Any]]:
    """Finds how often duels must be right for an encoder's candidates and duels to beat the encoder alone."""
    rows = []
    for name, each in sets.items():
        for kind in ("names", "centroids"):
            ranks = gold_ranks(each, encoder, kind, shots)
            hard = np.array([ranks[item.id][0] for item in each.subset("hard")])
            chance = np.random.default_rng([seed, 6])
            draws = [_break_even(chance.choice(hard, len(hard)), recipe.k) for _ in range(recipe.resamples)]
            rows.append(
                {
                    "set": name,
                    "prototypes": kind,
                    "n": len(hard),
                    "first": int((hard == 1).sum()),
                    "top": int((hard <= recipe.k).sum()),
                    "break_even": _break_even(hard, recipe.k),
                    "low": float(np.quantile(draws, 0.025)),
                    "high": float(np.quantile(draws, 0.975)),
                    "curve": [[error, king_accuracy(hard, recipe.k, error)] for error in recipe.errors],
                }
            )
    return rows


def king_accuracy(ranks: npt.NDArray[np.int64], k: int, error: float) -> float:
    """Returns the expected accuracy of a king of the hill over k candidates whose duels err independently.

    A label at rank 1 has to win k - 1 duels, one at rank j >= 2 has to win k - j + 1.
    """
    wins = np.array([k - 1, *range(k - 1, 0, -1)])
    of_rank = np.concatenate([(1 - error) ** wins, [0.0]])
    return float(of_rank[np.minimum(ranks, k + 1) - 1].mean())


def _break_even(ranks: npt.NDArray[np.int64], k: int) -> float:
    """Returns the share of right duels at which duels are as good as the encoder's first choice."""
    alone = float((ranks == 1).mean())
    low, high = 0.5, 1.0
    if king_accuracy(ranks, k, 0.0) <= alone:
        return 1.0
    if king_accuracy(ranks, k, 0.5) >= alone:
        return 0.5
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if king_accuracy(ranks, k, 1 - middle) < alone else (low, middle)
    return high


def simulated_duels(
    each: IntentSet, encoder: TextEncoder, recipe: BreakEvenRecipe, error: float, seed: int
) -> dict[str, Any]:
    """Holds the duels of E3 with the library: a responder that is wrong about the right label with a known chance."""
    items = each.subset("hard")
    right = {plain(item): each.gold[item.id] for item in items}
    edge = float(np.log((1 - error) / error))

    def utility(text: str, options: Sequence[str]) -> Numbers:
        return np.array([edge * (option == right[text]) for option in options])

    hits = []
    for replicate in range(recipe.replicates):
        responder = UtilityResponder(utility, each.labels, seed=1000 * seed + replicate)
        config = ClassifierConfig(reducer="encoder", duel="zero_shot", k=recipe.k)
        found = _classify(Classifier(responder, each.labels, config, encoder=encoder), items)
        hits.append([one.label == each.gold[one.id] for one in found])
    ranks = gold_ranks(each, encoder, "names", 0)
    expected = king_accuracy(np.array([ranks[item.id][0] for item in items]), recipe.k, error)
    return {"set": each.name, "error": error, "right": np.mean(hits, axis=0).tolist(), "expected": expected}
