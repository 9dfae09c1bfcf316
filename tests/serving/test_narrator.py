"""Narrator Mode behind the real server, asked by the real client of OpenAI."""

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from intarsia.audit.roleplay import NarratorConfig, Role
from intarsia.cli.app import app
from intarsia.evals import ScriptedChat
from intarsia.evals.call import Call
from intarsia.models import CausalLM, list_models, load_causal_lm
from intarsia.serving import ModelServer, ServingConfig
from intarsia.serving.narrator import NarratorMiddleware

openai = pytest.importorskip("openai", reason="the openai client is not installed")

CARD = "name: Enlil\ndescription: A baker of Babylon who counts in sixties.\n"
REPLY = "Bread? Sit down: the dough has sixty breaths yet."
LM = "asset:smollm2-135m-instruct"


class Script:
    """Answers prompts in place of the model, and remembers them."""

    def __init__(self, check: str = "<verdict>pass</verdict>") -> None:
        self.prompts: list[str] = []
        self.check = check
        self._guard = threading.Lock()

    def __call__(self, prompt: str) -> str:
        with self._guard:
            self.prompts.append(prompt)
        if "Write an outline" in prompt:
            return "OUTLINE: he rises before dawn."
        if "check the character's reply" in prompt:
            return self.check
        return f"<plot>Dawn over the river.</plot>\n<reply>{REPLY}</reply>"

    def count(self, text: str) -> int:
        return sum(text in prompt for prompt in self.prompts)


def scripted(loaded: CausalLM, script: Callable[[str], str]) -> CausalLM:
    """The tiny model with a `generate` that writes what the script says; a byte is a token."""
    model = copy.deepcopy(loaded.model)
    model.config.max_position_embeddings = 1 << 14

    def generate(input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> torch.Tensor:
        rows = []
        for ids, mask in zip(input_ids.tolist(), attention_mask.tolist(), strict=True):
            prompt = loaded.tokenizer.decode([token for token, kept in zip(ids, mask, strict=True) if kept])
            said = loaded.tokenizer(script(prompt), add_special_tokens=False).input_ids
            rows.append([*said, loaded.tokenizer.eos_token_id or model.generation_config.eos_token_id])
        width = max(map(len, rows))
        return torch.cat([input_ids, torch.tensor([row + [rows[0][-1]] * (width - len(row)) for row in rows])], dim=1)

    model.generate = generate
    return CausalLM(model, loaded.tokenizer)


@pytest.fixture
def serve(start: Any, loaded: CausalLM) -> Callable[..., Any]:
    def begin(script: Script, role: Role | None = None, config: NarratorConfig | None = None) -> Any:
        server, _ = start(scripted(loaded, script), middleware=NarratorMiddleware(role, config))
        return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)

    return begin


def say(client: Any, text: str = "How is bread made?", card: str | None = CARD, **options: Any) -> Any:
    messages = [{"role": "system", "content": card}] if card is not None else []
    return client.chat.completions.create(
        model="tiny", messages=[*messages, {"role": "user", "content": text}], temperature=0, **options
    )


def test_a_card_goes_in_and_a_narrated_reply_comes_out(serve: Any) -> None:
    script = Script()
    answer = say(serve(script))
    assert answer.choices[0].message.content == REPLY
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens > len(REPLY), "the plot was generated too"
    outline, turn, check = script.prompts
    assert "You are Enlil. A baker of Babylon" in outline
    assert "OUTLINE: he rises before dawn." in turn
    assert "How is bread made?" in turn
    assert "Dawn over the river." in check


def test_outlines_are_written_once_for_each_card_and_conversations_go_on(serve: Any) -> None:
    script = Script()
    client = serve(script)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: say(client, f"Question {number}?"), range(4)))
    assert {answer.choices[0].message.content for answer in answers} == {REPLY}
    assert script.count("Write an outline") == 1
    say(client, card='{"name": "Ninsun", "description": "A brewer of Uruk."}')
    assert script.count("Write an outline") == 2
    messages = [
        {"role": "system", "content": CARD},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "A baker."},
        {"role": "user", "content": "And your oven?"},
    ]
    client.chat.completions.create(model="tiny", messages=messages)
    assert "A baker." in script.prompts[-2]
    assert script.count("Write an outline") == 2


