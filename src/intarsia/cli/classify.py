"""`intarsia classify`: texts in, labels out, by a chat model that compares labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from intarsia.cli import console


@contextmanager
def _transcripts(path: Path | None, resumed: bool) -> Iterator[Any]:
    """Opens the file of transcripts, if there is to be one; a resumed run adds to it."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if resumed else "w", encoding="utf-8") as file:
        yield file


def classify(
    texts: Annotated[
        Path, typer.Argument(help="JSONL, CSV or TSV with text and perhaps id; or .txt, one text a line.")
    ],
    labels: Annotated[
        Path,
        typer.Option(help="Labels: .txt, one a line (a tab and a description may follow), .json, or rows with label."),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="asset:NAME, folder, hf/OWNER/NAME, http://HOST/v1#NAME, replay:FILE, openai/NAME, ..."),
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(help="Texts with labels to show where two labels are compared; rows of text and label."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="two_stage, direct, direct_cot, few_shot, self_consistency or encoder.")
    ] = "two_stage",
    reducer: Annotated[
        str, typer.Option(help="First stage: itr, cbwr, remove, self_consistency, one_shot, encoder, supervised.")
    ] = "itr",
    duel: Annotated[
        str, typer.Option(help="Second stage: pc_cot, zero_shot, zero_shot_cot, few_shot, few_shot_cot.")
    ] = "pc_cot",
    tournament: Annotated[str, typer.Option(help="king, round_robin or single_elimination.")] = "king",
    k: Annotated[int, typer.Option("--k", help="Candidates that reach the second stage.")] = 5,
    shots: Annotated[int, typer.Option(help="Examples of each label in a duel.")] = 3,
    demonstrations: Annotated[str, typer.Option(help="Which examples: boundary, center or random.")] = "boundary",
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Hold each duel with the labels in both orders.")
    ] = False,
    abstain_below: Annotated[float, typer.Option(help="Confidence under which a text gets no label.")] = 0.0,
    encoder: Annotated[str, typer.Option(help="Sentence encoder: hub id, folder or asset:NAME.")] = "asset:minilm-l6",
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 200,
    max_characters: Annotated[int, typer.Option(help="Texts are cut after so many characters.")] = 512,
    context_tokens: Annotated[int, typer.Option(help="What the model reads at once, in tokens.")] = 8192,
    seed: Annotated[int, typer.Option(help="Seed of all shuffles.")] = 0,
    base_url: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible API that has the model.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Texts worked on at once.")] = 10,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Most calls; the run stops there and can go on.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="JSONL file of all answers; what it holds is not asked again.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="JSONL file of results, resumed if it exists; default stdout.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output instead of going on with it.")
    ] = False,
    ordered: Annotated[bool, typer.Option("--ordered", help="Results in the order of the texts.")] = False,
    transcripts: Annotated[Path | None, typer.Option(help="JSONL file for all questions and answers.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many calls it takes, and stop.")] = False,
) -> None:
    """Classify texts with a chat model, without training, among many labels that are easily confused.

    One JSON line a text is written as soon as it is done: id, label, confidence, candidates, calls. The same command
    with the same --output goes on where it was stopped.

    [bold]Example[/bold]: intarsia classify tickets.jsonl --labels intents.txt --model openai/gpt-4o-mini
    """
    import hashlib
    import json
    from contextlib import ExitStack
    from dataclasses import asdict

    from intarsia.classification.batches import classify_batch
    from intarsia.classification.classifier import Classifier
    from intarsia.classification.config import ClassifierConfig
    from intarsia.classification.output import ResultFile
    from intarsia.classification.reading import read_examples, read_labels, read_texts
    from intarsia.classification.results import Classification
    from intarsia.engine.progress import ProgressBar
    from intarsia.errors import InputError, IntarsiaError
    from intarsia.evals.background import run
    from intarsia.evals.resolving import chat_model
    from intarsia.models.sentence_encoder import SentenceEncoder

    config = ClassifierConfig(
        method=method,
        reducer=reducer,
        duel=duel,
        tournament=tournament,
        k=k,
        shots=shots,
        demonstrations=demonstrations,
        both_orders=both_orders,
        abstain_below=abstain_below,
        max_tokens=max_tokens,
        max_characters=max_characters,
        context_tokens=context_tokens,
        seed=seed,
    )
    items, known = read_texts(texts), read_labels(labels)
    shown = read_examples(examples) if examples is not None else None
    if model is None and config.asks:
        raise InputError("no model given", fix="give --model, or ask none: --method encoder")
    asked = None
    if model is not None and config.asks:
        asked = chat_model(model, base_url=base_url, record=record, concurrency=concurrency, max_calls=max_calls)
    classifier = Classifier(
        asked,
        known,
        config,
        examples=shown,
        encoder=SentenceEncoder(encoder),
        exclude=[item.text for item in items],
        keep_transcripts=transcripts is not None,
    )
    settings = {
        "config": asdict(config),
        "model": asked.name if asked is not None else None,
        "encoder": encoder,
        "labels": {name: known.descriptions.get(name, "") for name in known.names},
        "examples": hashlib.sha256(json.dumps(shown).encode()).hexdigest(),
    }
    with ExitStack() as files:
        results = files.enter_context(ResultFile(output, settings, overwrite=overwrite)) if output is not None else None
        notes = files.enter_context(_transcripts(transcripts, results is not None and bool(results.done)))
        left = [item for item in items if results is None or item.id not in results.done]
        calls = classifier.estimate(len(left))
        again = f", {len(items) - len(left)} are done already" if len(left) < len(items) else ""
        pairs = f", and at most {calls.pairs} about pairs of labels" if calls.pairs else ""
        console.say(
            f"{len(left)} texts, {len(known)} labels{again}: {calls.per_text} calls each{pairs}; "
            f"at most {calls.total} in all"
        )
        if max_calls is not None and calls.total > max_calls:
            console.say(f"the run stops after {max_calls} calls and can go on with a larger --max-calls")
        if dry_run:
            return

        def emit(found: Classification) -> None:
            record = found.to_record()
            if results is not None:
                results.append(record)
            else:
                typer.echo(json.dumps(record, ensure_ascii=False))
            if notes is not None:
                exchanges = [asdict(exchange) for exchange in found.transcript]
                notes.write(json.dumps({"id": found.id, "exchanges": exchanges}, ensure_ascii=False) + "\n")
                notes.flush()

        with ProgressBar("classify", len(left)) as bar:
            try:
                report = run(
                    classify_batch(
                        classifier,
                        left,
                        emit,
                        concurrency=concurrency,
                        ordered=ordered,
                        progress=lambda done, failed: bar.update(completed=done + failed, failed=failed),
                    )
                )
            finally:
                if notes is not None:
                    for pair, turns in classifier.pairs.items():
                        record_of_pair = {"pair": pair, "turns": [asdict(turn) for turn in turns]}
                        notes.write(json.dumps(record_of_pair, ensure_ascii=False) + "\n")
    if report.cut:
        console.say(f"{report.cut} texts were longer than {max_characters} characters; their ends were left out")
    if report.abstained:
        console.say(f"{report.abstained} texts have no label")
    console.say(classifier.cost.describe())
    if report.failures:
        first = report.failures[0]
        raise IntarsiaError(
            f"{len(report.failures)} texts could not be classified; the first one: {first.error}",
            where=first.id,
            fix="run the same command again: what is done is not asked again"
            if output
            else "give --output, and run again",
        )
