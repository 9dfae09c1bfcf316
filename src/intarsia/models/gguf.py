"""GGUF files: converted once to a folder of config, safetensors and tokenizer that everything can load.

transformers reads GGUF, but slowly, and a model loaded from it is marked as quantized: it can neither be saved nor
trained. The converted folder has plain float32 weights, the tokenizer and the chat template.
"""

import contextlib
import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.errors import ModelError
from intarsia.models.cache import build_once, models_cache
from intarsia.models.model_card import write_model_card

_logger = logging.getLogger(__name__)

# Part of the cache key: raise it when a change of the code changes what conversion gives.
CONVERSION = 1

# llama.cpp's names of pre-tokenizers that take digits one by one before GPT-2's splitting. transformers leaves the
# digits out, so that spaces and line breaks before a number would become other tokens than the model was trained on.
_SINGLE_DIGIT_PRE_TOKENIZERS = {"codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"}


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file says of itself.

    Attributes:
        licence: SPDX identifier.
        pre_tokenizer: llama.cpp's name of the rule that splits text before byte-pair encoding.
    """

    licence: str | None
    pre_tokenizer: str | None


def converted_gguf(file: Path) -> Path:
    """Returns where the conversion of `file` is or will be. A file that changes has another place."""
    file = file.resolve()
    status = file.stat()
    identity = f"{CONVERSION} {file} {status.st_size} {status.st_mtime_ns}"
    return models_cache() / f"{file.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def gguf_folder(file: Path) -> Path:
    """Returns `file` as a folder of config, safetensors and tokenizer, made at the first call.

    Raises:
        ModelError: If the file is not a GGUF file transformers can read.
    """
    return build_once(converted_gguf(file), lambda folder: convert_gguf(file, folder, source=str(file.resolve())))


def read_gguf_header(file: Path) -> GGUFHeader:
    """Reads the facts about a GGUF file that transformers does not keep.

    Raises:
        ModelError: If it is not a GGUF file, or a damaged one.
    """
    from gguf import GGUFReader

    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise ModelError("not a GGUF file", where=file)
    try:
        fields = GGUFReader(file).fields
        facts = {key: fields[key].contents() for key in ("general.license", "tokenizer.ggml.pre") if key in fields}
    except Exception as error:
        raise _damaged(file, error) from error
    return GGUFHeader(facts.get("general.license"), facts.get("tokenizer.ggml.pre"))


def convert_gguf(file: Path, folder: Path, *, source: str) -> None:
    """Writes the model and tokenizer of a GGUF file into `folder`, weights in float32.

    Args:
        file: The GGUF file.
        folder: An empty folder.
        source: Where the model comes from, for its card.

    Raises:
        ModelError: If transformers cannot read the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    header = read_gguf_header(file)
    # A warning, because half a minute of silence asks for an explanation where nobody configured logging.
    _logger.warning("converting %s to safetensors; this happens once and can take half a minute", source)
    with _no_progress_bars():
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
            model, loading = AutoModelForCausalLM.from_pretrained(
                str(file.parent),
                gguf_file=file.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
            )
        except Exception as error:
            raise _damaged(file, error) from error
        if loading["missing_keys"]:
            raise ModelError(f"the GGUF file lacks {sorted(loading['missing_keys'])[0]}", where=file)
        if header.pre_tokenizer in _SINGLE_DIGIT_PRE_TOKENIZERS:
            _split_digits(tokenizer)
        tokenizer.model_max_length = model.config.max_position_embeddings
        # The name in the file is no model that could be found by it.
        vars(model.config).pop("_model_name_or_path", None)
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    write_model_card(folder, source=source, licence=header.licence)


def _split_digits(tokenizer: Any) -> None:
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _damaged(file: Path, error: Exception) -> ModelError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    fix = "check that its download was complete, and that transformers reads GGUF files of its architecture"
    return ModelError(f"the GGUF file cannot be read: {reason}", where=file, fix=fix)


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    # Some of transformers' conversion bars have no switch; all of them look up sys.stderr when they start.
    with contextlib.redirect_stderr(io.StringIO()):
        yield
