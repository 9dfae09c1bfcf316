"""Data sets in the formats of lm-evaluation-harness and Hugging Face datasets.

Both hold the complete questions, so that replies are scored by `intarsia.audit.causal` there as well: no fixed string
equals every valid adjustment set, or a list of paths in every order.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from intarsia.audit.causal.config import TASKS

_CARD = """\
---
configs:
{configs}
---

# Causal generalization benchmark

Generated questions about random causal graphs with invented names: causal paths (CP), backdoor adjustment (BA), factual
inference (FI), counterfactual inference (CI). `prompt` is what a model is asked, `answer` one right answer.

Score a reply with the rules of the benchmark; for BA many answers are right:

```python
from intarsia.audit.causal import from_record, score

score(from_record(row), reply).exact
```
"""

_TASK = """\
task: intarsia_causal_{name}
custom_dataset: !function intarsia_causal.load_{name}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
process_results: !function intarsia_causal.process_results
generation_kwargs:
  until: []
  do_sample: false
  temperature: 0.0
  max_gen_toks: 2048
metric_list:
  - metric: exact
    aggregation: mean
    higher_is_better: true
  - metric: parsed
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

_GROUP = """\
group: intarsia_causal
task:
{tasks}
aggregate_metric_list:
  - metric: exact
    weight_by_size: false
metadata:
  version: 1.0
"""

_CODE = '''\
"""Loads the questions beside this file and scores replies to them with intarsia."""

from functools import partial
from pathlib import Path


def load(task, **_):
    from datasets import Dataset

    from intarsia.audit.causal import read_dataset

    file = Path(__file__).resolve().parent.parent / "questions.jsonl"
    rows = [_row(question) for question in read_dataset(file) if question.task == task]
    return {"test": Dataset.from_list(rows)}


def _row(question):
    import json

    from intarsia.audit.causal import to_record

    return {"prompt": question.prompt, "answer": question.answer, "question": json.dumps(to_record(question))}


def process_results(doc, results):
    import json

    from intarsia.audit.causal import from_record, score

    found = score(from_record(json.loads(doc["question"])), results[0])
    return {"exact": float(found.exact), "parsed": float(found.parsed)}


'''


def to_lm_eval(folder: Path) -> None:
    """Writes `lm_eval/` into the folder of a data set: a group `intarsia_causal` with one task for each of CP to CI.

    Use it with `lm_eval run --include_path FOLDER/lm_eval --tasks intarsia_causal`.
    """
    target = folder / "lm_eval"
    target.mkdir()
    names = [task.lower() for task in _by_task(folder)]
    loaders = "\n".join(f'load_{name} = partial(load, "{name.upper()}")' for name in names)
    _write(target / "intarsia_causal.py", _CODE + loaders + "\n")
    for name in names:
        _write(target / f"intarsia_causal_{name}.yaml", _TASK.format(name=name))
    tasks = "\n".join(f"  - intarsia_causal_{name}" for name in names)
    _write(target / "_intarsia_causal.yaml", _GROUP.format(tasks=tasks))


def to_hugging_face(folder: Path) -> None:
    """Writes `huggingface/` into the folder of a data set, to be loaded by `load_dataset` or put on a hub as it is."""
    target = folder / "huggingface"
    (target / "data").mkdir(parents=True)
    by_task = _by_task(folder)
    for task, lines in by_task.items():
        (target / "data" / f"{task.lower()}.jsonl").write_bytes(b"".join(lines))
    configs = [
        f"  - config_name: {task}\n    data_files:\n      - split: test\n        path: data/{task.lower()}.jsonl"
        for task in by_task
    ]
    _write(target / "README.md", _CARD.format(configs="\n".join(configs)))


def _by_task(folder: Path) -> dict[str, list[bytes]]:
    lines: dict[str, list[bytes]] = {task: [] for task in TASKS}
    with (folder / "questions.jsonl").open("rb") as file:
        for line in file:
            lines[json.loads(line)["task"]].append(line)
    return {task: found for task, found in lines.items() if found}


def _write(path: Path, text: str) -> None:
    # Line ends are the same everywhere.
    path.write_bytes(text.encode())


EXPORTS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {"lm-eval": to_lm_eval, "huggingface": to_hugging_face}
)
"""Export formats by name."""
