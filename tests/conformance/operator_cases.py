"""What clients aren't told: the codes that a gateway's operator reads in log lines.

Each is raised by the gateway's own job or route; whoever misbehaves is at the other end of a real socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Final, cast

import aiohttp
from aiohttp import web
from sqlalchemy.exc import OperationalError

from gateway.configuration import FollowedConfiguration
from gateway.message_log.assembly import message_log_followers
from gateway.messages.faults import Hop
from gateway.registry import membership
from gateway.serve import Listener, listening
from tests.conformance.stage import Case, Do, Stage, Told, operator_case
from tests.conformance.words import Form, Row
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.town import APP, service
from tests.trust.configurations import NOW, Signed, anchor, key, key_pair, signed
from tests.trust.test_globalconf_altered import INNER, OUTER
from trust import timestamp_client
from trust.configuration_client import ConfigurationClient
from trust.globalconf import sign_directory
from trust.parameters import ApprovedTSA
from trust.testca.authority import CertificateAuthority
from trust.testca.time_stamping import TimeStampingAuthority
from trust.timestamp import build_request

CONFIGURATION, TIMESTAMPING = Hop.CONFIGURATION, Hop.TIMESTAMPING
_JOB: Final = "stamping of this case"
_NOT_TAKEN: Final = "global configuration not refreshed"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _said(stage: Stage, since: int, event: str, *, action: str = "") -> Told:
    """What the operator reads in the lines with this event, of this job where the gateway's own may say it, too."""
    lines = (line for line in stage.pair.lines(since) if line["event"] == event)
    ((code, hint),) = {(x["code"], x.get("hint", "")) for x in lines if not action or x.get("action") == action}
    return Told(Form.OPERATOR, 0, code, hint, "")


@asynccontextmanager
async def _served(handler: Handler) -> AsyncIterator[str]:
    """The address of a server that answers like this."""
    port = free_port()
    async with listening([Listener(web.Server(handler), HOST, port)], shutdown_seconds=1):
        yield f"http://{HOST}:{port}"


# -- the global configuration


def _follow(make: Callable[[], Handler]) -> Do:
    """A round of the gateway's follower, with a source that answers like this."""

    async def do(stage: Stage) -> Told:
        gateway, since = stage.pair.consumer.gateway, stage.pair.position
        with TemporaryDirectory() as folder:
            async with _served(make()) as url, aiohttp.ClientSession() as http:
                trusted = anchor(url=f"{url}/internalconf")
                client = ConfigurationClient(http, trusted, Path(folder), lambda: NOW)
                # Nothing is accepted, so no federated instance is asked.
                await FollowedConfiguration(client, cast(Any, None)).round(gateway.node, gateway.contexts)
        return _said(stage, since, _NOT_TAKEN)

    return do


def _source(offered: Signed) -> Handler:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/internalconf":
            return web.Response(body=offered.directory)
        found = offered.files.get(request.path)
        return web.Response(status=404) if found is None else web.Response(body=found)

    return handle


def _altered(name: str) -> Signed:
    """A good configuration, changed on the way."""
    good = signed()
    change = {entry[0]: entry[1] for entry in OUTER}[name]
    return Signed(change(good.directory), good.files)


def _wrong(name: str) -> Signed:
    """A configuration that is wrong, though its source signed it."""
    document = signed().directory
    inner = document[document.index(b"--inner\r\n") : document.index(b"--inner--\r\n") + len(b"--inner--\r\n")]
    change = {entry[0]: entry[1] for entry in INNER}[name]
    return Signed(sign_directory(change(inner), key(), boundary="inner", envelope_boundary="envelope"), signed().files)


async def _goes_back(stage: Stage) -> Told:
    """What the registry published before."""
    pair = stage.pair
    old = await pair.publish()
    pair.registry.state.update(lambda parameters: membership.add_member_class(parameters, "ALT", "Alte"))
    await pair.publish()
    since = pair.position
    pair.front.held = old
    try:
        await pair.until(lambda: any(line["event"] == _NOT_TAKEN for line in pair.lines(since)))
    finally:
        pair.front.held = None
        await pair.publish()
    codes = {line["code"] for line in pair.lines(since) if line["event"] == _NOT_TAKEN}
    return Told(Form.OPERATOR, 0, codes.pop(), "", "")


