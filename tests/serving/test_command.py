"""`intarsia serve`: what it says, how it ends, and what it refuses to start with."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving_requests import completion
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.models import CausalLM
from intarsia.serving import ModelServer, ServingConfig, serve


@pytest.fixture
def program() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts `intarsia serve` and returns the process and its URL when it listens."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "intarsia.cli.app", "serve", *words]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "ignore"} | environment,
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " listens at http://127.0.0.1:" in line, process.communicate()[1]
        return process, line.split()[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_sigterm_lets_a_running_stream_finish(tiny_llama: Path, program: Any) -> None:
    process, url = program(str(tiny_llama), "--port", "0", INTARSIA_API_KEY="the-key")
    http = httpx.Client(base_url=url, timeout=60, headers={"Authorization": "Bearer the-key"})
    body = completion("once upon a time", max_tokens=480, stream=True) | {"model": tiny_llama.name}
    with http.stream("POST", "/v1/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == ""
    # The example call, then a line for the request, and nothing else.
    example, log = err.strip().splitlines()
    assert example.startswith(f"try: curl {url}/v1/chat/completions")
    assert "$INTARSIA_API_KEY" in example
    assert "POST /v1/completions 200" in log
    assert "the-key" not in err


def test_without_grace_sigint_breaks_requests_off(tiny_llama: Path, program: Any) -> None:
    process, url = program(str(tiny_llama), "--port", "0", "--grace", "0", "--name", "tiny")
    with httpx.stream(
        "POST", f"{url}/v1/completions", json=completion("once upon a time", max_tokens=480, stream=True)
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGINT)
        rest = [line for line in lines if line]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def refused(*words: str) -> str:
    result = CliRunner().invoke(app, ["serve", *words])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return " ".join(result.stderr.split())


def test_what_it_refuses_to_start_with(tiny_llama: Path) -> None:
    assert "model not found" in refused("./nowhere")
    assert "unknown model asset 'smolm'" in refused("asset:smolm")
    assert "cors_origins is 'example.org'" in refused(str(tiny_llama), "--cors", "example.org")
    assert "api_key is '***'" in refused(str(tiny_llama), "--api-key", "two\nlines")
    assert "--max-batch" in refused(str(tiny_llama), "--max-batch", "0")
    assert "cannot listen on 'no.such.host.invalid'" in refused(str(tiny_llama), "--host", "no.such.host.invalid")


def test_a_port_that_is_taken(tiny_llama: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused(str(tiny_llama), "--port", str(port))
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in message
    assert "--port (0 picks a free one)" in message


def test_without_the_extra_it_says_what_to_install(tiny_llama: Path) -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        f"from intarsia.cli.app import main; main(['serve', {str(tiny_llama)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fastapi is not installed" in done.stderr
    assert "pip install 'intarsia[serve]'" in done.stderr


@pytest.mark.parametrize(
    ("host", "key", "warned"), [("0.0.0.0", None, True), ("0.0.0.0", "k", False), ("127.0.0.1", None, False)]
)
def test_an_open_server_is_warned_about(
    loaded: CausalLM,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    host: str,
    key: str | None,
    warned: bool,
) -> None:
    monkeypatch.setattr(ModelServer, "run", lambda self, on_start: on_start())
    urls: list[str] = []
    with caplog.at_level(logging.WARNING):
        serve(loaded, ServingConfig(host=host, port=0, api_key=key), on_start=lambda server: urls.append(server.url))
    assert urls[0].startswith(f"http://{host}:")
    assert ("no API key" in caplog.text) == warned


def test_names(loaded: CausalLM, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setattr(ModelServer, "run", lambda self, on_start: names.append(self.name))
    serve(tiny_llama, ServingConfig(port=0))
    serve(loaded, ServingConfig(port=0))
    serve(loaded, ServingConfig(port=0, name="other"))
    assert names == [tiny_llama.name, tiny_llama.name, "other"]
