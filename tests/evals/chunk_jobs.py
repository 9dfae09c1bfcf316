"""What workers run: importable by name from another process."""

from intarsia.evals import ChatModel, user


async def ask_twice(model: ChatModel, text: str) -> str:
    """Asks about an item twice; one item is impossible."""
    if text == "item 13":
        raise ValueError("impossible")
    first = await model.chat([user(text)], seed=1, key=f"{text}/1")
    second = await model.chat([user(first.text)], seed=2, key=f"{text}/2")
    return second.text
