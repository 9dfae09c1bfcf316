"""`intarsia compress`: models with smaller embeddings, and what they are worth."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from intarsia.cli import console
from intarsia.errors import InputError

if TYPE_CHECKING:
    from intarsia.compress.see.methods import SEESettings
    from intarsia.compress.stages_config import StagesConfig
    from intarsia.compress.units import Lexicon

_HELP = ("-h", "--help")


class ModelFirst(TyperGroup):
    """A group whose command `run` may be left out, as in `intarsia compress MODEL`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `run` before options that belong to it."""
        if args and args[0].startswith("-") and args[0] not in _HELP:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Returns a command; of what is none, `run` with that as its model."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        if get_close_matches(cmd_name, self.commands, n=1, cutoff=0.75) and not Path(cmd_name).exists():
            ctx.fail(f"There is no command and no model {cmd_name!r}")  # which one was meant is added
        run: Any = copy.copy(super().get_command(ctx, "run"))
        make_context = run.make_context

        def with_model(info_name: str, args: list[str], parent: Any = None, **extra: Any) -> Any:
            return make_context("run", [cmd_name, *args], parent=parent, **extra)

        run.make_context = with_model
        return run


app = typer.Typer(cls=ModelFirst, add_completion=False, no_args_is_help=True, rich_markup_mode="rich")

_TRAINING = {"rich_help_panel": "Training"}
Settings = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE of a setting of see, hybrid, morphte and hashed; repeat.", metavar="PARAM"),
]
Data = Annotated[
    str | None, typer.Option(help="Text to train on: a .txt file or rows, see `intarsia data`.", **_TRAINING)
]
HeldOut = Annotated[
    str | None, typer.Option(help="Text to measure perplexity on; by default the end of --data.", **_TRAINING)
]
StateSteps = Annotated[int, typer.Option(min=0, help="Steps of stage 1: embeddings and hidden states.", **_TRAINING)]
DistilSteps = Annotated[
    int, typer.Option(min=0, help="Steps of stage 2: the original's output and the text.", **_TRAINING)
]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows of text in a step.", **_TRAINING)]
Length = Annotated[int, typer.Option(min=2, help="Tokens of a row.", **_TRAINING)]
HeadPositions = Annotated[
    int, typer.Option(min=0, help="Positions of a row that stage 2 computes logits at; 0 for all.", **_TRAINING)
]
LoraRank = Annotated[
    int, typer.Option(min=0, help="Rank of LoRA updates of the layers in stage 2, merged at the end.", **_TRAINING)
]


@app.callback()
def compress() -> None:
    """Make a model's embedding smaller: sums of tensor products (SEE), low rank, few bits.

    [cyan]intarsia compress MODEL[/cyan] is short for [cyan]intarsia compress run MODEL[/cyan]. Without a GPU and
    millions of tokens, look at [cyan]compare[/cyan] first: four bits are hard to beat.
    """


@app.command("run")
def compress_one(
    model: Annotated[str, typer.Argument(help="Hub id, folder, GGUF file or asset:NAME.")],
    output: Annotated[Path, typer.Option(help="Folder of the compressed model.")],
    method: Annotated[
        str, typer.Option(help="svd, see, hybrid, morphte, hashed, kronecker, tt, int8, int4, int3.")
    ] = "svd",
    ratio: Annotated[
        float | None, typer.Option(help="How many times fewer parameters; by default 10. Few bits have their own.")
    ] = None,
    param: Settings = None,
    data: Data = None,
    held_out: HeldOut = None,
    state_steps: StateSteps = 20,
    distil_steps: DistilSteps = 80,
    batch_size: BatchSize = 4,
    length: Length = 128,
    head_positions: HeadPositions = 0,
    lora_rank: LoraRank = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of everything drawn.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compress a model's embedding, and its output head if that is tied to it.

    With --data the compressed model then learns from the original, in two stages. Stopped at any point, the same
    command goes on where it was. The folder is a model like any other: generate, chat, evaluate and serve take it.

    [bold]Example[/bold]: intarsia compress run asset:smollm2-135m-instruct --method svd --ratio 10
    --data wikitext.txt --output runs/compressed
    """
    from intarsia.compress.registry import find_method
    from intarsia.errors import RunExistsError

    if output.exists() and not overwrite and (not output.is_dir() or any(output.iterdir())):
        raise RunExistsError(output, what="a model or other files")
    find_method(method).ratio(ratio)
    settings = _settings(param, [method])
    texts, probe = _texts(data, held_out)

    from intarsia.compress.running import run_compression
    from intarsia.experiments import provenance
    from intarsia.pipeline.progress import Stages

    stages = _stages(state_steps, distil_steps, batch_size, length, head_positions, lora_rank, seed) if data else None
    options = {"model": model, "method": method, "ratio": ratio, "data": data, "held_out": held_out}
    with _plain_warnings():
        result = run_compression(
            model,
            output,
            method,
            ratio,
            settings=settings,
            texts=texts,
            held_out=probe,
            stages=stages,
            seed=seed,
            record={**options, **_described(settings, stages), **provenance.collect(_command(), seed)},
            overwrite=overwrite,
            stage=Stages().stage,
        )
    if stages is not None and stages.steps and not result.curve:
        console.say(f"[yellow]note[/yellow]: {method} has nothing that learns, so it was not trained")
    if json:
        console.print_json(result.to_dict())
        return
    _print_sizes(result.statistics)
    if result.rows:
        _print_rows([vars(row) for row in result.rows])
    if result.curve:
        points = [vars(point) for point in result.curve]
        console.print_table(points, {"stage": "stage", "step": "step", "loss": "loss", "held_out_ce": "held-out CE"})
    console.out().print(result.verdict, soft_wrap=True)
    console.say(f"try: [cyan]intarsia chat {output}[/cyan]")


