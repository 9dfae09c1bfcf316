"""What the pages say is true: their Python runs, their commands parse, their links lead somewhere."""

import ast
import dataclasses
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

SLUGS = {
    *("miub-lora-scaling", "sememe-entanglement-encoding", "twin-merging", "dynamic-logit-fusion", "tole"),
    *("pairwise-classification", "contrastive-latent-variable", "morpheus", "causal-perception-dialogue", "petd"),
    *("glode", "mvre", "jmfrn", "syntax-complex-nmt", "detection-intermediate-supervision"),
    *("causal-generalization-benchmark", "rolebreak", "re-judge-inconsistency"),
    *("quantum-posterior-information", "qnn-mutual-information"),
}

# Options of other programs that pages mention in running text.
FOREIGN_OPTIONS = {"--strict"}

BASE = "asset:smollm2-135m-instruct"


def blocks(page: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """Yields the comment before each fenced block of a language ("" if there is none) and the block."""
    pattern = rf"(?:<!-- ([^\n]+) -->\n)?^```(?:{'|'.join(languages)})\n(.*?)^```$"
    for match in re.finditer(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield match[1] or "", match[2]


def runnable(page: Path) -> list[str]:
    return [code for mark, code in blocks(page, "python") if mark == "runnable"]


def outside_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline_code(page: Path) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", outside_blocks(page))]


# Python


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder that snippets run in: two experts of a tiny model and texts of each kind."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for seed, name in enumerate(("news", "tweets")):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        expert = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama), settings)
        expert.save_pretrained(tmp_path / "experts" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [name for name, page in zip(NAMES, PAGES, strict=True) if runnable(page)])
def test_marked_python_of_a_page_runs(name: str, folder: Path, tiny_llama: Path) -> None:
    # One namespace a page, as a reader would go through it. The tiny model stands in for the real one.
    namespace: dict[str, Any] = {"__name__": "snippet"}
    for code in runnable(ROOT / name):
        exec(compile(code.replace(BASE, str(tiny_llama)), name, "exec"), namespace)


def test_the_main_pages_have_python_that_runs() -> None:
    for name in ("README.md", "docs/methods/twin-merging.md", "docs/methods/miub-lora-scaling.md", "docs/data.md"):
        assert runnable(ROOT / name), name


def test_what_all_python_imports_exists() -> None:
    for page in PAGES:
        for _, code in blocks(page, "python"):
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("intarsia"):
                    module = importlib.import_module(str(node.module))
                    missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                    assert not missing, f"{page}: {node.module} has no {missing}"


# Commands


def commands() -> dict[str, Any]:
    import typer

    from intarsia.cli.app import COMMANDS, app

    group = typer.main.get_command(app)
    context = group.make_context("intarsia", [], resilient_parsing=True)
    return {name: group.get_command(context, name) for name in COMMANDS}


def leaves(group: dict[str, Any], path: str) -> dict[str, Any]:
    """Commands that do something, by their full names: those of groups instead of the groups."""
    found = {}
    for name, command in group.items():
        if hasattr(command, "list_commands"):
            context = command.make_context(name, [], resilient_parsing=True)
            inner = {child: command.get_command(context, child) for child in command.list_commands(context)}
            found |= leaves(inner, f"{path}{name} ")
        else:
            found[f"{path}{name}"] = command
    return found


def options(command: Any) -> set[str]:
    found = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in found if name.startswith("-")} | {"--help", "-h", "--debug"}


def command_lines(page: Path) -> Iterator[list[str]]:
    """Yields the words after `intarsia` of every command line in the page's shell blocks."""
    for _, block in blocks(page, "sh", "console", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].rpartition("/")[2] == "intarsia":
                yield words[1:]


def test_command_lines_of_pages_parse() -> None:
    known = commands()
    seen = set()
    for page in PAGES:
        for name, *arguments in command_lines(page):
            assert name in known, f"{page}: there is no command {name!r}"
            seen.add(name)
            # Parses and checks the arguments, and runs nothing.
            command = known[name]
            while hasattr(command, "list_commands"):
                group = command.make_context(name, [], resilient_parsing=True)
                name, *arguments = arguments
                command = command.get_command(group, name)
                assert command is not None, f"{page}: there is no command {name!r}"
            command.make_context(name, list(arguments))
    assert seen == set(known), "every command is shown on some page"


def test_commands_and_options_in_running_text_exist() -> None:
    known = commands()
    of_command = {name: set().union(*map(options, leaves({name: known[name]}, "").values())) for name in known}
    every_option = set().union(*of_command.values()) | {"--install-completion"} | FOREIGN_OPTIONS
    for page in PAGES:
        for code in inline_code(page):
            words = code.split()
            mentioned = {word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2}
            if words[0].rpartition("/")[2] == "intarsia" and len(words) > 1 and words[1][0].islower():
                assert words[1] in known, f"{page}: {code}"
                assert mentioned <= of_command[words[1]], f"{page}: {code}"
            elif words[0].startswith("--"):
                assert mentioned <= every_option, f"{page}: {code}"


# Links


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower()) for heading in headings)
    return {re.sub(r"\s+", "-", heading.strip()) for heading in plain}


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_blocks(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path) if path else page
        assert goal.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(goal), f"{name}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in config


