"""Requests answered per second: the server with many clients at once, beside `generate` on one request after another.

    python benchmarks/serving.py [--model REF] [--requests N] [--new-tokens N] [--threads N] [--rounds N] [--json FILE]

Every figure is the median of ratios of runs that follow each other, so load from elsewhere hits both sides alike. All
requests are greedy and as long as they may be, so both sides generate the same tokens; the clients are threads of the
same process and share its processor with the model.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import torch
from rich.console import Console
from rich.table import Table

from intarsia.models import CausalLM, load_causal_lm, render_prompt
from intarsia.serving import ModelServer, ServingConfig

TEXTS = (
    "Write a short reply to this mail: Dear team, the meeting on {} is moved to the small room on the second floor.",
    "Which topic is this report about? Shares of the company fell by {} per cent after the quarter's figures came out.",
    "List the steps: boil {} potatoes, peel them while warm.",
    "Plan a day in a town with {} museums for two people who like to walk, eat early and be back by nine.",
)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def one_by_one(loaded: CausalLM, prompts: list[str], new_tokens: int) -> list[str]:
    """Answers of the plain model, the peer."""
    answers = []
    for prompt in prompts:
        text = render_prompt(loaded.tokenizer, [{"role": "user", "content": prompt}])
        inputs = loaded.tokenizer(text, add_special_tokens=False, return_tensors="pt").to(loaded.model.device)
        out = loaded.model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
        answers.append(loaded.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


def at_once(server: ModelServer, prompts: list[str], new_tokens: int) -> list[str]:
    """Answers of the server to as many clients as there are prompts."""
    with httpx.Client(base_url=server.url, timeout=600, limits=httpx.Limits(max_connections=len(prompts))) as client:

        def ask(prompt: str) -> str:
            messages = [{"role": "user", "content": prompt}]
            body = {"model": server.name, "messages": messages, "max_tokens": new_tokens, "temperature": 0}
            answer = client.post("/v1/chat/completions", json=body)
            answer.raise_for_status()
            return answer.json()["choices"][0]["message"]["content"]

        with ThreadPoolExecutor(len(prompts)) as pool:
            return list(pool.map(ask, prompts))


def measure(ref: str, requests: int, new_tokens: int, rounds: int) -> list[dict[str, Any]]:
    loaded = load_causal_lm(ref)
    prompts = [TEXTS[i % len(TEXTS)].format(i) for i in range(requests)]
    pairs = []
    with ModelServer(loaded, ServingConfig(port=0)) as server:
        # Warms both up.
        at_once(server, prompts[:2], 2)
        one_by_one(loaded, prompts[:1], 2)
        for _ in range(rounds):
            ours, answers = timed(lambda: at_once(server, prompts, new_tokens))
            peer, expected = timed(lambda: one_by_one(loaded, prompts, new_tokens))
            pairs.append((ours, peer))
            same = sum(answer == other for answer, other in zip(answers, expected, strict=True))
            print(f"{ours:.2f} s, one after another {peer:.2f} s, {same} of {requests} answers alike", flush=True)
    return [
        {
            "model": ref,
            "what": f"{requests} requests at once, {new_tokens} tokens each",
            "peer": "generate, one after another",
            "ours_s": statistics.median(ours for ours, _ in pairs),
            "peer_s": statistics.median(peer for _, peer in pairs),
            "ours_per_s": requests / statistics.median(ours for ours, _ in pairs),
            "peer_per_s": requests / statistics.median(peer for _, peer in pairs),
            "ratio": statistics.median(ours / peer for ours, peer in pairs),
            "rounds": rounds,
            "same_answers": same,
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="asset:smollm2-135m-instruct")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments.model, arguments.requests, arguments.new_tokens, arguments.rounds)
    table = Table("what", "requests/s", "peer", "requests/s", "seconds, as a ratio")
    for row in rows:
        table.add_row(
            row["what"], f"{row['ours_per_s']:.2f}", row["peer"], f"{row['peer_per_s']:.2f}", f"{row['ratio']:.3f}"
        )
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
