"""Third parties' documents with their signers' status: `trust.third_party` reads, the authorities' responders are
asked.

One for each process that takes documents: the command line's, an institution's adapter. Road messages aren't its
business; they bring their OCSP answers along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from trust.certificates import StatusQuery
from trust.certification_path import is_authority, load_certificate, status_addresses
from trust.errors import CertificateUntrusted
from trust.ocsp import VerifiedStatus
from trust.ocsp_client import StatusSource
from trust.parameters import ApprovedCA
from trust.third_party import VerifiedDocument, verify_third_party

# Authorities of the world outside sign their answers ahead, some once a day; an answer's own nextUpdate ends it sooner.
FRESHNESS: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class AcceptedDocument:
    """A verified document of which each certificate up to the authority is known to be good now.

    `status` is that of the signer's certificate.
    """

    document: VerifiedDocument
    status: VerifiedStatus


class DocumentVerifier:
    """Verifies documents by these authorities. Any number of tasks may call at once.

    The caller owns `statuses` and closes it.
    """

    def __init__(
        self, authorities: Sequence[ApprovedCA], statuses: StatusSource, clock: Callable[[], datetime]
    ) -> None:
        self._authorities = tuple(authorities)
        self._statuses = statuses
        self._clock = clock

    async def verify(self, document: bytes) -> AcceptedDocument:
        """The document, its signature and its signer's status good now. The work is done off the event loop.

        Raises MalformedInput, SignatureInvalid, CertificateUntrusted, StatusNotGood, FetchFailed.
        """
        verified = await asyncio.to_thread(
            verify_third_party, document, authorities=self._authorities, at=self._clock()
        )
        signer, *_ = [await self._status(query) for query in _queries(verified)]
        return AcceptedDocument(verified, signer)

    async def _status(self, query: StatusQuery) -> VerifiedStatus:
        der = await self._statuses.status_for(query)
        return query.verify_status(der, at=self._clock())


def _queries(verified: VerifiedDocument) -> list[StatusQuery]:
    """Who to ask about the signer's certificate and each intermediate above it; the authority itself is believed."""
    responders = tuple(map(load_certificate, verified.authority.ocsp_responders))
    configured = verified.authority.ocsp_urls
    return [
        StatusQuery(link, verified.chain[number + 1], (*configured, *status_addresses(link)), responders, FRESHNESS)
        for number, link in enumerate(verified.chain[:-1])
    ]


def read_authorities(certificates: Sequence[bytes]) -> tuple[ApprovedCA, ...]:
    """Certificates (DER) of authorities whose signers' documents count. Raises MalformedInput, CertificateUntrusted."""
    found = []
    for der in certificates:
        certificate = load_certificate(der)
        if not is_authority(certificate):
            raise CertificateUntrusted("the certificate isn't an authority's")
        found.append(ApprovedCA(certificate.subject.rfc4514_string(), certificate.public_bytes(Encoding.DER)))
    return tuple(found)
