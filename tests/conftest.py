"""Fixtures for all tests."""

from __future__ import annotations

from tests.databases import database_url, databases, postgres_server, postgres_url, sqlite_url

__all__ = ["database_url", "databases", "postgres_server", "postgres_url", "sqlite_url"]
