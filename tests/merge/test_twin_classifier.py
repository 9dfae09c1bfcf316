"""Twin-merged encoders with a classification head for each expert."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    pipeline,
)

from intarsia.errors import ConfigError, DataError, InputError, ModelError, UnknownNameError
from intarsia.merge import Head, TwinMergedForSequenceClassification, TwinMergingConfig, twin_merge_classifiers

LABELS = {"mood": ("good", "bad"), "topic": ("art", "law", "war")}
SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXTS = {"mood": [f"w{i} w{i + 1} w5" for i in range(5, 17)], "topic": [f"w{i} w{i + 1} w30" for i in range(20, 32)]}


def tokenizer() -> PreTrainedTokenizerFast:
    words = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *(f"w{i}" for i in range(38))])}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64)


def perturb(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random BERT and two classifiers fine-tuned from it, embeddings frozen, in float64."""
    root = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    base = BertModel(BertConfig(**SIZES, max_position_embeddings=64)).double()
    base.save_pretrained(root / "base")
    tokenizer().save_pretrained(root / "base")
    for seed, (name, labels) in enumerate(LABELS.items()):
        names = dict(enumerate(labels))
        config = BertConfig(
            **SIZES, max_position_embeddings=64, id2label=names, label2id={v: k for k, v in names.items()}
        )
        expert = BertForSequenceClassification(config).double()
        expert.bert.load_state_dict(base.state_dict())
        perturb(expert.bert.encoder, seed)
        perturb(expert.bert.pooler, seed)
        perturb(expert.classifier, seed)
        expert.save_pretrained(root / name)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="module")
