"""`intarsia classify`: streams, resumes, counts calls, and says what is wrong with its input."""

import json

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.evals import ModelCallError, ScriptedChat

LABELS = [f"topic_{place}" for place in range(8)]


def options_of(prompt):
    block = prompt.partition("OPTIONS:\n")[2].partition("\n\n")[0]
    return [line[2:] for line in block.splitlines()]


HOLDER = {}


def script(call):
    options = options_of(call.prompt)
    if not options:
        return "They share a lot."
    named = next((label for label in options if f"about {label}" in call.prompt), sorted(options)[0])
    return f"LABEL: {named}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"t{place}", "text": f"about topic_{place}"} for place in range(6)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    shown = [{"text": f"example {place} on {label}", "label": label} for label in LABELS for place in range(2)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown))
    return tmp_path


@pytest.fixture
def model(monkeypatch):
    """Stands for every model that is named; the function it answers by can be exchanged."""
    import intarsia.evals.resolving as resolving

    chat = ScriptedChat(lambda call: HOLDER["script"](call))

    def make(ref, *, record=None, max_calls=None, **settings):
        return original(chat, record=record, max_calls=max_calls)

    original = resolving.chat_model
    HOLDER["script"] = script
    monkeypatch.setattr(resolving, "chat_model", make)
    return chat