@app.command("compare")
def compare_methods(
    model: Annotated[str, typer.Argument(help="Hub id, folder, GGUF file or asset:NAME.")],
    ratios: Annotated[str, typer.Option(help="Ratios of parameters, with commas.")] = "5,10,20",
    methods: Annotated[str, typer.Option(help="Methods, with commas.")] = "int8,int4,int3,svd,see,hybrid",
    param: Settings = None,
    data: Data = None,
    held_out: HeldOut = None,
    state_steps: StateSteps = 0,
    distil_steps: DistilSteps = 0,
    batch_size: BatchSize = 4,
    length: Length = 128,
    head_positions: HeadPositions = 0,
    lora_rank: LoraRank = 0,
    rows: Annotated[int, typer.Option(min=1, help="Rows of held-out text that are measured.")] = 16,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of everything drawn.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Folder of table and plot; an interrupted run goes on.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Measure anew and replace what is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare methods and ratios on one model, and say which is the best buy.

    Perplexity is measured on held-out text. With steps of training, every method that can learn is trained alike.

    [bold]Example[/bold]: intarsia compress compare asset:smollm2-135m-instruct --ratios 5,10,20
    --held-out wikitext.txt --output runs/comparison
    """
    from dataclasses import asdict

    names = list(_words(methods))
    wanted = _numbers(ratios)
    settings = _settings(param, names)
    if not data and not held_out:
        raise InputError(
            "there is no text to measure on",
            fix="give --held-out TEXT, or --data TEXT: a .txt file, or a name that `intarsia data` lists",
        )
    texts, probe = _texts(data, held_out)

    from intarsia.compress.comparing import compare
    from intarsia.compress.drawing import draw_comparison, save_picture
    from intarsia.compress.texts import probe_rows
    from intarsia.experiments import provenance
    from intarsia.files import write_json
    from intarsia.models import load_causal_lm
    from intarsia.pipeline.progress import Stages

    trains = state_steps + distil_steps > 0
    stages = _stages(state_steps, distil_steps, batch_size, length, head_positions, lora_rank, seed) if trains else None
    options = {"model": model, "ratios": wanted, "methods": names, "data": data, "held_out": held_out, "rows": rows}
    record = {**options, **_described(settings, stages), "seed": seed}
    if output is not None:
        _check_output(output, model, record, overwrite=overwrite)
    progress = Stages()
    with progress.stage(f"load {model}"):
        loaded = load_causal_lm(model)
    held_out_rows = probe_rows(loaded, probe, length, limit=rows)
    with _plain_warnings():
        found = compare(
            loaded,
            names,
            wanted,
            held_out_rows,
            texts=texts,
            stages=stages,
            settings=settings,
            seed=seed,
            work=None if output is None else output / "rows",
            fresh=overwrite,
            stage=progress.stage,
        )
    if output is not None:
        write_json(output / "comparison.json", found.to_dict())
        write_json(output / "run.json", {"config": record, **provenance.collect(_command(), seed)})
        figure = draw_comparison(found.rows)
        for suffix in ("svg", "png"):
            save_picture(figure, output / f"comparison.{suffix}")
    if json:
        console.print_json(found.to_dict())
        return
    _print_rows([asdict(row) for row in found.rows])
    console.out().print(found.verdict, soft_wrap=True)
    if output is not None:
        console.say(f"table and plot: {output}")


@app.command("add-token")
def add_token(
    model: Annotated[str, typer.Argument(help="Any causal model, compressed or not.")],
    word: Annotated[str, typer.Argument(help="The word to add.")],
    output: Annotated[Path, typer.Option(help="Folder of the model that knows it.")],
    sememes: Annotated[
        list[str] | None,
        typer.Option(help="Sememes of a sense, with commas; repeat for more senses. By default the lexicon's."),
    ] = None,
    definition: Annotated[
        list[str] | None,
        typer.Option(help="A sense in words, of which the lexicon tells the sememes; repeat for more."),
    ] = None,
    pieces: Annotated[str | None, typer.Option(help="Its parts, with commas; by default the tokenizer's.")] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon of the vocabulary's words; by default WordNet's.")
    ] = None,
    pieces_only: Annotated[bool, typer.Option("--pieces-only", help="Look at pieces alone; needs no lexicon.")] = False,
    inside: Annotated[bool, typer.Option("--inside", help="It stands within words, not after a space.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give a model a word it never saw: its row follows from sememes and pieces, nothing is trained.

    [cyan]intarsia compress sememes WORD[/cyan] shows what sememes there are.

    [bold]Example[/bold]: intarsia compress add-token asset:smollm2-135m-instruct oncologist
    --definition "a physician who treats cancer" --output runs/oncologist
    """
    from intarsia.errors import RunExistsError

    if output.exists() and not overwrite and (not output.is_dir() or any(output.iterdir())):
        raise RunExistsError(output, what="a model or other files")
    if pieces_only and (sememes or definition or lexicon):
        raise InputError("--pieces-only gives no sense, but a lexicon or senses are given", fix="leave one out")

    from intarsia.compress.adding_tokens import NewWord
    from intarsia.compress.compressing import save_compressed
    from intarsia.compress.new_words import add_words_to_model
    from intarsia.models import load_causal_lm
    from intarsia.pipeline.progress import Stages

    senses = tuple(_words(sense) for sense in sememes) if sememes else () if pieces_only else None
    new = NewWord(
        word=word,
        senses=senses,
        definitions=tuple(definition or ()),
        pieces=_words(pieces) if pieces else None,
        starts_word=not inside,
    )
    progress = Stages()
    known = None
    if not pieces_only:
        with progress.stage("read the lexicon"):
            known = _lexicon(lexicon)
    with progress.stage(f"load {model}"):
        loaded = load_causal_lm(model)
    with progress.stage(f"add {word}"), _plain_warnings():
        (added,) = add_words_to_model(loaded, [new], lexicon=known)
    with progress.stage(f"write {output}"):
        save_compressed(loaded, output, source=model, overwrite=overwrite)
    if json:
        console.print_json({**added._asdict(), "output": str(output)})
        return
    lines: list[dict[str, Any]] = [
        {"key": "token", "value": added.token_id},
        {"key": "terms", "value": "; ".join(" x ".join(term) for term in added.terms)},
        {"key": "nearest words", "value": ", ".join(added.nearest)},
        {"key": "output", "value": str(output)},
    ]
    console.print_table(lines, {"key": "", "value": ""})


@app.command("sememes")
def look_up(
    words: Annotated[list[str], typer.Argument(help="Words, in any form.")],
    lexicon: Annotated[Path | None, typer.Option(help="A lexicon; by default WordNet's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look words up: their senses, the sememes of each, and whether a word is a sememe itself.

    [bold]Example[/bold]: intarsia compress sememes physician cancer
    """
    known = _lexicon(lexicon)
    senses = {word: known.lookup(word) for word in words}
    themselves = [word for word in words if word.lower() in known.sememes]
    for word, found in senses.items():
        if not found and word not in themselves:
            raise InputError(f"the lexicon has no word {word!r}", fix="look up a word of like meaning")
    if json:
        told = {word: [sense._asdict() for sense in found] for word, found in senses.items()}
        console.print_json({"senses": told, "sememes_themselves": themselves})
        return
    lines = [
        {"word": word, "sense": number, "sememes": ", ".join(sense.sememes), "class": sense.lexname}
        for word, found in senses.items()
        for number, sense in enumerate(found, start=1)
    ]
    console.print_table(lines, {"word": "word", "sense": "sense", "sememes": "sememes", "class": "class"})
    if themselves:
        console.out().print(f"Sememes themselves: {', '.join(themselves)}.", soft_wrap=True)


def _lexicon(path: Path | None) -> "Lexicon":
    from intarsia.compress.units import Lexicon, default_lexicon

    return Lexicon.read(path) if path else default_lexicon()


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Shows warnings as messages to a user, without the place in the code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning, module="intarsia")
        warnings.showwarning = lambda message, *rest, **more: console.say(f"[yellow]warning[/yellow]: {message}")
        yield


def _settings(param: list[str] | None, methods: list[str]) -> "SEESettings | None":
    """The settings of the methods that have any; refuses one that none of them reads."""
    from intarsia.compress.registry import find_method
    from intarsia.merge.settings import make_settings

    values = console.parse_assignments(param or [], "--param")
    chosen = [find_method(name) for name in methods]
    if not any(method.fitted for method in chosen):
        if values:
            raise InputError(f"{', '.join(methods)} has no settings", fix="leave --param out")
        return None

    from intarsia.compress.see.methods import SEESettings

    fitted = [method for method in chosen if method.fitted]
    settings = make_settings(SEESettings, values, what=f"compression method {fitted[0].name!r}")
    for name in values:
        if all(name in method.unread for method in fitted):
            raise InputError(
                f"{' and '.join(method.name for method in fitted)} does not read the setting {name!r}",
                where="--param",
                fix="leave it out, or choose see",
            )
    return settings


def _texts(data: str | None, held_out: str | None) -> tuple[list[str], list[str]]:
    from intarsia.compress.running import held_out_part
    from intarsia.compress.texts import read_texts

    texts = read_texts(data) if data else []
    if held_out:
        return texts, read_texts(held_out)
    return held_out_part(texts) if texts else ([], [])


def _stages(state: int, distil: int, batch: int, length: int, positions: int, rank: int, seed: int) -> "StagesConfig":
    from intarsia.compress.stages_config import StagesConfig

    return StagesConfig(
        state_steps=state,
        distil_steps=distil,
        batch_size=batch,
        length=length,
        head_positions=positions,
        lora_rank=rank,
        seed=seed,
    )


def _described(settings: "SEESettings | None", stages: "StagesConfig | None") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "settings": None if settings is None else asdict(settings),
        "stages": None if stages is None else asdict(stages),
    }


def _check_output(output: Path, model: str, wanted: dict[str, Any], *, overwrite: bool) -> None:
    """Refuses a folder with anything but this comparison, or the rows of one that was interrupted."""
    import json as json_module

    from intarsia.errors import RunExistsError
    from intarsia.files import read_json

    if output.is_file():
        raise InputError("the output is a file", where=output, fix="name a folder")
    if Path(model).is_dir() and output.is_dir() and Path(model).samefile(output):
        raise InputError("the output is the model itself", where=output, fix="name another folder")
    if overwrite or not output.exists():
        return
    record = output / "run.json"
    if record.is_file():
        if read_json(record).get("config") != json_module.loads(json_module.dumps(wanted)):
            raise RunExistsError(output, what="a comparison with other settings")
    elif any(path.name != "rows" for path in output.iterdir()):
        raise RunExistsError(output, what="other files")


def _command() -> str:
    import shlex
    import sys

    return shlex.join(["intarsia", *sys.argv[1:]])


def _print_sizes(found: Any) -> None:
    rows = [
        {
            "part": "embedding",
            "original": f"{found['dense_bytes'] / 1e6:.1f} MB",
            "compressed": f"{found['bytes'] / 1e6:.1f} MB",
            "times": found["byte_ratio"],
        },
        {
            "part": "whole model",
            "original": f"{found['dense_model_bytes'] / 1e6:.1f} MB",
            "compressed": f"{found['model_bytes'] / 1e6:.1f} MB",
            "times": found["model_byte_ratio"],
        },
    ]
    console.print_table(
        rows, {"part": "", "original": "original", "compressed": "compressed", "times": "times smaller"}
    )
    if "units" in found:
        _print_units(found["units"])


def _print_units(found: Any) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found["units"].items(), key=lambda pair: -pair[1]))
    console.out().print(
        f"units: {kinds}; {found['one_user']:,} of one token alone. Of {found['words']:,} words "
        f"{found['share_found']:.0%} have senses, {found['mean_senses']:.1f} on average. "
        f"Tokens with the same terms as another: {found['colliding_tokens']:,}.",
        soft_wrap=True,
    )


def _print_rows(rows: list[dict[str, Any]]) -> None:
    shown = [row | {"megabytes": row["bytes"] / 1e6} for row in rows]
    headings = {
        "method": "method",
        "ratio": "asked",
        "parameter_ratio": "parameters, times fewer",
        "megabytes": "embedding, MB",
        "byte_ratio": "bytes, times fewer",
        "model_byte_ratio": "whole model",
        "centred_error": "centred error",
        "fitted_perplexity": "PPL, fitted",
        "perplexity": "PPL",
        "trained": "trained",
    }
    if not any(row["trained"] for row in rows):
        # Without training the two perplexities are the same.
        del headings["fitted_perplexity"], headings["trained"]
    console.print_table(shown, headings)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in _words(text)]
    except ValueError:
        raise InputError(f"--ratios {text!r} is not a list of numbers", fix="write --ratios 5,10,20") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
