"""Data sets: the same bytes everywhere, noticed changes, exports that other programs read, own graphs."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from intarsia.audit import causal
from intarsia.audit.causal.building import draw_subject, generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.dataset import MANIFEST, QUESTIONS, dumped, read_dataset, write_dataset
from intarsia.audit.causal.questions import to_record
from intarsia.audit.causal.scoring import score
from intarsia.audit.causal.solver import solve
from intarsia.audit.causal.streams import Stream
from intarsia.audit.causal.user_graphs import read_graphs
from intarsia.cli.app import app
from intarsia.errors import DataError, InputError, IntarsiaError, RunExistsError, UnknownNameError

SMALL = BenchmarkConfig(graphs=1, names=("specific", "bio"), prompts=("zero_shot", "one_cot"), seed=3)
PARTIAL = replace(SMALL, evidence="partial", root_states="random", shuffle_sentences=True, group="30", levels=(2,))

# Of the questions of SMALL and of PARTIAL. They change only together with `dataset.FORMAT`.
DIGESTS = (
    "a89150b08d7455722c77e6aa6448990733b1eae7facd2cbcd04eb0157a630741",
    "11df883a5f66b43d44b26533579a1565f3449a8d570bccb65f9e90f34ba773b7",
)


def digest(config):
    lines = b"".join(dumped(to_record(question)) for question in generate_questions(config))
    return hashlib.sha256(lines).hexdigest()


def test_bytes_are_the_same_on_every_machine_and_in_every_version():
    assert (digest(SMALL), digest(PARTIAL)) == DIGESTS


def test_bytes_do_not_depend_on_the_process():
    code = (
        "import hashlib; from intarsia.audit.causal import *; from intarsia.audit.causal.dataset import dumped;"
        "config = BenchmarkConfig(graphs=1, names=('specific', 'bio'), prompts=('zero_shot', 'one_cot'), seed=3);"
        "lines = b''.join(dumped(to_record(question)) for question in generate_questions(config));"
        "print(hashlib.sha256(lines).hexdigest())"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        assert done.stdout.strip() == DIGESTS[0], done.stderr


def test_random_numbers_are_splitmix64():
    # The published reference values for a state of 0.
    stream = Stream()
    stream._state = 0
    assert [stream.bits() for _ in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_draws_are_uniform():
    stream = Stream("uniform")
    counts = [0] * 7
    for _ in range(7000):
        counts[stream.below(7)] += 1
    assert all(850 < count < 1150 for count in counts)
    assert sorted(stream.shuffled(range(9))) == list(range(9))
    assert sum(stream.chance(0.25) for _ in range(4000)) == pytest.approx(1000, abs=120)
    assert not any(stream.chance(0) for _ in range(50))
    assert all(stream.chance(1) for _ in range(50))


def test_more_of_one_thing_changes_nothing_else():
    few = {question.id: question for question in generate_questions(replace(SMALL, tasks=("FI",), names=("bio",)))}
    many = {question.id: question for question in generate_questions(replace(SMALL, graphs=2))}
    assert set(few) < set(many)
    assert all(many[name] == question for name, question in few.items())


def test_another_seed_gives_other_questions():
    assert digest(SMALL) != digest(replace(SMALL, seed=4))


def test_size_of_the_published_test_plan():
    counts = {}
    for question in generate_questions(BenchmarkConfig(minimal_sets=False)):
        counts[question.task] = counts.get(question.task, 0) + 1
    assert counts == {"CP": 600, "BA": 600, "FI": 600, "CI": 1800}


def test_without_minimal_sets_nothing_is_counted():
    for question in generate_questions(replace(SMALL, minimal_sets=False, tasks=("BA",))):
        assert question.complexity.valid_sets is None
        assert question.problem.key.minimal_sets is None
        assert score(question, question.answer).exact
    for question in generate_questions(replace(SMALL, tasks=("BA",))):
        assert question.complexity.valid_sets >= 1
        assert question.complexity.smallest_set == len(question.problem.key.minimal_sets[0])


def test_graphs_without_an_event_to_ask_about_are_drawn_again():
    shape = BenchmarkConfig(levels=(1,)).shapes()[0]
    config = BenchmarkConfig()
    first = [draw_subject(config, shape, index) for index in range(60)]
    again = [draw_subject(config, shape, index, needs_query=True) for index in range(60)]
    assert any(not subject.query for subject in first)
    for one, other in zip(first, again, strict=True):
        assert other.query
        assert (other.id == one.id) == bool(one.query)
    barren = replace(config, chain=0.0, fork=0.0, collider=0.0)
    with pytest.raises(IntarsiaError, match=r"100 graphs of cell 00-n1-p3 have no event[\s\S]*raise the prob"):
        list(generate_questions(barren))


def test_isomorphic_graphs_are_left_out_on_request_only():
    config = BenchmarkConfig(levels=(1,), path_iters=(3,), graphs=60, tasks=("CP",))
    every, single = list(generate_questions(config)), list(generate_questions(replace(config, unique=True)))
    edges = [question.problem.graph.edges for question in single]
    assert len(set(edges)) == len(edges) < len(every) == 60
    # One node a tier: graphs are alike exactly if they are equal.
    assert set(edges) == {question.problem.graph.edges for question in every}
    assert [question for question in every if question in single] == single


# Files


def test_written_and_read_again(tmp_path):
    manifest = write_dataset(tmp_path / "out", SMALL)
    read = list(read_dataset(tmp_path / "out"))
    assert read == list(generate_questions(SMALL))
    assert manifest["files"] == {QUESTIONS: hashlib.sha256((tmp_path / "out" / QUESTIONS).read_bytes()).hexdigest()}
    assert manifest["files"][QUESTIONS] == DIGESTS[0]
    assert sum(manifest["questions"].values()) == len(read)
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == manifest
    assert manifest["config"]["seed"] == 3
    assert str(tmp_path) not in (tmp_path / "out" / MANIFEST).read_text()


def test_an_existing_folder_is_kept(tmp_path):
    write_dataset(tmp_path / "out", SMALL)
    with pytest.raises(RunExistsError, match="--overwrite"):
        write_dataset(tmp_path / "out", SMALL)
    write_dataset(tmp_path / "out", replace(SMALL, seed=4), overwrite=True)
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["config"]["seed"] == 4


def test_a_changed_file_is_noticed(tmp_path):
    write_dataset(tmp_path / "out", SMALL)
    file = tmp_path / "out" / QUESTIONS
    file.write_bytes(file.read_bytes().replace(b'"happens"', b'"does not happen"', 1))
    with pytest.raises(DataError, match=r"not the one its manifest describes[\s\S]*questions.jsonl"):
        list(read_dataset(tmp_path / "out"))
    assert list(read_dataset(file, verify=False))


def test_bad_lines_are_named(tmp_path):
    file = tmp_path / "questions.jsonl"
    record = to_record(next(iter(generate_questions(SMALL))))
    for line, message in (
        ("{", "not valid JSON"),
        (json.dumps({**record, "task": "XX"}), "unknown task 'XX'"),
        (json.dumps({name: value for name, value in record.items() if name != "labels"}), "no field 'labels'"),
        (json.dumps({**record, "edges": [[0, 99]]}), "not a question"),
        (json.dumps({**record, "edges": [[3, 1]]}), "does not come before it"),
    ):
        file.write_text(json.dumps(record) + "\n" + line + "\n")
        with pytest.raises(DataError, match=message):
            list(read_dataset(file))
    with pytest.raises(DataError, match=r"no file of questions[\s\S]*intarsia audit causal generate"):
        list(read_dataset(tmp_path / "nowhere"))


def test_unknown_exports_are_named(tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown export 'lm_eval'[\s\S]*lm-eval"):
        write_dataset(tmp_path / "out", SMALL, exports=["lm_eval"])
    assert not (tmp_path / "out").exists()


def test_exported_to_hugging_face(tmp_path):
    from datasets import load_dataset

    write_dataset(tmp_path / "out", PARTIAL, exports=["huggingface"])
    count = 0
    for task in ("CP", "BA", "FI", "CI"):
        folder = str(tmp_path / "out" / "huggingface")
        rows = load_dataset(folder, task, split="test", cache_dir=str(tmp_path / "cache"))
        for row in rows:
            question = causal.from_record(row)
            assert question.task == task
            assert score(question, solve(row["prompt"])).exact
            count += 1
    assert count == len(list(read_dataset(tmp_path / "out")))


@pytest.mark.slow
def test_exported_to_lm_evaluation_harness(tmp_path):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Solver(LM):
        def loglikelihood(self, requests):
            raise NotImplementedError

        def loglikelihood_rolling(self, requests):
            raise NotImplementedError

        def generate_until(self, requests):
            # Every other answer is right.
            return [solve(request.args[0]) if index % 2 else "?" for index, request in enumerate(requests)]

    write_dataset(tmp_path / "out", SMALL, exports=["lm-eval"])
    manager = TaskManager(include_path=str(tmp_path / "out" / "lm_eval"))
    found = lm_eval.simple_evaluate(
        model=Solver(), tasks=["intarsia_causal"], task_manager=manager, limit=8, bootstrap_iters=0
    )
    for task in ("cp", "ba", "fi", "ci"):
        assert found["results"][f"intarsia_causal_{task}"]["exact,none"] == 0.5
        assert found["results"][f"intarsia_causal_{task}"]["parsed,none"] == 0.5
    assert found["results"]["intarsia_causal"]["exact,none"] == 0.5


# The package


def test_public_names_are_there_and_are_no_modules():
    for name in causal.__all__:
        assert not isinstance(getattr(causal, name), type(os)), name
    with pytest.raises(AttributeError, match="sovle"):
        _ = causal.sovle


# Own graphs

GARDEN = {
    "id": "garden",
    "edges": [["season", "rain"], ["season", "sprinkler"], ["rain", "wet grass"], ["sprinkler", "wet grass"]],
    "treatments": ["rain"],
    "outcomes": ["wet grass"],
    "field": "gardening",
}


def graphs(tmp_path, content, name="graphs.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_graphs(path)


def test_questions_about_an_own_graph(tmp_path):
    subjects = graphs(tmp_path, GARDEN)
    config = BenchmarkConfig(names=("own", "pseudo"))
    asked = list(generate_questions(config, subjects=subjects))
    assert len(asked) == 2 * 6
    for question in asked:
        assert score(question, solve(question.prompt)).exact
    first = asked[0]
    assert first.graph_id == "garden"
    assert "found in a recent study in gardening." in first.prompt
    assert first.answer == "ANSWER: rain -> wet grass"
    ba = next(question for question in asked if question.task == "BA")
    assert score(ba, "ANSWER: season").exact
    assert score(ba, "ANSWER: sprinkler").exact


def test_own_graphs_come_as_a_list_or_as_lines(tmp_path):
    other = {**GARDEN, "id": "other", "query": ["rain"]}
    for content, name in (([GARDEN, other], "a.json"), (f"{json.dumps(GARDEN)}\n\n{json.dumps(other)}\n", "a.jsonl")):
        subjects = graphs(tmp_path, content, name)
        assert [subject.id for subject in subjects] == ["garden", "other"]
        assert len(subjects[1].query) == 1
    del other["treatments"], other["outcomes"]
    asked = list(generate_questions(BenchmarkConfig(names=("own",)), subjects=graphs(tmp_path, [other])))
    assert {question.task for question in asked} == {"FI", "CI"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": [["a", "b"], ["b", "c"], ["c", "a"]]}, r"has a cycle: . -> . -> . -> ."),
        ({"edges": [["a", "b"], ["a", "b"]]}, "the edge 'a' -> 'b' comes twice"),
        ({"edges": [["a", "a"]]}, "'a' is its own cause"),
        ({"edges": [["a"]]}, r"\['a'\] is not a pair of names"),
        ({"edges": "a"}, "edges are a list of pairs"),
        ({"edges": []}, "the graph is empty"),
        ({"outcomes": ["rain"]}, "treatments and outcomes overlap in 'rain'"),
        ({"outcomes": []}, "both treatments and outcomes, or neither"),
        ({"treatments": ["snow"]}, "unknown node 'snow'"),
        ({"nodes": ["rain"]}, "an edge has the node 'season', which is not among nodes"),
        ({"nodes": ["rain", "rain"]}, "node 'rain' comes twice"),
        ({"edges": [["salt and pepper", "soup"]]}, "the word 'and' has a meaning"),
        ({"edges": [["rain", "rainbow"]], "treatments": ["rain"], "outcomes": ["rainbow"]}, "is part of the other"),
        ({"query": ["season"]}, "an event of the query has no cause"),
        ({"colour": 1}, "not a graph"),
        ({"treatments": ["wet grass"], "outcomes": ["rain"]}, "no set of factors gives the effect"),
    ],
)
def test_bad_graphs_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        graphs(tmp_path, {**GARDEN, **change})


def test_bad_files_of_graphs_are_named_with_their_line(tmp_path):
    with pytest.raises(DataError, match=r"graphs.jsonl, line 2|line 2"):
        graphs(tmp_path, json.dumps(GARDEN) + '\n{"edges": 3}\n', "graphs.jsonl")
    with pytest.raises(DataError, match=r"not valid JSON[\s\S]*line 1"):
        graphs(tmp_path, "{")
    with pytest.raises(DataError, match="two graphs have the id 'garden'"):
        graphs(tmp_path, [GARDEN, GARDEN])
    with pytest.raises(DataError, match="no such file of graphs"):
        read_graphs(tmp_path / "nowhere.json")


def test_own_graphs_with_too_few_events_are_clipped_only_on_request(tmp_path):
    subjects = graphs(tmp_path, {"edges": [["a1", "b1"]]})
    config = BenchmarkConfig(names=("own",), tasks=("CI",), what_ifs=(2,))
    with pytest.raises(InputError, match="2 what-ifs are asked for, but only 1 events"):
        list(generate_questions(config, subjects=subjects))
    clipped = list(generate_questions(replace(config, clip=True), subjects=subjects))
    assert [question.what_ifs for question in clipped] == [1]


def test_own_names_need_an_own_graph(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown name style 'own'"):
        next(iter(generate_questions(BenchmarkConfig(names=("own",)))))
    unasked = graphs(tmp_path, {"edges": [["a1", "b1"]]})
    with pytest.raises(InputError, match="no question to ask"):
        write_dataset(tmp_path / "out", BenchmarkConfig(names=("own",), tasks=("CP",)), subjects=unasked)


# The command


def test_command_writes_what_the_library_does(tmp_path):
    words = ["audit", "causal", "generate", "--output", str(tmp_path / "out"), "--seed", "3", "--graphs", "1"]
    words += ["--names", "specific", "--names", "bio", "--prompt", "zero_shot", "--prompt", "one_cot", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["files"][QUESTIONS] == DIGESTS[0]


def test_command_takes_graphs_and_words(tmp_path):
    (tmp_path / "garden.json").write_text(json.dumps(GARDEN))
    (tmp_path / "words.json").write_text(json.dumps({"towns": {"names": ["Rome", "Oslo", "Lima", "Bern"]}}))
    words = ["audit", "causal", "generate", "--output", str(tmp_path / "out"), "--graph", str(tmp_path / "garden.json")]
    result = CliRunner().invoke(app, [*words, "--words", str(tmp_path / "words.json"), "--names", "towns"])
    assert result.exit_code == 0, result.output
    assert "Rome" in next(read_dataset(tmp_path / "out")).prompt


def test_command_explains_bad_input(tmp_path):
    words = ["audit", "causal", "generate", "--output", str(tmp_path / "out"), "--names", "biology"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "unknown name style 'biology'" in result.output
    assert not (tmp_path / "out").exists()