def classify(*words):
    result = CliRunner().invoke(
        app, ["classify", "texts.jsonl", "--labels", "labels.txt", "--model", "any/model", *words]
    )
    return result, [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_go_to_stdout_and_the_number_of_calls_to_stderr(folder, model):
    result, rows = classify("--ordered")
    assert result.exit_code == 0, result.output
    assert [row["id"] for row in rows] == [f"t{place}" for place in range(6)]
    assert [row["label"] for row in rows] == LABELS[:6]
    assert {row["calls"] for row in rows} == {9}
    assert "6 texts, 8 labels: 9 calls each, and at most 48 about pairs of labels; at most 102 in all" in result.stderr
    assert "6 texts, " in result.stderr.splitlines()[-1]


def test_results_do_not_depend_on_order_or_concurrency(folder, model):
    one = classify("--concurrency", "1")[1]
    many = classify("--concurrency", "6")[1]
    key = json.dumps
    assert sorted(map(key, one)) == sorted(map(key, many))


def test_a_stopped_run_goes_on_and_ends_like_one_that_was_not(folder, model):
    whole, _ = classify("--output", "whole.jsonl")
    assert whole.exit_code == 0, whole.output
    stopped, _ = classify("--output", "out.jsonl", "--max-calls", "40", "--concurrency", "1")
    assert stopped.exit_code == 2
    assert "stops after 40 calls" in stopped.stderr
    assert "more than the 40 calls" in stopped.stderr
    done = len(lines(folder / "out.jsonl"))
    assert 0 < done < 6
    with (folder / "out.jsonl").open("a") as file:
        file.write('{"id": "t5", "la')  # a kill in the middle of a line
    asked = len(model.calls)
    rest, _ = classify("--output", "out.jsonl")
    assert rest.exit_code == 0, rest.output
    assert f"{6 - done} texts, 8 labels, {done} are done already" in rest.stderr
    by_id = {name: {row["id"]: row for row in lines(folder / f"{name}.jsonl")} for name in ("whole", "out")}
    assert by_id["whole"] == by_id["out"]
    assert len(model.calls) > asked
    asked = len(model.calls)
    assert classify("--output", "out.jsonl")[0].exit_code == 0
    assert len(model.calls) == asked


def test_results_of_other_settings_are_not_mixed(folder, model):
    classify("--output", "out.jsonl")
    other, _ = classify("--output", "out.jsonl", "--k", "3")
    assert other.exit_code == 2
    assert "other settings: config" in other.stderr
    assert classify("--output", "out.jsonl", "--k", "3", "--overwrite")[0].exit_code == 0
    (folder / "mine.jsonl").write_text('{"id": "x"}\n')
    assert "not a file of results" in classify("--output", "mine.jsonl")[0].stderr
    assert (folder / "mine.jsonl").read_text() == '{"id": "x"}\n'


def test_a_text_whose_calls_fail_is_left_out_and_asked_again(folder, model):
    def fails(call):
        if "about topic_3" in call.prompt:
            raise ModelCallError("the filter said no")
        return script(call)

    HOLDER["script"] = fails
    result, _ = classify("--output", "out.jsonl")
    assert result.exit_code == 1
    assert "1 texts could not be classified" in result.stderr
    assert "the filter said no" in result.stderr
    assert {row["id"] for row in lines(folder / "out.jsonl")} == {"t0", "t1", "t2", "t4", "t5"}
    HOLDER["script"] = script
    assert classify("--output", "out.jsonl")[0].exit_code == 0
    assert len(lines(folder / "out.jsonl")) == 6


def test_recorded_answers_are_not_asked_again(folder, model):
    classify("--record", "answers.jsonl")
    asked = len(model.calls)
    _, rows = classify("--record", "answers.jsonl")
    assert len(rows) == 6
    assert len(model.calls) == asked


def test_transcripts_hold_every_question(folder, model):
    result, _ = classify("--transcripts", "talk.jsonl", "--examples", "train.jsonl")
    assert result.exit_code == 0, result.output
    told = lines(folder / "talk.jsonl")
    texts = [row for row in told if "id" in row]
    pairs = [row for row in told if "pair" in row]
    assert len(texts) == 6
    assert sum(len(row["exchanges"]) for row in texts) + 2 * len(pairs) == len(model.calls)
    assert "example 0 on " in pairs[0]["turns"][0]["content"]


def test_a_dry_run_asks_nothing(folder, model):
    result, rows = classify("--dry-run", "--output", "out.jsonl")
    assert (result.exit_code, rows, model.calls) == (0, [], [])
    assert "at most 102 in all" in result.stderr


def test_long_texts_and_texts_without_a_label_are_counted(folder, model):
    (folder / "texts.jsonl").write_text(json.dumps({"text": "about topic_1 " + "word " * 200}) + "\n")
    result, (row,) = classify("--abstain-below", "0.99")
    assert row["id"] == "texts.jsonl:1"
    assert row["label"] is None
    assert row["abstained_from"] == "topic_1"
    assert row["cut"] is True
    assert "1 texts were longer than 512 characters; their ends were left out" in result.stderr
    assert "1 texts have no label" in result.stderr


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("texts.jsonl", '{"id": 1}\n', "'text' is missing"),
        ("texts.jsonl", '{"text": ""}\n', "'text' is empty"),
        ("texts.jsonl", '{"text": 3}\n', "'text' is no text"),
        ("texts.jsonl", '{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n', "the id '1' comes twice"),
        ("texts.jsonl", "not json\n", "not valid JSON"),
        ("labels.txt", "\n", "there are no labels"),
        ("labels.txt", "a\nb\nA\n", "'a' and 'A' are the same"),
        ("train.jsonl", '{"text": "x", "label": "other"}\n', "label 'other', which is not among"),
        ("train.jsonl", '{"text": "x", "label": "topic_0"}\n', "no example of the label 'topic_1'"),
    ],
)
def test_bad_files_are_named(folder, model, file, content, message):
    (folder / file).write_text(content)
    result, _ = classify("--examples", "train.jsonl")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not model.calls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reducer", "itrr"], "unknown reducer 'itrr'"),
        (["--k", "0"], "k is 0"),
        (["--labels", "nothing.txt"], "file not found"),
        (["--output", "."], "the output is a folder"),
        (["--context-tokens", "300"], "options takes about"),
    ],
)
def test_bad_options_are_named(folder, model, words, message):
    result, _ = classify(*words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_model_must_be_named_unless_none_is_asked(folder):
    result = CliRunner().invoke(app, ["classify", "texts.jsonl", "--labels", "labels.txt"])
    assert result.exit_code == 2
    assert "no model given" in result.stderr


def test_labels_come_in_several_forms(folder, model):
    for name, content in (
        ("labels.json", json.dumps(LABELS)),
        ("described.json", json.dumps(dict.fromkeys(LABELS, "what it means"))),
        ("labels.tsv", "label\tdescription\n" + "".join(f"{label}\twhat it means\n" for label in LABELS)),
        ("described.txt", "".join(f"{label}\twhat it means\n" for label in LABELS)),
    ):
        (folder / name).write_text(content)
        model.calls.clear()
        result, rows = classify("--labels", name, "--ordered", "--method", "direct")
        assert result.exit_code == 0, result.output
        assert len(rows) == 6
        shown = "- topic_0: what it means" in model.calls[0].prompt
        assert shown == (name not in ("labels.json",))
