"""Translation from scratch with one embedding or another, shared by encoder, decoder and head."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

from intarsia.compress.compressed_embedding import CompressedEmbedding
from intarsia.compress.rivals.factorisation import near_equal_factors
from intarsia.compress.see.config import SEEConfig
from intarsia.compress.see.embedding import SEEEmbedding
from intarsia.compress.tied_rows import CompressedHead, MatrixCache
from intarsia.compress.units import Lexicon, UnitConfig, UnitMap, digit_units
from intarsia.data import read
from intarsia.errors import MissingExtraError, UnknownNameError
from intarsia.experiments._see_recipe import TranslationRecipe

DENSE, SEE, MORPHTE, WORD2KETXS = "dense", "SEE", "MorphTE", "word2ketXS"

_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_LONGEST = 96


class Translation:
    """Pairs of sentences, a tokenizer trained on both sides, and models trained from scratch.

    Args:
        recipe: Sizes and training.
        lexicon: Senses of words; of the language it knows.
        folder: For checkpoints.
    """

    def __init__(self, recipe: TranslationRecipe, lexicon: Lexicon, folder: Path) -> None:
        self.recipe, self.lexicon, self.folder = recipe, lexicon, folder
        self.pairs = {split: self._read(split) for split in ("train", "test")}
        self.tokenizer = _train_tokenizer(self.pairs["train"], recipe.vocabulary)

    def run(self, system: str, ratio: float, seed: int) -> dict[str, Any]:
        """Trains a system and translates the test sentences.

        Returns:
            BLEU, and how many numbers the embedding has.

        Raises:
            MissingExtraError: If sacrebleu is not installed.
        """
        try:
            import sacrebleu
        except ImportError:
            raise MissingExtraError("sacrebleu", "eval") from None
        torch.manual_seed(seed)
        model = self._model(system, ratio, seed)
        trainer = Seq2SeqTrainer(
            model,
            self._arguments(seed),
            train_dataset=[self._encoded(*pair) for pair in self.pairs["train"]],
            data_collator=DataCollatorForSeq2Seq(self.tokenizer, model=model),
        )
        trainer.train()
        test = self.pairs["test"][: self.recipe.test_rows]
        made = self._translate(model.eval(), [source for source, _ in test])
        bleu = sacrebleu.corpus_bleu(made, [[target for _, target in test]]).score
        return {"bleu": bleu, "parameters": sum(weight.numel() for weight in model.get_input_embeddings().parameters())}

    def _read(self, split: str) -> list[tuple[str, str]]:
        rows = read(self.recipe.train, schema="text-to-text", split=split, fields=self.recipe.fields or None)
        return [(row.prompt, row.target) for row in rows]

    def _encoded(self, source: str, target: str) -> dict[str, list[int]]:
        encoded = self.tokenizer([source, target], truncation=True, max_length=_LONGEST).input_ids
        return {"input_ids": encoded[0], "labels": encoded[1]}

    def _arguments(self, seed: int) -> Seq2SeqTrainingArguments:
        recipe = self.recipe
        return Seq2SeqTrainingArguments(
            output_dir=str(self.folder),
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="inverse_sqrt",
            warmup_steps=recipe.warmup,
            adam_beta2=0.98,
            weight_decay=1e-4,
            label_smoothing_factor=recipe.label_smoothing,
            save_strategy="no",
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to="none",
            logging_steps=500,
            disable_tqdm=True,
            seed=seed,
        )

    def _model(self, system: str, ratio: float, seed: int) -> BartForConditionalGeneration:
        recipe = self.recipe
        config = BartConfig(
            vocab_size=len(self.tokenizer),
            d_model=recipe.dim,
            encoder_layers=recipe.layers,
            decoder_layers=recipe.layers,
            encoder_attention_heads=recipe.heads,
            decoder_attention_heads=recipe.heads,
            encoder_ffn_dim=recipe.feed_forward,
            decoder_ffn_dim=recipe.feed_forward,
            dropout=recipe.dropout,
            max_position_embeddings=2 * _LONGEST,
            scale_embedding=False,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
        )
        model = BartForConditionalGeneration(config)
        if system != DENSE:
            embedding = self._embedding(system, ratio, seed)
            model.model.shared = model.model.encoder.embed_tokens = model.model.decoder.embed_tokens = embedding
            model.lm_head = CompressedHead(MatrixCache(embedding))
            model.config.tie_word_embeddings = False
        return model

    def _embedding(self, system: str, ratio: float, seed: int) -> CompressedEmbedding:
        dim, vocab = self.recipe.dim, len(self.tokenizer)
        config = SEEConfig(mean=False, layernorm=system == MORPHTE, seed=seed)
        copies = int(vocab * dim / ratio) // max(config.sizes(dim, 3))
        if system == WORD2KETXS:
            radices = near_equal_factors(vocab, 3)
            table = digit_units(vocab, radices, terms=max(1, copies // sum(radices)))
        elif system in (SEE, MORPHTE):
            parts = ("shape", "pieces", "senses") if system == SEE else ("pieces",)
            # Fewer pieces where there is less room for them.
            units = next(
                units
                for min_usage in (1, 2, 4, 8, 16, 32, 64)
                if len((units := self._units(parts, min_usage)).names) <= copies or min_usage == 64
            )
            table = units.term_table(copies - len(units.exact) * dim // max(config.sizes(dim, 3)), "all")
        else:
            raise UnknownNameError("system", system, (DENSE, SEE, MORPHTE, WORD2KETXS))
        return SEEEmbedding.from_table(table, dim, config, padding_idx=0)

    def _units(self, parts: tuple[Any, ...], min_usage: int) -> UnitMap:
        config = UnitConfig(parts=parts, min_usage=min_usage, merges=self.recipe.vocabulary // 4)
        return UnitMap.from_tokenizer(self.tokenizer, self.lexicon, config)

    @torch.no_grad()
    def _translate(self, model: Any, sources: list[str]) -> list[str]:
        made = []
        for start in range(0, len(sources), self.recipe.batch_size):
            batch = self.tokenizer(
                sources[start : start + self.recipe.batch_size],
                truncation=True,
                max_length=_LONGEST,
                padding=True,
                return_tensors="pt",
            ).to(model.device)
            ids: Tensor = model.generate(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                num_beams=self.recipe.beams,
                max_new_tokens=_LONGEST,
            )
            made += self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in made]


def _train_tokenizer(pairs: list[tuple[str, str]], size: int) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of both languages."""
    from tokenizers import ByteLevelBPETokenizer, processors

    backend = ByteLevelBPETokenizer(add_prefix_space=True)
    texts = (text for pair in pairs for text in pair)
    backend.train_from_iterator(texts, vocab_size=size, special_tokens=list(_SPECIAL), show_progress=False)
    backend._tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend._tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
