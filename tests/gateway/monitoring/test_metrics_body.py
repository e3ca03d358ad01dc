"""What is told of a machine, in X-Road's names and kinds of values."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.monitoring.environment import Environment, OwnCertificate, RunningProcess, certificate_hash
from gateway.monitoring.metrics_body import metrics_body
from tests.gateway.exchange.town import CITY
from trust.self_signed import build_self_signed
from trust.xml import parse

SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
NAMESPACE = "{http://x-road.eu/xsd/monitoring}"
ENVIRONMENT = Environment(
    version="1.2.3",
    operating_system="Linux 6",
    load_percent=12.5,
    free_memory=1,
    total_memory=2,
    free_swap=3,
    total_swap=4,
    open_files=5,
    max_files=6,
    disk_free=7,
    disk_total=8,
    disk="/data",
    processes=(RunningProcess(17, "gate<way>", "datenweg", 4096),),
    certificates=(OwnCertificate("AB:CD", SINCE, UNTIL, active=True),),
)


def described(name: str) -> dict[str, tuple[str, str]]:
    """The values in the first set within the metric `name`: kind and value by name."""
    body = metrics_body(ENVIRONMENT, CITY.server, SINCE, frozenset({name}))
    sets = parse(body.encode()).iter(f"{NAMESPACE}metricSet")
    (found,) = [found for found in sets if found.findtext(f"{NAMESPACE}name") == name]
    (first,) = found.iterfind(f"{NAMESPACE}metricSet")
    return {
        str(value.findtext(f"{NAMESPACE}name")): (
            str(value.tag).removeprefix(NAMESPACE),
            str(value.findtext(f"{NAMESPACE}value")),
        )
        for value in first
        if len(value)
    }


def test_certificates_as_x_road_lists_them() -> None:
    assert described("Certificates") == {
        "sha1Hash": ("stringMetric", "AB:CD"),
        "notBefore": ("stringMetric", "2026-01-01T00:00:00Z"),
        "notAfter": ("stringMetric", "2027-01-01T00:00:00Z"),
        "certificateType": ("stringMetric", "AUTH_OR_SIGN"),
        "active": ("stringMetric", "true"),
    }


def test_the_hash_of_a_certificate_is_sha_256_whatever_it_is_called() -> None:
    certificate = build_self_signed(ec.generate_private_key(ec.SECP256R1()), "x", since=SINCE, until=UNTIL)
    assert re.fullmatch("[0-9A-F]{2}(:[0-9A-F]{2}){31}", certificate_hash(certificate))


def test_what_is_a_number_is_told_as_one() -> None:
    assert described("Processes") == {
        "processId": ("numericMetric", "17"),
        "userId": ("stringMetric", "datenweg"),
        "memUsed": ("numericMetric", "4096"),
        "command": ("stringMetric", "gate<way>"),
    }
