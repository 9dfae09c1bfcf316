"""`intarsia merge`: several experts become one model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from intarsia.cli import console
from intarsia.errors import InputError


def merge(
    base: Annotated[str | None, typer.Option(help="The model the experts were fine-tuned from.")] = None,
    expert: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of an expert, a checkpoint or a LoRA adapter; once for each.", metavar="EXPERT"),
    ] = None,
    method: Annotated[str, typer.Option(help="`twin`, or a static method; see --list-methods.")] = "twin",
    param: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of a setting of the method; repeat.", metavar="PARAM")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Texts of each expert's kind, where the method needs them: EXPERT=FILE for each, or one"
            " data set whose labels are the experts' names.",
            metavar="DATA",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Pattern of tensors left as they are in the base, e.g. 'classifier.*'.", metavar="PATTERN"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the merged model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of what the method draws.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the output.")] = False,
    list_methods: Annotated[bool, typer.Option("--list-methods", help="List the methods and their settings.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Merge experts into one model.

    Static methods give a plain checkpoint of the base architecture; `twin` gives a model that mixes its experts per
    prompt.

    [bold]Example[/bold]: intarsia merge --base asset:smollm2-135m-instruct --expert news=runs/news
    --expert tweets=runs/tweets --method ties --param density=0.3 --param weight=0.7 --output merged
    """
    if list_methods:
        _print_methods(json=json)
        return
    if not base or not expert or not output:
        missing = next(name for name, value in (("base", base), ("expert", expert), ("output", output)) if not value)
        raise InputError(f"--{missing} is missing", fix="see intarsia merge --help for an example")
    experts = console.parse_assignments(expert, "--expert")
    params = console.parse_assignments(param or [], "--param")
    texts = _read_texts(data, list(experts)) if data else None
    merge_with = _merge_twin if method == "twin" else _merge_static
    result = merge_with(
        base, experts, method, output, params=params, texts=texts, exclude=exclude or [], seed=seed, overwrite=overwrite
    )
    if json:
        console.print_json(result)
        return
    lines = [{"key": key, "value": console.format_value(_shown(value))} for key, value in result.items()]
    console.print_table(lines, {"key": "", "value": ""})


def _merge_static(
    base: str,
    experts: dict[str, str],
    method: str,
    output: Path,
    *,
    params: dict[str, str],
    texts: dict[str, list[str]] | None,
    exclude: list[str],
    seed: int,
    overwrite: bool,
) -> dict[str, Any]:
    from dataclasses import asdict, fields

    from intarsia.merge.methods import find_method
    from intarsia.merge.static import merge_checkpoints

    settings: dict[str, Any] = dict(params)
    if any(field.name == "seed" for field in fields(find_method(method).params)):
        settings.setdefault("seed", seed)
    return asdict(
        merge_checkpoints(
            base, experts, method, output, params=settings, texts=texts, exclude=exclude, overwrite=overwrite
        )
    )


def _merge_twin(
    base: str,
    experts: dict[str, str],
    method: str,
    output: Path,
    *,
    params: dict[str, str],
    texts: dict[str, list[str]] | None,
    exclude: list[str],
    seed: int,
    overwrite: bool,
) -> dict[str, Any]:
    import time

    from intarsia.merge import TwinMergingConfig, twin_merge
    from intarsia.merge.settings import make_settings

    if texts is None:
        raise InputError(
            "method 'twin' trains a router, which needs texts of each expert's kind",
            fix="pass --data EXPERT=FILE for each expert, or one --data set labelled with the experts' names",
        )
    start = time.perf_counter()
    settings = {"seed": seed, "exclude": tuple(exclude), **params}
    config = make_settings(TwinMergingConfig, settings, what=f"merge method {method!r}")
    model = twin_merge(base, experts, texts, config=config, output=output, overwrite=overwrite, progress=True)
    return {
        "output": str(output),
        "method": method,
        "params": params,
        "experts": experts,
        "seconds": time.perf_counter() - start,
        **model.statistics,
    }


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or None
    return value if value != [] else None


def _read_texts(data: list[str], experts: list[str]) -> dict[str, list[str]]:
    """Reads `EXPERT=FILE` data, or one data set labelled with the experts' names."""
    from intarsia.data import read_rows

    if len(data) == 1 and data[0].partition("=")[0] not in experts:
        texts: dict[str, list[str]] = {name: [] for name in experts}
        for row in read_rows(data[0], schema="classification"):
            texts.setdefault(row.label, []).append(row.text)
        return texts
    files = console.parse_assignments(data, "--data")
    return {name: [_text_of(row) for row in read_rows(file)] for name, file in files.items()}


def _text_of(row: Any) -> str:
    return str(row.prompt if hasattr(row, "prompt") else row.text)


def _settings(kind: Any) -> dict[str, Any]:
    """Returns the settings of a method and their defaults, those with parts by part."""
    from dataclasses import asdict, is_dataclass

    found: dict[str, Any] = {}
    for name, value in vars(kind()).items():
        parts = asdict(value) if is_dataclass(value) and not isinstance(value, type) else None
        found |= {f"{name}.{part}": default for part, default in parts.items()} if parts else {name: value}
    return found


def _print_methods(*, json: bool) -> None:
    from intarsia.merge.config import TwinMergingConfig
    from intarsia.merge.methods import list_methods

    rows = [
        {
            "name": method.name,
            "summary": method.summary,
            "settings": _settings(method.params),
            "needs_data": method.data_statistics is not None,
            "paper": method.paper,
        }
        for method in list_methods()
    ]
    rows.append(
        {
            "name": "twin",
            "summary": "One shared model and a low-rank residual per expert, mixed per prompt by a router.",
            "settings": _settings(TwinMergingConfig),
            "needs_data": True,
            "paper": "Lu et al., Twin-Merging, arXiv 2406.15479",
        }
    )
    if not json:
        rows = [row | {"settings": _shown(row["settings"])} for row in rows]
    console.print_table(
        rows,
        {"name": "method", "summary": "what", "settings": "settings", "needs_data": "--data", "paper": "paper"},
        json=json,
    )
