"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from tests.databases import database_url, databases, postgres_server, postgres_url, sqlite_url

__all__ = ["database_url", "databases", "postgres_server", "postgres_url", "sqlite_url"]

# The same examples each time: a change fails for what it changed. `make fuzz` looks for more, and so does the variable.
settings.register_profile("settled", derandomize=True)
if not os.environ.get("DATENWEG_EXPLORE"):
    settings.load_profile("settled")


@pytest.fixture
def own_logging() -> Iterator[None]:
    """For tests that set up logging as a process does: whoever comes after them has it as it was."""
    yield
    structlog.reset_defaults()