# The table of methods


def test_table_of_methods_is_complete_and_true() -> None:
    from intarsia.experiments import registry

    table = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- methods -->")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    states = {row[3].strip("`"): row[4] for row in rows}
    assert len(rows) == len(SLUGS)
    assert set(states) == SLUGS
    assert set(states.values()) <= {"built", "planned"}
    built = {slug for slug, state in states.items() if state == "built"}
    assert built == SLUGS & set(registry.names()), "built is what has an experiment"
    for method, _, room, slug, state in rows:
        assert (state == "built") == (f"docs/methods/{slug.strip('`')}.md" in method)
        if state == "built":
            assert importlib.util.find_spec(f"intarsia.{room.strip('`')}") is not None


# Recipes


@pytest.fixture
def recipe_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the example on the page about recipes."""
    for mark, content in blocks(ROOT / "docs" / "recipes.md", "json", "text", "yaml"):
        if mark.startswith("file: "):
            (tmp_path / mark.removeprefix("file: ")).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_example_recipe_can_be_used(recipe_folder: Path, tiny_llama: Path) -> None:
    from intarsia.merge.methods import find_method
    from intarsia.models import load_tokenizer
    from intarsia.pipeline import Recipe
    from intarsia.pipeline.tasks import load_task

    recipe = Recipe.from_file(recipe_folder / "recipe.yaml")
    tasks = {name: load_task(task, load_tokenizer(tiny_llama), recipe.seed) for name, task in recipe.tasks.items()}
    assert {name: rows.labels for name, rows in tasks.items()} == {
        "tickets": ["billing", "bug"],
        "reviews": ["negative", "positive"],
    }
    assert all(rows.train and rows.dev and rows.test for rows in tasks.values())
    for method, settings in recipe.merge.baselines.items():
        assert find_method(method).data_statistics is None
        find_method(method).make_params({name: values[0] for name, values in settings.items()})


def test_yaml_on_pages_is_yaml() -> None:
    for page in PAGES:
        for _, block in blocks(page, "yaml"):
            assert yaml.safe_load(block), page


# Parts made when the site is built


@pytest.fixture(scope="module")
def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marks(kind: str) -> list[str]:
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")]
    return [argument for text in pages for argument in re.findall(rf"^<!-- {kind}: (.+?) -->$", text, re.MULTILINE)]


@pytest.mark.parametrize("mark", marks("keys"))
def test_tables_of_settings_have_every_field_and_its_default(hooks: Any, mark: str) -> None:
    module, name = mark.split()
    kind = getattr(importlib.import_module(module), name)
    # A bar within code ends no cell.
    rows = [
        re.split(r" \| (?=(?:[^`]*`[^`]*`)*[^`]*$)", line.strip("| "))
        for line in hooks.keys(module, name).splitlines()[2:]
    ]
    fields = dataclasses.fields(kind)
    assert [row[0].strip("`") for row in rows] == [field.name for field in fields]
    for row, field in zip(rows, fields, strict=True):
        assert row[3], f"{field.name} has no meaning"
        if field.default is not dataclasses.MISSING:
            assert ast.literal_eval(row[2].strip("`")) == field.default
        elif field.default_factory is dataclasses.MISSING:
            assert row[2] == "*required*"


def test_results_are_read_from_their_files(hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from intarsia.experiments.records import Claim, Result, Row, write_result

    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    assert "No result file yet" in hooks.results("some-method")
    row = Row("System A", "some data", "score", paper=95.83, measured=97.25, low=96.5, high=98.0, n=400)
    claim = Claim("wins", "A beats B by 1 | 2 points", "Table 1", False, "97.25 < 98")
    result = Result(
        experiment="some-method",
        scale="laptop",
        commit="0123456789abcdef",
        command="intarsia reproduce some-method",
        seed=0,
        versions={},
        hardware={"cpu": "CPU", "cores": 2},
        wall_seconds=600.0,
        rows=[row, Row("System B", "some data", "score", measured=50.0)],
        claims=[claim],
        notes=["One seed."],
    )
    write_result(tmp_path / "results" / "some-method" / "laptop.json", result)
    page = hooks.results("some-method")
    assert "| System A | some data | 95.83 | 97.25 [96.5, 98] | 400 |" in page
    assert "| System B | some data | – | 50 | – |" in page
    assert "**does not hold**" in page
    assert "0123456789" in page
    assert "One seed." in page
    widths = {line.count("|") for line in page.splitlines() if "System" in line or "score" in line.lower()}
    assert widths <= {0, 6}


def test_commands_page_has_every_command_and_option(hooks: Any) -> None:
    page = hooks.commands()
    for name, command in leaves(commands(), "").items():
        section = page.split(f"## intarsia {name}\n")[1].split("\n## ")[0]
        for option in options(command) - {"--help", "-h", "--debug"}:
            assert f"`{option}`" in section
        assert f"\nintarsia {name} " in section, f"{name} has no example"
