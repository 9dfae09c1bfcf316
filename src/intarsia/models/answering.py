"""Generating answers to a list of prompts."""

from collections.abc import Callable, Sequence

import torch

from intarsia.models.loading import CausalLM
from intarsia.models.lower_states import batches_by_length


@torch.no_grad()
def answer_prompts(
    loaded: CausalLM,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    top_p: float = 1.0,
    batch_size: int = 16,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Answers each prompt as a user's single turn.

    Args:
        loaded: Model and tokenizer.
        prompts: What to answer.
        max_new_tokens: Longest answer, in tokens.
        temperature: 0 takes the likeliest token, more samples.
        top_p: Probability mass of the nucleus that is sampled from.
        batch_size: Prompts answered at once; prompts of similar length go together.
        seed: Seed of sampling.
        progress: Called with the number of prompts done after each batch.

    Returns:
        The answers, in the order of the prompts.
    """
    model, tokenizer = loaded
    texts = tokenizer.apply_chat_template(
        [[{"role": "user", "content": prompt}] for prompt in prompts], add_generation_prompt=True, tokenize=False
    )
    torch.manual_seed(seed)
    options = (
        {"do_sample": True, "temperature": temperature, "top_p": top_p} if temperature > 0 else {"do_sample": False}
    )
    answers = [""] * len(prompts)
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False).input_ids]
    for batch in batches_by_length(lengths, batch_size * max(lengths)):
        inputs = tokenizer(
            [texts[index] for index in batch], add_special_tokens=False, padding=True, return_tensors="pt"
        ).to(model.device)
        out = model.generate(**inputs, max_new_tokens=max_new_tokens, **options)
        new = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, answer in zip(batch, new, strict=True):
            answers[index] = answer.strip()
        if progress is not None:
            progress(len(batch))
    return answers