_OFFERS: Final[tuple[tuple[str, str, Callable[[], Signed]], ...]] = (
    ("no directory", "global_conf_parsing_downloaded_conf_directory_failure", lambda: _altered("not-multipart")),
    ("an envelope without parts", "global_conf_missing_signed_data", lambda: _altered("no-part")),
    (
        "a directory that isn't signed",
        "global_conf_missing_signed_data_expiration_date",
        lambda: _altered("no-signature-part"),
    ),
    ("a signature that isn't base64", "global_conf_signature_decode_failure", lambda: _altered("signature-not-base64")),
    (
        "a signature that doesn't hold",
        "global_conf_signature_verification_failure",
        lambda: _altered("expiry-moved"),
    ),
    (
        "a key that the anchor doesn't name",
        "global_conf_missing_verification_cert",
        lambda: signed(signer=key_pair()),
    ),
    ("no algorithm of the signature", "global_conf_header_field_missing", lambda: _altered("no-algorithm")),
    ("no hash algorithm", "global_conf_header_field_missing_parameter", lambda: _altered("certificate-hash-algorithm")),
    ("SHA-1", "global_conf_header_field_wrong_value", lambda: _wrong("sha-1")),
    ("no head", "global_conf_missing_signed_data_expiration_date", lambda: _wrong("no-parts")),
    ("another instance's directory", "global_conf_part_invalid_instance_identifier", lambda: _wrong("other-instance")),
    ("a file that isn't there", "global_conf_part_download_failure", lambda: Signed(signed().directory, {})),
    (
        "a file that was changed",
        "global_conf_part_downloaded_file_integrity_failure",
        lambda: Signed(signed().directory, {path: data + b" " for path, data in signed().files.items()}),
    ),
    ("an expired one", "global_conf_outdated", lambda: _wrong("expired")),
    ("a file out of its schema", "malformed_global_conf", lambda: signed(shared=b"<html/>")),
)


# -- time-stamps

_REPLY: Final = "application/timestamp-reply"
# RFC 3161 section 2.4.2: a refusal, and an answer whose token is none.
_REFUSAL: Final = bytes.fromhex("30053003020102")
_NO_TOKEN: Final = bytes.fromhex("300730030201003000")


def _stamping(handler: Handler, authorities: Callable[[str, CertificateAuthority], tuple[ApprovedTSA, ...]]) -> Do:
    """A round of the gateway's time-stamping job, with an authority that answers like this."""

    async def nothing(*_: Any, **__: Any) -> None:
        return

    async def do(stage: Stage) -> Told:
        gateway = stage.pair.consumer.gateway
        stamper = gateway.node.stamper
        since = stage.pair.position
        log = SimpleNamespace(keys=SimpleNamespace(refresh=nothing), cipher=None, stamper=stamper, archiver=None)
        job, *_ = message_log_followers(
            cast(Any, log),
            gateway.node.settings,
            configuration=lambda: gateway.node.trust.latest.configuration,
            clock=gateway.node.clock,
            metrics=gateway.node.metrics.message_log,
            log=gateway.node.log.bind(action=_JOB),
        )
        async with _served(handler) as url:
            approved = authorities(url, stage.pair.authority)
            async with stage.replaced(stamper, _authorities=lambda: approved):
                # Something waits for a time-stamp.
                assert (await stage.pair.call("echo")).status == 200
                await job.round()
        return _said(stage, since, "no time-stamp", action=_JOB)

    return do


def _approved(url: str, authority: CertificateAuthority) -> tuple[ApprovedTSA, ...]:
    return (authority.approved_tsa(url),)


def _elsewhere(url: str) -> Callable[[str, CertificateAuthority], tuple[ApprovedTSA, ...]]:
    return lambda _, authority: (authority.approved_tsa(url),)


def _another(url: str, _: CertificateAuthority) -> tuple[ApprovedTSA, ...]:
    with TemporaryDirectory() as folder:
        return _approved(url, CertificateAuthority.load_or_create(Path(folder) / "ca", "DE-TEST"))


def _answers(body: bytes = b"", status: int = 200) -> Handler:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body, content_type=_REPLY)

    return handle


def _stamps(*, another: bool) -> Do:
    """The instance's own authority stamps: another digest than it was asked for, or for whom it isn't approved."""

    async def do(stage: Stage) -> Told:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            asked = build_request(bytes(64)) if another else await request.read()
            answer = TimeStampingAuthority(stage.pair.authority.time_stamping, lambda: datetime.now(UTC)).answer(asked)
            return web.Response(body=answer, content_type=_REPLY)

        return await _stamping(handle, _approved if another else _another)(stage)

    return do


