# SPDX-License-Identifier: MIT
"""What NetworkX reads of its backend "hubprune" at ``import networkx``.

A package of its own because importing it must cost nothing: `hubprune` imports torch. The backend
itself, `hubprune.compat.networkx`, is imported at its first use.
"""

from __future__ import annotations

__all__ = ["get_info"]


def get_info() -> dict[str, object]:
    """Return the backend's description, as the entry point ``networkx.backend_info`` has to."""
    paths = (
        "Undirected graphs without parallel edges, as a dense matrix: made for complete graphs. "
        "Not for edge weights that are functions, NaN or infinite"
    )
    return {
        "backend_name": "hubprune",
        "project": "hubprune",
        "package": "hubprune",
        "short_summary": "Centralities of complete weighted graphs by native CPU kernels",
        "functions": {
            "betweenness_centrality": {
                "additional_docs": f"{paths}; not for `endpoints` together with `k`.",
            },
            "closeness_centrality": {
                "additional_docs": f"{paths}, or negative; not for a single node `u`.",
            },
            "degree_centrality": {"additional_docs": "Undirected graphs without parallel edges."},
            "eigenvector_centrality": {
                "additional_docs": f"{paths}. NetworkX's own iteration, by matrix products.",
            },
        },
    }
