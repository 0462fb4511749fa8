"""Gaussian process regression on groups of features, in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_JITTER = 1e-6
_BOUND = 12.0
_ITERATIONS = 60


class GaussianProcess:
    """Zero-mean Gaussian process whose Matern-5/2 kernel weighs groups of features.

    ``k(x, x') = a (1 + r + r^2 / 3) exp(-r)`` with ``r^2 = sum_g w_g |x_g - x'_g|^2``, and noise v: Rasmussen & Williams
    (2006), equations 4.17, 2.25, 2.26. The logarithms of the weights, of a and of v maximise the marginal
    likelihood (equation 2.30) times normal priors, around ``centres``, 1 and ``noise``; L-BFGS with the exact gradient (equation 5.9).

    Args:
        noise: centre of the prior of v.
        search: optimise on at most so many points; all of them condition the predictions.
        centres: ``[G]``, of the priors of the weights; ``1 / 2G`` each by default.

    Attributes:
        weights_: ``[G]``.
        amplitude_: a.
        noise_: v.
    """

    def __init__(self, noise: float = 0.2, search: int = 400, centres: Sequence[float] | None = None) -> None:
        self.noise = noise
        self.search = search
        self.centres = centres

    def fit(self, groups: Sequence[np.ndarray], y: np.ndarray, rng: np.random.Generator) -> GaussianProcess:
        """Learn from G groups ``[n, width]`` and targets ``[n]``; ``rng`` chooses the points of the search."""
        from scipy.optimize import minimize

        n, g = len(y), len(groups)
        rows = np.arange(n) if n <= self.search else np.sort(rng.choice(n, self.search, replace=False))
        distances = [_squared_distances(x[rows], x[rows]) for x in groups]
        start = self._centre(g)
        found = minimize(
            self.objective,
            start,
            args=(distances, y[rows]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-_BOUND, _BOUND / 2)] * len(start),
            options={"maxiter": _ITERATIONS},
        )
        values = np.exp(found.x)
        self.weights_, self.amplitude_, self.noise_ = values[:g], float(values[g]), float(values[g + 1])
        self.groups_, self.targets_ = [np.array(x) for x in groups], np.array(y)
        self._condition()
        return self

    def objective(self, logs: np.ndarray, distances: Sequence[np.ndarray], y: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log posterior of the logarithms of (weights, a, v), up to a constant, and its gradient ``[G + 2]``."""
        g = len(distances)
        centre = self._centre(g)
        weights, amplitude, noise = np.exp(logs[:g]), np.exp(logs[g]), np.exp(logs[g + 1])
        shape, slope = _matern(np.tensordot(weights, np.stack(distances), axes=1))
        factor, inverse = _inverse(amplitude * shape + (noise + _JITTER) * np.eye(len(y)))
        alpha = inverse @ y
        value = 0.5 * y @ alpha + np.log(np.diag(factor)).sum() + 0.5 * np.square(logs - centre).sum()
        pull = 0.5 * (inverse - np.outer(alpha, alpha))
        sloped = amplitude * pull * slope
        gradient = [w * np.vdot(sloped, d) for w, d in zip(weights, distances, strict=True)]
        gradient += [amplitude * np.vdot(pull, shape), noise * np.trace(pull)]
        return float(value), np.array(gradient) + (logs - centre)

    def _centre(self, groups: int) -> np.ndarray:
        """Where the prior of the logarithms is centred."""
        centres = [0.5 / groups] * groups if self.centres is None else self.centres
        return np.log([*centres, 1.0, self.noise])

    def _condition(self) -> None:
        from scipy.linalg import cho_solve

        k = self._kernel(self.groups_)
        self._factor = np.linalg.cholesky(k + (self.noise_ + _JITTER) * np.eye(len(k)))
        self._alpha = cho_solve((self._factor, True), self.targets_)

    def _kernel(self, groups: Sequence[np.ndarray]) -> np.ndarray:
        pairs = zip(self.weights_, groups, self.groups_, strict=True)
        distance = np.zeros((len(groups[0]), len(self.targets_)))
        for weight, x, known in pairs:
            distance += weight * _squared_distances(x, known)
        return np.asarray(self.amplitude_ * _matern(distance)[0])

    def predict(self, groups: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (without noise) of the function, each ``[m]``, at G groups ``[m, width]``."""
        from scipy.linalg import solve_triangular

        k = self._kernel(groups)
        explained = np.square(solve_triangular(self._factor, k.T, lower=True)).sum(axis=0)
        return k @ self._alpha, np.sqrt(np.maximum(self.amplitude_ - explained, 0))

    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned, for a file."""
        made = {f"kernel.group{i}": x for i, x in enumerate(self.groups_)}
        parameters = np.array([*self.weights_, self.amplitude_, self.noise_])
        return {**made, "kernel.targets": self.targets_, "kernel.parameters": parameters}

    def set_arrays(self, arrays: Mapping[str, np.ndarray], widths: Sequence[int]) -> None:
        """The inverse of ``arrays`` for groups of these widths (KeyError or ValueError when they are damaged)."""
        targets, parameters = arrays["kernel.targets"], arrays["kernel.parameters"]
        groups = [arrays[f"kernel.group{i}"] for i in range(len(widths))]
        shapes = [(len(groups) + 2,), *[(targets.size, width) for width in widths]]
        for array, shape in zip((parameters, *groups), shapes, strict=True):
            if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
                raise ValueError("a kernel array has a wrong shape or is not finite")
        if (
            targets.ndim != 1
            or targets.dtype != np.float64
            or not np.isfinite(targets).all()
            or (parameters <= 0).any()
        ):
            raise ValueError("the kernel's targets or parameters are out of range")
        self.weights_, self.amplitude_, self.noise_ = parameters[:-2], float(parameters[-2]), float(parameters[-1])
        self.groups_, self.targets_ = groups, targets
        try:
            self._condition()
        except np.linalg.LinAlgError:
            raise ValueError("the kernel matrix is not positive definite") from None


def prior_kernel(groups: Sequence[np.ndarray], centres: Sequence[float]) -> np.ndarray:
    """The kernel matrix ``[n, n]`` of groups ``[n, width]`` with these weights and the amplitude 1."""
    n = len(groups[0])
    return _matern(sum((w * _squared_distances(x, x) for w, x in zip(centres, groups, strict=True)), np.zeros((n, n))))[
        0
    ]


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squared = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    return np.asarray(np.maximum(squared, 0))


def _matern(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kernel's shape at squared distances, and its derivative with respect to them."""
    r = np.sqrt(squared)
    decay = np.exp(-r)
    return (1 + r + squared / 3) * decay, -(1 + r) * decay / 6


def _inverse(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cholesky factor and inverse of a positive definite matrix."""
    from scipy.linalg import cho_solve

    factor = np.linalg.cholesky(matrix)
    return factor, cho_solve((factor, True), np.eye(len(matrix)))
