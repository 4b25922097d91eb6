# SPDX-License-Identifier: MIT
"""Rewrite a table of a Markdown file from the JSON of the run that measured it.

Usage: python benchmarks/table.py REPORT.json FILE.md [FILE.md ...]

benchmarks/results/cpu.json (of `make bench`) fills "benchmark table", every group, and "benchmark
selection", the groups of SELECTION and all losses in words, and "graph library table", what
NetworkX and igraph take; benchmarks/results/instructions.json fills "instruction table";
benchmarks/results/nystrom.json (of `make paper`) fills "nystrom table"; demo-output/results.json
(of `make demo`) fills "demo table"; benchmarks/results/study.json (of `make study`) fills the
tables of docs/study.md; benchmarks/results/cpu-zen5.json and cpu-avx2.json, of other processors,
those of docs/performance-zen5.md and docs/performance-avx2.md. A table stands between the lines
`<!-- NAME -->` and `<!-- end of NAME -->`; a file has what it has of them.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from study_tables import study_tables

# What README shows: the operations at the published networks' sizes, one where hubprune loses.
SELECTION = (
    "score_model signed / CNN14, 12 layers",
    "score_model signed / VGGish, first 2 layers",
    "score_model signed / DCASE baseline, 3 layers",
    "filter_vectors / CNN14, 12 layers",
    "weighted_degree abs / CNN14 conv12 rank-1, 2048 x 9",
    "weighted_degree abs / 100000 x 9",
    "weighted_degree abs / CNN14 conv12 flattened, 2048 x 18432",
    "weighted_degree abs medium / CNN14 conv12 flattened, 2048 x 18432",
    "weighted_degree signed / 1000000 x 9",
    "nearest / CNN14 conv12 rank-1, 2048 x 9",
    "pairwise_cosine / 2048 x 256",
    "eigenvector_centrality abs / CNN14 conv9 rank-1, 1024 x 9",
    "nystrom m = 256 / CNN14 conv12 flattened, 2048 x 18432",
    "weighted_degree abs / DCASE conv2 rank-1, 16 x 49",
)

GRAPH_LIBRARIES = ("networkx", "networkx, backend graphblas", "igraph")
DISTURBED = 0.2  # processors that other programs used while a row was measured


def milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


Groups = dict[str, dict[int, dict[str, Any]]]


def grouped(report: dict[str, Any]) -> Groups:
    """Return the benchmarks by group, thread count and route."""
    groups: Groups = defaultdict(lambda: defaultdict(dict))
    for bench in report["benchmarks"]:
        info = bench["extra_info"]
        groups[bench["group"]][info["threads"]][info["name"]] = bench
    return groups


def benchmark_table(report: dict[str, Any], only: Collection[str] | None = None) -> str:
    """Return the Markdown table: one row per group, the best peer of each thread count beside ours.

    Every group of the report is shown, or those of `only`; the words count and name all groups
    either way, also where hubprune is slower. Raises ValueError for a name that no group has.
    """
    groups = grouped(report)
    missing = [name for name in only or () if name not in groups]
    if missing:
        raise ValueError(f"the report has no benchmark of {', '.join(missing)}")
    counts = sorted({threads for group in groups.values() for threads in group})
    per = " / ".join(map(str, counts))
    lines = [
        f"| work | hubprune, ms, {per} threads | best peer, ms | times faster | error | peer's |",
        "|---|---|---|---|---|---|",
        *(
            _row(name, group)
            for name, group in sorted(groups.items())
            if only is None or name in only
        ),
        "",
        *(_in_words(groups, threads) for threads in counts),
        "",
        *(_notes(groups) if only is None else ()),
    ]
    first = report["benchmarks"][0]["extra_info"]["configuration"]
    cpu = report["machine_info"]["cpu"]
    processor = cpu.get("brand_raw", "unknown processor")
    if "family" in cpu:  # the name alone does not tell generations apart
        processor += f" (family {cpu['family']}, model {cpu['model']})"
    lines += [
        f"Medians on {cpu['count']} cores of {processor}, level {first['simd']['in_use']}, torch "
        f"{first['torch']}; all routes of a row take turns in one process. Error: the largest "
        "against float64, absolute for vectors and cosines, relative for degrees and norms; 1 or 2 "
        "is a rank-1 vector of the wrong sign.",
    ]
    return "\n".join(lines)


def _best(routes: dict[str, Any]) -> tuple[Any, Any | None]:
    """Return our benchmark and the fastest peer's, of those that compute the same."""
    peers = [
        bench
        for name, bench in routes.items()
        if name != "hubprune" and not bench["extra_info"].get("unchecked")
    ]
    return routes["hubprune"], min(peers, key=_median, default=None)


def _median(bench: dict[str, Any]) -> float:
    return float(bench["stats"]["median"])


