"""Settings of adapters and sandboxes, handed in by whoever starts them: plain values, and who proves documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from adapters.kit.documents import DocumentVerifier, NoDocuments

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time as an aware UTC datetime; the clock of a running process."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """One adapter process.

    It trusts the X-Road-* and X-Datenweg-* headers of whoever reaches its port, so only its provider gateway may:
    bind it to loopback or to a network that holds nothing else.
    """

    backend_url: str
    data_directory: Path
    host: str = "127.0.0.1"
    port: int = 0
    backend_timeout_seconds: float = 10.0
    max_backend_answer_bytes: int = 1 << 20
    max_request_bytes: int = 64 << 10
    max_backend_connections: int = 32
    # NextGenPSD2, PSU-IP-Address: the TPP's own address where the person's is not known.
    own_address: str = "127.0.0.1"
    # Who proves signed documents of third parties; an adapter that takes them opens and closes it.
    documents: DocumentVerifier = field(default_factory=NoDocuments)


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """One sandbox process."""

    host: str = "127.0.0.1"
    port: int = 0
    max_request_bytes: int = 64 << 10
