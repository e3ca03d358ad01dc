"""What only a security server says: its fault comes to a client here as it was said, and is understood."""

from __future__ import annotations

import uuid
from typing import Final

from gateway.messages.faults import Fault, soap_fault
from gateway.messages.vocabulary import hop_of
from tests.conformance.answer_cases import rogue_answers, soap_rogue
from tests.conformance.stage import Case
from tests.conformance.words import Form, Row
from tests.gateway.exchange.rogue import reply

# X-Road's processes beside its proxy, and what its proxy says more vaguely or under another prefix than this road.
CODES: Final = (
    *(
        f"server.serverproxy.{leaf}"
        for leaf in (
            "network_error",
            "malformed_global_conf",
            "malformed_server_conf",
            "invalid_content_type",
            "mime_parsing_failed",
            "invalid_soap",
            "invalid_xml",
            "incorrect_certificate",
            "incorrect_validation_info",
            "cert_validation",
            "service_failed.missing_soap",
            "service_failed.inconsistent_response",
            "service_failed.internal_error",
            "opmonitor.internal_error",
            "opmonitor.network_error",
            "opmonitor.io_error",
        )
    ),
    *(
        f"signer.{leaf}"
        for leaf in (
            "csr_not_found",
            "token_not_initialized",
            "token_read_only",
            "unsupported_sign_algorithm",
            "login_failed",
            "logout_failed",
            "hsm_non_operational",
            "internal_error",
            "network_error",
            "timestamper_failed",
        )
    ),
)


def _said(code: str, form: Form) -> Case:
    fault = soap_fault(Fault(code, "nein", relayed=True, detail=str(uuid.uuid4())))
    do = rogue_answers if form is Form.REST else soap_rogue
    situation = "said by a security server, passed on"
    return Case(Row.RELAYED, form, situation, code, hop_of(code), do(lambda *_: reply(("text/xml", fault))))


CASES: list[Case] = [
    *(_said(code, Form.REST) for code in CODES),
    _said("server.serverproxy.cert_validation", Form.SOAP),
    _said("signer.token_not_active", Form.SOAP),
]
