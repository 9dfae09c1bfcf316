"""What fits: texts on one line, and options within what the model can read."""

from math import ceil

from intarsia.classification import prompts
from intarsia.classification.config import ClassifierConfig
from intarsia.classification.labels import LabelSet
from intarsia.classification.results import Item
from intarsia.errors import DataError

_CHARACTERS_A_TOKEN = 3
"""Rather few, so that a prompt that passes does fit; English has more than four."""


def one_line(item: Item, most: int) -> tuple[str, bool]:
    """Returns the text on one line, and whether its end was cut off.

    Raises:
        DataError: If it is empty.
    """
    text = " ".join(item.text.split()) if isinstance(item.text, str) else ""
    if not text:
        raise DataError(f"the text {item.id!r} is empty", field="text", fix="remove it, or give it a text")
    return text[:most].rstrip(), len(text) > most


def check_context(labels: LabelSet, config: ClassifierConfig) -> None:
    """Checks that the longest question fits what the model can read.

    Raises:
        DataError: If a label alone, or the list of options with the longest text and examples, does not.
    """
    room = config.context_tokens - config.max_tokens
    for name in labels.names:
        if count_tokens(labels.lines([name])) > room:
            raise DataError(
                f"the label {name[:60]!r} takes about {count_tokens(labels.lines([name]))} tokens, but the model reads "
                f"{config.context_tokens}, of which {config.max_tokens} are for its answer",
                field="labels",
                fix="shorten it",
            )
    longest = "x" * config.max_characters
    shown = [("x" * config.max_characters, labels.names[0])] * (config.few_shot if config.method == "few_shot" else 0)
    # An encoder reduces options without a list of them, and windows show a few at a time.
    options = labels.names
    if config.method == "two_stage" and config.reducer in ("encoder", "supervised", "cbwr"):
        most = max(config.window, config.k) if config.reducer == "cbwr" else 2
        options = tuple(sorted(labels.names, key=lambda name: len(labels.lines([name])), reverse=True)[:most])
    tokens = count_tokens(prompts.pick_one(labels, options, longest, steps=True, examples=shown))
    if tokens > room:
        raise DataError(
            f"the list of {len(options)} options takes about {tokens} tokens with the longest text, but the model "
            f"reads {config.context_tokens}, of which {config.max_tokens} are for its answer",
            field="labels",
            fix="use the reducer encoder or cbwr, shorter descriptions, or a larger context_tokens if the model has it",
        )


def count_tokens(text: str) -> int:
    """Returns about how many tokens a text takes."""
    return ceil(len(text) / _CHARACTERS_A_TOKEN)
