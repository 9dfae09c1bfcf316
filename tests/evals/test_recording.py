"""Remembering answers and answering from memory."""

import asyncio
import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from intarsia.errors import DataError, InputError, IntarsiaError, UnknownNameError
from intarsia.evals import (
    Call,
    ModelCallError,
    Preview,
    RecordedChat,
    ReplayChat,
    Reply,
    ScriptedChat,
    Usage,
    ask_all,
    chat_model,
    preview,
    run,
    system,
    user,
)
from intarsia.evals.reply_journal import Entry, ReplyJournal

QUESTION = (system("Be brief."), user("Why?"))


def shout(call: Call) -> Reply:
    return Reply(call.prompt.upper(), Usage(3, 2), "length", (-0.5, -0.25))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "replies.jsonl"


def recorded(path: Path, count: int = 3) -> Path:
    model = RecordedChat(ScriptedChat(shout, name="m"), path)
    for number in range(count):
        run(model.chat([user(f"question {number}")], seed=number, key=f"item-{number}"))
    return path


# Recording


def test_what_is_recorded_is_not_asked_again(path: Path) -> None:
    first = ScriptedChat(shout, name="m")
    reply = run(RecordedChat(first, path).chat(QUESTION, temperature=0.5, max_tokens=7, seed=1, key="a"))
    second = ScriptedChat(shout, name="m")
    model = RecordedChat(second, path)
    # Another key: equal conversations share their answer.
    assert run(model.chat(QUESTION, temperature=0.5, max_tokens=7, seed=1, key="b")) == reply == shout(first.calls[0])
    assert len(first.calls) == 1
    assert not second.calls
    run(model.chat(QUESTION, temperature=0.5, max_tokens=7, seed=2, key="b"))
    assert len(second.calls) == 1, "another seed is another draw"


def test_a_line_says_all_of_a_call(path: Path) -> None:
    model = RecordedChat(ScriptedChat(lambda call: Reply("Öl – 油"), name="m"), path)
    run(model.chat(QUESTION, key="a"))
    line = path.read_text(encoding="utf-8")
    assert "Öl – 油" in line, "people read it"
    assert json.loads(line) == {
        "key": "a",
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        "temperature": 0.0,
        "max_tokens": 1024,
        "seed": None,
        "reply": {"text": "Öl – 油", "stop": "done"},
    }


@pytest.mark.parametrize("text", ["half a character \ud83d", "line\nbreaks\r\n\u2028and\x00 all", ""])
def test_any_text_comes_back_as_it_was(path: Path, text: str) -> None:
    run(RecordedChat(ScriptedChat(lambda call: text), path).chat([user(text)]))
    assert run(RecordedChat(ScriptedChat(shout), path).chat([user(text)])) == Reply(text)


def test_equal_calls_at_the_same_time_are_asked_once(path: Path) -> None:
    async def slow(call: Call) -> str:
        await asyncio.sleep(0.005)
        return call.prompt

    inner = ScriptedChat(slow)
    model = RecordedChat(inner, path)
    outcomes = run(ask_all(lambda _: model.chat(QUESTION), range(10), concurrency=10))
    assert {outcome.value.text for outcome in outcomes} == {"Why?"}
    assert len(inner.calls) == 1
    assert len(path.read_text().splitlines()) == 1


