"""Signed documents of third parties that arrive with a request: what the adapter gets of one, and how it is refused.

Who proves them is handed in, as the backend's address is: an adapter knows neither signature formats nor authorities
(docs/adr/0014). Without a verifier every document is refused.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Final, NoReturn, Protocol, Self

from adapters.kit.errors import CallerError, Hop, ProblemKind, Text

MAX_BYTES: Final = 32 << 10

_SIGN_AGAIN: Final = Text(
    "Lassen Sie sich das Dokument neu ausstellen und senden Sie es unverändert.",
    "Ask the issuer for the document anew and send it unchanged.",
)
DOCUMENT_MALFORMED: Final = ProblemKind(
    "document_malformed",
    400,
    Hop.CLIENT,
    Text(
        "Das Dokument ist nicht in der erwarteten Form signiert.",
        "The document isn't signed in the form expected here.",
    ),
    Text(
        "Senden Sie ein XML-Dokument mit genau einer XAdES-Signatur (RSA oder ECDSA, SHA-256 oder stärker).",
        "Send an XML document with exactly one XAdES signature (RSA or ECDSA, SHA-256 or stronger).",
    ),
)
DOCUMENT_SIGNATURE_INVALID: Final = ProblemKind(
    "document_signature_invalid",
    400,
    Hop.CLIENT,
    Text("Die Signatur gehört nicht zu diesem Dokument.", "The signature doesn't fit this document."),
    _SIGN_AGAIN,
)
DOCUMENT_SIGNER_UNTRUSTED: Final = ProblemKind(
    "document_signer_untrusted",
    400,
    Hop.CLIENT,
    Text(
        "Das Zertifikat der Unterzeichnerin oder des Unterzeichners wird hier nicht anerkannt.",
        "The signer's certificate isn't accepted here.",
    ),
    Text(
        "Es muss gültig, nicht gesperrt und von einer anerkannten Stelle für Signaturen ausgestellt sein.",
        "It must be valid, not revoked, and issued for signatures by an authority that is accepted.",
    ),
)
DOCUMENT_CONTENT: Final = ProblemKind(
    "document_content",
    400,
    Hop.CLIENT,
    Text("Das Dokument passt nicht zu dieser Anfrage.", "The document doesn't fit this request."),
    Text(
        "Senden Sie das Dokument, das die Dienstbeschreibung nennt, und dieselben Angaben wie darin.",
        "Send the document that the service description names, and the same details as in it.",
    ),
)
DOCUMENT_TOO_LARGE: Final = ProblemKind(
    "document_too_large",
    413,
    Hop.CLIENT,
    Text("Das Dokument ist zu groß.", "The document is too large."),
    Text("Senden Sie ein Dokument von höchstens 32 KiB.", "Send a document of at most 32 KiB."),
)
DOCUMENT_STATUS_UNKNOWN: Final = ProblemKind(
    "document_status_unknown",
    503,
    Hop.ADAPTER,
    Text(
        "Ob das Zertifikat gesperrt ist, lässt sich gerade nicht feststellen.",
        "Whether the certificate was revoked can't be learned now.",
    ),
    Text("Versuchen Sie es in einigen Minuten erneut.", "Try again in a few minutes."),
)
DOCUMENTS_NOT_ACCEPTED: Final = ProblemKind(
    "documents_not_accepted",
    400,
    Hop.ADAPTER,
    Text("Diese Stelle nimmt keine signierten Dokumente an.", "This institution takes no signed documents."),
    Text("Senden Sie die Anfrage ohne das Dokument.", "Send the request without the document."),
)
DOCUMENT_PROBLEMS: Final = (
    DOCUMENT_MALFORMED,
    DOCUMENT_SIGNATURE_INVALID,
    DOCUMENT_SIGNER_UNTRUSTED,
    DOCUMENT_CONTENT,
    DOCUMENT_TOO_LARGE,
    DOCUMENT_STATUS_UNKNOWN,
    DOCUMENTS_NOT_ACCEPTED,
)


@dataclass(frozen=True, slots=True)
class VerifiedDocument:
    """What a third party signed, made by a DocumentVerifier alone.

    `content` is the XML under the signature, canonical, without the signature and whatever else stood around it.
    `signer` is the certificate's subject (RFC 4514), `signed_at` the signer's own word.
    """

    content: bytes
    signer: str
    signed_at: datetime | None


class DocumentVerifier(AbstractAsyncContextManager["DocumentVerifier"], Protocol):
    """Proves documents while it is open. Any number of tasks may call at once."""

    async def verify(self, document: bytes) -> VerifiedDocument:
        """The document, its signature true and its signer's certificate good now.

        Raises AdapterError with one of DOCUMENT_PROBLEMS.
        """
        ...


class NoDocuments:
    """The verifier of an institution that named no authorities: it accepts nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def verify(self, document: bytes) -> NoReturn:
        """See DocumentVerifier."""
        del document
        raise CallerError(DOCUMENTS_NOT_ACCEPTED)
