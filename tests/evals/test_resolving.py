"""Models by their names."""

import sys
from pathlib import Path

import pytest

from intarsia.errors import InputError, MissingExtraError, ModelError, UnknownNameError
from intarsia.evals import (
    InspectChat,
    LocalChat,
    OpenAICompatibleChat,
    RecordedChat,
    ScriptedChat,
    chat_model,
    run,
    user,
)


def innermost(model: object) -> object:
    while hasattr(model, "model"):
        model = model.model
    return model


def test_address_with_a_name_is_an_endpoint() -> None:
    pytest.importorskip("openai")
    for model in (
        chat_model("http://127.0.0.1:8000/v1#Qwen/Qwen3-8B"),
        chat_model("Qwen/Qwen3-8B", base_url="http://127.0.0.1:8000/v1"),
    ):
        inner = innermost(model)
        assert isinstance(inner, OpenAICompatibleChat)
        assert inner.base_url == "http://127.0.0.1:8000/v1"
        assert inner.name == model.name == "Qwen/Qwen3-8B"


def test_folder_is_a_local_model(tiny_llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    model = chat_model(str(tiny_llama), record=tmp_path / "replies.jsonl")
    assert isinstance(model, RecordedChat)
    inner = innermost(model)
    assert isinstance(inner, LocalChat)
    assert model.name == str(tiny_llama)
    reply = run(model.chat([user("Why?")], max_tokens=3))
    inner.close()
    assert run(model.chat([user("Why?")], max_tokens=3)) == reply


def test_hf_is_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    with pytest.raises(ModelError, match="owner/no-such-model"):
        chat_model("hf/owner/no-such-model")


def test_a_model_is_wrapped() -> None:
    scripted = ScriptedChat(lambda call: "yes", name="me")
    model = chat_model(scripted)
    assert innermost(model) is scripted
    assert model.name == "me"
    assert run(model.chat([user("Why?")])).text == "yes"


@pytest.mark.slow
def test_providers_of_inspect() -> None:
    pytest.importorskip("inspect_ai")
    model = chat_model("mockllm/model")
    assert isinstance(innermost(model), InspectChat)
    assert model.name == "mockllm/model"


# Bad input


@pytest.mark.parametrize("ref", ["", "gpt", "gpt-4o/"])
def test_name_of_no_form_lists_the_forms(ref: str) -> None:
    with pytest.raises(InputError, match="names no chat model") as error:
        chat_model(ref)
    for form in ("asset:NAME", "hf/OWNER/NAME", "http://HOST:PORT/v1#NAME", "replay:FILE.jsonl", "PROVIDER/NAME"):
        assert form in str(error.value)


@pytest.mark.slow
def test_unknown_provider_lists_the_forms() -> None:
    pytest.importorskip("inspect_ai")
    with pytest.raises(InputError, match="'no-such-provider/m' names no chat model") as error:
        chat_model("no-such-provider/m")
    assert "hf/OWNER/NAME" in str(error.value)


def test_address_without_a_name() -> None:
    with pytest.raises(InputError, match=r"which model\n.*127\.0\.0\.1:8000/v1\n.*127\.0\.0\.1:8000/v1#NAME"):
        chat_model("http://127.0.0.1:8000/v1")


def test_things_that_are_not_there(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    with pytest.raises(UnknownNameError, match="no-such"):
        chat_model("asset:no-such")
    for ref in (str(tmp_path / "nowhere"), "./nowhere", "model.gguf"):
        with pytest.raises(ModelError, match="no such file or folder"):
            chat_model(ref)
    with pytest.raises(InputError, match="no such recording"):
        chat_model("replay:nowhere.jsonl")


def test_provider_without_inspect_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with pytest.raises(MissingExtraError, match=r"inspect-ai is not installed\n.*intarsia\[eval\]"):
        chat_model("openai/gpt-4o-mini")


def test_address_for_a_model_that_is_made_already() -> None:
    with pytest.raises(InputError, match="base_url and api_key are for a model's name"):
        chat_model(ScriptedChat(lambda call: "yes"), base_url="http://127.0.0.1:8000/v1")
