"""Trials on disk: one SQLite file a search, a commit per trial, nothing lost when the process dies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphnas.errors import GraphnasError
from graphnas.strategies.base import Trial

if TYPE_CHECKING:
    from graphnas.space import Space

FORMAT = "graphnas.store.1"

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (
  number INTEGER PRIMARY KEY, decisions TEXT NOT NULL, key TEXT NOT NULL, status TEXT NOT NULL, score REAL,
  metrics TEXT NOT NULL, seed INTEGER NOT NULL, cost REAL NOT NULL, seconds REAL NOT NULL, error TEXT NOT NULL
);
"""


class Store:
    """One search in one SQLite file (write-ahead log, so that others can read while it runs).

    Args:
        path: the file; made if missing, unless ``read_only``.
        read_only: for showing and reporting; takes no lock.

    Raises:
        GraphnasError: no such file, not a graphnas store, damaged, or in use by another search.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._lock: Any = None
        exists = self.path.exists() and self.path.stat().st_size > 0
        if read_only and not exists:
            raise GraphnasError(f"there is no store {self.path}")
        if not self.path.parent.is_dir():
            raise GraphnasError(f"the folder {self.path.parent} of the store does not exist")
        if not read_only:
            self._acquire()
        try:
            self._connection = self._connect(exists, read_only)
        except BaseException:
            self._release()
            raise

    def _acquire(self) -> None:
        from filelock import FileLock, Timeout

        # The operating system drops the lock when the process dies, however it dies.
        self._lock = FileLock(str(self.path) + ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise GraphnasError(
                f"store {self.path} is in use by another search; wait for it or choose another"
            ) from None
        except OSError as error:
            raise GraphnasError(f"store {self.path} cannot be written: {error.strerror or error}") from None

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()  # its file stays: removing it would race with a process that waits for it
            self._lock = None

    def _connect(self, exists: bool, read_only: bool) -> sqlite3.Connection:
        try:
            uri = f"{self.path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None)
            if exists:
                kind = connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
                if kind is None or kind[0] != FORMAT:
                    raise GraphnasError(f"{self.path} is no graphnas store; choose another file")
            if read_only:
                return connection
            connection.execute("PRAGMA journal_mode = WAL")
            # In WAL mode NORMAL survives the death of the process; a power failure may cost the last trials.
            connection.execute("PRAGMA synchronous = NORMAL")
            if not exists:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
                    connection.execute("COMMIT")
            return connection
        except sqlite3.DatabaseError as error:
            raise GraphnasError(
                f"{self.path} is not a readable graphnas store ({error}); choose another file"
            ) from None

    def close(self) -> None:
        """Close the file and let others write."""
        self._connection.close()
        self._release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def set(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value, sort_keys=True)))

    def get(self, name: str, default: Any = None) -> Any:
        """The JSON value under a name."""
        row = self._read("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def write(self, trial: Trial, decisions: tuple[int, ...]) -> None:
        """Commit one trial."""
        metrics = json.dumps(trial.metrics) if trial.metrics else "{}"
        score = trial.score if trial.score == trial.score else None
        self._connection.execute(
            "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                trial.number,
                ",".join(map(str, decisions)),
                trial.key,
                trial.status,
                score,
                metrics,
                trial.seed,
                trial.cost,
                trial.seconds,
                trial.error,
            ),
        )

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(query, values)
        except sqlite3.DatabaseError as error:
            raise GraphnasError(f"store {self.path} is damaged ({error}); restore it from a copy") from None

    def __len__(self) -> int:
        return int(self._read("SELECT COUNT(*) FROM trials").fetchone()[0])

    def trials(self, space: Space) -> Iterator[Trial]:
        """All trials in the order of their numbers.

        Raises:
            GraphnasError: a damaged file, or trials of another space.
        """
        cursor = self._read("SELECT * FROM trials ORDER BY number")
        while True:
            try:
                row = cursor.fetchone()
            except sqlite3.DatabaseError as error:
                raise GraphnasError(f"store {self.path} is damaged ({error}); restore it from a copy") from None
            if row is None:
                return
            yield self._trial(row, space)

    def _trial(self, row: tuple[Any, ...], space: Space) -> Trial:
        number, decisions, key, status, score, metrics, seed, cost, seconds, error = row
        try:
            architecture = space.decode([int(d) for d in decisions.split(",")] if decisions else [])
            values: Mapping[str, float] = json.loads(metrics)
        except (ValueError, AttributeError, GraphnasError) as problem:
            raise GraphnasError(
                f"trial {number} of store {self.path} does not fit space {space.name!r}: {problem}"
            ) from None
        found = float("nan") if score is None else float(score)
        return Trial(number, architecture, key, status, found, dict(values), seed, cost, seconds, error)
