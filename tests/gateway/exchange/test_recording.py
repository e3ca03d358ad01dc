"""The record of an access, whatever stands in it: the JSON text that any encoder would write, its names in order."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.recording import Access, Result, build_record, declare
from gateway.messages.headers import IdentityLevel, RoadFields
from gateway.messages.soap_fields import PDU
from gateway.store.model import LegalBasisKind, Service, ServiceType
from trust.globalconf import VerifiedConfiguration
from trust.identifiers import ClientId, MemberId, ServiceId, SubsystemId

CLIENT = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "buerger app")
PROVIDER = SubsystemId("DE-TEST", "COM", "STADTWERKE", "kundenservice")
TEXT = st.text(max_size=20)
NAMED = st.none() | TEXT


class Names:
    """Of the configuration what a record is made of."""

    def __init__(self, names: dict[ClientId, str | None]) -> None:
        self._names = names

    def client_name(self, client: ClientId) -> str | None:
        return self._names[client]


SERVICES = st.builds(
    Service,
    st.just(PROVIDER),
    st.just("konto"),
    st.just(ServiceType.REST),
    st.just(""),
    title_de=TEXT,
    title_en=TEXT,
    purpose_de=TEXT,
    purpose_en=TEXT,
    legal_basis_kind=st.sampled_from(LegalBasisKind),
    legal_basis=TEXT,
    data_categories=st.lists(TEXT, max_size=3).map(tuple),
)
FIELDS = st.builds(
    RoadFields,
    purpose=NAMED,
    consent=NAMED,
    identity_level=st.none() | st.sampled_from(IdentityLevel),
    representative=NAMED,
)
ACCESSES = st.builds(
    Access,
    role=st.sampled_from(["consumer", "provider"]),
    client=st.sampled_from([CLIENT, MemberId("DE-TEST", "GOV", "MUSTERSTADT")]),
    service=st.sampled_from([ServiceId(PROVIDER, "konto"), ServiceId(PROVIDER, "konto", "v1")]),
    fields=FIELDS,
    message_id=TEXT,
    request_id=TEXT,
    request_digest=st.binary(min_size=64, max_size=64),
    result=st.sampled_from(Result),
    time_ms=st.integers(1_700_000_000_000, 1_900_000_000_000),
    reason=NAMED,
    status=st.none() | st.integers(100, 599),
    response_digest=st.none() | st.binary(min_size=64, max_size=64),
    extension=st.builds(PDU, reason=NAMED, system=NAMED),
)


@given(ACCESSES, st.none() | SERVICES, NAMED, NAMED)
def test_the_record_is_the_json_of_what_is_known(
    access: Access, service: Service | None, client_name: str | None, provider_name: str | None
) -> None:
    if service is not None:
        access = Access(**{name: getattr(access, name) for name in Access.__slots__} | {"declared": declare(service)})
    names = Names({access.client: client_name, PROVIDER: provider_name})
    expected = _expected(access, service, client_name, provider_name)
    known = {name: value for name, value in expected.items() if value is not None}
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert build_record(access, cast("VerifiedConfiguration", names)).decode() == text


def _expected(
    access: Access, service: Service | None, client_name: str | None, provider_name: str | None
) -> dict[str, Any]:
    fields = access.fields
    level = fields.identity_level
    expected: dict[str, Any] = {
        "v": 1,
        "time": datetime.fromtimestamp(access.time_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "role": access.role,
        "client": {"id": access.client.encoded, "name": client_name},
        "provider": {"id": PROVIDER.encoded, "name": provider_name},
        "service": {"id": access.service.encoded},
        "result": access.result.value,
        "messageId": access.message_id,
        "requestId": access.request_id,
        "requestDigest": b64encode(access.request_digest).decode(),
        "reason": access.reason,
        "status": access.status,
        "purposeDeclaration": fields.purpose,
        "occasion": access.extension.reason,
        "system": access.extension.system,
        "consent": fields.consent,
        "identityLevel": level.word if level else None,
        "representative": fields.representative,
        "responseDigest": b64encode(access.response_digest).decode() if access.response_digest else None,
    }
    if service is not None:
        if service.title_de or service.title_en:
            expected["service"]["title"] = {"de": service.title_de, "en": service.title_en}
        if service.purpose_de or service.purpose_en:
            expected["purpose"] = {"de": service.purpose_de, "en": service.purpose_en}
        expected["legalBasis"] = {"kind": service.legal_basis_kind.value, "text": service.legal_basis}
        expected["dataCategories"] = list(service.data_categories)
    return expected