def test_a_stream_has_the_reply_and_nothing_of_the_plot(serve: Any) -> None:
    script = Script()
    chunks = list(say(serve(script), stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == REPLY
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens > 0


def test_a_reply_that_fails_its_check_is_mended(serve: Any) -> None:
    script = Script("<verdict>revise</verdict><reply>By sixty, I say!</reply>")
    client = serve(script, config=NarratorConfig(max_revisions=1))
    assert say(client).choices[0].message.content == "By sixty, I say!"
    assert script.count("check the character's reply") == 2


def test_a_plain_description_is_a_card_and_chats_without_one_pass_unchanged(serve: Any) -> None:
    script = Script()
    client = serve(script)
    assert say(client, card="A gruff lighthouse keeper.").choices[0].message.content == REPLY
    assert "A gruff lighthouse keeper." in script.prompts[0]
    script.prompts.clear()
    answer = say(client, card=None)
    assert answer.choices[0].message.content.startswith("<plot>"), "the model's own words"
    assert len(script.prompts) == 1
    assert "narrator" not in script.prompts[0]


def test_a_server_may_have_a_character_of_its_own(serve: Any) -> None:
    script = Script()
    client = serve(script, role=Role("ninsun", "Ninsun", "A brewer of Uruk."))
    assert say(client, card=None).choices[0].message.content == REPLY
    assert "You are Ninsun" in script.prompts[0]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("name: Enlil", "the card of Enlil has no description"),
        ("description: A baker.", "the role card has no name"),
        (CARD + "colour: red", "colour"),
        (CARD + "died: -1700\nborn: -1600", "before being born"),
        (CARD + "domains: [Cheese]", "Cheese"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_malformed_cards_are_answered_as_openai_would(serve: Any, card: str, message: str, stream: bool) -> None:
    script = Script()
    with pytest.raises(openai.BadRequestError, match=message) as raised:
        say(serve(script), card=card, stream=stream)
    assert raised.value.status_code == 400
    assert raised.value.body["type"] == "invalid_request_error"
    assert raised.value.body["code"] == "invalid_value"
    assert not script.prompts


def test_there_must_be_something_to_answer(serve: Any) -> None:
    messages = [{"role": "system", "content": CARD}, {"role": "assistant", "content": "Yes?"}]
    with pytest.raises(openai.BadRequestError, match="the last message is not the user's"):
        serve(Script()).chat.completions.create(model="tiny", messages=messages)


def test_a_card_too_long_for_the_model_is_refused_by_name(start: Any, loaded: CausalLM) -> None:
    server, _ = start(loaded, middleware=NarratorMiddleware())  # 512 tokens
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="the context is 512") as raised:
        say(client)
    assert raised.value.code == "context_length_exceeded"


# Commands


def test_serve_takes_a_role_with_narrator_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tmp_path / "card.yaml"
    card.write_text(CARD)
    done = CliRunner().invoke(app, ["serve", LM, "--role", str(card)])
    assert done.exit_code == 2
    assert "add --narrator" in done.stderr
    given: list[Any] = []
    monkeypatch.setattr("intarsia.serving.serve", lambda *_, middleware, **__: given.append(middleware))
    monkeypatch.setattr("intarsia.models.resolve", lambda ref: ref)
    for options in (["--narrator"], ["--narrator", "--role", str(card)], []):
        assert CliRunner().invoke(app, ["serve", LM, *options]).exit_code == 0
    assert [isinstance(middleware, NarratorMiddleware) for middleware in given] == [True, True, False]


def test_chat_talks_to_a_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tmp_path / "card.yaml"
    card.write_text(CARD)
    script = Script()

    def answer(call: Call) -> str:
        return script("\n".join(message.content for message in call.messages))

    model = ScriptedChat(answer)
    monkeypatch.setattr("intarsia.evals.chat_model", lambda ref: model)
    done = CliRunner().invoke(app, ["chat", LM, "--role", str(card), "--narrator"], input="How?\n\nAnd beer?\n")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{REPLY}\n{REPLY}\n"
    assert script.count("Write an outline") == 1
    assert [message.content for message in model.calls[3].messages[1:]] == ["How?", REPLY, "And beer?"]
    done = CliRunner().invoke(app, ["chat", LM, "--narrator"])
    assert done.exit_code == 2
    assert "add --role CARD.yaml" in done.stderr


@pytest.mark.slow
def test_smollm2_is_narrated() -> None:
    if not {model.name: model for model in list_models()}[LM.removeprefix("asset:")].ready:
        pytest.skip(f"{LM} is not installed")
    loaded = load_causal_lm(LM)
    asked: list[int] = []
    own = loaded.model.generate
    loaded.model.generate = lambda **options: (asked.append(1), own(**options))[1]
    config = ServingConfig(port=0, default_new_tokens=24)
    with ModelServer(loaded, config, middleware=NarratorMiddleware(config=NarratorConfig(max_revisions=0))) as server:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        messages = [{"role": "system", "content": CARD}, {"role": "user", "content": "How is bread made?"}]
        for number, calls in ((1, 3), (2, 5)):
            answer = client.chat.completions.create(model=LM, messages=messages, max_tokens=24, temperature=0)
            assert answer.choices[0].message.content.strip(), number
            assert len(asked) == calls, "an outline once, and a reply and its check each time"