def twin(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> TwinMergedForSequenceClassification:
    """Merged at full rank in float64, saved and loaded again."""
    output = tmp_path_factory.mktemp("twin") / "model"
    twin_merge_classifiers(
        folders["base"],
        {name: folders[name] for name in LABELS},
        TEXTS,
        config=TwinMergingConfig(rank="full"),
        output=output,
    )
    return AutoModelForSequenceClassification.from_pretrained(output)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    inputs = tokenizer()([TEXTS["topic"][0], "w9 w10 w5 w6 w7", "w1"], padding=True, return_tensors="pt")
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


@torch.no_grad()
def test_oracle_weights_and_heads_are_the_experts(
    twin: TwinMergedForSequenceClassification, folders: dict[str, Path], batch: dict[str, Tensor]
) -> None:
    twin.set_head("oracle")
    try:
        for name, offset in zip(LABELS, twin.label_offsets, strict=True):
            expert = AutoModelForSequenceClassification.from_pretrained(folders[name], dtype=torch.float32).eval()
            outputs = twin(**batch, mixture=twin.mixture([name] * 3), tasks=[name] * 3)
            own = outputs.logits[:, offset : offset + len(LABELS[name])]
            torch.testing.assert_close(own, expert(**batch).logits, rtol=0, atol=1e-5)
            others = outputs.logits.isfinite().sum(-1)
            assert others.tolist() == [len(LABELS[name])] * 3
    finally:
        twin.set_head("routed")


@torch.no_grad()
def test_routed_heads_follow_the_router(twin: TwinMergedForSequenceClassification, batch: dict[str, Tensor]) -> None:
    outputs = twin(**batch)
    assert outputs.head.equal(twin.route(**batch).argmax(-1))
    assert outputs.head[:2].tolist() == [1, 0]
    for row in range(3):
        kept = batch["attention_mask"][row].bool()
        alone = twin(**{name: x[row : row + 1, kept] for name, x in batch.items()})
        torch.testing.assert_close(alone.logits[0], outputs.logits[row], rtol=0, atol=1e-5)
    assert twin.config.id2label == {0: "mood/good", 1: "mood/bad", 2: "topic/art", 3: "topic/law", 4: "topic/war"}
    best = outputs.logits.argmax(-1)
    assert twin(**batch, labels=best).loss < twin(**batch, labels=outputs.logits.nan_to_num(neginf=9).argmin(-1)).loss


@torch.no_grad()
def test_materialised_encoder_is_plain(
    twin: TwinMergedForSequenceClassification, batch: dict[str, Tensor], tmp_path: Path
) -> None:
    twin.save_materialized(tmp_path / "plain", {"mood": 0.3, "topic": 0.7})
    plain = AutoModel.from_pretrained(tmp_path / "plain").eval()
    assert type(plain) is BertModel
    outputs = twin(**batch, mixture=twin.mixture([{"mood": 0.3, "topic": 0.7}] * 3), output_hidden_states=True)
    torch.testing.assert_close(plain(**batch).last_hidden_state, outputs.hidden_states[-1], rtol=0, atol=1e-5)


@torch.no_grad()
def test_text_classification_pipeline(twin: TwinMergedForSequenceClassification) -> None:
    classify = pipeline("text-classification", model=twin, tokenizer=tokenizer())
    texts = TEXTS["mood"] + TEXTS["topic"]
    inputs = tokenizer()(texts, padding=True, return_tensors="pt")
    outputs = twin(inputs["input_ids"], inputs["attention_mask"])
    expected = [twin.config.id2label[index] for index in outputs.logits.argmax(-1).tolist()]
    assert [answer["label"] for answer in classify(texts)] == expected
    assert {label.split("/")[0] for label in expected} == set(LABELS)


def test_frozen_embeddings_take_no_residuals(twin: TwinMergedForSequenceClassification) -> None:
    assert not any("embeddings" in name for name in (*twin.config.matrices, *twin.config.vectors))
    assert twin.statistics["shared_only"] == []
    assert twin.statistics["router"]["texts"] == {"mood": 12, "topic": 12}
    assert "encoder.layer.0.attention.self.query" in twin.config.biases
    assert twin.config.vectors["encoder.layer.0.output.LayerNorm"] == ["weight", "bias"]


@torch.no_grad()
def test_given_linear_heads_read_the_mean_or_the_first_token(
    folders: dict[str, Path], batch: dict[str, Tensor]
) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = {
        name: Head(
            labels,
            {"weight": torch.randn(len(labels), 16, generator=generator), "bias": torch.ones(len(labels))},
            pooling="mean" if name == "mood" else "first",
        )
        for name, labels in LABELS.items()
    }
    experts = {name: folders[name] for name in LABELS}
    config = TwinMergingConfig(rank=2, exclude=("classifier.*",))
    twin = twin_merge_classifiers(folders["base"], experts, TEXTS, heads=heads, config=config)
    twin.set_head("oracle")
    mixture = twin.mixture(["mood"] * 3)
    states = twin.materialize({"mood": 1.0})(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = (states * mask).sum(1) / mask.sum(1)
    for name, pooled in (("mood", mean), ("topic", states[:, 0])):
        offset, head = twin.label_offsets[list(LABELS).index(name)], heads[name]
        logits = twin(**batch, mixture=mixture, tasks=[name] * 3).logits[:, offset : offset + len(LABELS[name])]
        expected = pooled @ head.state["weight"].mT + head.state["bias"]
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_lora_encoders_and_heads_of_other_architectures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RobertaConfig(**SIZES, max_position_embeddings=66, pad_token_id=0, num_labels=3)
    base = RobertaModel(config)
    base.save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    experts = {}
    for seed in range(2):
        expert = RobertaForSequenceClassification(config)
        expert.roberta.load_state_dict({k: v for k, v in base.state_dict().items() if "pooler" not in k})
        perturb(expert.roberta.encoder, seed)
        expert.eval().save_pretrained(tmp_path / f"e{seed}")
        experts[f"e{seed}"] = expert
    twin = twin_merge_classifiers(
        tmp_path / "base",
        {name: tmp_path / name for name in experts},
        {name: ["w1 w2"] * 4 for name in experts},
        config=TwinMergingConfig(rank="full", exclude=("pooler.*",)),
    )
    twin.set_head("oracle")
    ids = torch.randint(2, 40, (2, 5))
    logits = twin(ids, mixture=twin.mixture(["e0", "e1"]), tasks=["e0", "e1"]).logits
    torch.testing.assert_close(logits[0, :3], experts["e0"](ids).logits[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(logits[1, 3:], experts["e1"](ids).logits[1], rtol=0, atol=1e-5)


@torch.no_grad()
def test_lora_adapters_of_an_encoder(folders: dict[str, Path], batch: dict[str, Tensor], tmp_path: Path) -> None:
    experts, heads = {}, {}
    for seed, (name, labels) in enumerate(LABELS.items()):
        torch.manual_seed(seed)
        config = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
        experts[name] = get_peft_model(AutoModel.from_pretrained(folders["base"], dtype=torch.float32), config)
        experts[name].save_pretrained(tmp_path / name)
        heads[name] = Head(labels, {"weight": torch.randn(len(labels), 16), "bias": torch.zeros(len(labels))})
    twin = twin_merge_classifiers(
        folders["base"],
        {name: tmp_path / name for name in LABELS},
        TEXTS,
        heads=heads,
        config=TwinMergingConfig(rank="full"),
    )
    for name, expert in experts.items():
        states = twin.materialize({name: 1.0})(**batch).last_hidden_state
        torch.testing.assert_close(states, expert.eval()(**batch).last_hidden_state, rtol=0, atol=1e-5)


# Wrong input


def merge(folders: dict[str, Path], **changes: Any) -> TwinMergedForSequenceClassification:
    given: dict[str, Any] = {"experts": {name: folders[name] for name in LABELS}, "router_texts": TEXTS}
    return twin_merge_classifiers(folders["base"], **(given | changes))


def test_a_missing_head_is_named(folders: dict[str, Path]) -> None:
    head = Head(("a",), {"weight": torch.ones(1, 16), "bias": torch.ones(1)})
    with pytest.raises(ModelError, match="no classification head for expert 'topic'"):
        merge(folders, heads={"mood": head})
    bare = {"mood": folders["mood"], "topic": folders["base"]}
    with pytest.raises(ModelError, match="expert 'topic' has no classification head"):
        merge(folders, experts=bare)


def test_a_head_of_another_size_is_refused(folders: dict[str, Path]) -> None:
    head = Head(("a",), {"weight": torch.ones(1, 15), "bias": torch.ones(1)})
    config = TwinMergingConfig(exclude=("classifier.*",))
    with pytest.raises(ModelError, match="do not fit"):
        merge(folders, heads={"mood": head, "topic": head}, config=config)
    with pytest.raises(ConfigError, match="pooling is 'max'"):
        Head(("a",), {}, pooling="max")  # type: ignore[arg-type]


def test_oracle_heads_need_known_tasks(twin: TwinMergedForSequenceClassification, batch: dict[str, Tensor]) -> None:
    with pytest.raises(ConfigError, match="head is 'best'"):
        twin.set_head("best")  # type: ignore[arg-type]
    twin.set_head("oracle")
    try:
        with pytest.raises(InputError, match="needs the task of every row"):
            twin(**batch)
        with pytest.raises(UnknownNameError, match="unknown task 'moods'"):
            twin(**batch, tasks=["mood", "moods", "mood"])
    finally:
        twin.set_head("routed")


def test_router_texts_must_fit_the_experts(folders: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="no router texts for expert 'topic'"):
        merge(folders, router_texts={"mood": TEXTS["mood"], "topic": []})
    with pytest.raises(UnknownNameError, match="unknown expert 'topics'"):
        merge(folders, router_texts={"mood": TEXTS["mood"], "topics": TEXTS["topic"]})
    with pytest.raises(DataError, match="router text '' is empty"):
        merge(folders, router_texts={"mood": ["w1", ""], "topic": TEXTS["topic"]})


def test_a_classifier_is_no_language_model(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    merge(folders, output=tmp_path / "twin")
    with pytest.raises(ModelError, match="classifier, not a language model"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "twin")
