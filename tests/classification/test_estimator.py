"""The scikit-learn estimator."""

import asyncio

import numpy as np
import pytest
from classification_models import TOPICS, HashEncoder, examples, fixed_utility, options_of, utility_model
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_array

from intarsia.classification import PairwiseClassifier
from intarsia.engine import FailedItemError
from intarsia.errors import ConfigError, DataError, UnknownNameError
from intarsia.evals import ModelCallError, ScriptedChat

TEXTS = [f"text number {place}" for place in range(8)]
BEST = [max(TOPICS, key=lambda label, text=text: fixed_utility(text, label)) for text in TEXTS]


def fitted(**settings):
    shown = examples(TOPICS)
    classifier = PairwiseClassifier(utility_model(TOPICS), encoder=HashEncoder(), **settings)
    return classifier.fit([text for text, _ in shown], [label for _, label in shown])


def test_labels_and_probabilities_belong_together():
    classifier = fitted()
    assert classifier.predict(TEXTS).tolist() == BEST
    chances = classifier.predict_proba(TEXTS)
    assert chances.shape == (8, 30)
    assert chances.sum(axis=1) == pytest.approx(np.ones(8))
    assert classifier.classes_[chances.argmax(axis=1)].tolist() == BEST
    assert (chances > 0).sum(axis=1).tolist() == [5] * 8
    assert classifier.score(TEXTS, BEST) == 1


def test_a_text_is_asked_about_once():
    classifier = fitted(duel="zero_shot")
    classifier.predict(TEXTS)
    calls = classifier.cost_.calls
    assert calls == classifier.estimate_calls(8).total == 72
    classifier.predict_proba(TEXTS + TEXTS[:2])
    assert classifier.cost_.calls == calls
    assert "8 texts, 72 calls" in classifier.cost_.describe()


def test_no_examples_are_needed():
    classifier = PairwiseClassifier(utility_model(TOPICS), TOPICS, encoder=HashEncoder()).fit([])
    assert classifier.predict(TEXTS[:2]).tolist() == BEST[:2]
    assert classifier.classes_.tolist() == TOPICS
    described = PairwiseClassifier(utility_model(TOPICS), dict.fromkeys(TOPICS, ""), encoder=HashEncoder()).fit([])
    assert described.predict(TEXTS[:1]).tolist() == BEST[:1]


def test_labels_may_be_numbers():
    classifier = PairwiseClassifier(ScriptedChat(lambda call: "LABEL: 3"), method="direct", encoder=HashEncoder())
    found = classifier.fit(["a", "b", "c"], [3, 1, 2]).predict(["x"])
    assert classifier.classes_.tolist() == [1, 2, 3]
    assert found.dtype.kind == "i"
    assert found.tolist() == [3]


def test_what_one_answer_leaves_open_is_spread_evenly():
    model = ScriptedChat(lambda call: "LABEL: b")
    chances = PairwiseClassifier(model, list("abc"), method="direct").fit([]).predict_proba(["x"])
    assert chances[0] == pytest.approx([1 / 6, 2 / 3, 1 / 6])
    silent = PairwiseClassifier(ScriptedChat(lambda call: "?"), list("abcd"), method="direct", max_unmapped=1.0).fit([])
    assert silent.predict_proba(["x"])[0] == pytest.approx([0.25] * 4)
    assert silent.predict(["x"]).tolist() == [None]


def test_texts_without_a_label_get_what_was_chosen_for_them():
    classifier = fitted(abstain_below=0.99, abstain_label="a human")
    assert classifier.predict(TEXTS[:2]).tolist() == ["a human"] * 2
    assert classifier.predict_proba(TEXTS[:2]).sum(axis=1) == pytest.approx([1, 1])


def test_classifications_come_as_they_are_done():
    async def everything():
        classifier = fitted()
        seen = [(place, found.label) async for place, found in classifier.aclassify(TEXTS + TEXTS[:1])]
        again = [place async for place, _ in classifier.aclassify(TEXTS[:2])]
        labels = await classifier.apredict(TEXTS)
        return seen, again, labels

    seen, again, labels = asyncio.run(everything())
    assert sorted(seen) == sorted(enumerate(BEST + BEST[:1]))
    assert sorted(again) == [0, 1]
    assert labels.tolist() == BEST


