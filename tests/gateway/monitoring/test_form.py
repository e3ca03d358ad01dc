"""What is asked of the monitoring services: any bytes give a query or a refusal."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.faults import Fault
from gateway.monitoring.form import (
    HealthQuery,
    OperationalQuery,
    parse_health_query,
    parse_metrics_query,
    parse_operational_query,
)
from trust.identifiers import MemberId, SubsystemId

_WRAP = (
    '<E:Envelope xmlns:E="http://schemas.xmlsoap.org/soap/envelope/" xmlns:o="http://x-road.eu/xsd/op-monitoring.xsd"'
    ' xmlns:i="http://x-road.eu/xsd/identifiers"><E:Body>{}</E:Body></E:Envelope>'
)
_CLIENT = "<i:xRoadInstance>A</i:xRoadInstance><i:memberClass>B</i:memberClass><i:memberCode>C</i:memberCode>"


def operational(inner: str) -> OperationalQuery:
    wrapped = f"<o:getSecurityServerOperationalData>{inner}</o:getSecurityServerOperationalData>"
    return parse_operational_query(_WRAP.format(wrapped).encode())


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for parse in (parse_operational_query, parse_health_query):
        with pytest.raises(Fault) as refused:
            parse(data)
        assert refused.value.code == "server.serverproxy.opmonitor.client.invalid_request"
    with suppress(Fault):
        assert parse_metrics_query(data) == frozenset()


@given(st.text(alphabet="<>/oi:abc 019-&;", max_size=60))
def test_any_markup_within(text: str) -> None:
    # Any other exception would fail the test.
    with suppress(Fault):
        found = operational(f"<o:searchCriteria>{text}</o:searchCriteria>")
        assert 0 <= found.from_s <= found.to_s


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_window_is_read_back(first: int, second: int) -> None:
    begin, end = sorted((first, second))
    times = f"<o:recordsFrom> {begin} </o:recordsFrom><o:recordsTo>{end}</o:recordsTo>"
    found = operational(f"<o:searchCriteria>{times}<o:client>{_CLIENT}</o:client></o:searchCriteria>")
    assert found == OperationalQuery(begin, end, MemberId("A", "B", "C"), ())


def test_fields_are_taken_once_and_a_provider_may_be_a_subsystem() -> None:
    client = f"<o:client>{_CLIENT}<i:subsystemCode>D</i:subsystemCode></o:client>"
    times = "<o:recordsFrom>1</o:recordsFrom><o:recordsTo>2</o:recordsTo>"
    spec = "<o:outputField>messageId</o:outputField>" * 2
    found = operational(f"<o:searchCriteria>{times}{client}</o:searchCriteria><o:outputSpec>{spec}</o:outputSpec>")
    assert (found.client, found.fields) == (SubsystemId("A", "B", "C", "D"), ("messageId",))
    wrapped = (
        f"<o:getSecurityServerHealthData><o:filterCriteria>{client}</o:filterCriteria></o:getSecurityServerHealthData>"
    )
    assert parse_health_query(_WRAP.format(wrapped).encode()) == HealthQuery(SubsystemId("A", "B", "C", "D"))


def test_metrics_are_asked_for_by_name_or_all() -> None:
    def metrics(*names: str) -> frozenset[str]:
        fields = "".join(
            f'<m:outputField xmlns:m="http://x-road.eu/xsd/monitoring"> {name} </m:outputField>' for name in names
        )
        return parse_metrics_query(_WRAP.format(f"<frage><outputSpec>{fields}</outputSpec></frage>").encode())

    assert metrics() == metrics("") == frozenset()
    assert metrics("OperatingSystem", "Processes", "Processes") == {"OperatingSystem", "Processes"}
    with pytest.raises(Fault):
        metrics(*map(str, range(201)))
