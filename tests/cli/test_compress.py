"""`intarsia compress`, and what the other commands do with its folder."""

import gzip
import json
import sys

import pytest

from intarsia.cli import app as app_module

SENTENCES = ["the dog sees a cat", "a bird likes the river", "the goose walks to the house", "dogs run and cats walk"]
PARAMS = ["--param", "steps=5", "--param", "merges=0", "--param", "min_usage=2", "--param", "terms=4"]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the program in an empty folder with text and a lexicon; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES * 40))
    with gzip.open(tmp_path / "lexicon.tsv.gz", "wt") as file:
        file.write("lemma\tpos\tsense\ttag_count\tlexname\tsememes\ndog\tn\t1\t1\tnoun.animal\tanimal breed\n")

    def intarsia(*words):
        monkeypatch.setattr(sys, "argv", ["intarsia", *map(str, words)])
        try:
            app_module.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return intarsia


def training(steps=2):
    return ["--data", "text.txt", "--state-steps", steps, "--distil-steps", steps, "--length", 16, "--batch-size", 2]


def test_one_model(run, tiny_llama, tmp_path):
    code, out, err = run("compress", tiny_llama, "--ratio", 2, *training(), "--output", "made", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["output"] == "made"
    assert [row["method"] for row in found["rows"]] == ["original", "int4", "svd"]
    assert found["verdict"]
    record = json.loads((tmp_path / "made" / "run.json").read_text())
    assert record["method"] == "svd"
    assert record["stages"]["state_steps"] == 2
    assert record["command"].startswith("intarsia compress ")
    assert record["versions"]["torch"]
    # The long form says the same, and a table; options may come first.
    code, out, err = run(
        "compress", "run", tiny_llama, "--method", "int4", "--held-out", "text.txt", "--output", "bits"
    )
    assert code == 0, err
    assert "whole model" in out
    assert "best buy" in out or "Nothing here" in out
    assert "PPL, fitted" not in out, "without training there is one perplexity"
    code, out, err = run("compress", "--method", "int8", *training(), "--output", "eight", tiny_llama)
    assert code == 0, err
    assert "int8 has nothing that learns" in err


def test_other_commands_take_the_folder(run, tiny_llama, tmp_path):
    assert run("compress", tiny_llama, "--method", "int8", "--output", "made")[0] == 0
    code, out, err = run("generate", "made", "the dog", "--max-new-tokens", 3)
    assert code == 0, err
    rows = [{"text": "the dog", "label": "a"}, {"text": "the cat", "label": "b"}] * 3
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = run("evaluate", "made", "--data", "rows.jsonl", "--split", "train", "--json")
    assert code == 0, err
    assert json.loads(out)[0]["data"] == "rows.jsonl"


def test_compare(run, tiny_llama, tmp_path):
    words = ["compress", "compare", tiny_llama, "--ratios", "2,3", "--methods", "int4,svd", "--held-out", "text.txt"]
    words += ["--length", 16, "--rows", 4]
    code, out, err = run(*words, "--output", "compared", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert next(row["method"] for row in found["rows"]) == "original"
    assert len(found["rows"]) == 4
    assert found["tokens"] == 60
    assert json.loads((tmp_path / "compared" / "comparison.json").read_text()) == found
    assert (tmp_path / "compared" / "comparison.svg").is_file()
    assert (tmp_path / "compared" / "comparison.png").is_file()
    # Again: nothing is measured twice. With other settings: refused.
    code, out, err = run(*words, "--output", "compared")
    assert code == 0, err
    assert "compress by" not in err
    assert found["verdict"].split(":")[0] in " ".join(out.split())
    code, out, err = run(*words, "--seed", 1, "--output", "compared")
    assert code == 2
    assert "already holds a comparison with other settings" in err
    # What cannot begin leaves everything as it was, also where it was to be replaced.
    code, out, err = run(*words, "--param", "steps=5", "--output", "compared", "--overwrite")
    assert (code, "has no settings" in err) == (2, True)
    for wrong in ("no/such/model", "compared"):
        code, out, err = run(*words[:2], wrong, *words[3:], "--output", "compared", "--overwrite")
        assert code == 2
        assert json.loads((tmp_path / "compared" / "comparison.json").read_text()) == found
    assert "the output is the model itself" in err
    late = [*words[:5], "--methods", "see", "--param", "lexicon=none.tsv", *words[7:]]
    (tmp_path / "compared" / "mine.txt").write_text("mine")
    code, out, err = run(*late, "--output", "compared", "--overwrite")
    assert (code, "none.tsv" in err) == (2, True)
    assert json.loads((tmp_path / "compared" / "comparison.json").read_text()) == found
    code, out, err = run(*words, "--output", "text.txt", "--overwrite")
    assert (code, "the output is a file" in err) == (2, True)
    code, out, err = run(*words, "--seed", 1, "--output", "compared", "--overwrite")
    assert code == 0, err
    assert "compress by svd" in err
    assert json.loads((tmp_path / "compared" / "run.json").read_text())["config"]["seed"] == 1
    assert (tmp_path / "compared" / "mine.txt").is_file(), "other files are nobody's to remove"


def test_a_comparison_that_failed_does_not_stand_in_the_way(run, tiny_llama, tmp_path):
    words = ["compress", "compare", tiny_llama, "--methods", "svd", "--held-out", "text.txt"]
    words += ["--length", 16, "--rows", 2, "--output", "compared"]
    code, _, err = run(*words, "--ratios", 900)
    assert (code, "no method reaches any of the ratios" in err) == (2, True)
    assert not (tmp_path / "compared").exists()
    code, _, err = run(*words, "--ratios", 2, *training())
    assert code == 0, err
    assert not (tmp_path / "compared" / "rows" / "training").exists(), "states of the original are large"


def test_a_lexicon_that_changed_is_read_again(run, tiny_llama, tmp_path):
    words = ["compress", "compare", tiny_llama, "--methods", "see", "--ratios", 1.3, "--held-out", "text.txt"]
    words += ["--param", "lexicon=lexicon.tsv.gz", *PARAMS, "--length", 16, "--rows", 2, "--output", "compared"]
    assert run(*words)[0] == 0
    assert "compress by see" not in run(*words)[2]
    with gzip.open(tmp_path / "lexicon.tsv.gz", "wt") as file:
        file.write("word\tsense\tsememes\nriver\t1\twater flow\n")
    code, _, err = run(*words)
    assert code == 0, err
    assert "compress by see" in err


def test_the_current_folder_may_be_the_output(run, tiny_llama, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, _, err = run("compress", tiny_llama, "--method", "int8", "--output", ".")
    assert code == 0, err
    assert (tmp_path / "here" / "config.json").is_file()


def test_add_token(run, tiny_llama):
    see = ["--method", "see", "--ratio", 1.3, "--param", "lexicon=lexicon.tsv.gz", *PARAMS]
    code, out, err = run("compress", tiny_llama, *see, "--output", "made")
    assert code == 0, err
    assert "Tokens with the same terms as another: 0." in out
    words = ["compress", "add-token", "made", "puppy", "--pieces-only"]
    code, out, err = run(*words, "--output", "grown", "--json")
    assert code == 0, err
    added = json.loads(out)
    assert added["word"] == "puppy"
    assert "done add puppy" in err
    assert added["nearest"]
    code, out, err = run("generate", "grown", "the puppy", "--max-new-tokens", 2)
    assert code == 0, err
    code, out, err = run(*words, "--output", "grown")
    assert code == 2
    assert "already holds a model" in err
    with_lexicon = ["--lexicon", "lexicon.tsv.gz", "--output", "other"]
    code, out, err = run("compress", "add-token", "made", "puppy", "--sememes", "anmial", *with_lexicon)
    assert code == 2
    assert "unknown sememe 'anmial'" in err
    code, out, err = run(*words, "--sememes", "animal", "--output", "other")
    assert code == 2
    assert "--pieces-only gives no sense" in err
    code, out, err = run("compress", "add-token", "made", "puppy", "--definition", "of the kind x", *with_lexicon)
    assert code == 2
    assert "no word of the definition 'of the kind x'" in err


def test_words_are_looked_up(run):
    code, out, err = run("compress", "sememes", "dogs", "breed", "--lexicon", "lexicon.tsv.gz")
    assert code == 0, err
    assert "animal, breed" in out
    assert "Sememes themselves: breed." in out
    code, out, _ = run("compress", "sememes", "dogs", "--lexicon", "lexicon.tsv.gz", "--json")
    assert json.loads(out)["senses"] == {"dogs": [{"sememes": ["animal", "breed"], "lexname": "noun.animal"}]}
    code, _, err = run("compress", "sememes", "dogfish", "--lexicon", "lexicon.tsv.gz")
    assert code == 2
    assert "the lexicon has no word 'dogfish'" in err


def test_a_command_with_a_slip_is_not_taken_for_a_model(run):
    code, _, err = run("compress", "compair", "some/model", "--ratios", 5)
    assert code == 2
    assert "no model 'compair'" in err
    assert "Did you mean 'compare'" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "sdv"], "unknown compression method 'sdv'"),
        (["--ratio", 1], "ratio is 1.0, but it must be above 1"),
        (["--ratio", 500], "leaves less than rank 1"),
        (["--method", "int4", "--ratio", 10], "left out for int4"),
        (["--param", "steps=5"], "svd has no settings"),
        (["--method", "hashed", "--param", "merges=5"], "hashed does not read the setting 'merges'"),
        (["--method", "morphte", "--param", "terms=5"], "morphte does not read the setting 'terms'"),
        (["--seed", -5], "Input should be greater than or equal to 0"),
        (["--data", "few.txt", "--length", 16, "--state-steps", 1], "the text to measure on (--held-out) has"),
        (["--data", "damaged.txt.gz"], "the text cannot be read"),
        (["--method", "see", "--param", "stepps=5"], "unknown setting of compression method 'see' 'stepps'"),
        (["--method", "see", "--param", "lexicon=none.tsv"], "none.tsv"),
        (["--method", "morphte", "--param", "morphemes=none.tsv"], "none.tsv"),
        (["--data", "none.txt"], "file not found"),
        (["--data", "text.txt", "--length", 100000], "rows of 100000 tokens are longer than what the model reads"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(run, tiny_llama, tmp_path, words, message):
    (tmp_path / "few.txt").write_text(" ".join(SENTENCES * 9) + "\na dog\n")
    whole = gzip.compress("\n".join(SENTENCES * 40).encode(), mtime=0)
    (tmp_path / "damaged.txt.gz").write_bytes(whole[:20] + b"\xff" * 20 + whole[40:])
    before = sorted(tmp_path.iterdir())
    code, _out, err = run("compress", tiny_llama, *words, "--output", "made")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    left = [path for path in sorted(tmp_path.iterdir()) if path not in before and not path.name.startswith(".")]
    assert not left


def test_existing_folders_and_missing_text(run, tiny_llama, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine.txt").write_text("mine")
    code, _, err = run("compress", tiny_llama, "--output", "made")
    assert code == 2
    assert "already holds a model or other files" in err
    code, _, err = run("compress", "compare", tiny_llama, "--methods", "int4")
    assert code == 2
    assert "there is no text to measure on" in err
    code, _, err = run("compress", "compare", tiny_llama, "--held-out", "text.txt", "--ratios", "five")
    assert code == 2
    assert "--ratios 'five' is not a list of numbers" in err
    code, _, err = run("compress", "no/such/model", "--output", "other")
    assert code == 2
    assert "model not found" in err
