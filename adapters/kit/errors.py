"""The error tree of the adapters.

    AdapterError          carries its ProblemKind; `kit.problems` turns it into a problem answer
    ├── CallerError       the request, or the state that it meets, does not allow the operation   (the caller's fault)
    ├── BackendError      the institution's system failed or refused                              (the backend's fault)
    └── InternalError     ours

Errors carry facts: which kind, which fields, which code the backend gave. Never a value that a person sent, never an
exception's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Hop(StrEnum):
    """Which station of the way failed."""

    CLIENT = "client"
    ADAPTER = "adapter"
    BACKEND = "backend"


@dataclass(frozen=True, slots=True)
class Text:
    """What a person reads, in both languages of the house."""

    de: str
    en: str


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One documented way to fail: its code, HTTP status, hop, what went wrong and what to do."""

    code: str
    status: int
    hop: Hop
    title: Text
    hint: Text


class AdapterError(Exception):
    """Whatever an adapter raises."""

    def __init__(self, kind: ProblemKind, *, fields: tuple[str, ...] = (), backend_code: str | None = None) -> None:
        super().__init__(kind.code)
        self.kind = kind
        self.fields = fields
        self.backend_code = backend_code


class CallerError(AdapterError):
    """The request, or the state that it meets, does not allow the operation."""


class BackendError(AdapterError):
    """The institution's system failed or refused."""


class InternalError(AdapterError):
    """We failed."""