async def _silent(stage: Stage) -> Told:
    release = asyncio.Event()

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    def approved(url: str, authority: CertificateAuthority) -> tuple[ApprovedTSA, ...]:
        # Asked for and not answered: whoever waits gives up.
        asyncio.get_running_loop().call_later(2, release.set)
        return _approved(url, authority)

    async with stage.replaced(timestamp_client, _TIMEOUT=aiohttp.ClientTimeout(total=0.3)):
        return await _stamping(handle, approved)(stage)


_STAMPS: Final[tuple[tuple[str, str, Do], ...]] = (
    ("no authority is approved", "no_timestamping_provider_found", _stamping(_answers(), lambda *_: ())),
    ("an address that is none", "malformed_timestamp_server_url", _stamping(_answers(), _elsewhere("http://[x/tsa"))),
    ("nobody listens", "timestamp_provider_connection_failed", _stamping(_answers(), _elsewhere("http://127.0.0.1:1"))),
    ("the authority doesn't answer", "timestamp_request_timed_out", _silent),
    ("the authority answers 503", "timestamping_non_ok_response", _stamping(_answers(status=503), _approved)),
    ("no time-stamp answer", "reading_timestamp_response_failed", _stamping(_answers(b"<html>"), _approved)),
    ("the authority refuses", "timestamp_non_granted_response", _stamping(_answers(_REFUSAL), _approved)),
    ("a token that is none", "timestamp_response_object_creation_failed", _stamping(_answers(_NO_TOKEN), _approved)),
    ("an authority that isn't approved", "tsp_certificate_not_found", _stamps(another=False)),
    ("a stamp of something else", "timestamp_response_validation_failed", _stamps(another=True)),
)


# -- signed documents, and a peer that is gone


def _asks(query: str) -> Do:
    async def do(stage: Stage) -> Told:
        since = stage.pair.position
        answer = await stage.pair.request("GET", f"/asic?{query}", client=None)
        assert "X-Road-Error" not in answer.headers
        return _said(stage, since, "not answered")

    return do


async def _unreadable_log(stage: Stage) -> Told:
    async def fails(*_: Any, **__: Any) -> None:
        raise OperationalError("", None, OSError())

    async with stage.replaced(stage.pair.consumer.gateway.node.exporter, containers=fails):
        return await _asks(f"{_OWN}&queryId=x")(stage)


async def _breaks_off(stage: Stage) -> Told:
    """A request of a gateway that is gone before it is whole."""
    since = stage.pair.position
    await stage.peer.hang_up_halfway(service("echo"))
    await stage.pair.until(lambda: any(line["event"] == "exchange refused" for line in stage.pair.lines(since)))
    return _said(stage, since, "exchange refused")


_MEMBER: Final = f"xRoadInstance={APP.instance}&memberClass={APP.member_class}&memberCode={APP.member_code}"
_OWN: Final = f"{_MEMBER}&subsystemCode={APP.subsystem_code}"

CASES: list[Case] = [
    *(
        operator_case(Row.CONFIGURATION, situation, code, CONFIGURATION, _follow(lambda make=make: _source(make())))
        for situation, code, make in _OFFERS
    ),
    operator_case(
        Row.CONFIGURATION,
        "a source that fails",
        "global_conf_download_url_connection_failure",
        CONFIGURATION,
        _follow(lambda: _answers(status=503)),
    ),
    operator_case(
        Row.CONFIGURATION,
        "a source that has no version",
        "global_conf_get_version_failed",
        CONFIGURATION,
        _follow(lambda: _answers(status=404)),
    ),
    operator_case(
        Row.CONFIGURATION, "an older one than the accepted", "global_conf_rolled_back", CONFIGURATION, _goes_back
    ),
    *(operator_case(Row.TIMESTAMPS, situation, f"mlog.{leaf}", TIMESTAMPING, do) for situation, leaf, do in _STAMPS),
    operator_case(
        Row.OTHERS,
        "signed documents without an id",
        "client.invalid_request",
        Hop.CLIENT,
        _asks(_OWN),
    ),
    operator_case(
        Row.OTHERS, "signed documents that aren't there", "client.not_found", Hop.CLIENT, _asks(f"{_OWN}&queryId=x")
    ),
    operator_case(
        Row.OTHERS,
        "the message log can't be read",
        "server.clientproxy.database_error",
        Hop.CONSUMER_GATEWAY,
        _unreadable_log,
    ),
    operator_case(
        Row.OTHERS,
        "a request that breaks off",
        "server.serverproxy.io_error",
        Hop.PROVIDER_GATEWAY,
        _breaks_off,
    ),
]
