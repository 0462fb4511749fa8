"""Behaviour checks for anybody's own spaces, strategies, estimators, predictors and tasks.

Each check raises AssertionError with a sentence that says which rule is broken, and returns nothing when all hold. None
needs a test framework::

    from graphnas.testing import check_space

    def test_my_space():
        check_space(my_space())
"""

from graphnas.testing.estimator import check_estimator
from graphnas.testing.objective import AdditiveEstimator
from graphnas.testing.predictor import check_predictor
from graphnas.testing.small import SMALL_OPTIONS
from graphnas.testing.space import check_space
from graphnas.testing.strategy import check_strategy
from graphnas.testing.task import check_task

__all__ = [
    "SMALL_OPTIONS",
    "AdditiveEstimator",
    "check_estimator",
    "check_predictor",
    "check_space",
    "check_strategy",
    "check_task",
]
