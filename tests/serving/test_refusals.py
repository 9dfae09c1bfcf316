"""What the server refuses, and how it says so."""

import json
import logging
from typing import Any

import httpx
import pytest
from serving_requests import chat, completion

JSON = {"Content-Type": "application/json"}


def refused(answer: httpx.Response, status: int, message: str, param: str | None, code: str | None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert message in error["message"]
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize(
    ("change", "message", "param", "code"),
    [
        ({"temperature": 2.5}, "less than or equal to 2", "temperature", "invalid_value"),
        ({"temperature": "hot"}, "valid number", "temperature", "invalid_value"),
        ({"temperature": float("nan")}, "finite", "temperature", "invalid_value"),
        ({"top_p": -0.1}, "greater than or equal to 0", "top_p", "invalid_value"),
        ({"n": 0}, "greater than or equal to 1", "n", "invalid_value"),
        ({"n": True}, "valid integer", "n", "invalid_value"),
        ({"n": 100}, "n is 100, but this server allows 8", "n", "invalid_value"),
        ({"max_tokens": 0}, "greater than or equal to 1", "max_tokens", "invalid_value"),
        ({"max_tokens": 257}, "max_tokens is 257, but this server allows 256", "max_tokens", "invalid_value"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "differ", "max_tokens", "invalid_value"),
        ({"stop": [""]}, "none of them empty", "stop", "invalid_value"),
        ({"stop": ["a"] * 17}, "at most 16", "stop", "invalid_value"),
        ({"seed": 2**63}, "less than", "seed", "invalid_value"),
        ({"presence_penalty": 3}, "less than or equal to 2", "presence_penalty", "invalid_value"),
        ({"top_logprobs": 2}, "needs logprobs", "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "less than or equal to 20", "top_logprobs", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "needs stream", "stream_options", "invalid_value"),
        ({"messages": []}, "at least 1", "messages", "invalid_value"),
        ({"messages": "Hello"}, "list", "messages", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "'user'", "messages.0.role", "invalid_value"),
        ({"messages": [{"role": "user", "content": 3}]}, "list of text", "messages.0.content", "invalid_value"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "Unicode", "messages.0.content", "invalid_value"),
        ({"stop": "\udfff"}, "Unicode", "stop", "invalid_value"),
        ({"model": "other"}, "there is no model 'other'; this server has 'tiny'", "model", "model_not_found"),
        ({"tools": [{"type": "function"}]}, "support tools", "tools", "unsupported_parameter"),
        ({"logit_bias": {"5": 3}}, "support logit_bias", "logit_bias", "unsupported_parameter"),
        (
            {"response_format": {"type": "json_object"}},
            "support response_format",
            "response_format",
            "unsupported_parameter",
        ),
        ({"top_k": 5}, "know the parameter top_k", "top_k", "unsupported_parameter"),
        ({"temprature": 1}, "know the parameter temprature", "temprature", "unsupported_parameter"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "only text",
            "messages.0.content",
            "unsupported_parameter",
        ),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
            "know the parameter messages.0.tool_calls",
            "messages.0.tool_calls",
            "unsupported_parameter",
        ),
    ],
)
def test_wrong_chat_parameters_are_named(
    client: httpx.Client, change: dict[str, Any], message: str, param: str, code: str
) -> None:
    # Not `json=`: that refuses NaN and halves of surrogate pairs itself.
    answer = client.post("/v1/chat/completions", content=json.dumps(chat() | change), headers=JSON)
    refused(answer, 404 if code == "model_not_found" else 400, message, param, code)


@pytest.mark.parametrize(
    ("change", "message", "param", "code"),
    [
        ({"prompt": []}, "none empty", "prompt", "invalid_value"),
        ({"prompt": ["a", 1]}, "none empty", "prompt", "invalid_value"),
        ({"prompt": [[1], []]}, "none empty", "prompt", "invalid_value"),
        ({"prompt": ""}, "no tokens", "prompt", "invalid_value"),
        ({"prompt": ["a", "\ud800"]}, "Unicode", "prompt", "invalid_value"),
        ({"prompt": [1, 259]}, "the token 259, but the model's are 0 to 258", "prompt", "invalid_value"),
        ({"prompt": [-1]}, "the token -1", "prompt", "invalid_value"),
        ({"prompt": ["a"] * 257}, "at most 256 may wait", "prompt", "invalid_value"),
        ({"logprobs": 6}, "less than or equal to 5", "logprobs", "invalid_value"),
        ({"echo": True}, "support echo", "echo", "unsupported_parameter"),
        ({"best_of": 3}, "support best_of", "best_of", "unsupported_parameter"),
        ({"suffix": "end"}, "support suffix", "suffix", "unsupported_parameter"),
    ],
)
def test_wrong_completion_parameters_are_named(
    client: httpx.Client, change: dict[str, Any], message: str, param: str, code: str
) -> None:
    answer = client.post("/v1/completions", content=json.dumps(completion() | change), headers=JSON)
    refused(answer, 400, message, param, code)


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_missing_parameters_are_named(client: httpx.Client, missing: str) -> None:
    body = {name: value for name, value in chat().items() if name != missing}
    refused(client.post("/v1/chat/completions", json=body), 400, f"{missing} is missing", missing, "missing_parameter")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"model": ', "not valid JSON"),
        (b'{"model": "\xff"}', "not valid JSON"),
        (b"[" * 50_000, "not valid JSON"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"", "the body is empty"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
)
def test_malformed_bodies(client: httpx.Client, body: bytes, message: str) -> None:
    refused(client.post("/v1/chat/completions", content=body, headers=JSON), 400, message, None, None)


def test_a_body_that_is_not_declared_as_json_is_refused(client: httpx.Client) -> None:
    # Browsers send such bodies to any address without asking.
    answer = client.post("/v1/chat/completions", content=json.dumps(chat()), headers={"Content-Type": "text/plain"})
    refused(answer, 400, "Content-Type: application/json", None, None)


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    refused(client.get("/v1/nothing"), 404, "Not Found", None, None)
    refused(client.get("/v1/chat/completions"), 405, "Not Allowed", None, None)
    refused(client.get("/v1/models/other"), 404, "there is no model 'other'", "model", "model_not_found")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            completion("x" * 600, max_tokens=5),
            "prompt has 600 tokens and the answer may have 5, but the context is 512",
        ),
        (completion("x" * 500, max_tokens=13), "lower max_tokens"),
        (completion("x" * 512), "the context is 512; shorten the prompt"),
        (chat("x" * 600), "messages has 6"),
    ],
)
def test_what_does_not_fit_the_context_is_refused(client: httpx.Client, body: dict[str, Any], message: str) -> None:
    kind = "prompt" if "prompt" in body else "messages"
    path = "/v1/completions" if kind == "prompt" else "/v1/chat/completions"
    refused(client.post(path, json=body), 400, message, kind, "context_length_exceeded")


