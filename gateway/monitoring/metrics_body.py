"""The body of getSecurityServerMetrics' answer (PR-ENVMONMES 1.3), with the names of X-Road's own metrics."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from xml.sax.saxutils import escape

from gateway.monitoring.environment import Environment
from trust.identifiers import SecurityServerId

NAMESPACE: Final = "http://x-road.eu/xsd/monitoring"


def metrics_body(environment: Environment, server: SecurityServerId, at: datetime) -> str:
    """The element, as text. `at`: when the environment was looked at."""
    system = "".join(
        (
            _string("OperatingSystem", environment.operating_system),
            _once("SystemCpuLoad", environment.load_percent, at),
            _number("TotalPhysicalMemory", environment.total_memory),
            _number("TotalSwapSpace", environment.total_swap),
            _number("MaxFileDescriptorCount", environment.max_files),
            _once("FreePhysicalMemory", environment.free_memory, at),
            _once("FreeSwapSpace", environment.free_swap, at),
            _once("OpenFileDescriptorCount", environment.open_files, at),
            _number(f"DiskSpaceFree_{environment.disk}", environment.disk_free),
            _number(f"DiskSpaceTotal_{environment.disk}", environment.disk_total),
        )
    )
    inner = _string("proxyVersion", environment.version) + _set("systemMetrics", system)
    inner += _set("Processes", _processes(environment)) + _set("Certificates", _certificates(environment))
    return (
        f'<m:getSecurityServerMetricsResponse xmlns:m="{NAMESPACE}">{_set(str(server), inner)}'
        "</m:getSecurityServerMetricsResponse>"
    )


def _processes(environment: Environment) -> str:
    return "".join(
        _set(
            str(process.process_id),
            _string("processId", str(process.process_id))
            + _string("userId", str(process.user_id))
            + _number("memUsed", process.resident_bytes)
            + _string("command", process.name),
        )
        for process in environment.processes
    )


def _certificates(environment: Environment) -> str:
    return "".join(
        _set(
            f"certificate-{certificate.sha1_hash}",
            _string("sha1hash", certificate.sha1_hash)
            + _string("notBefore", _time(certificate.not_before))
            + _string("notAfter", _time(certificate.not_after))
            + _string("certificateType", certificate.usage)
            + _string("active", "true" if certificate.active else "false"),
        )
        for certificate in environment.certificates
    )


def _set(name: str, inner: str) -> str:
    return f"<m:metricSet><m:name>{_text(name)}</m:name>{inner}</m:metricSet>"


def _string(name: str, value: str) -> str:
    return f"<m:stringMetric><m:name>{_text(name)}</m:name><m:value>{_text(value)}</m:value></m:stringMetric>"


def _number(name: str, value: int) -> str:
    return f"<m:numericMetric><m:name>{_text(name)}</m:name><m:value>{value}</m:value></m:numericMetric>"


def _once(name: str, value: float, at: datetime) -> str:
    """A histogram of the one look that was taken."""
    number = f"{value:.2f}".removesuffix(".00")
    middle = "".join(f"<m:{part}>{number}</m:{part}>" for part in ("min", "max", "mean", "median"))
    return (
        f"<m:histogramMetric><m:name>{_text(name)}</m:name><m:updated>{_time(at)}</m:updated>{middle}"
        "<m:stddev>0</m:stddev></m:histogramMetric>"
    )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _text(text: str) -> str:
    # XML 1.0 section 2.2: a process may call itself by what no document can hold.
    return escape("".join(character if character.isprintable() else "?" for character in text))
