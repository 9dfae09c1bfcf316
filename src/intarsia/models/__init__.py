"""Finding and loading models.

A model argument is a hub id, a local folder (a full model or a PEFT adapter), a `.gguf` file or `asset:NAME`, a model
that came as an installed package. `resolve` tells which, `local_folder` gives a folder that loads everywhere,
`load_causal_lm` and `load_encoder` load it with its tokenizer.
"""

from intarsia.models.assets import MODEL_ASSETS, ModelAsset
from intarsia.models.chat import render_prompt
from intarsia.models.folders import check_finite, check_folder, count_parameters, weight_files
from intarsia.models.listing import KnownModel, describe_model, list_models
from intarsia.models.loading import (
    CausalLM,
    Encoder,
    base_of_adapter,
    load_causal_lm,
    load_encoder,
    load_tokenizer,
)
from intarsia.models.sentence_encoder import SentenceEncoder, TextEncoder
from intarsia.models.sources import ModelSource, local_folder, resolve

__all__ = [
    "MODEL_ASSETS",
    "CausalLM",
    "Encoder",
    "KnownModel",
    "ModelAsset",
    "ModelSource",
    "SentenceEncoder",
    "TextEncoder",
    "base_of_adapter",
    "check_finite",
    "check_folder",
    "count_parameters",
    "describe_model",
    "list_models",
    "load_causal_lm",
    "load_encoder",
    "load_tokenizer",
    "local_folder",
    "render_prompt",
    "resolve",
    "weight_files",
]
