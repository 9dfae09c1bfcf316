"""Rewriting chats on their way to the model and back."""

import json
from typing import Any

import pytest
from serving_requests import chat, completion

from intarsia.errors import InputError
from intarsia.models import CausalLM
from intarsia.serving import Ask, ChatMessages


class Shouting:
    """Adds a line to the last message, and makes the reply loud."""

    def rewrite_messages(self, messages: ChatMessages, ask: Ask) -> ChatMessages:
        last = dict(messages[-1])
        return [*messages[:-1], last | {"content": last["content"] + " Now!"}]

    def rewrite_reply(self, messages: ChatMessages, reply: str, ask: Ask) -> str:
        return f"{messages[-1]['content']} -> {reply.upper()}"


class Asking:
    """Puts the model's own reply to another question before the messages."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def rewrite_messages(self, messages: ChatMessages, ask: Ask) -> ChatMessages:
        self.told.append(ask([{"role": "user", "content": "Where are we?"}]))
        return messages

    def rewrite_reply(self, messages: ChatMessages, reply: str, ask: Ask) -> str:
        return reply


class Refusing:
    def rewrite_messages(self, messages: ChatMessages, ask: Ask) -> ChatMessages:
        if messages[-1]["content"] == "crash":
            raise RuntimeError("a private matter")
        raise InputError("no chats today", fix="come back tomorrow")

    def rewrite_reply(self, messages: ChatMessages, reply: str, ask: Ask) -> str:
        return reply


def test_messages_and_replies_are_rewritten(start: Any, loaded: CausalLM) -> None:
    _, http = start(loaded, middleware=Shouting())
    _, plain = start(loaded)
    expected = plain.post("/v1/chat/completions", json=chat("Go. Now!", max_tokens=8)).json()
    body = chat("Go.", max_tokens=8)
    answer = http.post("/v1/chat/completions", json=body).json()
    content = "Go. Now! -> " + expected["choices"][0]["message"]["content"].upper()
    assert answer["choices"][0]["message"]["content"] == content
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == expected["usage"]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    lines = http.post("/v1/chat/completions", json=body | options).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line and "[DONE]" not in line]
    said = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    assert said == ["", content, None]
    assert chunks[-1]["usage"] == expected["usage"]
    written = http.post("/v1/completions", json=completion(max_tokens=8)).json()
    assert written["choices"] == plain.post("/v1/completions", json=completion(max_tokens=8)).json()["choices"]


def test_choices_are_rewritten_one_by_one(start: Any, loaded: CausalLM) -> None:
    _, http = start(loaded, middleware=Shouting())
    body = chat("Go.", max_tokens=8, n=3, temperature=1.0, seed=1)
    said = [choice["message"]["content"] for choice in http.post("/v1/chat/completions", json=body).json()["choices"]]
    assert len(set(said)) == 3
    assert all(text.startswith("Go. Now! -> ") for text in said)


def test_middleware_may_ask_the_model(start: Any, loaded: CausalLM) -> None:
    asking = Asking()
    _, http = start(loaded, middleware=asking, max_new_tokens=9)
    _, plain = start(loaded, max_new_tokens=9)
    question = plain.post("/v1/chat/completions", json=chat("Where are we?")).json()
    assert http.post("/v1/chat/completions", json=chat("Hello")).status_code == 200
    assert asking.told == [question["choices"][0]["message"]["content"]]


def test_middleware_may_refuse(start: Any, loaded: CausalLM, caplog: pytest.LogCaptureFixture) -> None:
    _, http = start(loaded, middleware=Refusing())
    answer = http.post("/v1/chat/completions", json=chat())
    assert answer.status_code == 400
    assert "no chats today" in answer.json()["error"]["message"]
    crash = http.post("/v1/chat/completions", json=chat("crash"))
    assert crash.status_code == 500
    assert "private" not in crash.text
    assert "a private matter" in caplog.text
    assert http.post("/v1/completions", json=completion(max_tokens=1)).status_code == 200


def test_rewritten_replies_have_no_logprobs(start: Any, loaded: CausalLM) -> None:
    _, http = start(loaded, middleware=Shouting())
    answer = http.post("/v1/chat/completions", json=chat(logprobs=True))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "logprobs"
