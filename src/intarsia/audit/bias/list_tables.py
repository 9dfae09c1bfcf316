"""Tables of word lists: B of each test and prompt, with bootstrap intervals."""

from collections.abc import Iterable, Sequence
from typing import Any

from intarsia.audit.bias.association import AssociationTest
from intarsia.audit.bias.word_lists import ListAnswer, association_bias, read_word_list
from intarsia.metrics.intervals import bootstrap_interval


def list_table(
    answers: Iterable[ListAnswer], tests: Sequence[AssociationTest], *, resamples: int = 2000, seed: int = 0
) -> list[dict[str, Any]]:
    """Returns a row for each test and variant, in the order of the tests.

    Args:
        answers: Recorded answers.
        tests: Their tests.
        resamples: Bootstrap samples of answers.
        seed: Of the bootstrap.

    Returns:
        Rows with `test`, `category`, `variant`, `bias` (value, low, high, n; None if no list defines it), `lists`,
        `undefined` (lists that never use one of the two words) and `missing` (share of attributes given to nobody).
    """
    known = {test.test: test for test in tests}
    order = list(known)
    groups: dict[tuple[int, str], list[ListAnswer]] = {}
    for answer in answers:
        groups.setdefault((order.index(answer.test), answer.variant), []).append(answer)
    rows = []
    for (place, variant), of_group in sorted(groups.items()):
        test = known[order[place]]
        lists = [read_word_list(test, answer.response) for answer in of_group]
        scores = [score for found in lists if (score := association_bias(found)) is not None]
        bias = None
        if scores:
            low, high = bootstrap_interval(scores, resamples=resamples, seed=seed)
            bias = {"value": sum(scores) / len(scores), "low": low, "high": high, "n": len(scores)}
        total = len(test.default_attributes) + len(test.target_attributes)
        rows.append(
            {
                "test": test.test,
                "category": test.category,
                "variant": variant,
                "bias": bias,
                "lists": len(lists),
                "undefined": len(lists) - len(scores),
                "missing": sum(found.missing for found in lists) / (total * len(lists)),
            }
        )
    return rows
