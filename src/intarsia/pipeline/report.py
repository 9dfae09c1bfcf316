"""The report of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.experiments import plots
from intarsia.experiments.cells import Cell, Estimate
from intarsia.experiments.records import Figure
from intarsia.experiments.report import Highlight, Report, Section, Table
from intarsia.files import read_json
from intarsia.finetune.runs import HISTORY
from intarsia.pipeline.recipe import Recipe
from intarsia.pipeline.results import RunResult, expert_name


def run_report(recipe: Recipe, result: RunResult, record: Mapping[str, Any]) -> Report:
    """Returns the page that shows what a run did and found.

    Args:
        recipe: The run's recipe.
        result: Its figures.
        record: The content of its `run.json`.
    """
    model = result.system(result.merged)
    highlights = [_highlight("of the experts' quality kept", model.normalised)]
    if result.margin:
        best = max(result.margin, key=lambda name: result.system(name).normalised.value)
        difference = result.margin[best]
        highlights.append(
            Highlight(
                f"points above {_plain(best)}, the best static merge",
                f"{difference.mean:+.1f}",
                f"95 % interval {difference.low:+.1f} to {difference.high:+.1f}",
            )
        )
    routed = sum(result.router_accuracy.values()) / len(result.router_accuracy)
    highlights.append(Highlight("of prompts routed to their own expert", f"{routed:.1f} %"))
    return Report(
        title=recipe.name,
        intro=(
            f"{len(recipe.tasks)} experts were trained from {recipe.model}, one a task, and fitted into one model that "
            "mixes their residuals for each prompt.\n\n"
            "Every figure is measured on rows that neither training nor any choice of settings has seen."
        ),
        highlights=highlights,
        sections=[
            _systems(recipe, result),
            _interference(result),
            _router(result),
            _training(recipe, result.folder),
            _use(recipe, result),
        ],
        provenance={key: value for key, value in record.items() if key != "recipe"},
    )


def _highlight(label: str, value: Estimate) -> Highlight:
    return Highlight(label, f"{value.value:.1f} %", f"95 % interval {value.low:.1f} to {value.high:.1f}")


def _plain(system: str) -> str:
    return system.replace("_", " ")


def _systems(recipe: Recipe, result: RunResult) -> Section:
    tasks = list(recipe.tasks)
    shown = [system for system in result.systems if system.kind != "expert"]
    rows: list[list[Cell]] = [["each task's own expert", *(result.own[task] for task in tasks), Estimate(100.0), ""]]
    for system in shown:
        rows.append(
            [
                _plain(system.name),
                *(system.accuracy[task] for task in tasks),
                system.normalised,
                ", ".join(f"{key} {value:g}" for key, value in system.settings.items()),
            ]
        )
    highlight = [1 + index for index, system in enumerate(shown) if system.name == result.merged]
    scores = {_plain(system.name): {"normalised score": system.normalised} for system in shown}
    closed = [system for system in shown if system.choice]
    return Section(
        "One model for all tasks",
        text=(
            "Accuracy is the share of rows that greedy decoding answers exactly, in percent. The model is not told the "
            "task or the possible answers. The normalised score is the mean over tasks of the accuracy as a share of "
            "the task's own expert's.\n\n"
            "The static merges are one set of weights for all prompts; their settings are those that did best on the "
            "dev rows. The merged model has been told nothing: its router chooses from the prompt."
        ),
        tables=[
            Table(["system", *tasks, "normalised", "settings"], rows, highlight=highlight),
            Table(
                ["system", *tasks],
                [[_plain(system.name), *(system.choice.get(task) for task in tasks)] for system in closed],
                title="When held to the task's labels",
                caption="The likeliest of the task's own labels: easier, since the caller names the task.",
                folded=True,
            ),
        ],
        figures=[
            plots.bar_with_intervals(
                scores,
                title="Quality kept, % of the experts'",
                label="normalised score, %",
                caption="Bars are 95 % bootstrap intervals over test rows.",
                reference=100.0,
            )
        ],
    )


def _interference(result: RunResult) -> Section:
    tasks = list(result.own)
    by_name = {system.name: system for system in result.systems}
    names = [*(expert_name(task) for task in tasks), result.merged]
    matrix = [[by_name[name].accuracy[task] for task in tasks] for name in names]
    return Section(
        "What an expert costs elsewhere",
        text="An expert is good at its own task and lost at the others. The last row is the merged model.",
        figures=[
            plots.heatmap(
                matrix,
                names,
                tasks,
                title="Exact answers, %",
                row_label="system",
                column_label="task",
            )
        ],
    )


def _router(result: RunResult) -> Section:
    return Section(
        "The router",
        text=(
            "The router reads the shared model's states of the prompt and weighs the experts. Its largest weight is "
            f"{result.router_confidence:.2f} on average: the nearer to 1, the more soft mixing is in fact a choice."
        ),
        tables=[
            Table(
                ["task", "prompts routed to their own expert, %"],
                [[task, accuracy] for task, accuracy in result.router_accuracy.items()],
            )
        ],
    )


def _training(recipe: Recipe, folder: Path) -> Section:
    logs = {task: read_json(folder / "experts" / task / HISTORY)["log"] for task in recipe.tasks}
    loss_steps, losses = _by_step(logs, "loss")
    metric_steps, metrics = _by_step(logs, "miub")
    figures: list[Figure] = [
        plots.lines(loss_steps, losses, title="Training loss", xlabel="step", ylabel="loss", markers=False)
    ]
    if metric_steps:
        figures.append(
            plots.lines(
                metric_steps,
                metrics,
                title="Internal mutual information (MIUB)",
                xlabel="step",
                ylabel="MIUB, nats",
                caption=(
                    "How strongly the features of the LoRA branch depend on those of the frozen branch, mean over "
                    "adapted modules. It is 0 before training and comparable between runs trained alike."
                ),
            )
        )
    return Section("Training the experts", figures=figures)


def _by_step(logs: Mapping[str, list[dict[str, float]]], key: str) -> tuple[list[float], dict[str, list[float | None]]]:
    """Values of a logged quantity at all steps any expert logged it; experts may have trained for different times."""
    by_task = {task: {entry["step"]: entry[key] for entry in log if key in entry} for task, log in logs.items()}
    steps = sorted({step for values in by_task.values() for step in values})
    return steps, {task: [values.get(step) for step in steps] for task, values in by_task.items()}


def _use(recipe: Recipe, result: RunResult) -> Section:
    return Section(
        "Use it",
        text=(
            f"`intarsia chat {result.model}`\n\n"
            f'`intarsia generate {result.model} "..."`\n\n'
            f'In Python: `import intarsia`, then `AutoModelForCausalLM.from_pretrained("{result.model}")`.\n\n'
            f'Each prompt is asked under the instruction "{recipe.instruction}", which the model\'s chat template adds.'
        ),
    )
