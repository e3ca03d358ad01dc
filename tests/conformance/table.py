"""The conformance table: every code of the road, where it is raised, or why no road raises it.

`docs/conformance.md` is this table in words; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

from tests.conformance import (
    answer_cases,
    answer_signature_cases,
    client_cases,
    command_cases,
    gateway_cases,
    operator_cases,
    peer_tls_cases,
    provider_cases,
    relay_cases,
    request_signature_cases,
    road_cases,
    service_cases,
)
from tests.conformance.stage import Case

CASES: Final[tuple[Case, ...]] = (
    *client_cases.CASES,
    *road_cases.CASES,
    *peer_tls_cases.CASES,
    *answer_cases.CASES,
    *answer_signature_cases.CASES,
    *provider_cases.CASES,
    *service_cases.CASES,
    *gateway_cases.CASES,
    *request_signature_cases.CASES,
    *relay_cases.CASES,
    *operator_cases.CASES,
    *command_cases.CASES,
)

# Codes of the vocabulary that no case raises, and why.
EXCUSED: Final[dict[str, str]] = {
    "server.clientproxy.malformed_global_conf": (
        "clients are served under the configuration that was accepted last; the operator reads `malformed_global_conf`"
    ),
}


def excuse(code: str) -> str | None:
    """Why no case raises the code."""
    return EXCUSED.get(code)
