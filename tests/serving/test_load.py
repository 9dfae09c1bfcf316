"""Many requests at once, those that go away, and those that fail."""

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from serving_requests import chat, completion

from intarsia.serving import ModelServer


def wait_until(holds: Callable[[], bool]) -> None:
    """Waits for something that must come true soon."""
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


def counts(http: httpx.Client) -> tuple[int, int]:
    health = http.get("/health").json()
    return health["running"], health["waiting"]


def ask(http: httpx.Client, body: dict[str, Any]) -> Any:
    return http.post("/v1/completions" if "prompt" in body else "/v1/chat/completions", json=body).json()["choices"]


def test_32_at_once_are_answered_as_one_by_one(start: Any, held: Any) -> None:
    model, gate = held
    gate.go.set()
    _, http = start(model)
    rng = random.Random(0)
    bodies = [
        completion("".join(rng.choices("abcdef gh", k=rng.randint(1, 60))), max_tokens=rng.randint(1, 24), **extra)
        for extra in [{}, {"temperature": 1.0, "seed": 1, "n": 2}, {"stop": "e"}, {"logprobs": 0}] * 8
    ]
    alone = [ask(http, body) for body in bodies]
    passes, gate.passes = gate.passes, 0
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda body: ask(http, body), bodies))
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        for choice, same in zip(one, other, strict=True):
            assert (same["text"], same["finish_reason"]) == (choice["text"], choice["finish_reason"])
            if choice["logprobs"]:
                logprobs = choice["logprobs"]["token_logprobs"]
                assert same["logprobs"]["token_logprobs"] == pytest.approx(logprobs, abs=1e-4)
    assert gate.passes < passes / 3, "they were not generated together"


def test_what_comes_while_a_batch_runs_is_the_next_batch(start: Any, held: Any) -> None:
    model, gate = held
    _, http = start(model)
    with ThreadPoolExecutor(7) as pool:
        first = pool.submit(ask, http, completion("first", max_tokens=3))
        assert gate.entered.wait(30)
        rest = [pool.submit(ask, http, completion(str(i), max_tokens=3)) for i in range(6)]
        wait_until(lambda: counts(http) == (1, 6))
        gate.go.set()
        assert all(len(answer.result()) == 1 for answer in (first, *rest))
    assert gate.passes == 6, "two batches of three tokens"


def test_a_full_queue(start: Any, held: Any) -> None:
    model, gate = held
    _, http = start(model, max_queue=2)
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(ask, http, completion(max_tokens=2))
        assert gate.entered.wait(30)
        waiting = pool.submit(ask, http, completion(max_tokens=2, n=2))
        wait_until(lambda: counts(http) == (1, 2))
        for stream in (False, True):
            refused = http.post("/v1/completions", json=completion(stream=stream))
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 0
            assert refused.json()["error"]["code"] == "queue_full"
            assert refused.json()["error"]["type"] == "rate_limit_error"
        gate.go.set()
        assert (len(running.result()), len(waiting.result())) == (1, 2)
    assert http.post("/v1/completions", json=completion(max_tokens=2)).status_code == 200


def send_and_leave(server: ModelServer, body: dict[str, Any], before_leaving: Callable[[], Any]) -> bytes:
    """Sends a request and closes the connection without waiting for all of the answer."""
    host, port = server.url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
        before_leaving()
        return connection.recv(65536) if body.get("stream") else b""


def test_a_client_that_leaves_while_it_waits_for_the_whole_answer(start: Any, held: Any) -> None:
    model, gate = held
    server, http = start(model)
    send_and_leave(server, completion(max_tokens=400, n=2), lambda: gate.entered.wait(30))
    wait_until(lambda: counts(http) == (0, 0))
    gate.go.set()
    assert len(ask(http, completion(max_tokens=2))) == 1
    assert gate.passes < 10, "the rows of the client that left were generated to their end"


def test_a_client_that_leaves_a_stream(start: Any, held: Any) -> None:
    model, gate = held
    model.model.register_forward_pre_hook(lambda *_: time.sleep(0.01))
    gate.go.set()
    server, http = start(model)
    received = send_and_leave(server, completion("once upon a time", max_tokens=400, stream=True), lambda: None)
    assert b"200 OK" in received
    wait_until(lambda: counts(http) == (0, 0))
    assert gate.passes < 300
    assert len(ask(http, completion(max_tokens=2))) == 1