def test_a_failure_is_not_recorded_and_the_next_equal_call_asks(path: Path) -> None:
    failures = 1

    async def once(call: Call) -> str:
        nonlocal failures
        await asyncio.sleep(0.001)
        failures -= 1
        if failures >= 0:
            raise ModelCallError("garbled")
        return "fine"

    model = RecordedChat(ScriptedChat(once), path)
    outcomes = run(ask_all(lambda _: model.chat(QUESTION), range(2), concurrency=2))
    assert [outcome.ok for outcome in outcomes] == [False, True]
    assert len(path.read_text().splitlines()) == 1


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    async def answer(call: Call) -> str:
        await asyncio.sleep(0.001 * (1 + int(call.prompt) % 3))
        return f"{call.prompt} {call.seed}"

    async def ask(model: object, stop_after: int | None = None) -> list[object]:
        async def two_turns(number: int) -> str:
            first = await model.chat([user(str(number))], seed=1)
            return first.text + (await model.chat([user(str(number))], seed=2)).text

        task = asyncio.current_task()
        done = 0

        def on_result(_: object) -> None:
            nonlocal done
            done += 1
            if done == stop_after:
                task.cancel()

        return await ask_all(two_turns, range(30), concurrency=5, on_result=on_result)

    path = tmp_path / "replies.jsonl"
    interrupted, resumed = ScriptedChat(answer), ScriptedChat(answer)
    with pytest.raises(asyncio.CancelledError):
        run(ask(RecordedChat(interrupted, path), stop_after=10))
    written = len(path.read_text().splitlines())
    assert 20 <= written < 60
    outcomes = run(ask(RecordedChat(resumed, path)))
    assert outcomes == run(ask(ScriptedChat(answer)))
    assert len(resumed.calls) == 60 - written, "nothing that was answered is asked again"


# The file


@pytest.mark.parametrize("kept", [1, 30, -1])
def test_a_line_that_a_kill_cut_short_is_dropped_and_asked_again(path: Path, kept: int) -> None:
    lines = recorded(path).read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:kept])
    assert len(ReplyJournal(path)) == 2
    assert path.read_bytes().endswith(lines[2][:kept]), "reading changes nothing"
    assert recorded(path).read_bytes() == b"".join(lines)


def test_a_torn_line_longer_than_a_block_is_cut_off(path: Path) -> None:
    whole = recorded(path, 1).read_bytes()
    path.write_bytes(whole + b'{"key": "' + b"x" * 200_000)
    assert recorded(path, 2).read_bytes().splitlines(keepends=True)[0] == whole
    assert len(ReplyJournal(path)) == 2


def test_a_torn_only_line_leaves_an_empty_recording(path: Path) -> None:
    recorded(path, 1).write_bytes(b'{"key"')
    assert len(ReplyJournal(path)) == 0
    assert len(ReplyJournal(recorded(path, 1))) == 1


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("hello", "JSONDecodeError"),
        ("[1, 2]", "TypeError"),
        ('{"model": "m"}', "KeyError: 'reply'"),
        ("{}", "KeyError"),
    ],
)
def test_a_whole_line_that_is_something_else_is_named(path: Path, line: str, complaint: str) -> None:
    lines = recorded(path).read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[1]]) + "\n")
    with pytest.raises(DataError) as error:
        ReplyJournal(path)
    assert complaint in str(error.value)
    assert f"{path}, line 2" in str(error.value)
    assert "remove that line" in str(error.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"messages": [{"role": "robot", "content": "x"}]}, "role is 'robot'"),
        ({"reply": {"text": "x", "stop": "bored"}}, "stop is 'bored'"),
        ({"reply": {"text": 7, "stop": "done"}}, "must be strings"),
        ({"reply": {"text": "x", "stop": "done", "usage": {"tokens": 1}}}, "unexpected keyword"),
    ],
)
def test_a_field_with_a_wrong_value_is_named(path: Path, change: dict[str, object], complaint: str) -> None:
    row = json.loads(recorded(path, 1).read_text())
    path.write_text(json.dumps(row | change) + "\n")
    with pytest.raises(DataError, match=complaint):
        ReplyJournal(path)


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a file"):
        chat_model(ScriptedChat(shout), record=tmp_path)


def test_of_several_answers_the_first_counts(path: Path) -> None:
    call = Call(QUESTION)
    journal = ReplyJournal(path)
    for text in ("first", "second"):
        journal.add(Entry("m", call, Reply(text)))
    for opened in (journal, ReplyJournal(path)):
        assert opened.find(call.identity("m")) == Reply("first")
        assert [entry.reply.text for entry in opened.entries()] == ["first"]