def test_results_can_be_had_inside_a_running_loop():
    async def notebook():
        return fitted().predict(TEXTS[:2])

    assert asyncio.run(notebook()).tolist() == BEST[:2]


def test_it_works_in_pipelines_searches_and_clones():
    shown = examples(TOPICS[:4], 4)
    texts, labels = [text for text, _ in shown], [label for _, label in shown]
    model = ScriptedChat(lambda call: f"LABEL: {sorted(options_of(call))[0]}" if options_of(call) else "-")
    classifier = PairwiseClassifier(model, encoder=HashEncoder())
    assert clone(classifier).get_params()["k"] == 5
    search = GridSearchCV(classifier, {"k": [2, 3], "tournament": ["king", "round_robin"]}, cv=2).fit(texts, labels)
    assert search.best_score_ == pytest.approx(0.25)
    lower = FunctionTransformer(lambda rows: [row.lower() for row in rows])
    assert len(make_pipeline(lower, classifier).fit(texts, labels).predict(["A", "B"])) == 2


def test_errors_of_the_model_are_raised_with_the_text():
    def fail(call):
        raise ModelCallError("the server is down", where="here")

    classifier = PairwiseClassifier(ScriptedChat(fail), list("ab"), method="direct").fit([])
    with pytest.raises(FailedItemError, match=r"the server is down[\s\S]*'some text'"):
        classifier.predict(["some text"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("one text", "one text was given where several are expected"),
        ([1, 2], "text 1 is int, not text"),
        ([], "there are no texts"),
    ],
)
def test_texts_that_are_none(given, message):
    with pytest.raises(DataError, match=message):
        fitted().predict(given)


def test_bad_settings_are_named_when_fitting():
    with pytest.raises(NotFittedError):
        PairwiseClassifier("openai/gpt").predict(["x"])
    with pytest.raises(DataError, match="there are no labels"):
        PairwiseClassifier(utility_model(TOPICS)).fit(["x"])
    with pytest.raises(DataError, match="2 texts and 1 labels"):
        PairwiseClassifier(utility_model(TOPICS)).fit(["x", "y"], ["a"])
    with pytest.raises(UnknownNameError, match="unknown reducer"):
        PairwiseClassifier(utility_model(TOPICS), TOPICS, reducer="best").fit([])
    with pytest.raises(ConfigError, match="model is None"):
        PairwiseClassifier(None, TOPICS).fit([])


class RowsAsTexts(PairwiseClassifier):
    """Takes rows of numbers, which the checks of scikit-learn are made of, for texts; the encoder reads them back."""

    def fit(self, X, y=None):
        return super().fit(self._written(X), y)

    def predict(self, X):
        return super().predict(self._written(X))

    def predict_proba(self, X):
        return super().predict_proba(self._written(X))

    @staticmethod
    def _written(rows):
        return [" ".join(map(repr, map(float, row))) for row in check_array(rows)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        tags.no_validation = True
        tags.target_tags.required = True
        return tags


class NumberEncoder:
    def embed(self, texts):
        width = max(len(text.split()) for text in texts)
        rows = np.ones((len(texts), 12), dtype=np.float32)
        for place, text in enumerate(texts):
            numbers = [
                float(word) if word.replace(".", "").replace("-", "").isdigit() else 0.0 for word in text.split()
            ]
            rows[place, : min(width, 11)] = (numbers + [0.0] * 11)[: min(width, 11)]
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_the_checks_of_scikit_learn_pass():
    estimator = RowsAsTexts(method="encoder", prototypes="centroids", encoder=NumberEncoder())
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    states = {result["check_name"]: result["status"] for result in results}
    failed = {result["check_name"]: repr(result["exception"]) for result in results if result["status"] == "failed"}
    assert not failed
    # The array API is for arrays on accelerators, which texts are not.
    assert {name for name, state in states.items() if state == "skipped"} <= {"check_array_api_input"}
    assert len(states) >= 40
