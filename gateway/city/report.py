"""What the journey found out, as a report for machines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ExchangeReport:
    """One exchange over the road.

    `signatures_verified` counts the signatures that both logs hold, each checked anew: 2, or 1 if it was refused.
    """

    service: str
    operation: str
    http_status: int
    request_id: str
    signatures_verified: int
    consumer_receipt: str | None
    provider_receipt: str | None
    duration_ms: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AccessLogReport:
    """The citizen's access log of this month, over all gateways."""

    entries: int
    proofs_verified: int
    denied: int
    checkpoint: dict[str, str]


@dataclass(slots=True)
class Report:
    """The whole journey. `steps` are those that held, in order; `failure` names the one that didn't."""

    exchanges: list[ExchangeReport] = field(default_factory=list)
    refused: ExchangeReport | None = None
    # The utility's request to the bank, on the citizen's consent.
    third_party: ExchangeReport | None = None
    access_log: AccessLogReport | None = None
    steps: list[str] = field(default_factory=list)
    seconds_to_first_exchange: float | None = None
    failure: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every step held."""
        return self.failure is None and self.refused is not None and self.access_log is not None

    def as_json(self) -> dict[str, Any]:
        """The report's JSON data."""
        return asdict(self) | {"ok": self.ok}

    def write(self, path: Path) -> None:
        """Writes the report; raises OSError."""
        path.write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
