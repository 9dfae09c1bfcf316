"""Training small experts: LoRA on prompts and answers, watched by an internal metric.

`train_expert` makes one adapter; `intarsia.finetune.miub` measures what adapters add to the frozen model (MIUB);
`intarsia.finetune.scaling` fits its scaling law over runs and recommends a rank.
"""

from intarsia.finetune.config import ExpertConfig
from intarsia.finetune.examples import AnswerCollator, Example, StatesDataset, encode
from intarsia.finetune.experts import train_expert
from intarsia.finetune.miub import MIUBCallback, MIUBConfig, MIUBReport, miub_report
from intarsia.finetune.training import ExpertTrainer, ExpertTrainingArguments

__all__ = [
    "AnswerCollator",
    "Example",
    "ExpertConfig",
    "ExpertTrainer",
    "ExpertTrainingArguments",
    "MIUBCallback",
    "MIUBConfig",
    "MIUBReport",
    "StatesDataset",
    "encode",
    "miub_report",
    "train_expert",
]
