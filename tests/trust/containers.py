"""Containers for tests: a member who signs, an authority that stamps, and the configuration that approves both."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.trust.factory import BODY, INSTANCE, NOW, World, approve, common_name, key_usage, make_world, parameters
from tests.trust.zips import Entry
from trust.asic import (
    Container,
    SignatureForm,
    StampForm,
    VerificationConfiguration,
    VerifiedContainer,
    write_container,
)
from trust.asic import verify_container as verify
from trust.hashchain import TIMESTAMP_FILES, build_batch
from trust.keys import PrivateKey
from trust.parameters import ApprovedTSA
from trust.testca.authority import KeyPair
from trust.testca.time_stamping import TimeStampingAuthority
from trust.timestamp import build_request, parse_response
from trust.xades import SignatureBuilder, SignedPart, insert_timestamp, signature_value

STAMPED_AT = NOW + timedelta(seconds=30)
LATER = NOW + timedelta(days=3000)

REQUEST = (
    b"POST\r\n/r1/DE-TEST/COM/STADTWERKE/rechnungen/bills\r\nX-Road-Client:DE-TEST/GOV/MUSTERSTADT/app\r\n"
    b"x-road-request-id:6b1d7dd0-45f2-4a4e-8f5f-62b7b3f0a001\r\nx-road-id:DE-TEST-4711\r\n"
)
RESPONSE = (
    b"200\r\nOK\r\nContent-Type:application/json\r\nx-road-id:DE-TEST-4711\r\n"
    b"x-road-client:DE-TEST/COM/STADTWERKE/rechnungen\r\nx-road-service:DE-TEST/GOV/MUSTERSTADT/app/echo\r\n"
)


def soap(*, body: str = "bills", provider: tuple[str, str] = ("COM", "STADTWERKE"), encoding: str = "UTF-8") -> bytes:
    """A SOAP message of the city's, unless it is a response (`body` says)."""
    identifiers = "http://x-road.eu/xsd/identifiers"
    text = f"""<?xml version="1.0" encoding="{encoding}"?>
<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"
    xmlns:xrd="http://x-road.eu/xsd/xroad.xsd" xmlns:id="{identifiers}"><SOAP-ENV:Header>
<xrd:client id:objectType="SUBSYSTEM"><id:xRoadInstance>{INSTANCE}</id:xRoadInstance>
<id:memberClass>GOV</id:memberClass><id:memberCode>MUSTERSTADT</id:memberCode><id:subsystemCode>app</id:subsystemCode></xrd:client>
<xrd:service id:objectType="SERVICE"><id:xRoadInstance>{INSTANCE}</id:xRoadInstance>
<id:memberClass>{provider[0]}</id:memberClass><id:memberCode>{provider[1]}</id:memberCode>
<id:subsystemCode>rechnungen</id:subsystemCode><id:serviceCode>bills</id:serviceCode></xrd:service>
<xrd:id>Frage 7</xrd:id><xrd:protocolVersion>4.0</xrd:protocolVersion></SOAP-ENV:Header>
<SOAP-ENV:Body><b:{body} xmlns:b="urn:b">Größe</b:{body}></SOAP-ENV:Body></SOAP-ENV:Envelope>"""
    return text.encode(encoding)


@dataclass
class Making:
    """Everything that makes containers, and what verifies them."""

    world: World
    tsa: KeyPair

    @property
    def configuration(self) -> VerificationConfiguration:
        return VerificationConfiguration.of(
            replace(
                parameters(approve(self.world.authority)),
                approved_tsas=(ApprovedTSA("Zeitstelle", "http://ca.test/tsa", self.tsa.certificate_der),),
            )
        )

    def token(self, data: bytes, *, at: datetime = STAMPED_AT, digest_name: str = "sha512") -> bytes:
        """A time-stamp over data."""
        request = build_request(hashlib.new(digest_name, data).digest(), digest_name=digest_name)
        return parse_response(TimeStampingAuthority(self.tsa, lambda: at).answer(request))

    def signed(
        self,
        form: SignatureForm = SignatureForm.PER_PART,
        *,
        message: bytes = REQUEST,
        attachments: Sequence[bytes] = (BODY,),
        **options: object,
    ) -> Container:
        """A signed container that nobody has stamped yet."""
        builder = SignatureBuilder(self.world.key)
        options.setdefault("signing_time", NOW)
        options.setdefault("ocsp_response", self.world.ocsp_response)
        bare = Container(message, b"-", tuple(attachments))
        parts = [SignedPart.of(name, data) for name, data in bare.parts().items()]
        if form is SignatureForm.PER_PART:
            return replace(bare, signature=builder.build(parts, **options))  # type: ignore[arg-type]
        messages = [parts]
        if form is SignatureForm.BATCH:
            messages += [[SignedPart.of("/message.xml", b"another's %d" % number)] for number in range(4)]
        signature = builder.build_batch(messages, **options)[0]  # type: ignore[arg-type]
        return replace(
            bare,
            signature=signature.document,
            signature_hash_chain_result=signature.hash_chain_result,
            signature_hash_chain=signature.hash_chain,
        )

    def stamp(self, container: Container, form: StampForm = StampForm.BATCH, **options: object) -> Container:
        """The container, time-stamped alone or with others."""
        if form is StampForm.SIGNATURE:
            token = self.token(signature_value(container.signature).decoded, **options)  # type: ignore[arg-type]
            return replace(container, signature=insert_timestamp(container.signature, token))
        digests = [hashlib.sha512(data).digest() for data in (b"one", container.signature, b"three")]
        result, chains = build_batch(digests, files=TIMESTAMP_FILES)
        return replace(
            container,
            timestamp_hash_chain_result=result,
            timestamp_hash_chain=chains[1],
            timestamp=self.token(result, **options),  # type: ignore[arg-type]
        )

    def container(
        self, form: SignatureForm = SignatureForm.PER_PART, stamp: StampForm = StampForm.BATCH, **options: object
    ) -> Container:
        """A container with all that belongs in it."""
        return self.stamp(self.signed(form, **options), stamp)  # type: ignore[arg-type]

    def verify(self, container: Container | bytes, at: datetime = LATER) -> VerifiedContainer:
        """The container, verified long after."""
        return verify(container, self.configuration, at=at)


def make(key: PrivateKey | None = None) -> Making:
    """A new world, with a time-stamping authority in it."""
    world = make_world(key)
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
    holder = world.authority.issue(common_name("Zeitstelle"), key_usage("digital_signature"), extensions=(usage,))
    return Making(world, KeyPair(holder.key, holder.certificate))  # type: ignore[arg-type]


@cache
def making() -> Making:
    """The making that tests share."""
    return make()


Change = Callable[[list[Entry]], bytes]
"""Another archive, made of a good one's entries."""


def entries_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def entries(form: SignatureForm = SignatureForm.PER_PART, stamp: StampForm = StampForm.BATCH) -> list[Entry]:
    data = write_container(making().container(form, stamp))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [Entry(entry.filename, archive.read(entry)) for entry in archive.infolist()]
