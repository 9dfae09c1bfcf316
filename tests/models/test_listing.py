import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.errors import ModelError
from intarsia.models import count_parameters, describe_model, list_models, load_causal_lm, local_folder


@pytest.fixture(autouse=True)
def no_hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def scan_cache_dir() -> None:
        raise huggingface_hub.CacheNotFound("none", cache_dir=tmp_path)

    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", scan_cache_dir)


def test_assets_are_always_known(cache: Path) -> None:
    known = {model.ref: model for model in list_models()}
    assert set(known) == {"asset:smollm2-135m-instruct", "asset:minilm-l6"}
    assert all(model.licence == "apache-2.0" and model.parameters and not model.ready for model in known.values())


def test_converted_files_are_listed_by_their_own_path(gguf_file: Path, cache: Path) -> None:
    before = describe_model(gguf_file)
    assert (before.ready, before.where, before.bytes) == (False, str(gguf_file), gguf_file.stat().st_size)
    folder = local_folder(gguf_file)
    (listed,) = [model for model in list_models() if model.kind == "gguf"]
    assert (listed.ref, listed.where, listed.ready) == (str(gguf_file), str(folder), True)
    assert (listed.licence, listed.description) == ("apache-2.0", "LlamaForCausalLM")
    assert listed == describe_model(gguf_file)


def test_parameters_are_counted_from_the_headers(model_folder: Path) -> None:
    assert count_parameters(model_folder) == load_causal_lm(model_folder, device="cpu").model.num_parameters()


def test_parameters_of_a_damaged_file(broken: Path) -> None:
    (broken / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="damaged"):
        count_parameters(broken)
    described = describe_model(broken)
    assert not described.ready
    assert "damaged" in str(described.description)


def test_a_hub_model_that_is_not_here() -> None:
    described = describe_model("owner/never-downloaded")
    assert (described.kind, described.ready, described.where) == ("hub", False, None)


def test_the_hub_cache_is_listed(
    model_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "tiny").mkdir(parents=True)  # a folder of that name is something else
    monkeypatch.chdir(tmp_path)
    repositories = [
        SimpleNamespace(repo_id="owner/tiny", repo_type="model"),
        SimpleNamespace(repo_id="owner/half", repo_type="model"),
        SimpleNamespace(repo_id="owner/texts", repo_type="dataset"),
    ]
    files = {"owner/tiny": str(model_folder / "config.json")}
    monkeypatch.setattr("huggingface_hub.scan_cache_dir", lambda: SimpleNamespace(repos=repositories))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda ref, name: files.get(ref))
    half, tiny = [model for model in list_models() if model.kind == "hub"]
    assert (half.ref, half.ready) == ("owner/half", False)
    assert (tiny.ref, tiny.ready, tiny.where) == ("owner/tiny", True, str(model_folder))


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["models", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_command_lists_models(cache: Path) -> None:
    code, out, _ = run()
    assert code == 0
    assert "asset:smollm2-135m-instruct" in out
    assert "apache-2.0" in out
    assert "135 M" in out


def test_command_prints_json(cache: Path, model_folder: Path) -> None:
    code, out, _ = run("--json")
    assert code == 0
    assert {model["ref"] for model in json.loads(out)} == {"asset:smollm2-135m-instruct", "asset:minilm-l6"}
    code, out, _ = run(str(model_folder), "--json")
    assert (code, json.loads(out)["ready"]) == (0, True)


def test_command_prepares_a_model(gguf_file: Path, cache: Path) -> None:
    code, out, _ = run(str(gguf_file), "--prepare", "--json")
    assert code == 0
    assert json.loads(out)["where"] == str(local_folder(gguf_file))


def test_command_names_an_unknown_asset() -> None:
    code, _, err = run("asset:smollm2-135m")
    assert code == 2
    assert "unknown model asset 'smollm2-135m'" in err
    assert "did you mean 'smollm2-135m-instruct'" in err


def test_command_cannot_prepare_nothing() -> None:
    code, _, err = run("--prepare")
    assert code == 2
    assert "MODEL" in err
