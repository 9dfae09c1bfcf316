"""Models on the Hugging Face hub: found in its cache, or downloaded."""

import errno
import re
from pathlib import Path

from intarsia.errors import ModelError
from intarsia.models.assets import MODEL_ASSETS, PREFIX

# `name` or `owner/name`, as the hub allows them.
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md"]
# Subfolders hold the same model for other libraries; consolidated files hold it twice.
_UNWANTED = ["*/*", "consolidated*"]


def is_hub_id(ref: str) -> bool:
    """Whether `ref` could name a model on the hub."""
    return _HUB_ID.fullmatch(ref) is not None


def cached_snapshot(ref: str) -> Path | None:
    """Returns the folder of a hub model that was downloaded before, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in ("config.json", "adapter_config.json"):
        file = try_to_load_from_cache(ref, name)
        if isinstance(file, str):
            return Path(file).parent
    return None


def download(ref: str) -> Path:
    """Returns the local folder of a hub model, downloaded where it is not in the hub's cache.

    Raises:
        ModelError: If there is no such model, it may not be read, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(ref, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except GatedRepoError as error:
        raise ModelError(
            "the model's owner asks you to accept terms first",
            where=f"https://huggingface.co/{ref}",
            fix="accept them there, then run `hf auth login`",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"no model {ref!r} on the hub, nor a folder of that name", fix=_advice(ref)) from error
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the model {ref!r} is not on this machine and cannot be fetched from the hub: {reason}",
            where=f"https://huggingface.co/{ref}",
            fix=f"check the network; {_advice(ref)}",
        ) from error


def _advice(ref: str) -> str:
    name = ref.rpartition("/")[2].lower()
    if name in MODEL_ASSETS:
        return f"did you mean {PREFIX}{name}?"
    return "for a local model write its path (./folder or file.gguf), for an installed one asset:NAME"
