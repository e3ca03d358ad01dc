"""Two whole gateways on loopback, and everything that they need around them: the tests' `GatewayPair`.

Real sockets, TLS, signatures, databases and global configuration; the city's gateway is the consumer, the utility's
the provider. Small stand-ins only where the road ends: the utility's backend, and the issuer of citizens' tokens. The
third party's gateway is the tests' own (`rogue`).
"""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from joserfc import jws
from joserfc.jwk import ECKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.exchange.pseudonyms import pseudonym
from gateway.node_keys import load_keys, read_random_key
from gateway.registry.app import PUBLISHER, build_app
from gateway.registry.app import Publisher as RegistryPublisher
from gateway.registry.node import Registry
from gateway.registry.publication import Publication
from gateway.serve import Listener, listening
from gateway.settings import GatewaySettings, RegistrySettings
from tests.gateway.exchange.backend import Backend
from tests.gateway.exchange.citizens import AUDIENCE, CITIZEN, Issuer
from tests.gateway.exchange.nodes import RegistryFront, RunningNode
from tests.gateway.exchange.ports import HOST, ShiftedClock, free_port, free_ports
from tests.gateway.exchange.rogue import RogueGateway
from tests.gateway.exchange.town import (
    APP,
    CITY,
    GUEST,
    INSTANCE,
    ROGUE,
    STRAY,
    UTILITY,
    Party,
    fill_store,
    issue_keys,
    path_of,
    registrations,
    service,
    services,
)
from trust.identifiers import SubsystemId
from trust.keys import SoftwareKey
from trust.testca.app import build_app as build_testca
from trust.testca.authority import CertificateAuthority

MAX_BODY = 256 * 1024
# Stands in requests and answers, and is never to be found in a log line.
CANARY = "kanarienvogel"


