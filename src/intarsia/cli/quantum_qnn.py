"""`intarsia quantum qnn`: train a quantum neural network and watch where information goes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intarsia.cli import console
from intarsia.errors import InputError

if TYPE_CHECKING:
    from intarsia.quantum.qnn.config import CircuitConfig, DataConfig, TrainingConfig
    from intarsia.quantum.qnn.trials import TrackedRun

RUNS, HISTORY, VERDICT = "runs.jsonl", "history.json", "verdict.txt"


def qnn(
    data: Annotated[
        str, typer.Option(help="iris, digits, breast-cancer, wine, mnist, fashion-mnist, or a .csv or .npz file.")
    ] = "iris",
    classes: Annotated[str, typer.Option(help="Labels that take part, e.g. 3,6; empty: the data's own choice.")] = "",
    label: Annotated[str, typer.Option(help="Column (CSV) or array (NPZ) of the labels.")] = "y",
    train: Annotated[int, typer.Option(help="Training samples; 0: 70 % of all, of named sets at most 200.")] = 0,
    test: Annotated[int, typer.Option(help="Test samples at most; 0: all others.")] = 0,
    qubits: Annotated[int, typer.Option(help="Number of qubits.")] = 4,
    layers: Annotated[int | None, typer.Option(help="Layers; by default 6, or as many as a tree has.")] = None,
    circuit: Annotated[str, typer.Option(help="ring, cz-ring, strong, brick-wall or tree.")] = "ring",
    encoding: Annotated[str, typer.Option(help="angle or amplitude.")] = "angle",
    measured: Annotated[str, typer.Option(help="Measured qubits; 0 is the most significant bit.")] = "0",
    reupload: Annotated[
        bool, typer.Option("--reupload", help="Encode the data before every layer; needs --definitions holevo.")
    ] = False,
    single: Annotated[bool, typer.Option("--single", help="Train in single precision.")] = False,
    allow_large: Annotated[bool, typer.Option("--allow-large", help="Allow more than 12 qubits.")] = False,
    loss: Annotated[str, typer.Option(help="squared or logistic.")] = "squared",
    initialisation: Annotated[str, typer.Option(help="uniform or small.")] = "uniform",
    epochs: Annotated[int, typer.Option(help="Passes over the training samples.")] = 70,
    batch_size: Annotated[int, typer.Option(help="Samples in one step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Adam's learning rate.")] = 0.02,
    definitions: Annotated[str, typer.Option(help="What is tracked.")] = "choi,data,holevo",
    every: Annotated[int, typer.Option(help="Epochs between two measurements; 5 or more from 10 qubits.")] = 1,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the training samples; 0: none.")] = 200,
    seeds: Annotated[
        int, typer.Option(help="Seeds, each with real and with shuffled labels; fewer than 4 cannot beat the null.")
    ] = 4,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    engine: Annotated[str, typer.Option(help="Where runs are trained: serial, local, ray or ray://HOST:PORT.")] = (
        "serial"
    ),
    workers: Annotated[int | None, typer.Option(help="Runs at once, except with serial.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of models, histories, verdict and report.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop what the folder holds.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Train a quantum neural network, track mutual information in bits, and judge the paper's two claims.

    Every seed is run with real and with shuffled labels, which is the null. A reconstruction: only the paper's abstract
    was available. Stopped at any point, the same command with --output goes on from the last finished epoch.

    [bold]Examples[/bold]: intarsia quantum qnn --data iris --qubits 4 --seeds 6 --output runs/qnn

    intarsia quantum qnn --data digits --encoding amplitude --qubits 6 --train 200 --output runs/digits
    """
    from intarsia.quantum.qnn.config import CircuitConfig, DataConfig, TrainingConfig

    if seeds < 1:
        raise InputError(f"--seeds is {seeds}, but at least one run is needed")
    samples = DataConfig(data, tuple(_words(classes)), label, train, test)
    layout = CircuitConfig(
        qubits=qubits,
        layers=layers,
        family=circuit,
        encoding=encoding,
        measured=_qubits(measured),
        reupload=reupload,
        precision="single" if single else "double",
        allow_large=allow_large,
    )
    training = TrainingConfig(
        loss=loss,
        initialisation=initialisation,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        definitions=tuple(_words(definitions)),
        every=every,
        seed=seed,
    )
    if output is not None:
        _open(output, {"data": samples, "circuit": layout, "training": training, "resamples": resamples}, overwrite)
    runs = _run(samples, layout, training, range(seed, seed + seeds), resamples, engine, workers, output, not json)
    _show(runs, samples, layout, training, output, json)


