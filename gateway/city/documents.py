"""Third parties' documents for the adapters: proven by `trust`, refused in the adapters' own words.

The adapters import nothing of `trust` but identifiers; whoever starts one hands this in (docs/adr/0014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Self

import aiohttp

from adapters.kit.documents import (
    DOCUMENT_MALFORMED,
    DOCUMENT_SIGNATURE_INVALID,
    DOCUMENT_SIGNER_UNTRUSTED,
    DOCUMENT_STATUS_UNKNOWN,
    VerifiedDocument,
)
from adapters.kit.errors import AdapterError, CallerError, InternalError
from adapters.kit.problems import INTERNAL
from gateway.logging import get_logger
from trust.document_verifier import DocumentVerifier
from trust.errors import CertificateUntrusted, FetchFailed, MalformedInput, SignatureInvalid, StatusNotGood, TrustError
from trust.ocsp_client import StatusSource
from trust.parameters import ApprovedCA

_log = get_logger()


class TrustedDocuments:
    """An adapter's verifier: documents whose signers one of these authorities vouches for. Open while it is entered."""

    def __init__(self, authorities: Sequence[ApprovedCA], clock: Callable[[], datetime]) -> None:
        self._authorities = authorities
        self._clock = clock
        self._stack = AsyncExitStack()
        self._verifier: DocumentVerifier | None = None

    async def __aenter__(self) -> Self:
        session = await self._stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        statuses = StatusSource(session, self._clock)
        self._stack.push_async_callback(statuses.close)
        self._verifier = DocumentVerifier(self._authorities, statuses, self._clock)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._verifier = None
        await self._stack.aclose()

    async def verify(self, document: bytes) -> VerifiedDocument:
        """See adapters.kit.documents.DocumentVerifier."""
        if self._verifier is None:
            raise InternalError(INTERNAL)
        try:
            found = (await self._verifier.verify(document)).document
        except TrustError as error:
            # The code alone: what a signer wrote stays out of the log.
            _log.info("document refused", code=error.code)
            raise _problem(error) from None
        # With several signed parts there would be a choice of what was meant.
        if len(found.signed) != 1:
            raise CallerError(DOCUMENT_MALFORMED)
        return VerifiedDocument(found.signed[0], found.certificate.subject.rfc4514_string(), found.signing_time)


def _problem(error: TrustError) -> AdapterError:
    match error:
        case SignatureInvalid():
            return CallerError(DOCUMENT_SIGNATURE_INVALID)
        case CertificateUntrusted() | StatusNotGood():
            return CallerError(DOCUMENT_SIGNER_UNTRUSTED)
        case FetchFailed():
            return InternalError(DOCUMENT_STATUS_UNKNOWN)
        case MalformedInput():
            return CallerError(DOCUMENT_MALFORMED)
        case _:
            return InternalError(INTERNAL)
