"""Who a client's request speaks for: the citizen of its token, or somebody whom that citizen may act for.

Step 3 of the pipeline (DESIGN section 4). The token comes in X-Datenweg-Citizen, the proof of its key, if it is bound
to one, in DPoP (RFC 9449), whom the citizen acts for in X-Datenweg-Representing. None of the three goes further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.exchange.citizen_tokens import CitizenTokenRefused, IssuerUnavailable, Presentation
from gateway.exchange.node import Node
from gateway.exchange.representation import NotRepresented
from gateway.exchange.state import ConsumerExchange
from gateway.messages.faults import Fault
from gateway.messages.headers import REPRESENTING, IdentityLevel
from gateway.settings import GatewaySettings

DPOP: Final = "DPoP"


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whose data an exchange is about, and how surely whoever asks was identified. `role`: as what they ask."""

    issuer: str
    subject: str
    level: IdentityLevel
    role: str | None


async def speaker_of(node: Node, exchange: ConsumerExchange, token: str) -> Speaker:
    """The speaker of a request with `token`. Raises Fault."""
    if node.citizen_tokens is None:
        raise Fault("client.citizen_token_invalid", "this gateway accepts no citizens' tokens")
    try:
        citizen = await node.citizen_tokens.verify_presented(token, _presentation(node, exchange, token))
    except CitizenTokenRefused as refused:
        raise Fault("client.citizen_token_invalid", refused.reason) from None
    except IssuerUnavailable:
        raise Fault("server.clientproxy.citizen_issuer_unavailable") from None
    references = _values(exchange, REPRESENTING)
    if not references:
        return Speaker(citizen.issuer, citizen.subject, citizen.level, None)
    if node.representations is None or len(references) != 1:
        raise Fault("client.representation_refused")
    try:
        represented = await node.representations.resolve(citizen, references[0])
    except NotRepresented:
        raise Fault("client.representation_refused") from None
    return Speaker(represented.issuer, represented.subject, citizen.level, represented.role)


def _presentation(node: Node, exchange: ConsumerExchange, token: str) -> Presentation:
    incoming = exchange.incoming
    path = _path(incoming.target)
    proofs = _values(exchange, DPOP)
    # A header of clients is a claim; only an HMAC under this node's own key vouches.
    vouchers = node.vouchers
    vouched = (
        vouchers is not None
        and len(proofs) == 1
        and not incoming.over_tls
        and vouchers.vouched(proofs[0], token, incoming.method, path)
    )
    urls = tuple(base + path for base in client_urls(node.settings))
    return Presentation(incoming.method, urls, proofs, vouched)


def client_urls(settings: GatewaySettings) -> tuple[str, ...]:
    """How clients name the client ports: what a proof has to be made for."""
    if settings.client_urls:
        return tuple(url.rstrip("/") for url in settings.client_urls)
    plain = f"http://{settings.client_host}:{settings.client_port}"
    if settings.client_tls_port is None:
        return (plain,)
    return plain, f"https://{settings.client_tls_host}:{settings.client_tls_port}"


def _values(exchange: ConsumerExchange, name: str) -> tuple[str, ...]:
    wanted = name.lower()
    return tuple(value for header, value in exchange.incoming.headers if header.lower() == wanted)


def _path(target: str) -> str:
    """The raw path of a request target, which may be in absolute form (RFC 9112 section 3.2.2)."""
    if not target.startswith("/"):
        _, _, rest = target.partition("://")
        target = rest[rest.find("/") :] if "/" in rest else "/"
    return target.partition("?")[0]
