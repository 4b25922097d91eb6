# SPDX-License-Identifier: MIT
"""scikit-learn's Nystroem for cosine kernels: a transformer to the landmarks' feature space.

With the same integer seed (or `RandomState`) it takes the same landmarks as scikit-learn's and,
where their kernel has full rank, gives the same features to rounding. Where it differs from
scikit-learn 1.9, on purpose:

- `kernel` is "cosine" by default (there "rbf") and nothing else: ValueError for any other, for
  "precomputed" and for callables. Parameters of other kernels are ignored, as there.
- `edge` and `landmarks` are additional. Of a landmark rule other than "uniform" the seed means
  something else, and "rpcholesky" stops where the kernel has no more to give, so that there may be
  fewer columns than `n_components`.
- `normalization_` leaves out the directions of the landmarks' kernel that are rounding error, those
  of eigenvalues below eps m times the largest; scikit-learn divides by their singular value, or
  1e-12, which in float32 puts errors of 1e-3 into the kernel, and of 0.1 where landmarks are
  parallel.
- Short and long rows count fully, as in `hubprune.compat.sklearn.cosine_similarity`.
- What is fitted is float32 or float64: `components_` of integers are float64.
- Sparse X is a TypeError, and so are tensors with ``array_api_dispatch=True``.
- Bad parameters are a plain ValueError (there a subclass, InvalidParameterError, which also is a
  TypeError), and gamma, coef0, degree and kernel_params are not looked at.
- `n_jobs` has no effect: the kernels use ``torch.get_num_threads()`` threads.

The cosines are bitwise the same for any number of threads, but not the features: LAPACK and BLAS
make those, and sum in an order that depends on it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

try:
    from sklearn import get_config
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "hubprune.compat.nystroem needs scikit-learn >= 1.6: pip install scikit-learn"
    ) from error

from ..arguments import EDGES, as_tensor
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
    gamma, coef0, degree, kernel_params
        Parameters of scikit-learn's other kernels, ignored: the cosine has none.
    edge : {"signed", "squared", "shifted"}
        A function of the cosine; those whose kernel is positive semi-definite.
    landmarks : {"uniform", "first", "leverage", "rpcholesky", "farthest"}
        As in `hubprune.nystrom`.
    n_components : int
        How many landmarks; with a warning all rows where there are fewer.
    random_state : int, RandomState instance or None
        As in scikit-learn for "uniform"; the seed of the other rules.
    n_jobs : int or None
        Without effect: the kernels use ``torch.get_num_threads()`` threads.

    Attributes
    ----------
    components_ : ndarray, shape (m, n_features), float32 or float64
        The landmarks: m is n_components, or the number of rows, or fewer by "rpcholesky".
    component_indices_ : ndarray, shape (m,)
        Their row numbers in the training set.
    normalization_ : ndarray, shape (m, m)
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
        gamma: float | None = None,
        coef0: float | None = None,
        degree: float | None = None,
        kernel_params: dict[str, Any] | None = None,
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
        TypeError
            For sparse X, or a tensor with ``array_api_dispatch=True``.
        """
        self._check_parameters()
        rows = self._rows(X, reset=True)
        random = check_random_state(self.random_state)
        n, m = len(rows), int(self.n_components)
        if m > n:
            warnings.warn(
                "n_components > n_samples. This is not possible.\nn_components was set to "
                "n_samples, which results in inefficient evaluation of the full kernel.",
                stacklevel=2,
            )
            m = n
        if self.landmarks == "uniform":  # scikit-learn's draw: the same landmarks
            chosen = torch.from_numpy(random.permutation(n)[:m])
        else:
            seed = int(random.randint(np.iinfo(np.int32).max))
            chosen = select_landmarks(rows, m, self.landmarks, self.edge, seed, 0.0).indices
        inner = torch.ops.hubprune.nystrom_columns(
            rows[chosen], torch.arange(len(chosen), device="cpu"), self.edge
        )
        directions, _ = small_factor(inner, None, self.edge)
        # U lambda^-1/2 U', from U lambda^-1/2: its columns' lengths are lambda^-1/2.
        length = directions.norm(dim=0)
        root = (directions / length) @ directions.mT
        self.components_ = rows[chosen].numpy()
        self.component_indices_ = chosen.numpy()
        self.normalization_ = root.to(rows.dtype).numpy()
        return self

    def transform(self, X: Any) -> FloatArray:  # noqa: N803
        """Return the features (n, m) of X (n, n_features), m as in `components_`.

        float64 where X or the components are, else float32.
        """
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        landmarks = as_tensor(self.components_, "components_")
        dtype = torch.promote_types(rows.dtype, landmarks.dtype)
        kernel = torch.ops.hubprune.pairwise_cosine(
            rows.to(dtype), landmarks.to(dtype), self.edge
        ).numpy()
        features: FloatArray = kernel @ self.normalization_.T.astype(kernel.dtype)
        return features

    def _rows(self, X: Any, *, reset: bool) -> torch.Tensor:  # noqa: N803
        of_namespace = isinstance(X, torch.Tensor) or hasattr(X, "__array_namespace__")
        if of_namespace and not isinstance(X, np.ndarray) and get_config()["array_api_dispatch"]:
            raise TypeError(
                "X must be a NumPy array where array_api_dispatch=True; got " + type(X).__name__
            )
        data = validate_data(self, X, dtype=(np.float64, np.float32), reset=reset)
        return as_tensor(data, "X").contiguous()

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def _check_parameters(self) -> None:
        if self.kernel != "cosine":
            raise ValueError(
                f"kernel must be 'cosine'; got {self.kernel!r}: for other kernels use "
                "sklearn.kernel_approximation.Nystroem"
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
        n_jobs = self.n_jobs
        if n_jobs is not None and (not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0):
            raise ValueError(f"n_jobs must be None or an int other than 0; got {n_jobs!r}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