def _row(name: str, group: dict[int, dict[str, Any]]) -> str:
    pairs = [_best(routes) for _, routes in sorted(group.items())]
    ours = " / ".join(milliseconds(_median(mine)) for mine, _ in pairs)
    names = [None if peer is None else peer["extra_info"]["name"] for _, peer in pairs]
    times = [None if peer is None else milliseconds(_median(peer)) for _, peer in pairs]
    if None in names:
        best = "none can run"
    elif len(set(names)) == 1:
        best = f"{names[0]}: {' / '.join(map(str, times))}"
    else:
        best = " / ".join(f"{name}: {time}" for name, time in zip(names, times, strict=True))
    faster = " / ".join(
        "-" if peer is None else f"{_median(peer) / _median(mine):.1f}" for mine, peer in pairs
    )
    errors = [
        max((bench["extra_info"]["error"] for bench in benches if bench is not None), default=None)
        for benches in zip(*pairs, strict=True)
    ]
    shown = ["-" if error is None else f"{error:.0e}" for error in errors]
    return f"| {name} | {ours} | {best} | {faster} | {shown[0]} | {shown[1]} |"


def _in_words(groups: Groups, threads: int) -> str:
    """Say where hubprune is faster and name where it is slower than the best peer."""
    ratios = {}
    for name, group in groups.items():
        mine, peer = _best(group[threads]) if threads in group else (None, None)
        if peer is not None:
            ratios[name] = _median(peer) / _median(mine)
    faster = [ratio for ratio in ratios.values() if ratio > 1]
    slower = [f"{name} ({ratio:.2f})" for name, ratio in ratios.items() if ratio <= 1]
    span = f", {min(faster):.1f} to {max(faster):.1f} times" if faster else ""
    return (
        f"{threads} thread{'s' if threads > 1 else ''}: faster in {len(faster)} of {len(ratios)}"
        f"{span}; slower: {', '.join(slower) or 'none'}.  "
    )


def _notes(groups: Groups) -> list[str]:
    """Return the memory figures, and what was timed beside but computes something else."""
    lines = []
    for name, group in sorted(groups.items()):
        for threads, routes in sorted(group.items()):
            extra = routes["hubprune"]["extra_info"].get("extra_memory")
            if extra is not None:
                lines.append(
                    f"{name}, {threads} thread{'s' if threads > 1 else ''}: "
                    f"{extra / 1e6:.1f} MB of memory above the input.  "
                )
        others = {
            other: " / ".join(milliseconds(_median(group[threads][other])) for threads in group)
            for other, bench in next(iter(group.values())).items()
            if bench["extra_info"].get("unchecked")
        }
        lines += [f"Beside {name}: {other}, {times} ms.  " for other, times in others.items()]
    disturbed = {
        name: bench["extra_info"]["others"]
        for name, group in sorted(groups.items())
        for routes in group.values()
        for bench in routes.values()
        if (bench["extra_info"].get("others") or 0.0) > DISTURBED
    }
    if disturbed:
        named = ", ".join(f"{name} ({others:.1f})" for name, others in disturbed.items())
        lines.append(f"Disturbed by other programs, processors they kept busy: {named}.  ")
    return [*lines, ""] if lines else []


def graph_library_table(report: dict[str, Any]) -> str:
    """Return the Markdown table of what graph libraries take for the same centralities."""
    lines = [
        f"| work | hubprune, ms | {', ms | '.join(GRAPH_LIBRARIES)}, ms |",
        f"|---|---|{'---|' * len(GRAPH_LIBRARIES)}",
    ]
    groups = grouped(report)
    for name, group in sorted(groups.items()):
        runs = [routes for _, routes in sorted(group.items())]
        if not set(GRAPH_LIBRARIES) & set(runs[0]):
            continue
        ours = [_median(routes["hubprune"]) for routes in runs]
        cells = []
        for library in GRAPH_LIBRARIES:
            theirs = [_median(routes[library]) for routes in runs if library in routes]
            times = [their / our for their, our in zip(theirs, ours, strict=False)]
            shown = " / ".join(f"{each:.0f}" for each in times)
            cells.append(f"{milliseconds(theirs[0])} ({shown})" if theirs else "")
        lines.append(f"| {name} | {' / '.join(map(milliseconds, ours))} | {' | '.join(cells)} |")
    counts = " / ".join(map(str, sorted({t for g in groups.values() for t in g})))
    lines += [
        "",
        f"hubprune on {counts} threads; a library's time on one, and in brackets how many times "
        f"that of hubprune on {counts} threads it is. Empty: not run, it would take minutes to "
        "hours, or there is no such route.",
    ]
    return "\n".join(lines)


