"""What goes wrong on the road, as one exception, and how it is told: SOAP fault, REST error in JSON or XML.

SOAP faults as X-Road sends them (PR-MESS 2.9, and the proxy's own generator), REST errors after PR-REST 4.7 with the
proxy's real rules for `Accept`. The codes are in `vocabulary`. A fault's message is made of the table's fixed
sentences and of a reason that our own code words; it never holds the text of an exception.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Final
from xml.sax.saxutils import escape

from gateway.messages.soap_scan import HeaderReader, NotSOAP, scan
from gateway.messages.vocabulary import (
    ERRORS,
    ErrorCode,
    Hop,
    Vocabulary,
    canonical,
    hop_of,
    is_code,
    is_gateways,
    same_code,
    spell,
    status_of,
)
from trust.errors import (
    ConfigurationExpired,
    ConfigurationInvalid,
    FetchFailed,
    KeyUnavailable,
    MalformedInput,
    SignatureMalformed,
    TrustError,
)

__all__ = [
    "ERRORS",
    "ErrorCode",
    "Fault",
    "Hop",
    "TrustStep",
    "Vocabulary",
    "error_header",
    "from_trust_error",
    "parse_soap_fault",
    "prefix_of",
    "rest_error_body",
    "same_code",
    "soap_fault",
    "spell",
    "status_of",
]

_MAX_REASON: Final = 600
_MAX_RELAYED: Final = 2048
_SOAP_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"


class Fault(Exception):
    """An error of the road, safe to show to whoever called.

    `code` is in the 7.8 spelling, a service's own as it came. `reason` says what was wrong with this message in our own
    words: identifiers and limits, never an exception's text, personal data or a secret. `detail` is the id that is also
    in the log line; the shell sets it once with `identify`, because a core makes no random ids. A `relayed` fault came
    from another hop, which worded its message.
    """

    def __init__(
        self,
        code: str,
        reason: str = "",
        *,
        hint: str = "",
        hop: Hop | None = None,
        detail: str = "",
        actor: str | None = None,
        relayed: bool = False,
        retry_after_ms: float = 0,
    ) -> None:
        own = is_code(code) and (is_gateways(code) or not relayed)
        self.code = canonical(code) if own else code
        super().__init__(self.code)
        self.reason = printable(reason, _MAX_RELAYED if relayed else _MAX_REASON)
        self.hop = hop or hop_of(self.code)
        self.detail = detail
        self.actor = actor
        self.relayed = relayed
        # When it is worth trying again, if that is known.
        self.retry_after_ms = retry_after_ms
        # The code as another hop spelled it.
        self.sent_code = ""
        self._hint = printable(hint, _MAX_REASON)

    @property
    def hint(self) -> str:
        """What the reader can do about it."""
        known = ERRORS.get(self.code)
        return self._hint or (known.hint if known and not self.relayed else "")

    @property
    def message(self) -> str:
        """One line for people: which hop failed, why, and what to do. A relayed fault's message is the sender's."""
        if self.relayed:
            return self.reason
        known = ERRORS.get(self.code)
        cause = known.cause if known else "the request failed"
        text = f"{self.hop.value.capitalize()}: {cause}"
        if self.reason:
            text += f" ({self.reason})"
        return f"{text}. {self.hint[:1].upper()}{self.hint[1:]}." if self.hint else f"{text}."

    @property
    def loggable_code(self) -> str:
        """The code for logs and records: the road's own, or a word for one that a service or client made up."""
        if self.code in ERRORS or (is_code(self.code) and is_gateways(self.code)):
            return self.code
        return "client_fault" if self.hop is Hop.CLIENT else "service_fault"

    @property
    def status(self) -> int:
        """The HTTP status over REST."""
        return status_of(self.code)

    def identify(self, detail: str) -> Fault:
        """This fault with an id. A fault that has one (a relayed fault, or one identified before) keeps it."""
        self.detail = self.detail or detail
        return self


class TrustStep(Enum):
    """What a gateway was verifying when `trust` refused."""

    SIGNATURE = "signature"
    PEER = "peer"
    CONFIGURATION = "configuration"


_PREFIX: Final = {Hop.CONSUMER_GATEWAY: "server.clientproxy", Hop.PROVIDER_GATEWAY: "server.serverproxy"}


def prefix_of(hop: Hop) -> str:
    """The code prefix of one of the two gateways; every other hop speaks through the provider gateway."""
    return _PREFIX.get(hop, "server.serverproxy")