@dataclass(frozen=True)
class Answer:
    """What the client got."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def request_id(self) -> str:
        return self.headers["X-Road-Request-Id"]


@dataclass
class GatewayPair:
    """The running pair. One per module: a test that changes something sets it back."""

    consumer: RunningNode
    provider: RunningNode
    backend: Backend
    issuer: Issuer
    rogue: RogueGateway
    authority: CertificateAuthority
    registry: Registry
    publisher: RegistryPublisher
    front: RegistryFront
    http: aiohttp.ClientSession
    output: io.StringIO
    secrets: set[str] = field(default_factory=set)
    # Gateways of further members, which a test asked for.
    others: dict[Party, RunningNode] = field(default_factory=dict)

    # -- as a client of the consumer gateway

    async def request(
        self,
        method: str,
        target: str,
        *,
        client: SubsystemId | str | None = APP,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        chunked: bool | None = None,
    ) -> Answer:
        """One request to the consumer gateway's client port; `target` goes out as it is."""
        sent = CIMultiDict(headers)
        if client is not None:
            sent["X-Road-Client"] = client if isinstance(client, str) else client.encoded
        url = URL(f"http://{HOST}:{self.consumer.settings.client_port}{target}", encoded=True)
        data = io.BytesIO(body) if body is not None and len(body) > 1 << 19 else body
        async with self.http.request(
            method, url, headers=sent, data=data, allow_redirects=False, chunked=chunked or None
        ) as answer:
            return Answer(answer.status, answer.reason or "", answer.headers, await answer.read())

    async def call(self, code: str, rest: str = "/", method: str = "GET", **options: Any) -> Answer:
        """One request to a service of the utility; each carries the canary in its query."""
        mark = "&" if "?" in rest else "?"
        return await self.request(method, path_of(service(code), f"{rest}{mark}{CANARY}"), **options)

    # -- as the citizen

    def token(self, **claims: Any) -> str:
        """A citizen's token; it never may show in a log line."""
        token = self.issuer.token(**claims)
        self.secrets |= {token, token.rpartition(".")[2]}
        return token

    def citizen(self, **claims: Any) -> dict[str, str]:
        """The header with a citizen's token."""
        return {"X-Datenweg-Citizen": self.token(**claims)}

    def pseudonym(self, at: SubsystemId = UTILITY.subsystem, subject: str = CITIZEN) -> str:
        """How a member knows the citizen."""
        path = self.consumer.settings.pseudonym_key_file
        assert path is not None
        found = pseudonym(read_random_key(path), at.member, self.issuer.url, subject)
        self.secrets.add(found)
        return found

    def consent_jws(self, reference: str, *, signer: SoftwareKey | None = None, **changes: Any) -> bytes:
        """A consent to the service `konto`, signed as the city signs them (or by somebody else)."""
        claims: dict[str, Any] = {
            "reference": reference,
            "client": APP.encoded,
            "subject": self.pseudonym(),
            "service": service("konto").encoded,
            "purpose": "kontostand",
            "status": "valid",
            "sequence": 1,
            "given_ms": self.consumer.clock.now_ms(),
            "expires_ms": self.consumer.clock.now_ms() + 3_600_000,
        } | changes
        signing = signer or load_keys(self.consumer.settings).signing
        header = {"alg": "ES256", "typ": "datenweg-consent+jwt", "x5c": [b64encode(signing.certificate_der).decode()]}
        key = ECKey.import_key(signing.private_key)  # type: ignore[arg-type]
        registry = jws.JWSRegistry(algorithms=["ES256"])
        registry.max_header_length = 1 << 15
        return jws.serialize_compact(header, json.dumps(claims).encode(), key, registry=registry).encode()

    async def push_consent(self, jws_bytes: bytes, reference: str) -> Answer:
        """Sends a consent copy to the utility, over the road."""
        target = path_of(service("datenwegConsent"), f"/{reference}")
        return await self.request("PUT", target, body=jws_bytes, headers={"Content-Type": "application/jose"})

    async def give_consent(self, **changes: Any) -> str:
        """A consent that the utility has acknowledged; its reference."""
        reference = str(uuid.uuid4())
        answer = await self.push_consent(self.consent_jws(reference, **changes), reference)
        assert answer.status == 204, answer
        return reference

    # -- as the registry's operator

    async def publish(self) -> Publication:
        """Publishes the registry's state; both gateways have it, or what the registry published since, on return."""
        await self.publisher.publish()
        await self.until(lambda: all(node.has(self._latest) for node in (self.consumer, self.provider)))
        return self._latest

    @property
    def _latest(self) -> Publication:
        assert self.publisher.latest is not None
        return self.publisher.latest

    @staticmethod
    async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
        """Waits for what a gateway does in the background."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - a gateway tells nobody of what it does in the background
                await asyncio.sleep(0.01)

    # -- as whoever reads the gateways' logs

    def lines(self, since: int = 0) -> list[dict[str, Any]]:
        """The log lines of both gateways, from a position of the output on."""
        return [json.loads(line) for line in self.output.getvalue()[since:].splitlines()]

    @property
    def position(self) -> int:
        """Where the output stands now."""
        return len(self.output.getvalue())

    def require_discreet(self, since: int = 0) -> None:
        """No token, pseudonym, name or content in the log lines."""
        text = self.output.getvalue()[since:]
        for secret in {*self.secrets, CANARY, CITIZEN, "erika"}:
            assert secret not in text


# What all gateways have in common, unless a test wants something else.
_COMMON: Final[dict[str, Any]] = {
    "instance": INSTANCE,
    "server_code": "ss1",
    "client_host": HOST,
    "peer_host": HOST,
    "max_body_bytes": MAX_BODY,
    "configuration_interval_seconds": 0.3,
    "store_poll_seconds": 0.1,
    "shutdown_seconds": 5,
    "peer_timeout_seconds": 3,
    "consent_authorities": (CITY.member.encoded,),
}


def _places(folder: Path, party: Party, peer_port: int, database: str | None) -> dict[str, Any]:
    """Where one of the gateways is, on disk and on the network."""
    places = {
        "owner": party.member.encoded,
        "data_directory": folder / party.code,
        "client_port": free_port(),
        "peer_port": peer_port,
        "ocsp_port": peer_port + 1,
        "operations_port": free_port(),
    }
    return places if database is None else places | {"database_url": database}


def _plain_client() -> aiohttp.ClientSession:
    """A client that adds nothing of its own to a request, and leaves answers as they are."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_field_size=1 << 16,
    )