def demo_table(result: dict[str, Any]) -> str:
    """Return the Markdown table of the demo, without the ratio at which nothing is left."""
    lines = ["| scorer | cut | parameters | MACs | pitch accuracy |", "|---|---|---|---|---|"]

    def line(scorer: str, cut: str, row: dict[str, Any], accuracy: str) -> str:
        parameters = 1 - row["parameters"] / result["parameters"]
        macs = 1 - row["macs"] / result["macs"]
        shares = [f"-{share:.0%}" if share else "" for share in (parameters, macs)]
        return f"| {scorer} | {cut} | {shares[0]} | {shares[1]} | {accuracy} |"

    baseline = result["baseline"]
    error = f"{baseline['standard_error']:.1%}"
    lines.append(line("unpruned", "", result, f"{baseline['value']:.1%} +/- {error}"))
    for row in result["rows"]:
        if row["ratio"] is not None and row["ratio"] >= 0.5:
            continue
        cut = "its own rule" if row["ratio"] is None else f"{row['ratio']:.0%}"
        accuracy = f"{row['accuracy']:.1%}"
        if row["seeds"]:
            accuracy += f" ({row['lowest']:.1%} to {row['highest']:.1%}, {len(row['seeds'])} seeds)"
        lines.append(line(row["scorer"], cut, row, accuracy))
    lines += [
        "",
        f"CREPE (tiny), pretrained, on {result['tones']} tones of known pitch at 0 to 30 dB signal "
        "to noise; right within 50 cents. Not fine-tuned: the loss before any recovery.",
    ]
    return "\n".join(lines)


def instruction_table(report: dict[str, Any]) -> str:
    """Return the Markdown table of benchmarks/instructions.py."""
    lines = ["| operation | a | instructions | needed | times |", "|---|---|---|---|---|"]
    for name, entry in report.items():
        used, needed = entry["instructions"], entry["floor"]
        lines.append(
            f"| {name} | {entry['unit']} | {used:.2f} | {needed:.2f} | {used / needed:.1f} |"
        )
    return "\n".join(lines)


def nystrom_table(reports: list[dict[str, Any]]) -> str:
    """Return the Markdown table of benchmarks/paper_nystrom.py: one row a layer and its vectors.

    At eight columns of rank-1 vectors (one fewer than nine, where all are exact), at a quarter of
    the filters otherwise.
    """
    rules = [row["rule"] for row in reports[0]["rows"] if row["m"] == reports[0]["rows"][0]["m"]]
    lines = [
        f"| layer | vectors | n x d | m | {' | '.join(rules)} | estimate | kept alike "
        "| ms / exact |",
        "|---|---|---|---|" + "---|" * (len(rules) + 3),
    ]
    for report in reports:
        wanted = 8 if report["vectors"] == "rank1" else report["n"] / 4
        m = min({row["m"] for row in report["rows"]}, key=lambda count: abs(count - wanted))
        rows = {row["rule"]: row for row in report["rows"] if row["m"] == m}
        uniform = rows["uniform"]
        cells = [
            report["layer"],
            report["vectors"],
            f"{report['n']} x {report['d']}",
            str(m),
            *(f"{rows[rule]['frobenius']:.3f}" for rule in rules),
            f"{uniform['estimated']:.3f}",
            f"{uniform['agreement']:.0%}",
            f"{milliseconds(uniform['seconds'])} / {milliseconds(report['exact_seconds'])}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Relative Frobenius error of the similarity matrix, median of three seeds. Estimate: what "
        "`error_estimate()` says of uniform. Kept alike: filters that the closest-pair rule keeps "
        "with uniform and exactly, in common over either. Times: nearest neighbours from the "
        "factor and exactly, one thread.",
    ]
    return "\n".join(lines)


def tables(report: dict[str, Any] | list[dict[str, Any]]) -> dict[str, str]:
    """Return the tables that a report fills, by name."""
    if isinstance(report, list):
        return {"nystrom table": nystrom_table(report)}
    if "benchmarks" in report:
        short = benchmark_table(report, SELECTION)
        return {
            "benchmark table": benchmark_table(report),
            "benchmark selection": short,
            "graph library table": graph_library_table(report),
        }
    if {"instruments", "pitch", "scenes"} & set(report):
        return study_tables(report)
    if "baseline" in report:
        return {"demo table": demo_table(report)}
    return {"instruction table": instruction_table(report)}


def main() -> None:
    """Rewrite the files."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    found = tables(json.loads(Path(sys.argv[1]).read_text()))
    for target in map(Path, sys.argv[2:]):
        text = target.read_text()
        names = [name for name in found if f"<!-- {name} -->" in text]
        if not names:
            sys.exit(f"{target} has no place for {' or '.join(found)}")
        for name in names:
            begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{found[name]}\n{end}{rest.split(end)[1]}"
        target.write_text(text)
    print(next(iter(found.values())))


if __name__ == "__main__":
    main()
