"""The body of getSecurityServerMetrics' answer (PR-ENVMONMES 1.3), with the names of X-Road's own metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from xml.sax.saxutils import escape

from gateway.monitoring.environment import Environment
from gateway.monitoring.form import METRICS_NAMESPACE
from trust.identifiers import SecurityServerId


def metrics_body(
    environment: Environment, server: SecurityServerId, at: datetime, wanted: frozenset[str] = frozenset()
) -> str:
    """The element, as text. `at`: when the environment was looked at; `wanted`: the metrics by name, all if none.

    X-Road's monitor lists processes and certificates among the system's metrics.
    """
    disk = environment.disk
    metrics: dict[str, Callable[[str], str]] = {
        "OperatingSystem": lambda name: _string(name, environment.operating_system),
        "SystemCpuLoad": lambda name: _once(name, environment.load_percent, at),
        "TotalPhysicalMemory": lambda name: _number(name, environment.total_memory),
        "TotalSwapSpace": lambda name: _number(name, environment.total_swap),
        "MaxFileDescriptorCount": lambda name: _number(name, environment.max_files),
        "FreePhysicalMemory": lambda name: _once(name, environment.free_memory, at),
        "FreeSwapSpace": lambda name: _once(name, environment.free_swap, at),
        "OpenFileDescriptorCount": lambda name: _once(name, environment.open_files, at),
        f"DiskSpaceFree_{disk}": lambda name: _number(name, environment.disk_free),
        f"DiskSpaceTotal_{disk}": lambda name: _number(name, environment.disk_total),
        "Processes": lambda name: _set(name, _processes(environment)),
        "Certificates": lambda name: _set(name, _certificates(environment)),
    }
    system = "".join(write(name) for name, write in metrics.items() if not wanted or name in wanted)
    inner = _string("proxyVersion", environment.version) + _set("systemMetrics", system)
    return (
        f'<m:getSecurityServerMetricsResponse xmlns:m="{METRICS_NAMESPACE}">{_set(str(server), inner)}'
        "</m:getSecurityServerMetricsResponse>"
    )


def _processes(environment: Environment) -> str:
    return "".join(
        _set(
            str(process.process_id),
            _number("processId", process.process_id)
            + _string("userId", process.user)
            + _number("memUsed", process.resident_bytes)
            + _string("command", process.name),
        )
        for process in environment.processes
    )


def _certificates(environment: Environment) -> str:
    return "".join(
        _set(
            f"certificate-{certificate.hash}",
            _string("sha1Hash", certificate.hash)
            + _string("notBefore", _time(certificate.not_before))
            + _string("notAfter", _time(certificate.not_after))
            + _string("certificateType", "AUTH_OR_SIGN")
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
