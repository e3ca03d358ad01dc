"""The road under measure: the city's gateway and the bank's, as processes, with everything on.

Set up as the demo sets its city up. In the bank's adapter's place stands the measure's backend, whose service needs the
citizen's consent and identity level `substantial`. Each connection of the load speaks for a citizen of its own: with a
token of the demo's issuer, and a consent that the bank's gateway has taken over the road.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec

from audit.store import open_engine
from bench.gateway_metrics import Sums, parse_metrics
from bench.plain import HOST
from bench.processes import NotMeasurable, Worker, started
from bench.profile import SUFFIX
from gateway.admin.log import verify_logs
from gateway.admin.registration import Declaration, check_declaration, register
from gateway.citizen.consent import ConsentEvent, EventState, sign_copy
from gateway.citizen.consents import CONTENT_TYPE, PUSH
from gateway.citizen.context import ConsentKey
from gateway.city.issuer_keys import IssuerKeys
from gateway.city.plan import BANK, CITY, TOKEN_AUDIENCE, Plan
from gateway.city.setup import ISSUER, gateway_settings, prepare
from gateway.city.start import embedded
from gateway.clock import SystemClock
from gateway.exchange.pseudonyms import pseudonym
from gateway.instance.plan import REGISTRY, TESTCA
from gateway.instance.settings_files import to_toml
from gateway.messages.headers import AUDIT_RECEIPT, CITIZEN, CONSENT
from gateway.node_keys import load_keys
from gateway.settings import GatewaySettings
from gateway.store.model import AccessRight, LegalBasisKind, RequiredIdentityLevel, Service, ServiceType
from gateway.store.repository import Repository
from gateway.witnessing import write_mutual_policy
from trust.identifiers import ServiceId

SERVICE: Final = ServiceId(BANK.subsystem, "measure")
SOAP_SERVICE: Final = ServiceId(BANK.subsystem, "measure", "v1")
_PURPOSE: Final = "measure"
_DAY_MS: Final = 86_400_000
_WITNESS_SECONDS: Final = GatewaySettings.model_fields["witness_interval_seconds"].default
_MAX_BODY: Final = 1 << 30
_CONSUMER_RECEIPT: Final = "X-Datenweg-Consumer-Receipt"


@dataclass(frozen=True, slots=True)
class LogFacts:
    """A gateway's log, recomputed whole and found sound."""

    origin: str
    entries: int
    messages: int
    records_opened: int
    checkpoints: int


class Road:
    """The running road. Consumer and provider are separate processes; registry, CA and issuer live in this one."""

    def __init__(self, plan: Plan, settings: Mapping[str, GatewaySettings], consumer: Worker, provider: Worker) -> None:
        self._plan = plan
        self._settings = settings
        self._keys = load_keys(settings[CITY.folder])
        self._issuer_keys = IssuerKeys(plan.folder(ISSUER))
        self._clock = SystemClock()
        self.consumer = consumer
        self.provider = provider
        self.port = plan.client_port(CITY)
        self.target = f"/r1/{SERVICE.encoded}/balances"
        self.pushes = 0

    async def admit(self, http: aiohttp.ClientSession, citizens: int) -> tuple[dict[str, str], ...]:
        """The header fields of so many citizens, each with a token and a consent that the provider has acknowledged.

        Raises NotMeasurable.
        """
        admitted = []
        for number in range(citizens):
            subject = f"citizen-{number}-{uuid.uuid4()}"
            consent = await self._consent(http, subject)
            admitted.append({CITIZEN: self._token(subject), CONSENT: consent})
        return tuple(admitted)

    def _token(self, subject: str) -> str:
        """As the demo's issuer makes it, but valid for a day: no run is longer."""
        now = self._clock.now_ms() // 1000
        claims = {
            "iss": self._plan.issuer_url,
            "sub": subject,
            "iat": now,
            "exp": now + _DAY_MS // 1000,
            "auth_time": now,
            "acr": "high",
            "aud": TOKEN_AUDIENCE,
            "client_id": "datenweg-citizen",
            "scope": "openid",
            "jti": str(uuid.uuid4()),
        }
        return self._issuer_keys.sign(claims, token_type="at+jwt")

    async def _consent(self, http: aiohttp.ClientSession, subject: str) -> str:
        """A consent's reference, once the provider has acknowledged it."""
        private, pseudonym_key = self._keys.signing.private_key, self._keys.pseudonym
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        assert pseudonym_key is not None
        reference, now_ms = str(uuid.uuid4()), self._clock.now_ms()
        copy = sign_copy(
            ConsentKey(private, (self._keys.signing.certificate_der, *self._keys.signing.intermediates)),
            reference=reference,
            client=CITY.subsystem.encoded,
            subject=pseudonym(pseudonym_key, BANK.member, self._plan.issuer_url, subject),
            service=SERVICE.encoded,
            purpose=_PURPOSE,
            withdrawn=False,
            sequence=1,
            given_ms=now_ms,
            expires_ms=now_ms + _DAY_MS,
            events=(ConsentEvent(EventState.GIVEN, now_ms),),
        )
        url = f"http://{HOST}:{self.port}/r1/{BANK.subsystem.encoded}/{PUSH}/{reference}"
        headers = {"X-Road-Client": CITY.subsystem.encoded, "Content-Type": CONTENT_TYPE}
        async with http.put(url, data=copy.encode(), headers=headers) as answer:
            if answer.status != 204:
                raise NotMeasurable(f"a consent was not taken: {answer.status} {await answer.text()}")
        self.pushes += 1
        return reference

    async def metrics(self, http: aiohttp.ClientSession) -> dict[str, Sums]:
        """What both gateways have counted so far."""
        sums = {}
        for worker, organisation in ((self.consumer, CITY), (self.provider, BANK)):
            async with http.get(self._plan.url(self._plan.operations_port(organisation)) + "/metrics") as answer:
                sums[worker.name] = parse_metrics(await answer.text())
        return sums

    @staticmethod
    def require_receipts(headers: Mapping[str, str]) -> None:
        """An answer of the road carries a receipt of either log. Raises NotMeasurable."""
        for name in (AUDIT_RECEIPT, _CONSUMER_RECEIPT):
            if not headers.get(name):
                raise NotMeasurable(f"the road's answer lacks {name}")

    async def verified_logs(self) -> dict[str, LogFacts]:
        """Both logs by their worker's name, once the gateways have stopped. Raises LogInconsistent."""
        facts = {}
        for worker, organisation in ((self.consumer, CITY), (self.provider, BANK)):
            (report,) = await verify_logs(self._settings[organisation.folder])
            report.require_sound()
            facts[worker.name] = LogFacts(
                report.origin, report.size, report.messages, report.records_opened, report.checkpoints
            )
        return facts


