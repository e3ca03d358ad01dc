"""What the provider's gateway refuses: its own state, rights, consent."""

from __future__ import annotations

import uuid
from typing import Any

from gateway.exchange.quotas import Quotas
from tests.conformance.road_cases import ASK, ECHO, without_own_statuses
from tests.conformance.situations import AT_PROVIDER, Situation
from tests.conformance.stage import Case, Do, Stage, Told, rest, soap, told_rest
from tests.conformance.words import SOAP, Row
from tests.gateway.exchange.soap_messages import Message, answering
from tests.gateway.exchange.town import GUEST, UTILITY

MONITORED = "getSecurityServerOperationalData"
OPMON = "http://x-road.eu/xsd/op-monitoring.xsd"


def _wrapped(make: Situation) -> tuple[Do, Do]:
    async def ask_soap(stage: Stage) -> Told:
        stage.pair.backend.soap = answering()
        return await make(stage, ASK)

    return (lambda stage: make(stage, ECHO)), ask_soap


async def _quota(stage: Stage, ask: Do) -> Told:
    async with stage.replaced(stage.pair.provider.gateway.node, quotas=Quotas(1)):
        stage.pair.backend.soap = answering()
        await stage.pair.call("echo")
        await stage.pair.request("POST", "/", client=None, headers={"Content-Type": "text/xml"}, body=GOOD_REQUEST)
        return await ask(stage)


GOOD_REQUEST = Message().encoded()


async def _no_database(stage: Stage) -> Told:
    async def fails(_: str) -> None:
        raise OSError

    reference = str(uuid.uuid4())
    async with stage.replaced(stage.pair.provider.gateway.node.consents, current=fails):
        return told_rest(await stage.pair.call("konto", headers={"X-Datenweg-Consent": reference}))


async def _unforeseen(stage: Stage, ask: Do) -> Told:
    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError

    async with stage.replaced(stage.pair.provider.gateway.node.services, call=fails):
        return await ask(stage)


def _consent(**changes: Any) -> Do:
    async def do(stage: Stage) -> Told:
        if "expires" in changes:
            reference = await stage.pair.give_consent(expires_ms=stage.pair.provider.clock.now_ms() - 1)
        elif "withdrawn" in changes:
            reference = await stage.pair.give_consent()
            withdrawal = stage.pair.consent_jws(reference, status="withdrawn", sequence=2)
            assert (await stage.pair.push_consent(withdrawal, reference)).status == 204
        else:
            reference = str(uuid.uuid4()) if changes.get("unknown") else await stage.pair.give_consent()
        who = {} if changes.get("nobody") else stage.pair.citizen()
        return told_rest(await stage.pair.call("konto", headers=who | {"X-Datenweg-Consent": reference}))

    return do


async def _no_consent(stage: Stage) -> Told:
    return told_rest(await stage.pair.call("konto", headers=stage.pair.citizen()))


