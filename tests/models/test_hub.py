import errno
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from intarsia.errors import ModelError
from intarsia.models import local_folder


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def snapshot_download(*_: object, **__: object) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def error_of(kind: type[Exception]) -> Exception:
    # Their constructors want an HTTP response.
    return kind.__new__(kind)


def test_a_hub_model_is_downloaded_and_checked(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> None:
    answer_with(monkeypatch, model_folder)
    assert local_folder("owner/tiny") == model_folder


def test_a_hub_model_with_pickled_weights_only(monkeypatch: pytest.MonkeyPatch, broken: Path) -> None:
    # Weights other than safetensors are not even downloaded.
    (broken / "model.safetensors").unlink()
    answer_with(monkeypatch, broken)
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        local_folder("owner/tiny")


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, LocalEntryNotFoundError("Got: ConnectError\nmore"))
    with pytest.raises(
        ModelError, match=r"'owner/tiny' is not on this machine and cannot be fetched.*ConnectError"
    ) as caught:
        local_folder("owner/tiny")
    assert "check the network" in str(caught.value.fix)


def test_an_asset_name_without_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, LocalEntryNotFoundError("no network"))
    with pytest.raises(ModelError, match="did you mean asset:smollm2-135m-instruct"):
        local_folder("HuggingFaceTB/SmolLM2-135M-Instruct")


def test_unknown_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, error_of(RepositoryNotFoundError))
    with pytest.raises(ModelError, match="no model 'owner/tiny' on the hub"):
        local_folder("owner/tiny")


def test_gated_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, error_of(GatedRepoError))
    with pytest.raises(ModelError, match="accept terms") as caught:
        local_folder("owner/tiny")
    assert caught.value.where == "https://huggingface.co/owner/tiny"


def test_a_full_disk_is_not_called_a_network_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        local_folder("owner/tiny")