def from_trust_error(hop: Hop, error: TrustError, step: TrustStep = TrustStep.SIGNATURE) -> Fault:
    """What the gateway `hop` tells its caller when `trust` refused. The error's own text stays out of it."""
    prefix = prefix_of(hop)
    match error:
        case ConfigurationExpired():
            leaf = "global_conf_outdated"
        case ConfigurationInvalid():
            leaf = "malformed_global_conf"
        case KeyUnavailable():
            leaf = "cannot_create_signature"
        case FetchFailed():
            leaf = "network_error"
        case _ if step is TrustStep.PEER:
            leaf = "ssl_authentication_failed"
        case MalformedInput() if not isinstance(error, SignatureMalformed) and step is TrustStep.CONFIGURATION:
            leaf = "malformed_global_conf"
        case _:
            leaf = f"signature_verification.{error.code.removeprefix('signature_verification.')}"
            if f"{prefix}.{leaf}" not in ERRORS:
                leaf = "signature_verification.malformed_signature"
    return Fault(f"{prefix}.{leaf}", hop=hop)


# -- REST --

_XML_TYPES: Final = {"text/xml": "text/xml", "application/xml": "application/xml", "text/*": "text/xml"}


def rest_error_body(
    fault: Fault, accept: str | Sequence[str] = (), vocabulary: Vocabulary = Vocabulary.SNAKE
) -> tuple[str, bytes]:
    """Content type and body of a REST error, JSON unless `Accept` lists an XML type.

    As X-Road's proxy does it: q-values are ignored, the first XML type wins wherever it stands.
    """
    code = spell(fault.code, vocabulary)
    values = (accept,) if isinstance(accept, str) else accept
    for value in values:
        for item in value.split(","):
            media_type = _XML_TYPES.get(item.partition(";")[0].strip().lower())
            if media_type:
                text = (
                    '<?xml version="1.0" encoding="UTF-8"?><error>'
                    f"<type>{_xml_text(code)}</type><message>{_xml_text(fault.message)}</message>"
                    f"<detail>{_xml_text(fault.detail)}</detail></error>"
                )
                return f"{media_type};charset=utf-8", text.encode()
    body = {"type": code, "message": fault.message, "detail": fault.detail}
    return "application/json", json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def error_header(fault: Fault, vocabulary: Vocabulary = Vocabulary.SNAKE) -> tuple[str, str]:
    """The header by which a client tells the road's own error from a service's 4xx or 5xx."""
    code = spell(fault.code, vocabulary)
    # A relayed code may be a service's own (`soap:Server`); it was made printable when it was parsed.
    return "X-Road-Error", code if code.isascii() and code.isprintable() else "server.serverproxy.internal_error"


# -- SOAP --


def soap_fault(fault: Fault, vocabulary: Vocabulary = Vocabulary.SNAKE) -> bytes:
    """The SOAP 1.1 fault, byte for byte as X-Road's proxy shapes it. Sent with HTTP 200, `text/xml;charset=utf-8`."""
    actor = f"<faultactor>{_xml_text(fault.actor)}</faultactor>" if fault.actor else ""
    detail = f'<detail><faultDetail xmlns="">{_xml_text(fault.detail)}</faultDetail></detail>' if fault.detail else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<SOAP-ENV:Envelope xmlns:SOAP-ENV="{_SOAP_ENVELOPE}"><SOAP-ENV:Body><SOAP-ENV:Fault>'
        f"<faultcode>{_xml_text(spell(fault.code, vocabulary))}</faultcode>"
        f"<faultstring>{_xml_text(fault.message)}</faultstring>{actor}{detail}"
        "</SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>"
    ).encode()


def parse_soap_fault(data: bytes, *, reader: Hop = Hop.CONSUMER_GATEWAY, charset: str | None = None) -> Fault:
    """The fault that another hop sent, as an exception to raise. `charset` is that of its Content-Type.

    Raises Fault `...service_failed.` with `invalid_soap`, `invalid_body`, `missing_body` or, of another SOAP message
    than a fault, `invalid_message` (PR-MESSTRANSP 3.2, and the proxy: it reads what it gets as SOAP first).
    """
    prefix = f"{prefix_of(reader)}.service_failed"
    try:
        scanned = scan(data, charset, HeaderReader())
    except NotSOAP as refused:
        raise Fault(f"{prefix}.{refused.leaf}", refused.reason) from None
    found = scanned.fault
    if found is None:
        leaf = "invalid_message" if scanned.bodies else "missing_body"
        raise Fault(f"{prefix}.{leaf}", "the answer is not a SOAP fault")
    code = printable(found.code, 255).strip()
    if not code:
        raise Fault(f"{prefix}.invalid_message", "the SOAP fault has no code")
    fault = Fault(
        code,
        found.string.strip(),
        hop=None if is_gateways(code) else Hop.SERVICE,
        detail=printable((found.detail or "").strip(), 255),
        actor=printable(found.actor, 255) if found.actor else None,
        relayed=True,
    )
    fault.sent_code = found.code
    return fault


def printable(text: str, limit: int) -> str:
    """The text in one line without control characters, at most `limit` characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def _xml_text(text: str) -> str:
    # isprintable() leaves out every character that XML 1.0 forbids, surrogates among them.
    return escape(printable(text, _MAX_RELAYED * 2))
