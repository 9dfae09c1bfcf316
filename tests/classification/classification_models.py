"""Models and encoders that tests know everything about."""

import asyncio
import hashlib
import re
import zlib

import numpy as np

from intarsia.classification import Classifier, ClassifierConfig, Item, LabelSet, UtilityResponder

TOPICS = [f"topic {place:02d}" for place in range(30)]


def pseudo(*parts):
    """A number in [0, 1) that depends on the parts alone."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def fixed_utility(text, label):
    return 10 * pseudo(text, label)


class HashEncoder:
    """Random unit vectors, the same for the same text; words in common bring texts nearer."""

    def __init__(self):
        self.asked = 0

    def embed(self, texts):
        self.asked += len(texts)
        vectors = [
            sum(np.random.default_rng(zlib.crc32(word.encode())).normal(size=16) for word in text.lower().split())
            for text in texts
        ]
        matrix = np.asarray(vectors, dtype=np.float32)
        return matrix / np.linalg.norm(matrix, axis=-1, keepdims=True)


def utility_model(labels, utility=fixed_utility, **settings):
    """A responder without noise, unless asked for."""

    def utilities(text, options):
        return np.array([utility(text, label) for label in options])

    return UtilityResponder(utilities, LabelSet.of(labels), **{"noise": False, **settings})


def oracle(labels, gold):
    """A responder that knows the label of every text."""
    return utility_model(labels, lambda text, label: float(label == gold[text]))


def items(count):
    return [Item(f"i{place}", f"text number {place}") for place in range(count)]


def examples(labels, count=4):
    return [(f"example {place} of {label}", label) for label in labels for place in range(count)]


def classify(model, labels, texts, *, concurrency=8, encoder=None, shown=None, classifier=None, **settings):
    """Classifies texts; returns results in their order and the classifier."""
    classifier = classifier or Classifier(
        model, labels, ClassifierConfig(**settings), examples=shown, encoder=encoder or HashEncoder()
    )

    async def everything():
        found = {}
        async for place, outcome in classifier.stream(texts, concurrency=concurrency):
            assert outcome.ok, (outcome.error, outcome.traceback)
            found[place] = outcome.value
        return [found[place] for place in range(len(texts))]

    return asyncio.run(everything()), classifier


def options_of(call):
    """The options of a prompt."""
    match = re.search(r"OPTIONS:\n((?:- .*\n)+)", call.prompt)
    return [line[2:] for line in match[1].splitlines()] if match else []
