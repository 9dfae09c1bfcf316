"""Training small experts: LoRA on prompts and answers, watched by an internal metric.

`train_expert` makes one adapter of a causal language model, `train_encoder_expert` one encoder with a head, `distill` a
small sibling of a model;
`intarsia.finetune.miub` measures what adapters add to the frozen model (MIUB);
`intarsia.finetune.scaling` fits its scaling law over runs and recommends a rank.
"""

from intarsia.finetune.config import ExpertConfig
from intarsia.finetune.distillation import DistillationConfig, DistillationTrainer, distill, keep_layers
from intarsia.finetune.encoders import (
    EncoderConfig,
    EncoderTrainer,
    EncoderTrainingArguments,
    EncoderWithHead,
    TextCollator,
    encode_texts,
    train_encoder_expert,
)
from intarsia.finetune.examples import AnswerCollator, Example, StatesDataset, encode
from intarsia.finetune.experts import train_expert
from intarsia.finetune.miub import MIUBCallback, MIUBConfig, MIUBReport, miub_report
from intarsia.finetune.training import ExpertTrainer, ExpertTrainingArguments

__all__ = [
    "AnswerCollator",
    "DistillationConfig",
    "DistillationTrainer",
    "EncoderConfig",
    "EncoderTrainer",
    "EncoderTrainingArguments",
    "EncoderWithHead",
    "Example",
    "ExpertConfig",
    "ExpertTrainer",
    "ExpertTrainingArguments",
    "MIUBCallback",
    "MIUBConfig",
    "MIUBReport",
    "StatesDataset",
    "TextCollator",
    "distill",
    "encode",
    "encode_texts",
    "keep_layers",
    "miub_report",
    "train_encoder_expert",
    "train_expert",
]
