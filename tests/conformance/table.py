"""The conformance table: every code of the road, where it is raised, or why no road raises it.

`docs/conformance.md` is this table in words; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

from tests.conformance import answer_cases, client_cases, gateway_cases, provider_cases, road_cases, service_cases
from tests.conformance.stage import Case

CASES: Final[tuple[Case, ...]] = (
    *client_cases.CASES,
    *road_cases.CASES,
    *answer_cases.CASES,
    *provider_cases.CASES,
    *service_cases.CASES,
    *gateway_cases.CASES,
)

_SIGNER = (
    "X-Road's signer is a process of its own and answers its proxy with these; here the signer is within the gateway, "
    "which tells clients `cannot_create_signature`. The codes are those of the key commands, and are understood in "
    "what a security server passes on"
)
_ASIC = "of whoever opens a container: the verifier's commands and page, not the road"
_RELAYED = "raised by no gateway of this road; understood in what a security server passes on, and spelled in both ways"
_AT_START = "refuses the start of the gateway, or a new configuration: the one in force stays, and clients are served"
_PATHS = "the verifier says more: `cannot_create_cert_path`, `cert_validity_time` or `cert_validation`; relayed"
_TIME_STAMPS = "of time-stamped containers: a message between gateways carries no time-stamp"
_NAMED_BETTER = "the same situation is named under `service_failed`: what can't be read is the other side's message"
_INTERNAL = (
    "a signed message that we can't serialise or read has a code of its own; X-Road's `internal_error` is relayed"
)

# Codes of the vocabulary that no case raises, and why.
EXCUSED: Final[dict[str, str]] = {
    "client.invalid_client_identifier": "X-Road's proxy, and we, say `server.clientproxy.invalid_client_identifier`",
    "client.invalid_request": "`/asic` and `/wsdl` answer in plain text with 400 (UG-SIGDOC), which has no code",
    "client.not_found": "`/asic` and `/wsdl` answer in plain text with 404 (UG-SIGDOC), which has no code",
    "client.representation_refused": "needs the city's register of representations (tests/gateway/citizen)",
    **dict.fromkeys(
        (
            f"server.{proxy}.{leaf}"
            for proxy in ("clientproxy", "serverproxy")
            for leaf in ("incorrect_certificate", "incorrect_validation_info", "cert_validation", "not_found")
        ),
        _RELAYED,
    ),
    **dict.fromkeys(
        (
            f"server.clientproxy.{leaf}"
            for leaf in (
                "database_error",
                "invalid_message",
                "mime_parsing_failed",
                "invalid_content_type",
                "invalid_http_method",
                "invalid_soap",
                "invalid_xml",
                "invalid_request",
            )
        ),
        _RELAYED,
    ),
    **dict.fromkeys(
        (
            f"server.serverproxy.{leaf}"
            for leaf in ("mime_parsing_failed", "invalid_content_type", "invalid_soap", "invalid_xml")
        ),
        _NAMED_BETTER,
    ),
    "server.serverproxy.network_error": _RELAYED,
    "server.serverproxy.io_error": "a request that breaks off: its sender is gone, and nobody is told (test_tampering)",
    "server.serverproxy.malformed_server_conf": _RELAYED,
    "server.clientproxy.malformed_global_conf": _AT_START,
    "server.serverproxy.malformed_global_conf": _AT_START,
    **{
        f"server.{proxy}.signature_verification.{leaf}": reason
        for proxy in ("clientproxy", "serverproxy")
        for leaf, reason in (
            ("invalid_cert_path", _PATHS),
            ("timestamp_validation", _TIME_STAMPS),
        )
    },
    **dict.fromkeys(
        (f"server.clientproxy.service_failed.{leaf}" for leaf in ("http_error", "missing_soap", "network_error")),
        "X-Road has these without `service_failed`, and so have we; relayed",
    ),
    "server.clientproxy.service_failed.internal_error": _INTERNAL,
    "server.serverproxy.service_failed.internal_error": _INTERNAL,
    "server.serverproxy.service_failed.missing_soap": "multipart without parts is `invalid_message`, as in X-Road",
    "server.serverproxy.service_failed.inconsistent_response": "the client's gateway compares, as in X-Road",
    **dict.fromkeys(
        (f"server.serverproxy.opmonitor.{leaf}" for leaf in ("internal_error", "network_error", "io_error")),
        "X-Road's monitoring daemon is a process of its own; here there is none that could be away. Relayed",
    ),
}


def excuse(code: str) -> str | None:
    """Why no case raises the code."""
    if code.startswith("signer."):
        return _SIGNER
    if code.startswith("asic_"):
        return _ASIC
    return EXCUSED.get(code)
