# SPDX-License-Identifier: MIT
"""hubprune: scores CNN filters by their redundancy and cuts the redundant ones out.

Filters become vectors, vectors a similarity graph, the graph a removal order, the order a plan, the
plan a smaller model. The kernels are C++ and CUDA; see `hubprune.reference` for the formulas.
"""

from __future__ import annotations

# torch first: it loads the OpenMP runtime that the extension then shares.
import torch as _torch  # noqa: F401

try:
    from . import _native
except ImportError as error:
    raise ImportError(
        "hubprune's native extension (hubprune._native) is missing or does not load here: "
        f"{error}. Build and install it with `pip install .` in the source tree, and do not "
        "import hubprune from the source tree itself."
    ) from error

from . import config as _config

_config.apply_environment()

from . import datasets, finetuning, graph, metrics, models, reference, scorers  # noqa: E402
from .centrality import (  # noqa: E402
    betweenness_centrality,
    closeness_centrality,
    eigenvector_centrality,
    weighted_degree,
)
from .comparison import Comparison, compare  # noqa: E402
from .config import show_config  # noqa: E402
from .finetuning import FineTuned, evaluate, finetune  # noqa: E402
from .greedy import greedy_degree  # noqa: E402
from .iterative import IterativeResult, prune_iteratively  # noqa: E402
from .nystrom import Nystrom, NystromError, NystromFactor, nystrom  # noqa: E402
from .page import write_page  # noqa: E402
from .planning import plan  # noqa: E402
from .planning.pruning_plan import PruningPlan  # noqa: E402
from .report import Report, report  # noqa: E402
from .routes import Route, route  # noqa: E402
from .sampling import Sampled, SampledDegree, sampled_degree  # noqa: E402
from .scorers import Scores, score, score_model  # noqa: E402
from .similarity import nearest, pairwise_cosine, row_norms  # noqa: E402
from .surgery import load_pruned, prune, save_pruned  # noqa: E402
from .vectors import filter_vectors  # noqa: E402

__version__ = _native.__version__

__all__ = [
    "Comparison",
    "FineTuned",
    "IterativeResult",
    "Nystrom",
    "NystromError",
    "NystromFactor",
    "PruningPlan",
    "Report",
    "Route",
    "Sampled",
    "SampledDegree",
    "Scores",
    "betweenness_centrality",
    "closeness_centrality",
    "compare",
    "datasets",
    "eigenvector_centrality",
    "evaluate",
    "filter_vectors",
    "finetune",
    "finetuning",
    "graph",
    "greedy_degree",
    "load_pruned",
    "metrics",
    "models",
    "nearest",
    "nystrom",
    "pairwise_cosine",
    "plan",
    "prune",
    "prune_iteratively",
    "reference",
    "report",
    "route",
    "row_norms",
    "sampled_degree",
    "save_pruned",
    "score",
    "score_model",
    "scorers",
    "show_config",
    "weighted_degree",
    "write_page",
]
