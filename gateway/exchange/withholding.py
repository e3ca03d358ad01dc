"""The data tracker's extension of a request: on what occasion and by which system data are asked for, and whether the
person concerned is not to see it yet.

SOAP has it as the `pdu` header entry (namespace http://x-road.eu/xsd/pdu.xsd), REST as X-Datenweg-Reason, -System and
-Hidden; all under the client's signature. Whoever asks for an access to be hidden is believed only where this gateway's
operator has named the client (`withheld_clients`): the law allows it to few, e.g. in investigations. Otherwise the
person sees it like any other. A withheld access is in the same tree under another tag, counted by day, and released
later (`datenweg log release`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.messages.faults import printable
from gateway.messages.rest import RESTRequest
from gateway.messages.soap_fields import PDU
from gateway.messages.soap_request import SOAPRequest
from gateway.settings import GatewaySettings

_NOTHING_SAID: Final = PDU()
# As over REST: the record is kept once for each person, so what X-Road leaves unbounded would be there a hundredfold.
_MOST: Final = 256


def extension_of(request: RESTRequest | SOAPRequest) -> PDU:
    """What the client says of the occasion, as it is recorded: one line each, of bounded length."""
    if isinstance(request, SOAPRequest):
        pdu = request.message.pdu
        return _NOTHING_SAID if pdu is None else replace(pdu, reason=_line(pdu.reason), system=_line(pdu.system))
    fields = request.fields
    if fields.reason is None and fields.system is None and not fields.hidden:
        return _NOTHING_SAID
    return PDU(fields.reason, fields.system, fields.hidden)


def is_withheld(settings: GatewaySettings, request: RESTRequest | SOAPRequest) -> bool:
    """Whether the persons concerned don't see this access for now."""
    return extension_of(request).hidden and request.client in settings.withheld_client_ids


def _line(text: str | None) -> str | None:
    return None if text is None else printable(text, _MOST)
