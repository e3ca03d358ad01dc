"""What this gateway's log says about itself: which keys sign it, and which page its citizens verify it with."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from audit.announcements import announce
from audit.browser import build_verifier
from gateway.logs import OwnLogs
from gateway.settings import GatewaySettings


class Announcements:
    """Has the current log say both. Use from one event loop."""

    def __init__(self, settings: GatewaySettings, policy: str) -> None:
        """`policy`: the text of the witness policy, which goes into the verifier's page."""
        keys = settings.citizen_log_keys if settings.citizen_port is not None else ()
        # Without keys that the operator trusts, the page is another one for each citizen.
        self._page = build_verifier(keys, policy=policy) if keys else None

    async def round(self, logs: OwnLogs) -> None:
        """Says what the log hasn't said yet. Raises AuditError."""
        await announce_keys(logs)
        if self._page is not None:
            await announce_page(logs, self._page)


async def announce_keys(logs: OwnLogs) -> bool:
    """A `key` leaf if the keys that sign the log aren't those that it named last; whether there was one to make."""
    publisher = logs.publisher
    record = _record({"origin": publisher.origin, "vkeys": [key.text for key in publisher.verifiers]})
    return await announce(logs.engine, logs.sequencer, publisher.origin, "key", record) is not None


async def announce_page(logs: OwnLogs, page: bytes) -> bool:
    """A `policy` leaf if the verifier's page isn't the one that the log named last; whether there was one to make."""
    digest = hashlib.sha256(page).hexdigest()
    record = _record({"page": "verifier", "sha256": digest})
    return await announce(logs.engine, logs.sequencer, logs.publisher.origin, "policy", record) is not None


def _record(values: dict[str, Any]) -> bytes:
    return json.dumps(values | {"v": 1}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