def test_a_full_disk_is_told_and_leaves_whole_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(path, 1)
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file that may not grow stands in for a disk that is full.
    monkeypatch.setattr("errno.ENOSPC", errno.EFBIG)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
    try:
        with pytest.raises(IntarsiaError, match="the disk is full"):
            recorded(path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(path.read_bytes().splitlines()) == 1
    assert path.read_bytes().endswith(b"\n")


WRITER = """
import sys
from pathlib import Path
from intarsia.evals import Call, Reply, user
from intarsia.evals.reply_journal import Entry, ReplyJournal
journal = ReplyJournal(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(300):
    entry = Entry("m", Call((user(f"{sys.argv[2]} {number}"),)), Reply("x" * (37 * number)))
    journal.add(entry)
    assert journal.find(entry.call.identity("m")) == entry.reply
"""


def test_several_processes_add_to_one_file(path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "abcd"
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.close()
    for writer in writers:
        assert writer.wait() == 0
        writer.stdout.close()
    assert len(ReplyJournal(path)) == 1200


# Replaying


def test_replay_answers_from_the_recording_alone(path: Path) -> None:
    model = ReplayChat(recorded(path))
    assert model.name == "m"
    assert run(model.chat([user("question 1")], seed=1)).text == "QUESTION 1"


def test_replay_follows_the_recorded_model_through_chat_model(path: Path) -> None:
    model = chat_model(f"replay:{recorded(path)}")
    assert model.name == "m"
    assert run(model.chat([user("question 2")], seed=2, key="item-2")).text == "QUESTION 2"


@pytest.mark.parametrize(
    ("call", "difference"),
    [
        (Call((user("question 1"),), seed=7, key="item-1"), "seed is 7 and was 1"),
        (Call((user("question 1"),), temperature=0.5, seed=1, key="item-1"), "temperature is 0.5 and was 0.0"),
        (
            Call((user("question 9"),), seed=1, key="item-1"),
            r"message 1 differs at character 10 ('question 9', was 'question 1')",
        ),
        (Call((user("question 11"),), seed=1, key="item-1"), "message 1 differs at character 11"),
        (Call((system("question 1"),), seed=1, key="item-1"), "message 1 is the system's and was the user's"),
        (Call((user("a"), user("b")), seed=1, key="item-1"), "there are 2 messages and were 1"),
    ],
)
def test_unknown_call_says_what_differs_from_the_recorded_one(path: Path, call: Call, difference: str) -> None:
    with pytest.raises(ModelCallError) as error:
        run(call.ask(ReplayChat(recorded(path))))
    assert difference in str(error.value)
    assert "m, call item-1" in str(error.value)
    assert "record" in str(error.value.fix)
    assert not error.value.retryable


def test_unknown_call_without_a_near_one(path: Path) -> None:
    for key in (None, "item-99"):
        with pytest.raises(ModelCallError, match="no answer to this call\n"):
            run(ReplayChat(recorded(path)).chat([user("new")], key=key))


def test_replay_of_several_models_asks_which(path: Path) -> None:
    recorded(path)
    run(RecordedChat(ScriptedChat(shout, name="n"), path).chat([user("question 0")], seed=0))
    with pytest.raises(InputError, match=r"several models: m, n\n[^\n]*\n.*replay:.*#m"):
        ReplayChat(path)
    assert chat_model(f"replay:{path}#n").name == "n"
    with pytest.raises(UnknownNameError, match="unknown recorded model 'k'"):
        ReplayChat(path, "k")


def test_replay_needs_a_recording(path: Path) -> None:
    with pytest.raises(InputError, match="no such recording"):
        chat_model(f"replay:{path}")
    path.parent.mkdir()
    path.touch()
    with pytest.raises(InputError, match="has no answers"):
        chat_model(f"replay:{path}")


# Preview


def test_preview_counts_what_is_left_to_ask(path: Path) -> None:
    calls = [Call((user(f"question {number}"),), seed=number) for number in range(5)]
    plain = ScriptedChat(shout, name="m")
    assert preview(plain, calls) == Preview(5)
    assert str(preview(plain, calls)) == "5 calls"
    recording = chat_model(plain, record=recorded(path))
    # The last call is asked once.
    found = preview(recording, [*calls, calls[-1]])
    assert (found.calls, found.recorded, found.left) == (6, 4, 2)
    assert str(found) == "6 calls, 4 of them recorded: 2 to make"
    assert str(Preview(1)) == "1 call"
    assert str(Preview(1200)) == "1,200 calls"
