"""What is handed over on a third party's consent is reported to the consent service (`reportDataTransmission`).

The consent service of Estonia wants each provider to, so that the citizen reads there what moved on a consent; here the
provider's gateway does it for its institutions. That something is to be reported is durable in the very transaction
that logs the answer (an outbox), so that no crash forgets it; the report itself goes its own way afterwards, again and
again if need be, and no exchange waits for it.
"""

from __future__ import annotations

import uuid
from typing import Final

from audit.sequencer import Beside
from gateway.exchange.directory import BuiltIn, Offer
from gateway.exchange.recording import Access, Result
from gateway.store.model import ConsentCopy
from gateway.store.tables import transmission_report
from trust.identifiers import SubsystemId

REPORTING: Final = BuiltIn.REPORTING.value


def transmission_of(copy: ConsentCopy | None, offer: Offer, access: Access) -> tuple[Beside, ...]:
    """What is to be written beside the log's rows of an answer, if data go out on a third party's consent."""
    if copy is None or not offer.needs_consent or access.result is not Result.DELIVERED:
        return ()
    provider = access.service.provider
    if not copy.is_for_third_party or copy.authority is None or not isinstance(provider, SubsystemId):
        return ()
    row = {
        "id": str(uuid.uuid4()),
        "reference": copy.reference,
        "authority": copy.authority.encoded,
        "provider": provider.encoded,
        "at_ms": access.time_ms,
        "attempts": 0,
        "due_ms": access.time_ms,
    }
    return (Beside(transmission_report.name, row),)