def test_what_just_fits_the_context_is_answered(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json=completion("x" * 500, max_tokens=12))
    assert answer.status_code == 200, answer.text


def test_the_servers_own_limits(start: Any, loaded: Any) -> None:
    _, http = start(loaded, max_prompt_tokens=10, max_batch_tokens=64)
    refused(
        http.post("/v1/completions", json=completion("x" * 11)),
        400,
        "prompt has 11 tokens, but this server allows 10",
        "prompt",
        "context_length_exceeded",
    )
    assert http.get("/v1/models").json()["data"][0]["max_model_len"] == 64
    answer = http.post("/v1/completions", json=completion("x" * 10, max_tokens=55))
    refused(answer, 400, "the context is 64", "prompt", "context_length_exceeded")


def test_a_template_that_refuses_the_messages(start: Any, loaded: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    _, http = start(loaded._replace(tokenizer=tokenizer))
    answer = http.post("/v1/chat/completions", json=chat())
    refused(answer, 400, "the model's chat template refuses the messages: no system role", "messages", "invalid_value")


def test_a_model_without_a_template_reads_the_lines(start: Any, loaded: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = None
    _, http = start(loaded._replace(tokenizer=tokenizer))
    spoken = http.post("/v1/chat/completions", json=chat("Hello", max_tokens=8)).json()["choices"][0]["message"]
    written = http.post("/v1/completions", json=completion("Hello\n", max_tokens=8)).json()["choices"][0]
    assert spoken["content"] == written["text"]


# Bodies, keys, origins


def test_large_bodies(start: Any, loaded: Any) -> None:
    _, http = start(loaded, max_body_bytes=1000)
    body = json.dumps(chat("x" * 1000)).encode()
    for content in (body, (body[i : i + 100] for i in range(0, len(body), 100))):
        answer = http.post("/v1/chat/completions", content=content, headers=JSON)
        refused(answer, 413, "the body is larger than 1000 bytes", None, "body_too_large")
    assert http.post("/v1/chat/completions", json=chat(max_tokens=1)).status_code == 200


def test_keys(start: Any, loaded: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, http = start(loaded, api_key="the-right-key")
    for headers in (
        {},
        {"Authorization": "Bearer the-wrong-key"},
        {"Authorization": "Basic the-right-key"},
        {"Authorization": "the-right-key"},
        {"Authorization": "Bearer"},
    ):
        for answer in (
            http.post("/v1/chat/completions", json=chat(max_tokens=1), headers=headers),
            http.get("/v1/models", headers=headers),
            http.get("/openapi.json", headers=headers),
        ):
            refused(answer, 401, "Authorization: Bearer KEY", None, "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"
    # A wrong key is told before a body is read.
    assert http.post("/v1/completions", content=b"{", headers=JSON).status_code == 401
    for scheme in ("Bearer", "bearer"):
        headers = {"Authorization": f"{scheme} the-right-key"}
        assert http.post("/v1/chat/completions", json=chat(max_tokens=1), headers=headers).status_code == 200
    assert http.get("/health").status_code == 200
    assert "POST /v1/chat/completions 401" in caplog.text
    assert "POST /v1/chat/completions 200" in caplog.text
    assert "right-key" not in caplog.text
    assert "wrong-key" not in caplog.text


def test_the_log_has_a_line_a_request_that_holds_nothing_private(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="intarsia.serving.access")
    client.get("/v1/models?secret=1")
    client.get("/a%0Ab")
    client.post("/v1/chat/completions", json=chat("something private", max_tokens=1))
    lines = [record.getMessage() for record in caplog.records if record.name == "intarsia.serving.access"]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        "127.0.0.1 GET /v1/models 200",
        "127.0.0.1 GET /a%0Ab 404",
        "127.0.0.1 POST /v1/chat/completions 200",
    ]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
def test_a_local_server_without_a_key_answers_to_local_names_only(client: httpx.Client, host: str) -> None:
    refused(client.get("/v1/models", headers={"Host": host}), 403, "local names only", None, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:80", "[::1]", "[::1]:8000"])
def test_local_names(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


def test_with_a_key_any_name_will_do(start: Any, loaded: Any) -> None:
    _, http = start(loaded, api_key="k")
    headers = {"Host": "box.example", "Authorization": "Bearer k"}
    assert http.get("/v1/models", headers=headers).status_code == 200


PREFLIGHT = {
    "Origin": "https://page.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


def test_pages_of_other_origins_are_shut_out(client: httpx.Client) -> None:
    assert client.options("/v1/chat/completions", headers=PREFLIGHT).status_code == 405
    answer = client.get("/v1/models", headers={"Origin": "https://page.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_pages_of_allowed_origins(start: Any, loaded: Any) -> None:
    _, http = start(loaded, api_key="k", cors_origins=("https://page.example",))
    allowed = http.options("/v1/chat/completions", headers=PREFLIGHT)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    other = http.options("/v1/chat/completions", headers=PREFLIGHT | {"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    # A page must be able to read what is wrong.
    answer = http.get("/v1/models", headers={"Origin": "https://page.example"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
