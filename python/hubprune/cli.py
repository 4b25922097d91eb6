# SPDX-License-Identifier: MIT
"""The command line: ``hubprune score``, ``prune``, ``info``, ``demo``.

Results go to standard output, as tables or with ``--json`` as one JSON document; progress and
errors go to standard error. Exit status: 0 done, 2 a wrong argument or file, 1 another failure,
130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from . import _native
from .config import configuration, show_config
from .models import KNOWN_MODELS
from .models.checkpoints import load_weights, read_checkpoint
from .planning import PruningPlan, plan, text_table
from .report import report
from .scorers import SCORER_NAMES, make_scorer, score_model
from .surgery import prune, save_pruned

__all__ = ["main"]

_SCORER_HELP = {
    "degree": "sum of similarities to all other filters (weighted degree centrality)",
    "eigenvector": "eigenvector centrality of the similarity graph",
    "pairs": "one of each closest pair; decides the count itself",
    "l1": "smallest l1 norm first",
    "l2": "smallest l2 norm first",
    "gm": "nearest to the geometric median first (FPGM)",
    "random": "a control",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; default ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit status.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        print("hubprune: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, ImportError, FileNotFoundError, FileExistsError) as error:
        return _fail(error, 2, arguments.debug)
    except (OSError, RuntimeError, MemoryError) as error:
        return _fail(error, 1, arguments.debug)
    return 0


def _fail(error: Exception, status: int, debug: bool) -> int:
    if debug:
        raise error
    message = str(error) or type(error).__name__
    print(f"hubprune: error: {message}", file=sys.stderr)
    return status


# --- arguments ------------------------------------------------------------------------------------

_MODELS_EPILOG = "known models:\n" + "\n".join(
    f"  {spec.name:<11} {spec.description}" for spec in KNOWN_MODELS.values()
)
_SCORERS_EPILOG = "scorers:\n" + "\n".join(
    f"  {name:<11} {_SCORER_HELP[name]}" for name in SCORER_NAMES
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hubprune",
        description="Score the filters of a convolutional network by their redundancy, and cut the "
        "redundant ones out.",
        epilog="examples:\n"
        "  hubprune demo\n"
        "  hubprune score cnn14 --checkpoint Cnn14_mAP=0.431.pth\n"
        "  hubprune prune cnn14 --checkpoint Cnn14_mAP=0.431.pth --ratio 0.5 --output cnn14-half\n"
        "  hubprune info cnn14-half\n\n"
        "`hubprune COMMAND --help` explains each command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hubprune {_native.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str, epilog: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON document instead")
        sub.add_argument("--debug", action="store_true", help="show where an error comes from")
        return sub

    score = command(
        "score",
        _score,
        "score the filters of every convolution",
        "examples:\n"
        "  hubprune score crepe-tiny                 pretrained weights from an installed package\n"
        "  hubprune score cnn14 --scorer pairs --json\n"
        "  hubprune score my_package.nets:build --checkpoint weights.pth --layer conv3\n\n"
        f"{_MODELS_EPILOG}\n\n{_SCORERS_EPILOG}",
    )
    _add_model(score)
    score.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="score this layer only (repeatable; linear layers too)",
    )

    cut = command(
        "prune",
        _prune,
        "prune a model and save it",
        "examples:\n"
        "  hubprune prune dcase21 --checkpoint weights.h5 --ratio 0.5 --output dcase-half\n"
        "  hubprune prune cnn14 --checkpoint Cnn14.pth --output out \\\n"
        "      --ratio conv_block5=0.5 --ratio conv_block6=0.75\n"
        "  hubprune prune crepe-tiny --scorer pairs --output crepe-pairs\n"
        "  hubprune prune my_package.nets:build --input-shape 1,1,64,64 --output out\n\n"
        "The folder holds plan.json, model.safetensors and load.py. In Python:\n"
        "  hubprune.load_pruned(hubprune.models.Cnn14, 'out')\n\n"
        f"{_MODELS_EPILOG}\n\n{_SCORERS_EPILOG}",
    )
    _add_model(cut)
    cut.add_argument("--output", "-o", type=Path, required=True, help="the folder to save to")
    cut.add_argument(
        "--ratio",
        action="append",
        metavar="R|LAYER=R",
        help="part of the filters to remove, in [0, 1): of every convolution, or of a layer or "
        "block (repeatable). Default: 0.5, or what the scorer decides (pairs)",
    )
    cut.add_argument(
        "--keep", action="append", default=[], metavar="NAME", help="leave this layer whole"
    )
    cut.add_argument(
        "--round-to", type=int, default=1, metavar="N", help="keep a multiple of N filters"
    )
    cut.add_argument(
        "--global",
        dest="global_",
        action="store_true",
        help="one threshold for all layers instead of the same ratio in each",
    )
    cut.add_argument("--plan", type=Path, metavar="FILE", help="apply this plan.json")
    cut.add_argument(
        "--input-shape",
        metavar="N,N,...",
        help="shape of an example input, batch first (required for package.module:factory)",
    )
    cut.add_argument(
        "--overwrite", action="store_true", help="replace a network saved there before"
    )

    info = command(
        "info",
        _info,
        "show this installation, or a saved network or plan",
        "examples:\n  hubprune info\n  hubprune info cnn14-half\n  hubprune info plan.json",
    )
    info.add_argument("path", nargs="?", type=Path, help="a saved folder or a plan.json")

    demo = command(
        "demo",
        _demo,
        "prune a real pretrained pitch network and measure what it costs",
        "Takes CREPE (tiny), a pretrained pitch network, makes tones of exactly known pitch,\n"
        "measures its accuracy before and after pruning with several scorers, and scores a\n"
        "CNN14. No network access, no fine-tuning, about a minute on two cores.\n\n"
        "examples:\n  hubprune demo\n  hubprune demo --quick --output /tmp/demo",
    )
    demo.add_argument("--output", "-o", type=Path, default=Path("demo-output"))
    demo.add_argument("--quick", action="store_true", help="fewer tones, scorers and ratios")
    demo.add_argument("--seed", type=int, default=0, help="of the tones (default 0)")
    demo.add_argument(
        "--checkpoint-cnn14",
        type=Path,
        metavar="FILE",
        help="an official PANNs checkpoint; without it CNN14 is scored with random weights",
    )
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a known model, or package.module:factory")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the weights to load")
    parser.add_argument(
        "--scorer", default="degree", metavar="NAME", help="default degree; see below"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of random weights, where there are no others"
    )


# --- models ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loaded:
    """A model from the command line, with what to tell about it."""

    model: nn.Module
    weights: str  # where they come from, for a person
    example: torch.Tensor | None
    builder: str  # the Python expression that builds the architecture


def _load(arguments: argparse.Namespace) -> _Loaded:
    name, checkpoint = arguments.model, arguments.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        raise FileNotFoundError(f"--checkpoint: {checkpoint} is not a file")
    torch.manual_seed(arguments.seed)
    if name in KNOWN_MODELS:
        spec = KNOWN_MODELS[name]
        builder = f"hubprune.models.KNOWN_MODELS[{name!r}].build"
        if checkpoint is not None:
            model, weights = spec.load(checkpoint), f"weights of {checkpoint}"
        elif spec.packaged is not None:
            model, weights = spec.load(), "pretrained weights of the installed package"
        else:
            model = spec.build()
            weights = "random weights: no --checkpoint was given, so this shows the method only"
        return _Loaded(model.eval(), weights, spec.example_inputs(), builder)
    if ":" not in name:
        close = difflib.get_close_matches(name, KNOWN_MODELS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"MODEL must be one of {', '.join(KNOWN_MODELS)}, or package.module:factory; got "
            f"{name!r}{hint}"
        )
    model = _build(name)
    weights = "the weights that the factory gives"
    if checkpoint is not None:
        load_weights(model, read_checkpoint(checkpoint), str(checkpoint))
        weights = f"weights of {checkpoint}"
    return _Loaded(model.eval(), weights, None, name.replace(":", "."))


def _build(name: str) -> nn.Module:
    """Call the factory that `package.module:factory` names."""
    module_name, _, path = name.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ImportError(f"MODEL: module {module_name!r} cannot be imported: {error}") from error
    except ValueError as error:
        raise ValueError(f"MODEL must be package.module:factory; got {name!r}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"MODEL: {module_name!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found) or isinstance(found, nn.Module):
        raise TypeError(f"MODEL: {name} must be a function or class that builds the model")
    model = found()
    if not isinstance(model, nn.Module):
        raise TypeError(f"MODEL: {name} must return a torch.nn.Module; got {type(model).__name__}")
    return model


def _input_shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(
            f"--input-shape must be positive integers with commas, such as 1,1,64,64; got {text!r}"
        )
    return shape


def _ratios(entries: Sequence[str] | None) -> float | dict[str, float] | None:
    """Parse `--ratio 0.5` or `--ratio layer=0.5 --ratio other=0.25`."""
    if not entries:
        return None
    named: dict[str, float] = {}
    for entry in entries:
        layer, _, number = entry.rpartition("=")
        try:
            ratio = float(number)
        except ValueError:
            raise ValueError(
                f"--ratio must be a number in [0, 1), or LAYER=number; got {entry!r}"
            ) from None
        if not layer:
            if len(entries) > 1:
                raise ValueError("--ratio takes one number for all layers, or LAYER=number each")
            return ratio
        named[layer] = ratio
    return named


@contextmanager
def _progress(text: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on standard error, gone when done; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total, name: bar.update(
            task, completed=done, total=total, description=f"{text} {name}"
        )


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


# --- commands -------------------------------------------------------------------------------------


def _score(arguments: argparse.Namespace) -> None:
    scorer = make_scorer(arguments.scorer)
    loaded = _load(arguments)
    start = time.perf_counter()
    scores = score_model(loaded.model, scorer, arguments.layer)
    seconds = time.perf_counter() - start
    modules = dict(loaded.model.named_modules())
    shapes = {name: list(modules[name].weight.shape) for name in scores}
    if arguments.json:
        _print_json(
            {
                "model": arguments.model,
                "weights": loaded.weights,
                "scorer": scorer.name,
                "seconds": seconds,
                "layers": {
                    name: {
                        "weight_shape": shapes[name],
                        "filters": len(each),
                        "dead": each.dead.tolist(),
                        "count": each.count,
                        "order": each.order.tolist(),
                        # JSON has no infinity: the dead, which come first, have no value.
                        "redundancy": [
                            value if math.isfinite(value) else None
                            for value in each.values.tolist()
                        ],
                        "explanation": each.explain(),
                    }
                    for name, each in scores.items()
                },
            }
        )
        return
    rows = []
    for name, each in scores.items():
        living = each.values[each.values.isfinite()].sort().values
        spread = [f"{float(living[i]):.4g}" for i in (0, len(living) // 2, -1)]
        first = ", ".join(map(str, each.order[:4].tolist())) + (", ..." if len(each) > 4 else "")
        own = str(each.count) if each.count is not None else "-"
        shape = "x".join(map(str, shapes[name]))
        rows.append([name, shape, str(len(each.dead)), own, *spread, first])
    header = ["layer", "weight", "dead", "count", "min", "median", "max", "removed first"]
    if all(row[3] == "-" for row in rows):
        header.pop(3)
        for row in rows:
            row.pop(3)
    print(f"{arguments.model}: {loaded.weights}")
    print(f"redundancy by scorer {scorer.name!r}, higher is removed first\n")
    print(text_table(header, rows))
    print(f"\nscored {len(scores)} layers in {seconds * 1e3:.0f} ms")


def _prune(arguments: argparse.Namespace) -> None:
    scorer = make_scorer(arguments.scorer)
    ratio = _ratios(arguments.ratio)
    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(f"{arguments.output} exists; choose another or add --overwrite")
    if not arguments.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output: {arguments.output.absolute().parent} does not exist")
    given = None
    if arguments.plan is not None:
        if ratio is not None or arguments.keep or arguments.global_:
            raise ValueError(
                "--plan decides what is cut; it cannot go with --ratio, --keep, --global"
            )
        given = _read_plan(arguments.plan)
    loaded = _load(arguments)
    example = loaded.example
    if arguments.input_shape is not None:
        generator = torch.Generator().manual_seed(0)
        example = torch.randn(_input_shape(arguments.input_shape), generator=generator)
    if example is None:
        raise ValueError(
            f"--input-shape is needed for {arguments.model}: the shape of an example input, "
            "such as 1,1,64,64"
        )
    start = time.perf_counter()
    if given is None:
        with _progress("scoring") as progress:
            decision = plan(
                loaded.model,
                example,
                scorer=scorer,
                ratio=ratio,
                keep=arguments.keep,
                round_to=arguments.round_to,
                global_=arguments.global_,
                progress=progress,
            )
    else:
        decision = given
    planned = time.perf_counter() - start
    pruned = prune(loaded.model, decision)
    comparison = report(loaded.model, pruned, example, plan=decision)
    save_pruned(pruned, decision, arguments.output)
    load = f"hubprune.load_pruned({loaded.builder}, {str(arguments.output)!r})"
    if arguments.json:
        _print_json(
            {
                "model": arguments.model,
                "weights": loaded.weights,
                "scorer": decision.scorer,
                "seconds": planned,
                "output": str(arguments.output),
                "load": load,
                "report": comparison.to_dict(),
                "plan": decision.to_dict(),
            }
        )
        return
    print(f"{arguments.model}: {loaded.weights}")
    print(f"pruned by {decision.scorer}; planned in {planned:.1f} s; not fine-tuned\n")
    print(comparison)
    if decision.kept:
        print("\nkept whole:")
        print(text_table(["layer", "reason"], decision.kept.items(), left=True))
    print(f"\nsaved to {arguments.output}; load it with\n  {load}")


def _read_plan(path: Path) -> PruningPlan:
    file = path / "plan.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{path} is neither a saved network nor a plan.json")
    try:
        return PruningPlan.from_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _info(arguments: argparse.Namespace) -> None:
    if arguments.path is not None:
        decision = _read_plan(arguments.path)
        if arguments.json:
            _print_json(decision.to_dict())
        else:
            print(decision.summary())
        return
    if arguments.json:
        _print_json(
            {
                **configuration(),
                "models": {name: spec.description for name, spec in KNOWN_MODELS.items()},
                "scorers": _SCORER_HELP,
            }
        )
        return
    show_config()
    print(f"\n{_MODELS_EPILOG}\n\n{_SCORERS_EPILOG}")


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import run_demo

    with _progress("demo") as progress:
        result = run_demo(
            arguments.output,
            quick=arguments.quick,
            seed=arguments.seed,
            checkpoint_cnn14=arguments.checkpoint_cnn14,
            progress=progress,
        )
    if arguments.json:
        _print_json(result.to_dict())
    else:
        print(result)


if __name__ == "__main__":
    sys.exit(main())