def test_a_client_that_leaves_the_queue_frees_its_place(start: Any, held: Any) -> None:
    model, gate = held
    server, http = start(model, max_queue=1)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(ask, http, completion(max_tokens=2))
        assert gate.entered.wait(30)
        send_and_leave(server, completion(max_tokens=400), lambda: wait_until(lambda: counts(http) == (1, 1)))
        wait_until(lambda: counts(http) == (1, 0))
        waiting = pool.submit(ask, http, completion(max_tokens=2))
        wait_until(lambda: counts(http) == (1, 1))
        gate.go.set()
        assert (len(running.result()), len(waiting.result())) == (1, 1)
    assert gate.passes == 4


def test_others_of_the_batch_go_on_when_one_leaves(start: Any, held: Any, loaded: Any) -> None:
    model, gate = held
    server, http = start(model, gather_seconds=0.5)
    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(ask, http, completion("stay", max_tokens=12))
        send_and_leave(server, completion("leave", max_tokens=400), lambda: gate.entered.wait(30))
        wait_until(lambda: counts(http) == (1, 0))
        gate.go.set()
        answer = staying.result()
    assert gate.passes == 12, "one batch"
    ids = loaded.tokenizer("stay", return_tensors="pt").input_ids
    plain = loaded.model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert answer[0]["text"] == loaded.tokenizer.decode(plain, skip_special_tokens=True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_fails(start: Any, held: Any, stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    model, gate = held
    gate.go.set()
    gate.error = RuntimeError("out of memory: private details")
    _, http = start(model)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/chat/completions", json=chat(stream=stream)), range(3)))
    for answer in answers:
        assert answer.status_code == 500
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("server_error", "model_failed")
        assert "RuntimeError" in error["message"]
        assert "private" not in error["message"]
    assert "private details" in caplog.text, "the log has the traceback"
    gate.error = None
    assert len(ask(http, chat(max_tokens=2))) == 1


def test_a_model_that_fails_in_the_middle_of_a_stream(start: Any, held: Any) -> None:
    model, gate = held
    gate.go.set()
    server, http = start(model)

    def fail_later(*_: Any) -> None:
        if gate.passes == 5:
            raise RuntimeError("broken")

    hook = model.model.register_forward_pre_hook(fail_later)
    with http.stream("POST", "/v1/completions", json=completion(max_tokens=20, stream=True)) as answer:
        events = [line for line in answer.iter_lines() if line]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "model_failed"
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    gate.passes = 0
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as ai:
        parts = ai.completions.create(**completion(max_tokens=20, stream=True))
        with pytest.raises(openai.APIError, match="the model failed"):
            list(parts)
    hook.remove()
    assert len(ask(http, completion(max_tokens=2))) == 1


def test_a_server_that_stops_lets_running_requests_finish(held: Any) -> None:
    from intarsia.serving import ServingConfig

    model, gate = held
    with ModelServer(model, ServingConfig(port=0, name="tiny")) as server, ThreadPoolExecutor(3) as pool:
        http = httpx.Client(base_url=server.url, timeout=60)
        running = pool.submit(ask, http, completion(max_tokens=4))
        assert gate.entered.wait(30)
        waiting = pool.submit(ask, http, completion(max_tokens=4))
        wait_until(lambda: counts(http) == (1, 1))
        server.stop()
        refused = http.post("/v1/completions", json=completion())
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "shutting_down"
        health = http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "closing")
        gate.go.set()
        assert (len(running.result()), len(waiting.result())) == (1, 1)
    with pytest.raises(httpx.TransportError):
        http.get("/health")


def test_after_the_time_of_grace_requests_are_broken_off(start: Any, held: Any) -> None:
    model, gate = held
    server, http = start(model, grace_seconds=0.3)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(http.post, "/v1/completions", json=completion(max_tokens=400))
        assert gate.entered.wait(30)
        server.stop()
        answer = running.result()
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "shutting_down"
    gate.go.set()


def test_threads_end_with_the_server(loaded: Any) -> None:
    from intarsia.serving import ServingConfig

    with ModelServer(loaded, ServingConfig(port=0)):
        assert any(thread.name == "intarsia-server" for thread in threading.enumerate())
        names = [thread for thread in threading.enumerate() if thread.name.startswith("intarsia-")]
    ended = [thread for thread in names if not thread.is_alive()]
    assert len(ended) >= 2
