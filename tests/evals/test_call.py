"""What makes two calls the same."""

import pytest

from intarsia.evals import Call, assistant, system, user

CALL = Call((system("Be brief."), user("Why?")), temperature=0.5, max_tokens=10, seed=3, key="a")


def test_equal_calls_have_one_identity_whatever_their_keys() -> None:
    assert CALL.identity("m") == CALL._replace(key="b").identity("m")
    # JSON writes 0 and 0.0 differently.
    assert CALL._replace(temperature=0).identity("m") == CALL._replace(temperature=0.0).identity("m")


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (user("Why?"),)},
        {"messages": (system("Be brief."), assistant("Why?"))},
        {"temperature": 0.6},
        {"max_tokens": 11},
        {"seed": 4},
        {"seed": None},
    ],
)
def test_calls_whose_answers_may_differ_have_identities_of_their_own(change: dict[str, object]) -> None:
    assert CALL._replace(**change).identity("m") != CALL.identity("m")


def test_another_model_is_another_call() -> None:
    assert CALL.identity("m") != CALL.identity("n")


def test_label_names_model_and_key() -> None:
    assert CALL.label("m") == "m, call a"
    assert CALL._replace(key=None).label("m") == "m"
