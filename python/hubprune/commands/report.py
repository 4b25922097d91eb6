# SPDX-License-Identifier: MIT
"""The command ``hubprune report``: what pruning changes, as a table or as a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..model_runs import duplicate
from ..page import write_page
from ..report import report
from ..surgery import load_pruned, prune
from ..tables import text_table
from .command import Command
from .models import MODELS_EPILOG, SCORERS_EPILOG, add_model
from .progress import progress_display
from .prune import add_decision, decide, read_cut_request

__all__ = ["REPORT"]

_EPILOG = f"""\
Saves no model. --html writes one file for a browser: similarities, clusters and the
filter graph of every pruned layer, and which filter was cut for which. --plan with a
folder of `hubprune prune` measures the network that is saved there; the similarities
are those of the unpruned weights, so give the --checkpoint that it was pruned from.

examples:
  hubprune report crepe-tiny --ratio 0.25 --html page.html
  hubprune report cnn14 --checkpoint Cnn14.pth --plan cnn14-half --html page.html

{MODELS_EPILOG}

{SCORERS_EPILOG}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page here")
    add_decision(parser)


def _run(arguments: argparse.Namespace) -> Any:
    """Plan, cut, measure, write the page; return what to print: JSON-able or text."""
    html: Path | None = arguments.html
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise FileNotFoundError(f"--html: {html} must be a file in a folder that exists")
    with progress_display() as bar:
        request = read_cut_request(arguments)
        model, weights = request.loaded.model, request.loaded.weights
        plan, folder = decide(request, arguments, bar), arguments.plan
        if folder is not None and (folder / "model.safetensors").is_file():
            bar.stage("loading the saved network")
            pruned = load_pruned(lambda: duplicate(model), folder).eval()
            state = f"saved in {folder}"
        else:
            bar.stage("cutting")
            pruned, state = prune(model, plan), "cut, not fine-tuned"
        bar.stage("measuring before and after")
        comparison = report(model, pruned, request.example, plan=plan)
        notes = [f"{arguments.model}: {weights}", f"pruned by {plan.scorer}; measured as {state}"]
        if html is not None:
            write_page(
                html,
                model,
                plan,
                comparison,
                title=f"Pruning of {arguments.model}",
                notes=notes,
                progress=lambda done, total, name: bar.step(done, total, f"drawing {name}"),
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


REPORT = Command(
    "report",
    "show what pruning changes, as a table or as a page with pictures",
    _EPILOG,
    _add_arguments,
    _run,
)
