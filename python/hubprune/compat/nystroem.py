# SPDX-License-Identifier: MIT
"""scikit-learn's Nystroem for cosine kernels: a transformer to the landmarks' feature space."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "hubprune.compat.nystroem needs scikit-learn >= 1.6: pip install scikit-learn"
    ) from error

from ..arguments import EDGES
from ..landmarks import DEFINITE_EDGES, LANDMARK_RULES, select_landmarks
from ..nystrom import small_factor

__all__ = ["Nystroem"]

FloatArray = npt.NDArray[np.floating]


class Nystroem(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Approximate a cosine kernel by the columns of some landmarks.

    Takes the place of ``sklearn.kernel_approximation.Nystroem(kernel="cosine")``: the same
    attributes after `fit`, and ``transform(X) @ transform(Y).T`` approximates the kernel of X and
    Y. Beyond it: edge functions, landmark rules, and a pseudo-inverse that leaves directions out
    that are rounding error.

    Parameters
    ----------
    kernel : {"cosine"}
        scikit-learn's other kernels are its own: use its Nystroem for them.
    gamma, coef0, degree, kernel_params : None
        Parameters of scikit-learn's other kernels; the cosine has none.
    edge : {"signed", "squared", "shifted"}
        A function of the cosine; those whose kernel is positive semi-definite.
    landmarks : {"uniform", "first", "leverage", "rpcholesky", "farthest"}
        As in `hubprune.nystrom`.
    n_components : int
        How many landmarks; all rows where there are fewer.
    random_state : int, RandomState instance or None
        As in scikit-learn.
    n_jobs : int or None
        Accepted; the kernels use ``torch.get_num_threads()`` threads.

    Attributes
    ----------
    components_ : ndarray, shape (n_components, n_features)
        The landmarks.
    component_indices_ : ndarray, shape (n_components,)
        Their row numbers in the training set.
    normalization_ : ndarray, shape (n_components, n_components)
        The symmetric square root of the pseudo-inverse of the landmarks' kernel.
    n_features_in_ : int
        Number of features seen in `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from hubprune.compat.nystroem import Nystroem
    >>> x = np.random.default_rng(0).standard_normal((50, 4))
    >>> features = Nystroem(n_components=8, random_state=0).fit_transform(x)
    >>> unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    >>> bool(np.abs(features @ features.T - unit @ unit.T).max() < 1e-6)
    True
    """

    def __init__(
        self,
        kernel: str = "cosine",
        *,
        gamma: None = None,
        coef0: None = None,
        degree: None = None,
        kernel_params: None = None,
        n_components: int = 100,
        random_state: Any = None,
        n_jobs: int | None = None,
        edge: str = "signed",
        landmarks: str = "uniform",
    ) -> None:
        self.kernel = kernel
        self.gamma = gamma
        self.coef0 = coef0
        self.degree = degree
        self.kernel_params = kernel_params
        self.n_jobs = n_jobs
        self.edge = edge
        self.landmarks = landmarks
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Nystroem:  # noqa: N803  (scikit-learn's name)
        """Choose the landmarks among the rows of X (n, n_features) and factor their kernel.

        Raises
        ------
        ValueError
            For another kernel, an unknown edge or rule, n_components < 1, or bad data.
        """
        self._check_parameters()
        data = validate_data(self, X, dtype=(np.float64, np.float32))
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        rows = torch.from_numpy(np.ascontiguousarray(data))
        count = min(int(self.n_components), len(data))
        chosen = select_landmarks(rows, count, self.landmarks, self.edge, seed, 0.0).indices
        inner = torch.ops.hubprune.nystrom_columns(
            rows[chosen], torch.arange(len(chosen)), self.edge
        )
        directions, _ = small_factor(inner, None, self.edge)
        # U lambda^-1/2 U', from U lambda^-1/2: its columns' lengths are lambda^-1/2.
        length = directions.norm(dim=0)
        root = (directions / length) @ directions.mT
        self.components_ = data[chosen.numpy()]
        self.component_indices_ = chosen.numpy()
        self.normalization_ = root.to(rows.dtype).numpy()
        return self

    def transform(self, X: Any) -> FloatArray:  # noqa: N803
        """Return the features (n, n_components) of X (n, n_features)."""
        check_is_fitted(self)
        data = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        rows = torch.from_numpy(np.ascontiguousarray(data))
        landmarks = torch.from_numpy(self.components_).to(rows.dtype)
        kernel = torch.ops.hubprune.pairwise_cosine(rows, landmarks, self.edge)
        features: FloatArray = kernel.numpy() @ self.normalization_.T.astype(kernel.numpy().dtype)
        return features

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def _check_parameters(self) -> None:
        if self.kernel != "cosine":
            raise ValueError(
                f"kernel must be 'cosine'; got {self.kernel!r}: for other kernels use "
                "sklearn.kernel_approximation.Nystroem"
            )
        for name in ("gamma", "coef0", "degree", "kernel_params"):
            if getattr(self, name) is not None:
                given = getattr(self, name)
                raise ValueError(
                    f"{name} must be None: the cosine has no parameters; got {given!r}"
                )
        if self.edge not in DEFINITE_EDGES:
            reason = "is not positive semi-definite" if self.edge in EDGES else "is unknown"
            raise ValueError(
                f"edge must be one of {', '.join(DEFINITE_EDGES)}; {self.edge!r} {reason}"
            )
        if self.landmarks not in LANDMARK_RULES:
            raise ValueError(
                f"landmarks must be one of {', '.join(LANDMARK_RULES)}; got {self.landmarks!r}"
            )
        if not isinstance(self.n_components, (int, np.integer)) or self.n_components < 1:
            raise ValueError(f"n_components must be an int of at least 1; got {self.n_components}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
