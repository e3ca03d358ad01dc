"""The settings of a gateway's transport: bodies, connections, quotas, and what other gateways are able to.

A part of `GatewaySettings`, described with the rest in docs/operations.md.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from trust.identifiers import InvalidIdentifier, SecurityServerId, parse_security_server_id

Count = Annotated[int, Field(gt=0)]
_MIB = 1024 * 1024
_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,2}")


def share_of(places: int) -> int:
    """How many of all places one may have, so that the others go on: nine tenths."""
    return math.ceil(places * 0.9)


class TransportSettings(BaseModel):
    """How messages and bodies travel."""

    service_timeout_seconds: Annotated[float, Field(gt=0)] = 60
    # Longer than the service's, so that a slow service is reported by its own gateway, not taken for a dead gateway.
    peer_timeout_seconds: Annotated[float, Field(gt=0)] = 75
    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 5
    max_body_bytes: Count = 10 * _MIB
    max_soap_bytes: Count = 10 * _MIB
    max_bodies_bytes: Count = 512 * _MIB
    spool_threshold_bytes: Annotated[int, Field(ge=32 * 1024)] = 256 * 1024
    max_spooled_bytes: Count = 8 * 1024 * _MIB
    min_body_bytes_per_second: Count = 64 * 1024
    max_connections: Count = 10_000
    request_head_seconds: Annotated[float, Field(gt=0)] = 20
    concurrency_limit: Count = 1000
    client_concurrency_limit: Count | None = None
    # Default: its share of `concurrency_limit`. Most roads have one gateway that does most of the asking; what it
    # leaves is enough for the others to go on.
    peer_concurrency_limit: Count | None = None
    service_concurrency_limit: Count | None = None
    requests_per_minute: Count | None = None
    client_requests_per_minute: Count | None = None
    service_requests_per_minute: Count | None = None
    min_peer_version: str | None = None
    peer_tls_minimum: Literal["1.2", "1.3"] = "1.2"
    # X-Road security servers before 7.6, which read signatures over several parts as hash chains only.
    hash_chain_servers: tuple[str, ...] = ()
    # X-Road security servers in general: what else they need follows from the profile (docs/operations.md).
    xroad_servers: tuple[str, ...] = ()

    @property
    def peer_share(self) -> int:
        """How many exchanges there may be at once with one other gateway."""
        return self.peer_concurrency_limit or share_of(self.concurrency_limit)

    @property
    def xroad_server_ids(self) -> frozenset[SecurityServerId]:
        """The gateways that are X-Road security servers."""
        return frozenset(map(parse_security_server_id, self.xroad_servers))

    @property
    def hash_chain_server_ids(self) -> frozenset[SecurityServerId]:
        """The gateways that messages are signed for in the form of X-Road 7."""
        return self.xroad_server_ids.union(map(parse_security_server_id, self.hash_chain_servers))

    @model_validator(mode="after")
    def _peers_are_named(self) -> Self:
        for name in ("hash_chain_servers", "xroad_servers"):
            try:
                for server in getattr(self, name):
                    parse_security_server_id(server)
            except InvalidIdentifier as error:
                raise ValueError(f"{name} names INST/CLASS/MEMBER/SERVER: {error}") from None
        if self.min_peer_version is not None and not _VERSION.fullmatch(self.min_peer_version):
            raise ValueError("min_peer_version is a version such as 7.6.0")
        return self
