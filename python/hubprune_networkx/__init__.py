# SPDX-License-Identifier: MIT
"""What NetworkX reads of its backend "hubprune" at ``import networkx``.

A package of its own because importing it must cost nothing: `hubprune` imports torch. The backend
itself, `hubprune.compat.networkx`, is imported at its first use.
"""

from __future__ import annotations

__all__ = ["get_info"]


def get_info() -> dict[str, object]:
    """Return the backend's description, as the entry point ``networkx.backend_info`` has to."""
    graphs = (
        "Undirected graphs without parallel edges, as a dense matrix: made for complete graphs. "
        "Not for edge weights that are functions, NaN, infinite or not added in float64"
    )
    return {
        "backend_name": "hubprune",
        "project": "hubprune",
        "package": "hubprune",
        "short_summary": "Path centralities of complete weighted graphs by native CPU kernels",
        "functions": {
            "betweenness_centrality": {
                "additional_docs": f"{graphs}; not for `endpoints` together with `k`, or for self "
                "loops that rounding swallows.",
            },
            "closeness_centrality": {
                "additional_docs": f"{graphs}, or negative; not for a single node `u`.",
            },
            "degree_centrality": {
                "additional_docs": "Graphs that are converted already: NetworkX counts neighbours "
                "in less time than a conversion takes."
            },
            "eigenvector_centrality": {
                "additional_docs": f"{graphs}. NetworkX's own iteration on a NumPy matrix.",
            },
        },
    }