def _run(
    data: "DataConfig",
    circuit: "CircuitConfig",
    training: "TrainingConfig",
    seeds: range,
    resamples: int,
    engine: str,
    workers: int | None,
    output: Path | None,
    progress: bool,
) -> "list[TrackedRun]":
    from intarsia.engine import sweep
    from intarsia.quantum.qnn.trials import TrackedRun, run_trial, seed_trials

    folder = None if output is None else (output / "models").as_posix()
    outcomes = sweep(
        run_trial,
        seed_trials(data, circuit, training, seeds, resamples=resamples, folder=folder),
        output=None if output is None else output / RUNS,
        backend=engine,
        workers=workers,
        on_error="raise",
        description="training",
        progress=progress,
    )
    return [TrackedRun(**outcome.value) for outcome in outcomes if outcome.value is not None]


def _show(
    runs: "list[TrackedRun]",
    data: "DataConfig",
    circuit: "CircuitConfig",
    training: "TrainingConfig",
    output: Path | None,
    json: bool,
) -> None:
    from intarsia.quantum.qnn.page import qnn_report, summary_rows
    from intarsia.quantum.qnn.verdict import verdict_text

    text, rows = verdict_text(runs, data, circuit, training), summary_rows(runs, training.definitions)
    if output is not None:
        from intarsia import files
        from intarsia.experiments.report import write_report

        files.write_json(output / HISTORY, [run._asdict() for run in runs])
        files.write_text(output / VERDICT, text + "\n")
        record = files.read_json(output / "run.json")
        provenance = {name: value for name, value in record.items() if name != "config"}
        page = write_report(qnn_report(runs, data, circuit, training, provenance), output)
    if json:
        console.print_json({"verdict": text, "runs": [run._asdict() for run in runs], "summary": rows})
        return
    _print_runs(rows)
    console.out().print(text, markup=False, soft_wrap=True)
    if output is not None:
        console.say(f"information plane, curves and runs: {page}")


def _print_runs(rows: list[dict[str, Any]]) -> None:
    headings = {
        "labels": "labels",
        "seed": "seed",
        "loss": "loss",
        "test_accuracy": "test acc.",
        "logistic_regression": "logistic\nregression",
        "chi_end": "chi(Y:Mo)\nat the end",
    }
    for definition in ("data", "choi"):
        headings |= {
            f"{definition}_di_mo_start": f"I(Di:Mo)\n{definition}, start",
            f"{definition}_di_mo_end": "end",
            f"{definition}_k1": "K1",
            f"{definition}_mi_mo_range": f"I(Mi:Mo)\n{definition}, range",
            f"{definition}_k2": "K2",
        }
    console.print_table(
        rows,
        {key: heading for key, heading in headings.items() if key in rows[0]},
        title="Runs (reconstruction; information in bits)",
    )


def _open(output: Path, configs: dict[str, Any], overwrite: bool) -> None:
    """Writes what is run into the folder; refuses a folder with something else."""
    import json as json_module
    import shlex
    import shutil
    import sys
    from dataclasses import asdict

    from intarsia.errors import RunExistsError
    from intarsia.experiments import provenance
    from intarsia.files import read_json, write_json

    record = output / "run.json"
    settings = json_module.loads(json_module.dumps(configs, default=asdict))
    if output.exists() and overwrite:
        shutil.rmtree(output)
    if record.exists() and read_json(record)["config"] != settings:
        raise RunExistsError(output, what="runs with other settings")
    if output.exists() and not record.exists() and any(output.iterdir()):
        raise RunExistsError(output, what="other files")
    command = shlex.join(["intarsia", *sys.argv[1:]])
    write_json(record, {"config": settings, **provenance.collect(command, configs["training"].seed)})


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _qubits(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise InputError(f"--measured {text!r} is not a list of qubits", fix="write --measured 0,1") from None