@asynccontextmanager
async def open_road(plan: Plan, backend_port: int, profile: Path | None) -> AsyncIterator[Road]:
    """Within the block the road runs, with both gateways ready. `profile`: a folder for the samples of both."""
    prepared = await prepare(plan, SystemClock())
    shared = {name: prepared[name] for name in (TESTCA, REGISTRY, ISSUER)}
    settings = {}
    for organisation in (CITY, BANK):
        node = gateway_settings(plan, organisation)
        # The citizens' pages aren't measured: no background work of theirs in the consumer's process.
        # Large bodies pass, and are logged by their digest.
        large = {"max_body_bytes": _MAX_BODY, "body_digest_allowed": True}
        # There are but these two gateways: nobody else needs a share of the places.
        large["peer_concurrency_limit"] = node.concurrency_limit
        # The two witness each other, as often as a gateway does that isn't told otherwise.
        witnessed = {"witness_interval_seconds": _WITNESS_SECONDS}
        settings[organisation.folder] = node.model_copy(update={"citizen_port": None} | large | witnessed)
        plan.settings_file(organisation.folder).write_text(to_toml(settings[organisation.folder]), "utf-8")
    policy_file = settings[CITY.folder].witness_policy_file
    assert policy_file is not None
    write_mutual_policy(policy_file, settings, SystemClock().now().year)
    await _register(settings[BANK.folder], backend_port)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(embedded(shared))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        workers = []
        for name, organisation in (("consumer", CITY), ("provider", BANK)):
            command: tuple[str, ...] = (
                "gateway.cli",
                "gateway",
                "--config",
                str(plan.settings_file(organisation.folder)),
            )
            if profile is not None:
                command = ("bench.sampler", str(profile / f"{name}{SUFFIX}"), *command)
            workers.append(await stack.enter_async_context(started(plan.data_directory, name, *command)))
        for worker, organisation in zip(workers, (CITY, BANK), strict=True):
            await worker.wait_for_answer(http, plan.url(plan.operations_port(organisation)) + "/healthz")
        yield Road(plan, settings, *workers)


async def _register(settings: GatewaySettings, backend_port: int) -> None:
    declaration = Declaration(
        provider=BANK.subsystem.encoded,
        code=SERVICE.service_code,
        url=f"http://{HOST}:{backend_port}",
        title_de="Messung",
        title_en="Measure",
        purpose_de="Misst die Geschwindigkeit des Weges.",
        purpose_en="Measures the speed of the road.",
        legal_basis_kind=LegalBasisKind.CONSENT,
        legal_basis="Art. 6 Abs. 1 lit. a DSGVO",
        data_categories=("Kontostand",),
        identity_level=RequiredIdentityLevel.SUBSTANTIAL,
        grants=(CITY.subsystem.encoded,),
    )
    engine = open_engine(settings.database_url)
    try:
        repository = Repository(engine)
        await register(repository, check_declaration(declaration, instance=settings.instance))
        soap = Service(
            provider=BANK.subsystem,
            code=SOAP_SERVICE.service_code,
            version=SOAP_SERVICE.service_version,
            service_type=ServiceType.WSDL,
            url=f"http://{HOST}:{backend_port}/soap",
            title_de="Messung",
            title_en="Measure",
            purpose_de="Misst die Geschwindigkeit des Weges.",
            purpose_en="Measures the speed of the road.",
            legal_basis_kind=LegalBasisKind.LAW,
            legal_basis="§ 1 MusterG",
            data_categories=("Kontostand",),
        )
        await repository.upsert_service(soap, grant_to=[AccessRight(SOAP_SERVICE, CITY.subsystem)])
    finally:
        await engine.dispose()
