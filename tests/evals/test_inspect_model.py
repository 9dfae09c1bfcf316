"""Models of Inspect."""

from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="inspect-ai is not installed")

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, ModelUsage, get_model, modelapi

from intarsia.errors import InputError
from intarsia.evals import InspectChat, ModelCallError, Reply, Usage, assistant, chat_model, run, system, user

ASKED: list[tuple[list[tuple[str, str]], GenerateConfig]] = []


class BusyError(Exception):
    """Passes after a while."""


class Probe(ModelAPI):
    """Notes what it is asked; its first word says what it does."""

    async def generate(self, input: list[ChatMessage], tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        ASKED.append(([(message.role, message.text) for message in input], config))
        match input[-1].text.split()[0]:
            case "busy":
                raise BusyError("slow down")
            case "wrong":
                raise ValueError("no such thing")
            case "nothing":
                return ModelOutput()
            case "error":
                return ModelOutput(model="probe", error="too long")
            case stop:
                output = ModelOutput.from_content("probe", "said", stop_reason=stop if stop in STOPS else "stop")
                output.usage = ModelUsage(input_tokens=5, output_tokens=2, total_tokens=7)
                return output

    def should_retry(self, ex: Exception) -> bool:
        return isinstance(ex, BusyError)


STOPS = {"max_tokens": "length", "model_length": "length", "content_filter": "filter", "stop": "done"}


@modelapi(name="intarsia_probe")
def probe() -> type[ModelAPI]:
    return Probe


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    ASKED.clear()


def test_call_reaches_the_provider_whole() -> None:
    model = InspectChat("intarsia_probe/m")
    turns = [system("Be brief."), user("Why?"), assistant("Because."), user("stop that")]
    reply = run(model.chat(turns, temperature=0.5, max_tokens=7, seed=3, key="k"))
    assert reply == Reply("said", Usage(5, 2))
    messages, config = ASKED[0]
    assert messages == [(turn.role, turn.content) for turn in turns]
    assert (config.temperature, config.max_tokens, config.seed) == (0.5, 7, 3)
    assert model.name == "intarsia_probe/m"


@pytest.mark.parametrize(("said", "stop"), STOPS.items())
def test_why_it_stopped(said: str, stop: str) -> None:
    assert run(InspectChat("intarsia_probe/m").chat([user(said)])).stop == stop


def test_nothing_comes_from_a_cache() -> None:
    model = InspectChat("intarsia_probe/m")
    for _ in range(2):
        run(model.chat([user("stop")]))
    assert len(ASKED) == 2


def test_ours_are_the_only_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.evals.retrying.FIRST_WAIT", 0.0)
    with pytest.raises(ModelCallError, match="no answer after 3 tries: BusyError: slow down") as error:
        run(chat_model("intarsia_probe/m", tries=3).chat([user("busy")], key="k"))
    assert error.value.where == "intarsia_probe/m, call k"
    assert len(ASKED) == 3


@pytest.mark.parametrize(
    ("said", "message", "retryable"),
    [
        ("busy", "BusyError: slow down", True),
        ("wrong", "ValueError: no such thing", False),
        ("nothing", "the reply is empty", True),
        ("error", "too long", False),
    ],
)
def test_failures_are_ours(said: str, message: str, retryable: bool) -> None:
    with pytest.raises(ModelCallError, match=message) as error:
        run(InspectChat("intarsia_probe/m").chat([user(said)]))
    assert error.value.retryable is retryable


def test_model_object_of_inspect() -> None:
    model = InspectChat(get_model("intarsia_probe/other"))
    assert model.name == "intarsia_probe/other"
    assert run(model.chat([user("stop")])).text == "said"


def test_provider_without_its_key_or_package_says_so() -> None:
    with pytest.raises(InputError, match="Inspect cannot make this model: ") as error:
        InspectChat("openai/gpt-4o-mini")
    assert "OPENAI_API_KEY" in str(error.value)
    assert error.value.where == "openai/gpt-4o-mini"
