"""`intarsia quantum`: how much information a state carries, and what a quantum neural network knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intarsia.cli import console
from intarsia.cli.quantum_qnn import qnn

if TYPE_CHECKING:
    from intarsia.quantum.posterior.chain import PosteriorChain

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def quantum() -> None:
    """Account for the information in quantum states and quantum neural networks.

    Example: intarsia quantum posterior ghz --qubits 3
    """


@app.command()
def posterior(
    state: Annotated[
        str,
        typer.Argument(
            help="A .npy file of amplitudes or of a density matrix; or ghz, w, and at random haar, product, "
            "stabilizer, ghz-noise, real, symmetric."
        ),
    ],
    qubits: Annotated[int, typer.Option(help="Qubits of a named state.")] = 2,
    order: Annotated[
        str, typer.Option(help="desc, asc (by size), weight, random, or all strings with commas between.")
    ] = "desc",
    estimator: Annotated[str, typer.Option(help="What predicts: maxent, interval or least-norm.")] = "maxent",
    divergence: Annotated[str, typer.Option(help="What a residual counts: sq, chi2 or kl.")] = "sq",
    eps: Annotated[float, typer.Option(help="Share of the maximally mixed state that is mixed in.")] = 1e-3,
    stop_below: Annotated[
        float, typer.Option(help="End when so few bits are left; the rest is bounded. 0 walks all components.")
    ] = 1e-6,
    seed: Annotated[int, typer.Option(help="Of random states and the random order.")] = 0,
    normalise: Annotated[bool, typer.Option("--normalise", help="Divide the state by its norm.")] = False,
    reverse_qubits: Annotated[
        bool, typer.Option("--reverse-qubits", help="The file has the least significant qubit first, as Qiskit.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on with more than 5 qubits.")] = False,
    rows: Annotated[int, typer.Option(min=0, help="Rows of the table to print; 0 for all.")] = 40,
    plot: Annotated[Path | None, typer.Option(help="Draw the cumulative curve into a .svg, .png or .pdf.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, certificates too.")] = False,
) -> None:
    """Say which Pauli components of a state carry information and which follow from the others.

    Reconstruction: the definitions fit the abstracts of the paper, whose own text was not at hand.

    Examples: [cyan]intarsia quantum posterior haar --qubits 3 --order weight[/cyan],
    [cyan]intarsia quantum posterior ghz --qubits 2 --estimator interval --json[/cyan]
    """
    import warnings

    from intarsia.engine.progress import ProgressBar
    from intarsia.quantum.posterior.chain import MixedStateWarning, posterior_chain
    from intarsia.quantum.posterior.config import ChainConfig
    from intarsia.quantum.posterior.figures import check_picture_path, draw_cumulative, save_picture
    from intarsia.quantum.states import named_state, read_state

    config = ChainConfig(estimator=estimator, divergence=divergence, eps=eps, stop_below=stop_below, force=force)
    if plot is not None:
        check_picture_path(plot)
    if state.endswith(".npy"):
        array = read_state(state, normalise=normalise, reverse_qubits=reverse_qubits)
    else:
        array = named_state(state, qubits, seed=seed, force=force)
    walk = [label.strip() for label in order.split(",")] if "," in order else order
    with (
        warnings.catch_warnings(record=True) as caught,
        ProgressBar("components", array.shape[0] ** 2 - 1, shown=not json) as bar,
    ):
        warnings.simplefilter("always")
        chain = posterior_chain(
            array, walk, config, seed=seed, progress=lambda done: bar.update(completed=done, failed=0)
        )
    for warning in {str(item.message): item for item in caught}.values():
        kind = "note" if issubclass(warning.category, MixedStateWarning) else "warning"
        console.say(f"{kind}: {warning.message}")
    name = state if state.endswith(".npy") or state in ("ghz", "w") else f"{state}, seed {seed}"
    walked = "own order" if isinstance(walk, list) else f"order {order}" + f", seed {seed}" * (order == "random")
    if plot is not None:
        save_picture(draw_cumulative(chain, title=f"{Path(name).name}, {walked}, {estimator}"), plot)
        console.say(f"wrote {plot}")
    if json:
        console.print_json({"state": state, "order": order, "seed": seed, **chain.to_json()})
        return
    _show(chain, rows, f"{name}: {chain.n} qubits, {walked}, {estimator}, {divergence}, eps {eps:g}")


def _show(chain: "PosteriorChain", rows: int, walk: str) -> None:
    interval = chain.config.estimator == "interval"
    columns = {"label": "component", "value": "true r", "prediction": "predicted m"}
    if interval:
        columns |= {"lower": "lower", "upper": "upper"}
    columns |= {"information": "information", "cumulative": "so far", "status": "status"}
    columns |= (
        {"gap": "proof less\nattained", "proof": "certificate"} if interval else {"gap": "worst miss\nof the known"}
    )
    walked = [row for row in chain.components if row.status != "skipped"]
    shown = walked[: rows or None]
    console.print_table(
        [
            {
                **{name: _rounded(getattr(row, name)) for name in columns if name not in ("gap", "proof")},
                "gap": None if row.gap is None else f"{row.gap:.0e}" if row.gap else "0",
                "proof": f"{len(row.certificate.upper)} + {len(row.certificate.lower)} weights"
                if row.certificate
                else None,
            }
            for row in shown
        ],
        columns,
        title=f"Posterior information (reconstruction) of {walk}",
    )
    hidden, skipped = len(walked) - len(shown), len(chain.components) - len(walked)
    if hidden:
        console.say(f"{hidden} more rows; --rows 0 shows all")
    if skipped:
        console.say(f"{skipped} components skipped: they add at most {chain.remainder:.2g}; --stop-below 0 walks them")
    if chain.failed:
        console.say(f"{chain.failed} rows failed, so there is no total; a larger --eps keeps the state off the border")
    console.print_table(_totals(chain), {"what": "", "value": "value"})


def _rounded(value: Any) -> Any:
    """What is zero but for rounding, as zero."""
    return 0.0 if isinstance(value, float) and abs(value) < 1e-12 else value


def _totals(chain: "PosteriorChain") -> list[dict[str, str]]:
    unit = ", bits" if chain.config.divergence == "kl" else ""
    if chain.total is None:
        lines: list[tuple[str, float | None]] = [("total: none, a row failed", None)]
    else:
        lines = [(f"total ({chain.config.divergence}){unit}", chain.total)]
        if chain.remainder:
            lines.append(("at most, with what was skipped", chain.total + chain.remainder))
    if chain.config.estimator == "maxent":
        lines.append(("proved bound of I_KL, bits (T2)", chain.bounds.kl))
        lines.append(("proved bound of I_post (T3)", chain.bounds.sq))
        if chain.bounds.conjecture is not None:
            lines.append(("conjectured bound of I_post as eps goes to 0 (C1), not proved", float(chain.n)))
            lines.append(
                ("what it corresponds to here, n (1 - eps)^2, up to terms of order eps", chain.bounds.conjecture)
            )
    # Totals meet bounds in the last digits.
    return [{"what": what, "value": "–" if value is None else f"{value:.6f}"} for what, value in lines]


@app.command()
def bound(
    qubits: Annotated[int, typer.Option(help="Number of qubits.")],
    paulis: Annotated[
        str | None,
        typer.Option(help="Also bound the sum of squares of these strings over all states; commas between."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the bounds as JSON.")] = False,
) -> None:
    """Print what is proved and what is conjectured about the information in a pure state.

    Example: intarsia quantum bound --qubits 3 --paulis XII,YII,ZII
    """
    from intarsia.quantum.paulis import check_label
    from intarsia.quantum.posterior.bounds import information_bounds

    found = information_bounds(qubits)
    rows: list[dict[str, Any]] = [
        {"quantity": "I_KL, bits", "bound": found.kl, "standing": "proved (T2), every order, maxent"},
        {"quantity": "I_post", "bound": found.sq, "standing": "proved (T3), every order, maxent"},
        {"quantity": "I_post", "bound": found.conjecture, "standing": "conjecture (C1), not proved; maxent"},
        {"quantity": "sum of all r^2", "bound": float(2**qubits - 1), "standing": "exact for pure states"},
    ]
    if paulis is not None:
        from intarsia.quantum.posterior.theta import theta_bound

        strings = [check_label(label, qubits) for label in paulis.split(",")]
        theta = theta_bound(strings)
        rows.append(
            {
                "quantity": f"sum of r^2 of {len(strings)} strings",
                "bound": theta.value,
                "standing": "proved (T5), theta",
            }
        )
    console.print_table(
        rows,
        {"quantity": "quantity", "bound": "at most", "standing": "standing"},
        json=json,
        title="Bounds for any pure state (reconstruction)",
    )


app.command()(qnn)
