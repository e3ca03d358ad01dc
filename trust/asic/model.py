"""What a container is made of: the files that X-Road knows, by their names in it.

Follows ETSI EN 319 162-1 (ASiC-E) and UG-SIGDOC. Files that a container doesn't have are None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIME_TYPE: Final = "application/vnd.etsi.asic-e+zip"
COMMENT: Final = "mimetype=" + MIME_TYPE

MIMETYPE_FILE: Final = "mimetype"
MESSAGE: Final = "message.xml"
SIGNATURE: Final = "META-INF/signatures.xml"
SIGNATURE_CHAIN_RESULT: Final = "sig-hashchainresult.xml"
SIGNATURE_CHAIN: Final = "sig-hashchain.xml"
TIMESTAMP_CHAIN_RESULT: Final = "ts-hashchainresult.xml"
TIMESTAMP_CHAIN: Final = "ts-hashchain.xml"
TIMESTAMP: Final = "META-INF/timestamp.tst"
MANIFEST: Final = "META-INF/manifest.xml"
ASIC_MANIFEST: Final = "META-INF/ASiCManifest.xml"
ATTACHMENT: Final = "attachment"

MAX_ATTACHMENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Container:
    """One signed message with what proves it. Nothing in it is verified.

    `signature_hash_chain` and its result are there when the signature is over a hash chain, `timestamp_hash_chain` and
    its result when several signatures were time-stamped together. `timestamp` is the token of META-INF/timestamp.tst
    (DER); the token over a single signature stands inside the signature. `attachments` counts from attachment1; None
    stands for one that is missing before one that is there. `extras` are the names of other files, which nobody signed.
    """

    message: bytes
    signature: bytes
    attachments: tuple[bytes | None, ...] = ()
    signature_hash_chain_result: bytes | None = None
    signature_hash_chain: bytes | None = None
    timestamp_hash_chain_result: bytes | None = None
    timestamp_hash_chain: bytes | None = None
    timestamp: bytes | None = None
    asic_manifest: bytes | None = None
    mimetype: str = MIME_TYPE
    mimetype_first: bool = True
    extras: tuple[str, ...] = ()

    def parts(self) -> dict[str, bytes]:
        """The message and its attachments by the names that signatures give them."""
        named = {f"/{ATTACHMENT}{number}": data for number, data in enumerate(self.attachments, 1) if data is not None}
        return {"/" + MESSAGE: self.message, **named}
