"""Bodies of requests."""

from typing import Any

SERVED = "tiny"


def chat(text: str = "Hello!", **options: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": SERVED, "messages": [{"role": "user", "content": text}], "temperature": 0} | options


def completion(prompt: Any = "Hello", **options: Any) -> dict[str, Any]:
    """The body of a completion request."""
    return {"model": SERVED, "prompt": prompt, "temperature": 0} | options
