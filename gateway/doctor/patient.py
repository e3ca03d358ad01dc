"""What the checks look at: a gateway's parts, of a running one or opened from its settings file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.clock import Clock
from gateway.node_keys import NodeKeys
from gateway.settings import GatewaySettings
from trust.certificates import CertificateVerifier
from trust.errors import TrustError
from trust.globalconf import Anchor, VerifiedConfiguration

# What one question over the network may take.
ASK_SECONDS: Final = 5.0
ASK: Final = aiohttp.ClientTimeout(total=ASK_SECONDS)


@dataclass(slots=True)
class Patient:
    """One gateway under examination. What couldn't be opened is None; `failures` says why, by part."""

    settings: GatewaySettings
    clock: Clock
    http: aiohttp.ClientSession
    anchor: Anchor | None = None
    configuration: VerifiedConfiguration | None = None
    keys: NodeKeys | None = None
    engine: AsyncEngine | None = None
    failures: dict[str, TrustError] = field(default_factory=dict)
    running: bool = False
    # Known to whoever opened the gateway from it.
    settings_file: Path | None = None

    def verifier(self) -> CertificateVerifier | None:
        """Against the configuration that was accepted last."""
        return None if self.configuration is None else CertificateVerifier(self.configuration.parameters)
