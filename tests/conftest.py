"""Shared fixtures: one thread everywhere, a cache of its own, real data where it lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor fill the user's cache."""
    if "GRAPHNAS_TEST_CACHE" not in os.environ:
        os.environ["GRAPHNAS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data; tests that need it are skipped without it."""
    folder = os.environ.get("GRAPHNAS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("GRAPHNAS_DATA names no folder of real data")
    return Path(folder)
