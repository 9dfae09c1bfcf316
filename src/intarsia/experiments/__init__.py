"""The reproduction harness: experiments, the files of their results, and reports.

An experiment is one module of this package (see `registry`); `run_experiment` gives it its recipe and a resumable work
folder, writes `results/<slug>/<scale>.json`, and renders the report. `report` and `plots` serve other rooms as well
(`from intarsia.experiments import plots` apart: it imports matplotlib).
"""

from intarsia.experiments import provenance
from intarsia.experiments.cells import Estimate
from intarsia.experiments.context import Context
from intarsia.experiments.records import Claim, Figure, Outcome, Result, Row, read_result
from intarsia.experiments.registry import Experiment, experiment
from intarsia.experiments.report import Highlight, Report, Section, Table, rebuild, render, write_report
from intarsia.experiments.runner import run_experiment, work_folder

__all__ = [
    "Claim",
    "Context",
    "Estimate",
    "Experiment",
    "Figure",
    "Highlight",
    "Outcome",
    "Report",
    "Result",
    "Row",
    "Section",
    "Table",
    "experiment",
    "provenance",
    "read_result",
    "rebuild",
    "render",
    "run_experiment",
    "work_folder",
    "write_report",
]
