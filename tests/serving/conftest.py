"""A tiny model behind real sockets, and ways to hold it up."""

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from intarsia.models import CausalLM, load_causal_lm
from intarsia.serving import ModelServer, ServingConfig

# For `serving_requests`, which tests import.
sys.path.insert(0, str(Path(__file__).parent))

SERVED = "tiny"


@pytest.fixture(scope="session")
def loaded(tiny_llama: Path) -> CausalLM:
    """The tiny model. Its context is 512 tokens; a byte is a token."""
    return load_causal_lm(tiny_llama, device="cpu")


@pytest.fixture(scope="session")
def server(loaded: CausalLM) -> Iterator[ModelServer]:
    """A server that many tests share."""
    with ModelServer(loaded, ServingConfig(port=0, name=SERVED, max_new_tokens=256)) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: ModelServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


@pytest.fixture(scope="session")
def openai_client(server: ModelServer) -> Any:
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


class Held:
    """Holds a model's forward passes up, and counts them."""

    def __init__(self, model: Any) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()
        self.passes = 0
        self.error: Exception | None = None
        model.register_forward_pre_hook(self._enter)

    def _enter(self, *_: Any) -> None:
        self.passes += 1
        self.entered.set()
        if self.error is not None:
            raise self.error
        assert self.go.wait(60)


@pytest.fixture
def held(loaded: CausalLM) -> tuple[CausalLM, Held]:
    """A model of one's own that computes when `go` is set."""
    model = copy.deepcopy(loaded.model)
    return CausalLM(model, loaded.tokenizer), Held(model)


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[ModelServer, httpx.Client]]]:
    """Starts a server of one's own: `start(loaded, middleware=None, **settings)`."""
    opened: list[Any] = []

    def start(loaded: CausalLM, middleware: Any = None, **settings: Any) -> tuple[ModelServer, httpx.Client]:
        config = ServingConfig(**({"port": 0, "name": SERVED, "grace_seconds": 0} | settings))
        running = ModelServer(loaded, config, middleware=middleware).__enter__()
        opened.append(running)
        http = httpx.Client(base_url=running.url, timeout=60)
        opened.append(http)
        return running, http

    yield start
    for one in reversed(opened):
        one.__exit__(None, None, None)
