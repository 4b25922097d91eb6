# SPDX-License-Identifier: MIT
"""The command ``hubprune report``: what pruning changes, as a table or as a page."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .model_runs import duplicate
from .page import write_page
from .pruning_plan import PruningPlan
from .report import report
from .surgery import load_pruned, prune
from .tables import text_table

__all__ = ["REPORT_HELP", "add_report", "run_report"]

REPORT_HELP = """\
Saves no model. --html writes one file for a browser: similarities, clusters and the
filter graph of every pruned layer, and which filter was cut for which. --plan with a
folder of `hubprune prune` measures the network that is saved there; the similarities
are those of the unpruned weights, so give the --checkpoint that it was pruned from.

examples:
  hubprune report crepe-tiny --ratio 0.25 --html page.html
  hubprune report cnn14 --checkpoint Cnn14.pth --plan cnn14-half --html page.html"""

Load = Callable[[], tuple[nn.Module, str, torch.Tensor, Callable[[], PruningPlan]]]


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page here")


def run_report(
    arguments: argparse.Namespace,
    load: Load,
    step: Callable[[int, int, str], None],
    stage: Callable[[str], None],
) -> Any:
    """Plan, cut, measure, and write the page.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.
    load : callable
        Gives the model, where its weights come from, an example input, and what decides the plan.
    step, stage : callable
        Progress: (done, total, text) of a known number, or the name of a stage.

    Returns
    -------
    dict or str
        What to print: JSON-able with ``--json``, else text.
    """
    html: Path | None = arguments.html
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise FileNotFoundError(f"--html: {html} must be a file in a folder that exists")
    model, weights, example, decide = load()
    plan, folder = decide(), arguments.plan
    if folder is not None and (folder / "model.safetensors").is_file():
        stage("loading the saved network")
        pruned, state = load_pruned(lambda: duplicate(model), folder).eval(), f"saved in {folder}"
    else:
        stage("cutting")
        pruned, state = prune(model, plan), "cut, not fine-tuned"
    stage("measuring before and after")
    comparison = report(model, pruned, example, plan=plan)
    notes = [f"{arguments.model}: {weights}", f"pruned by {plan.scorer}; measured as {state}"]
    if html is not None:
        write_page(
            html,
            model,
            plan,
            comparison,
            title=f"Pruning of {arguments.model}",
            notes=notes,
            progress=lambda done, total, name: step(done, total, f"drawing {name}"),
        )
    if arguments.json:
        return {
            "model": arguments.model,
            "weights": weights,
            "scorer": plan.scorer,
            "html": None if html is None else str(html),
            "report": comparison.to_dict(),
            "plan": plan.to_dict(),
        }
    lines = [*notes, "", str(comparison)]
    if plan.kept:
        reasons = text_table(["layer", "reason"], plan.kept.items(), left=True)
        lines += ["", "kept whole:", reasons]
    if html is not None:
        lines += ["", f"page: {html}"]
    return "\n".join(lines)
