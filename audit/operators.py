"""Who has looked into the message log, and why: written before anything is shown, and never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.store import operator_access

MAX_TEXT: Final = 1000


async def record_access(
    engine: AsyncEngine, *, operator: str, reason: str, action: str, criteria: Mapping[str, object], time_ms: int
) -> None:
    """Note that an operator looks for messages; durable on return. Raises ValueError without a name or a reason."""
    name, why = operator.strip()[:MAX_TEXT], reason.strip()[:MAX_TEXT]
    if not name or not why:
        raise ValueError("an operator's name and reason are needed")
    text = json.dumps({key: value for key, value in criteria.items() if value is not None}, sort_keys=True)
    values = {"time_ms": time_ms, "operator": name, "reason": why, "action": action, "criteria": text}
    async with engine.begin() as connection:
        await connection.execute(insert(operator_access).values(values))
