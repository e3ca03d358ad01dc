"""The citizens' application of a gateway that serves them: put together from its settings, keys and databases.

What can't work together is refused before anybody logs in.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from zoneinfo import ZoneInfo

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.policy import Policy
from gateway.accesses import CitizenAccesses, OwnAccesses
from gateway.citizen.accounts import ACCOUNTS
from gateway.citizen.app import build_citizen_app, citizen_http_session
from gateway.citizen.context import CitizenContext, CitizenSettings, ConsentKey
from gateway.citizen.notice_settings import notice_settings
from gateway.citizen.purposes import load_purposes
from gateway.errors import StartRefused
from gateway.exchange.node import Node
from gateway.exchange.origins import is_log_of
from gateway.exchange.pseudonyms import pseudonym
from gateway.node_keys import NodeKeys
from trust.identifiers import SubsystemId, parse_client_id
from trust.keystore import read_secret
from trust.tokens.device_key import EllipticDeviceKey


async def open_citizen_app(
    stack: AsyncExitStack, node: Node, keys: NodeKeys, engine: AsyncEngine, accesses: OwnAccesses, *, policy: Policy
) -> web.Application | None:
    """The application, open as long as `stack`; None at a gateway without a port for citizens. Raises StartRefused."""
    if node.settings.citizen_port is None:
        return None
    http = await stack.enter_async_context(citizen_http_session())
    app = build_citizen_app(_citizen_context(node, keys, engine, accesses, policy), http, tokens=node.citizen_tokens)
    node.consent_service = app[ACCOUNTS].consent_service
    return app


def _citizen_context(
    node: Node, keys: NodeKeys, engine: AsyncEngine, accesses: OwnAccesses, policy: Policy
) -> CitizenContext:
    settings = node.settings
    client = parse_client_id(settings.citizen_client or "")
    if (
        not isinstance(client, SubsystemId)
        or settings.citizen_purposes_file is None
        or settings.citizen_url is None
        or settings.token_issuer is None
        or settings.token_audience is None
        or keys.pseudonym is None
    ):
        raise StartRefused(
            "citizen_port needs citizen_client (a subsystem), citizen_purposes_file, citizen_url and a token issuer"
        )
    secret_file = settings.citizen_client_secret_file
    return CitizenContext(
        settings=CitizenSettings(
            instance=settings.instance,
            client=client,
            public_url=settings.citizen_url.rstrip("/"),
            road_url=f"http://{settings.client_host}:{settings.client_port}",
            issuer=settings.token_issuer,
            client_id=settings.citizen_client_id,
            token_audience=settings.token_audience,
            purposes=load_purposes(settings.citizen_purposes_file),
            client_secret=None if secret_file is None else read_secret(file=secret_file).strip(),
            session_idle_ms=int(settings.citizen_session_seconds * 1000),
            acr_levels=settings.token_acr_levels,
            requests_per_minute=settings.citizen_requests_per_minute,
            require_bound_tokens=settings.citizen_require_bound_tokens,
            require_dpop_nonce=settings.citizen_require_dpop_nonce,
            proxy_header=settings.citizen_proxy_header,
            city_name=settings.citizen_city_name,
            time_zone=ZoneInfo(settings.citizen_time_zone),
            consent_declarants=settings.citizen_consent_declarant_ids,
            notices=notice_settings(settings),
        ),
        engine=engine,
        clock=node.clock,
        consent_key=_consent_key(keys),
        pseudonym_key=keys.pseudonym,
        cookie_key=keys.cookie,
        pseudonym=pseudonym,
        keeps_log=lambda provider, origin: is_log_of(origin, node.trust.latest.configuration.servers_of(provider)),
        own_log=CitizenAccesses(accesses),
        log_keys=settings.citizen_log_keys,
        witness_policy=policy.text,
    )


def _consent_key(keys: NodeKeys) -> ConsentKey:
    # Providers check that a consent is signed by the member that sends it: with its signing certificate.
    private = keys.signing.private_key
    if not isinstance(private, ec.EllipticCurvePrivateKey) or isinstance(private, EllipticDeviceKey):
        raise StartRefused(
            "a gateway with citizens needs an ECDSA P-256 signing key in software: consents are signed with it"
        )
    return ConsentKey(private, (keys.signing.certificate_der, *keys.signing.intermediates))
