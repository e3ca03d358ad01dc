"""The body of getSecurityServerHealthData's answer (PR-OPMON 1.6 section 3 and annex A)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape

from gateway.monitoring.queries import ServiceHealth, Spread
from trust.identifiers import ClientId, SubsystemId

NAMESPACE: Final = "http://x-road.eu/xsd/op-monitoring.xsd"


def health_body(services: Iterable[ServiceHealth], *, started_ms: int, period_seconds: int) -> str:
    """The element, as text that uses the prefix `id` of the envelope's."""
    events = "".join(_service_events(service) for service in services)
    return (
        f'<om:getSecurityServerHealthDataResponse xmlns:om="{NAMESPACE}">'
        f"{_element('monitoringStartupTimestamp', started_ms)}{_element('statisticsPeriodSeconds', period_seconds)}"
        f"<om:servicesEvents>{events}</om:servicesEvents></om:getSecurityServerHealthDataResponse>"
    )


def _service_events(health: ServiceHealth) -> str:
    statistics = _element("successfulRequestCount", health.successes)
    statistics += _element("unsuccessfulRequestCount", health.failures)
    statistics += _spread("request", "Duration", health.duration)
    statistics += _spread("request", "Size", health.request_size)
    statistics += _spread("response", "Size", health.response_size)
    return (
        f"<om:serviceEvents>{_service(health)}"
        f"{_element('lastSuccessfulRequestTimestamp', health.last_success_ms)}"
        f"{_element('lastUnsuccessfulRequestTimestamp', health.last_failure_ms)}"
        f"{_element('serviceType', health.service_type)}"
        f"<om:lastPeriodStatistics>{statistics}</om:lastPeriodStatistics></om:serviceEvents>"
    )


def _service(health: ServiceHealth) -> str:
    parts = identifier_parts(health.provider)
    parts.append(("serviceCode", health.code))
    if health.version is not None:
        parts.append(("serviceVersion", health.version))
    inner = "".join(f"<id:{name}>{escape(value)}</id:{name}>" for name, value in parts)
    return f'<om:service id:objectType="SERVICE">{inner}</om:service>'


def identifier_parts(client: ClientId) -> list[tuple[str, str]]:
    """A member's or subsystem's codes under their names of the schema."""
    parts = [
        ("xRoadInstance", client.instance),
        ("memberClass", client.member_class),
        ("memberCode", client.member_code),
    ]
    if isinstance(client, SubsystemId):
        parts.append(("subsystemCode", client.subsystem_code))
    return parts


def _spread(prefix: str, name: str, spread: Spread | None) -> str:
    if spread is None:
        return ""
    return (
        _element(f"{prefix}Min{name}", spread.minimum)
        + _element(f"{prefix}Average{name}", spread.average)
        + _element(f"{prefix}Max{name}", spread.maximum)
        + _element(f"{prefix}{name}StdDev", spread.deviation)
    )


def _element(name: str, value: float | str | None) -> str:
    return "" if value is None else f"<om:{name}>{escape(str(value))}</om:{name}>"