@asynccontextmanager
async def gateway_pair(
    folder: Path,
    output: io.StringIO,
    *,
    databases: tuple[str | None, str | None] = (None, None),
    node_type: type[RunningNode] = RunningNode,
    consumer: Mapping[str, Any] | None = None,
    provider: Mapping[str, Any] | None = None,
    others: Sequence[Party] = (),
    with_rsa: Sequence[Party] = (),
    **settings: Any,
) -> AsyncIterator[GatewayPair]:
    """The pair, running within the block. `databases`: URLs of the consumer's and provider's (default SQLite).

    `settings` are for all gateways, `consumer` and `provider` for that one. `others` have a gateway of their own, too;
    `with_rsa` have RSA keys.
    """
    async with AsyncExitStack() as stack:
        authority = CertificateAuthority.load_or_create(folder / "testca", INSTANCE)
        testca_port, issuer_port = free_port(), free_port()
        backend, issuer, front = Backend(), Issuer(f"http://{HOST}:{issuer_port}"), RegistryFront()
        registry_settings = RegistrySettings(
            instance=INSTANCE, data_directory=folder / "registry", host=HOST, port=free_port()
        )
        keys = {
            party: issue_keys(folder / party.code, party, authority, rsa=party in with_rsa)
            for party in (CITY, UTILITY, ROGUE, *others)
        }
        ports = {party: free_ports(2) for party in keys}
        clock = ShiftedClock()
        Registry(registry_settings, clock).state.update(
            registrations(
                authority,
                f"http://{HOST}:{testca_port}/ocsp",
                {party: (ports[party], keys[party][1].certificate_der) for party in keys},
            )
        )
        registry_app = build_app(registry_settings, clock=clock)
        registry_app.middlewares.append(front.middleware)
        rogue = RogueGateway(*keys[ROGUE], authority)
        backend_port = free_port()
        await stack.enter_async_context(
            listening(
                [
                    Listener(build_testca(authority), HOST, testca_port),
                    Listener(registry_app, HOST, registry_settings.port),
                    Listener(web.Server(issuer.handle), HOST, issuer_port),
                    Listener(
                        web.Server(backend.handle, auto_decompress=False, max_field_size=1 << 16), HOST, backend_port
                    ),
                    *rogue.listeners(HOST, ports[ROGUE]),
                ],
                shutdown_seconds=1,
            )
        )
        common = _COMMON | {"anchor_file": registry_settings.data_directory / "configuration-anchor.xml"} | settings
        own: dict[Party, dict[str, Any]] = {
            CITY: {
                "token_issuer": issuer.url,
                "token_audience": AUDIENCE,
                "pseudonym_key_file": folder / "pseudonym.key",
            }
            | dict(consumer or {}),
            UTILITY: dict(provider or {}),
        }
        nodes: dict[Party, RunningNode] = {}
        for party, database in ((CITY, databases[0]), (UTILITY, databases[1]), *((other, None) for other in others)):
            values = common | _places(folder, party, ports[party], database) | own.get(party, {})
            node = nodes[party] = node_type(GatewaySettings(**values))
            clients = [APP, GUEST, STRAY] if party is CITY else [party.subsystem]
            url = f"http://{HOST}:{backend_port}/dienst"
            await fill_store(node.settings, clients, services(url) if party is UTILITY else [])
            await node.start()
            stack.push_async_callback(node.stop)
        http = await stack.enter_async_context(_plain_client())
        publisher = registry_app[PUBLISHER]
        yield GatewayPair(
            consumer=nodes[CITY],
            provider=nodes[UTILITY],
            backend=backend,
            issuer=issuer,
            rogue=rogue,
            authority=authority,
            registry=publisher.registry,
            publisher=publisher,
            front=front,
            http=http,
            output=output,
            others={party: nodes[party] for party in others},
        )
