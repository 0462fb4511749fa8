"""Where trials are evaluated: in this process, in local worker processes, or in anybody's ``concurrent.futures`` pool."""

from __future__ import annotations

import math
import pickle
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from concurrent.futures import TimeoutError as FutureTimeout
from functools import lru_cache
from typing import Any, NamedTuple

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation


class Job(NamedTuple):
    """One architecture to evaluate, and the seed for it."""

    number: int
    architecture: Architecture
    seed: int


class Outcome(NamedTuple):
    """What came of a job: an evaluation, or an error text; and the seconds that it took."""

    number: int
    evaluation: Evaluation | None
    seconds: float
    error: str


Runner = Callable[[Sequence[Job]], Iterator[Outcome]]
"""Evaluates jobs and yields their outcomes as they finish, in any order."""


def evaluate(estimator: Estimator, job: Job) -> Outcome:
    """Evaluate one job; an exception or a score that is not finite becomes an error text."""
    start = time.perf_counter()
    try:
        found = estimator.evaluate(job.architecture, seed=job.seed)
        if math.isfinite(found.score):
            return Outcome(job.number, found, time.perf_counter() - start, "")
        error = f"the score is {found.score}"
    except Exception:
        error = traceback.format_exc()
    return Outcome(job.number, None, time.perf_counter() - start, error)


class SerialRunner:
    """Evaluates one after the other in this process."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Outcomes in order."""
        for job in jobs:
            yield evaluate(self.estimator, job)


@lru_cache(maxsize=4)
def _estimator(payload: bytes) -> Estimator:
    return pickle.loads(payload)  # type: ignore[no-any-return]  # written by the parent process itself


def _evaluate_payload(payload: bytes, job: Job) -> Outcome:
    return evaluate(_estimator(payload), job)


def _worker_start(payload: bytes) -> None:
    """Prepare a worker: Ctrl-C is the parent's business, and the estimator is unpickled once."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _own
    _own = pickle.loads(payload)


_own: Estimator | None = None


def _evaluate_own(job: Job) -> Outcome:
    assert _own is not None
    return evaluate(_own, job)


class ExecutorRunner:
    """Evaluates in a ``concurrent.futures.Executor`` that somebody else owns (a Ray or Dask pool, say).

    The estimator is pickled and sent with every job; workers keep the last ones unpickled. A worker that dies takes such a
    pool with it, so the search stops; ``LocalRunner`` replaces its workers instead.
    """

    def __init__(self, estimator: Estimator, executor: Executor, time_limit: float | None = None) -> None:
        self.payload = pickled(estimator)
        self.executor = executor
        self.time_limit = time_limit

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Outcomes as they finish; ``time_limit`` counts from submission and leaves the worker to finish alone."""
        futures = {self.executor.submit(_evaluate_payload, self.payload, job): job for job in jobs}
        try:
            for future in as_completed(futures, timeout=self.time_limit):
                yield _outcome(future, futures.pop(future))
        except FutureTimeout:
            for future, job in futures.items():
                future.cancel()
                yield Outcome(job.number, None, self.time_limit or 0.0, f"no result within {self.time_limit} seconds")


class LocalRunner:
    """Evaluates in worker processes of this machine; a worker that hangs or dies costs one trial and is replaced.

    Args:
        estimator: sent to each worker once.
        workers: number of processes.
        time_limit: seconds after which a trial is killed.
    """

    def __init__(self, estimator: Estimator, workers: int, time_limit: float | None = None) -> None:
        import multiprocessing

        from pebble import ProcessPool

        self.time_limit = time_limit
        self.pool = ProcessPool(
            max_workers=workers,
            initializer=_worker_start,
            initargs=[pickled(estimator)],
            context=multiprocessing.get_context("spawn"),  # forked copies of a process with torch threads may hang
        )

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Outcomes as they finish."""
        futures = {self.pool.schedule(_evaluate_own, args=[job], timeout=self.time_limit): job for job in jobs}
        for future in as_completed(futures):
            yield _outcome(future, futures[future], self.time_limit)

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        self.pool.stop()
        self.pool.join()


def _outcome(future: Future[Outcome], job: Job, time_limit: float | None = None) -> Outcome:
    from pebble import ProcessExpired

    try:
        return future.result()
    except BrokenExecutor as error:
        raise GraphnasError(
            f"the executor broke down while trial {job.number} ran ({error}); resume with a new one"
        ) from None
    except (FutureTimeout, TimeoutError):
        return Outcome(job.number, None, time_limit or 0.0, f"killed after the time limit of {time_limit} seconds")
    except ProcessExpired as error:
        return Outcome(job.number, None, 0.0, f"the worker process died with exit code {error.exitcode}")
    except Exception as error:
        return Outcome(job.number, None, 0.0, f"{type(error).__name__}: {error}")


def pickled(estimator: Any) -> bytes:
    """The estimator as bytes for a worker.

    Raises:
        GraphnasError: it cannot be pickled (a lambda or a local class inside, as a rule).
    """
    try:
        return pickle.dumps(estimator)
    except Exception as error:
        raise GraphnasError(
            f"estimator {estimator.name!r} cannot be sent to worker processes ({error}); "
            "define its functions at module level, or use workers=1 without a time limit"
        ) from None
