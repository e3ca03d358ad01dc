"""Fixtures for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.databases import database_url, databases, postgres_server, postgres_url, sqlite_url

__all__ = ["database_url", "databases", "postgres_server", "postgres_url", "sqlite_url"]

# The same examples each time: a change fails for what it changed. `make fuzz` looks for more, and so does the variable.
settings.register_profile("settled", derandomize=True)
if not os.environ.get("DATENWEG_EXPLORE"):
    settings.load_profile("settled")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a module run in one process: its gateways and databases are started once, not in each."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
