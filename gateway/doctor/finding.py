"""What a check finds. Texts are for the operator: no secrets, no personal data, no exception's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """`problem`: exchanges fail or will fail; `warning`: they go on, but somebody should look."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `check` is its group, `subject` which one, `todo` what to do."""

    check: str
    subject: str
    state: State
    what: str
    todo: str = ""


def ok(check: str, subject: str, what: str) -> Finding:
    """Nothing to do."""
    return Finding(check, subject, State.OK, what)


def warning(check: str, subject: str, what: str, todo: str) -> Finding:
    """Goes on, but look at it."""
    return Finding(check, subject, State.WARNING, what, todo)


def problem(check: str, subject: str, what: str, todo: str) -> Finding:
    """Broken, or about to be."""
    return Finding(check, subject, State.PROBLEM, what, todo)


def worst(findings: Sequence[Finding]) -> State:
    """The state of the whole."""
    states = {finding.state for finding in findings}
    return next((state for state in (State.PROBLEM, State.WARNING) if state in states), State.OK)


def as_document(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as JSON has them."""
    return [
        {"check": f.check, "subject": f.subject, "state": f.state.value, "what": f.what, "todo": f.todo}
        for f in findings
    ]
