"""Our certificates, the responders that vouch for them, the time-stamping authorities, and the peers we send to."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from dataclasses import replace
from typing import Final

from gateway.doctor.configuration import judge_clock
from gateway.doctor.finding import Finding, State, ok, problem, warning
from gateway.doctor.patient import ASK_SECONDS, Patient
from gateway.exchange import tls
from gateway.exchange.addresses import Endpoint, UnusableAddress, parse_address
from gateway.key_findings import KeyFinding, Severity, key_findings
from gateway.store.repository import Repository
from trust.certificates import StatusQuery
from trust.errors import StatusNotGood, TrustError
from trust.identifiers import ClientId
from trust.keys import SoftwareKey
from trust.ocsp_client import StatusSource
from trust.parameters import SecurityServer
from trust.timestamp_client import TimestampClient

_MAX_PEERS: Final = 200
_AT_ONCE: Final = 16
# TLS 1.3 lets the other side refuse our certificate after we think that we are through.
_REFUSAL_SECONDS: Final = 0.3


async def check_certificates(patient: Patient) -> list[Finding]:
    """Are keys and certificates there, valid, registered, and under an approved authority?"""
    name = "certificates"
    if (failure := patient.failures.get("keys")) is not None:
        todo = failure.hint or "look at key files and PIN, or restore them from the backup"
        return [problem(name, "keys", f"the keys can't be used ({failure.code})", todo)]
    if patient.keys is None:
        return []
    found = key_findings(
        patient.settings,
        patient.keys.ring,
        patient.configuration,
        clients=await _clients(patient),
        at=patient.clock.now(),
    )
    return [_adapted(finding) for finding in found]


def _adapted(finding: KeyFinding) -> Finding:
    state = {Severity.OK: State.OK, Severity.WARNING: State.WARNING, Severity.ERROR: State.PROBLEM}[finding.severity]
    code = f" ({finding.code})" if finding.code else ""
    todo = finding.hint or ("" if state is State.OK else "look at it: `datenweg key list`")
    return Finding("certificates", finding.subject, state, f"{finding.message}{code}", todo)


async def _clients(patient: Patient) -> list[ClientId]:
    """Whom the gateway serves; nobody as far as the database can't be read, which is another check's finding."""
    if patient.engine is None:
        return []
    try:
        return [client.identifier for client in await Repository(patient.engine).clients()]
    except Exception:  # noqa: BLE001 - drivers raise what they like
        return []


def _query(patient: Patient, key: SoftwareKey) -> StatusQuery | None:
    verifier = patient.verifier()
    if verifier is None:
        return None
    return verifier.status_query(key.certificate_der, at=patient.clock.now(), intermediates=key.intermediates)


async def check_ocsp(patient: Patient) -> list[Finding]:
    """Does each responder answer, and are our certificates good?"""
    if patient.keys is None or patient.configuration is None:
        return []
    asked = []
    for usage, key in (("signing", patient.keys.signing), ("authentication", patient.keys.authentication)):
        try:
            query = _query(patient, key)
        except TrustError:
            continue  # the certificates' check says it
        if query is not None and not query.urls:
            asked.append(_no_responder(usage))
        elif query is not None:
            asked += [_responder(patient, usage, replace(query, urls=(url,))) for url in query.urls]
    return list(await asyncio.gather(*asked))


async def _no_responder(usage: str) -> Finding:
    return problem("ocsp", usage, "the authority names no responder", "the registry must add its OCSP address")


async def _responder(patient: Patient, usage: str, query: StatusQuery) -> Finding:
    source = StatusSource(patient.http, patient.clock.now, timeout_seconds=ASK_SECONDS)
    subject = f"{usage} at {query.urls[0]}"
    try:
        await source.status_for(query)
    except StatusNotGood:
        todo = "nobody accepts it any more: have a new certificate issued, and find out why"
        return problem("ocsp", subject, "says that our certificate isn't good (revoked or unknown)", todo)
    except TrustError as error:
        todo = "check network and responder: signing stops when the last good answer lapses"
        return problem("ocsp", subject, f"no usable answer ({error.code})", todo)
    finally:
        await source.close()
    return ok("ocsp", subject, "good")


async def check_time_stamping(patient: Patient) -> list[Finding]:
    """Does each time-stamping authority stamp, and what does it think of our clock?"""
    if patient.configuration is None:
        return []
    authorities = patient.configuration.parameters.approved_tsas
    if not authorities:
        text = "no time-stamping authority is approved"
        return [warning("time-stamping", "authorities", text, "the registry must approve one: messages stay unstamped")]
    client = TimestampClient(patient.http, patient.clock.now)
    findings: list[Finding] = []
    for authority in authorities[:8]:
        subject = f"{authority.name} at {authority.url}"
        try:
            async with asyncio.timeout(ASK_SECONDS):
                stamp = await client.stamp(secrets.token_bytes(64), [authority])
        except (TrustError, TimeoutError) as error:
            code = error.code if isinstance(error, TrustError) else "mlog.timestamp_request_timed_out"
            todo = "check network and authority: when none stamps for too long, messages are refused"
            findings.append(problem("time-stamping", subject, f"gives no valid time stamp ({code})", todo))
        else:
            findings.append(ok("time-stamping", subject, "stamps"))
            off = judge_clock(subject, patient.clock.now() - stamp.time)
            findings += [off] if off.state != "ok" else []
    if any(f.state == "ok" for f in findings):
        return [
            warning(f.check, f.subject, f.what, f.todo) if f.check == "time-stamping" and f.state == "problem" else f
            for f in findings
        ]
    return findings


async def check_peers(patient: Patient) -> list[Finding]:
    """Can each registered gateway be reached, over TLS, with the certificate that it is registered with?"""
    if patient.configuration is None or patient.keys is None:
        return []
    own = patient.settings.server_id
    # Registered without a client nobody sends to it.
    peers = [s for s in patient.configuration.parameters.security_servers if s.id != own and s.address]
    slots = asyncio.Semaphore(_AT_ONCE)
    context = tls.client_context(patient.keys.authentication)

    async def one(server: SecurityServer) -> Finding:
        async with slots:
            return await _peer(patient, context, server)

    return list(await asyncio.gather(*(one(server) for server in peers[:_MAX_PEERS])))


async def _peer(patient: Patient, context: ssl.SSLContext, server: SecurityServer) -> Finding:
    assert patient.configuration is not None
    name, subject = "peers", str(server.id)
    if server.maintenance is not None:
        return ok(name, subject, "under maintenance, not asked")
    try:
        endpoint = parse_address(server.address)
    except UnusableAddress:
        return warning(name, subject, "its registered address is unusable", "tell its operator and the registry")
    seconds = patient.settings.connect_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            certificate = await _shown_certificate(endpoint, context)
    except ssl.SSLError:
        todo = "one side refuses the other's certificate: check that both are registered and their status is good"
        return warning(name, subject, "the TLS handshake fails", todo)
    except (OSError, TimeoutError):
        where = f"{endpoint.host}:{endpoint.message_port}"
        return warning(name, subject, f"not reachable at {where}", "check the firewall on the way, or ask its operator")
    found = patient.configuration.server_with_certificate(certificate)
    if found is None or found.id != server.id:
        text = "shows a certificate that isn't registered for it"
        return warning(name, subject, text, "nothing is sent to it: ask its operator and the registry")
    return ok(name, subject, "reachable")


async def _shown_certificate(endpoint: Endpoint, context: ssl.SSLContext) -> bytes:
    """The certificate that the gateway shows. Raises OSError, ssl.SSLError."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.message_port, ssl=context)
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = connection.getpeercert(binary_form=True) or b""
        try:
            async with asyncio.timeout(_REFUSAL_SECONDS):
                if await reader.read(1) == b"":
                    raise ConnectionResetError("closed at once")
        except TimeoutError:
            pass  # silence is consent: it waits for a request
        return certificate
    finally:
        writer.transport.abort()