CASES: list[Case] = [
    *AT_PROVIDER.cases(
        Row.OUTDATED,
        "the configuration has expired at the provider",
        "global_conf_outdated",
        *_wrapped(AT_PROVIDER.outdated),
    ),
    *AT_PROVIDER.cases(
        Row.SIGNER,
        "the provider has no current OCSP answer of its own",
        "cannot_create_signature",
        *_wrapped(lambda s, ask: without_own_statuses(s.pair.provider, s, ask)),
    ),
    *AT_PROVIDER.cases(
        Row.LOGGING,
        "the provider's message log refuses the request",
        "logging_failed",
        *_wrapped(AT_PROVIDER.not_logged),
    ),
    *AT_PROVIDER.cases(
        Row.LOGGING,
        "the provider's log has had no time-stamp for too long",
        "timestamping_failed",
        *_wrapped(AT_PROVIDER.not_stamped),
    ),
    *AT_PROVIDER.cases(
        Row.RIGHTS, "no such service", "unknown_service", rest("unbekannt"), soap(Message(code="gibtsnicht"))
    ),
    AT_PROVIDER.case(Row.RIGHTS, "no such version", "unknown_service", soap(Message(version="v2")), SOAP),
    *AT_PROVIDER.cases(
        Row.RIGHTS,
        "a service of the other kind",
        "service_type",
        rest("wsdl"),
        soap(Message(code="echo", version=None)),
    ),
    *AT_PROVIDER.cases(
        Row.RIGHTS,
        "a service of the other kind, and no right to it: the kind is said first",
        "service_type",
        rest("wsdl", client=GUEST),
        soap(Message(code="echo", version=None, client=GUEST)),
    ),
    AT_PROVIDER.case(Row.RIGHTS, "a SOAP service that has a version, over REST", "service_type", rest("auskunft")),
    AT_PROVIDER.case(
        Row.RIGHTS,
        "a REST service, over SOAP with a version",
        "service_type",
        soap(Message(code="echo", version="v1")),
        SOAP,
    ),
    *AT_PROVIDER.cases(Row.RIGHTS, "no right", "access_denied", rest("ohne-recht"), soap(Message(client=GUEST))),
    *AT_PROVIDER.cases(
        Row.RIGHTS,
        "no right to a service that is switched off: the right is said first",
        "access_denied",
        rest("aus", client=GUEST),
        soap(Message(code="auskunftAus", version=None, client=GUEST)),
    ),
    AT_PROVIDER.case(
        Row.RIGHTS, "a path that leads out of the service", "access_denied", rest("echo", "/a/../../%2e%2e/x")
    ),
    *AT_PROVIDER.cases(
        Row.RIGHTS, "switched off", "service_disabled", rest("aus"), soap(Message(code="auskunftAus", version=None))
    ),
    AT_PROVIDER.case(
        Row.SERVICE_URL,
        "no address",
        "service_missing_url",
        soap(Message(code="auskunftOhneAdresse", version=None)),
        SOAP,
    ),
    *AT_PROVIDER.cases(
        Row.SERVICE_URL,
        "an address of another scheme",
        "service_malformed_url",
        rest("falsche-adresse"),
        soap(Message(code="auskunftFalscheAdresse", version=None)),
    ),
    AT_PROVIDER.case(Row.OTHERS, "a metaservice without its parameter", "invalid_request", rest("getOpenAPI", "")),
    AT_PROVIDER.case(
        Row.OTHERS,
        "a question to the monitoring that has no period",
        "opmonitor.client.invalid_request",
        soap(
            Message(code=MONITORED, version=None, provider=UTILITY.member, body=f'<om:{MONITORED} xmlns:om="{OPMON}"/>')
        ),
        SOAP,
    ),
    AT_PROVIDER.case(
        Row.OTHERS, "an OpenAPI description that there isn't", "internal_error", rest("getOpenAPI", "?serviceCode=echo")
    ),
    *AT_PROVIDER.cases(Row.OTHERS, "what nobody has foreseen", "internal_error", *_wrapped(_unforeseen)),
    AT_PROVIDER.case(Row.OTHERS, "the store can't be read", "database_error", _no_database),
    AT_PROVIDER.case(Row.OURS, "no consent where one is needed", "consent_required", _no_consent),
    AT_PROVIDER.case(Row.OURS, "a consent that nobody gave", "consent_invalid", _consent(unknown=True)),
    AT_PROVIDER.case(Row.OURS, "a consent that has expired", "consent_expired", _consent(expires=True)),
    AT_PROVIDER.case(Row.OURS, "a consent that was withdrawn", "consent_withdrawn", _consent(withdrawn=True)),
    AT_PROVIDER.case(Row.OURS, "a consent, and no person", "subject_required", _consent(nobody=True)),
    *AT_PROVIDER.cases(
        Row.OURS,
        "a service that needs a known citizen",
        "identity_level_too_low",
        rest("hoch"),
        soap(Message(code="auskunftHoch", version=None)),
    ),
    AT_PROVIDER.case(
        Row.OURS, "the client has used up its quota", "quota_exceeded", lambda s: _quota(s, ECHO), status=429
    ),
    AT_PROVIDER.case(Row.OURS, "the client has used up its quota", "quota_exceeded", lambda s: _quota(s, ASK), SOAP),
    AT_PROVIDER.case(
        Row.OURS,
        "the provider's gateway is at its limit",
        "overloaded",
        lambda s: AT_PROVIDER.overloaded(s, ECHO),
        status=503,
    ),
    AT_PROVIDER.case(
        Row.OURS, "the provider's gateway is at its limit", "overloaded", lambda s: AT_PROVIDER.overloaded(s, ASK), SOAP
    ),
]
