"""The global configuration and the clock: age, sources, federated instances, and the time as others have it."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import aiohttp

from gateway.configuration import WARN_BEFORE
from gateway.doctor.finding import Finding, ok, problem, warning
from gateway.doctor.patient import ASK, Patient
from trust.configuration_client import ConfigurationClient
from trust.errors import ConfigurationExpired, ConfigurationInvalid, ConfigurationRolledBack, TrustError
from trust.federation import federated_anchors, parse_allowed_federations
from trust.globalconf import Anchor, AnchorSource, announced_certificates, source_path

_MAX_SOURCES: Final = 16
# Signatures, OCSP answers and time stamps tolerate a minute; Date headers have whole seconds.
_CLOCK_WARNING: Final = timedelta(seconds=5)
_CLOCK_PROBLEM: Final = timedelta(seconds=60)
_START: Final = "start the gateway (with a new anchor: again) while a source is reachable"


async def check_configuration(patient: Patient) -> list[Finding]:
    """Is there a configuration, is it current, are we in it, do the federated ones hold?"""
    name, instance = "configuration", patient.settings.instance
    if (failure := patient.failures.get("anchor")) is not None:
        return [problem(name, "anchor", f"the anchor can't be read ({failure.code})", "get it from the registry")]
    if patient.configuration is None:
        failure = patient.failures.get("configuration")
        code = "nothing was accepted under this anchor yet" if failure is None else failure.code
        todo = failure.hint if failure is not None and failure.hint else _START
        return [problem(name, instance, f"there is no usable configuration: {code}", todo)]
    configuration, now = patient.configuration, patient.clock.now()
    left = configuration.expires - now
    if left <= timedelta(0):
        expired = f"expired at {configuration.expires:%Y-%m-%dT%H:%M:%SZ} (global_conf_outdated)"
        findings = [problem(name, instance, expired, "all exchanges have stopped: make a source reachable")]
    elif left < WARN_BEFORE:
        soon = f"lapses in {int(left.total_seconds())} s, and hasn't been refreshed"
        findings = [warning(name, instance, soon, "look at its sources: exchanges stop when it lapses")]
    else:
        text = f"version {configuration.version}, valid for {int(left.total_seconds())} s"
        findings = [ok(name, instance, text)]
    server = configuration.server(patient.settings.server_id)
    if server is None:
        findings.append(
            problem(name, "registration", "this gateway isn't registered", "have the registry register the server")
        )
    elif server.maintenance is not None:
        findings.append(
            warning(name, "registration", "registered as under maintenance", "peers send nothing: end the maintenance")
        )
    return findings + _federations(patient, now)


def _federations(patient: Patient, now: datetime) -> list[Finding]:
    assert patient.configuration is not None
    allowed = parse_allowed_federations(patient.settings.allowed_federations)
    others = {other.instance: other for other in patient.configuration.others}
    findings = []
    for anchor in federated_anchors(patient.configuration, allowed):
        other = others.get(anchor.instance)
        if other is None or other.expires <= now:
            findings.append(
                warning(
                    "configuration",
                    anchor.instance,
                    "the federated instance has no current configuration here",
                    "its members can't be met: check that its sources are reachable, and its anchor is current",
                )
            )
        else:
            findings.append(ok("configuration", anchor.instance, "the federated instance is current"))
    return findings


async def check_sources(patient: Patient) -> list[Finding]:
    """Does each source answer with a configuration that would be accepted?"""
    if patient.anchor is None:
        return []
    certificates = patient.anchor.certificates
    urls = [source.url for source in patient.anchor.sources]
    if patient.configuration is not None:
        certificates = (*certificates, *announced_certificates(patient.configuration, source_path(patient.anchor)))
    anchors = [Anchor(patient.anchor.instance, (AnchorSource(url, certificates),)) for url in urls[:_MAX_SOURCES]]
    findings = await asyncio.gather(*(_source(patient, anchor) for anchor in anchors))
    if len(findings) > 1 and any(f.state == "ok" for f in findings):
        # One is enough for now; the others are there for the day when it isn't.
        return [f if f.state == "ok" else warning(f.check, f.subject, f.what, f.todo) for f in findings]
    return list(findings)


async def _source(patient: Patient, anchor: Anchor) -> Finding:
    name, url = "sources", anchor.sources[0].url
    with tempfile.TemporaryDirectory(prefix="datenweg-doctor-") as folder:
        client = ConfigurationClient(patient.http, anchor, Path(folder), patient.clock.now)
        try:
            offered = await client.refresh()
        except ConfigurationExpired:
            return problem(name, url, "offers a configuration that has expired", "its registry no longer publishes")
        except ConfigurationInvalid as error:
            todo = error.hint or "compare the anchor with the registry's operator"
            return problem(name, url, f"offers something that isn't accepted ({error.code})", todo)
        except TrustError as error:
            todo = "check network, name and firewall on the way to it, and that its registry runs"
            return problem(name, url, f"gives no configuration ({error.code})", todo)
    accepted = patient.configuration
    if accepted is not None and offered.sequence is not None and accepted.sequence is not None:
        behind = offered.sequence < accepted.sequence and offered.directory.digests != accepted.directory.digests
        if behind:
            code = ConfigurationRolledBack.default_code
            return problem(name, url, f"offers an older configuration ({code})", "check its clock and its copies")
    return ok(name, url, f"offers version {offered.version} until {offered.expires:%H:%M:%SZ}")


async def check_clock(patient: Patient) -> list[Finding]:
    """Does this machine have the time that the registry has?"""
    if patient.anchor is None:
        return []
    seen = [t for t in await asyncio.gather(*(_date(patient, s.url) for s in patient.anchor.sources[:4])) if t]
    if not seen:
        return [warning("clock", "registry", "no source told the time", "make a source reachable")]
    off = min((patient.clock.now() - moment for moment in seen), key=abs)
    return [judge_clock("registry", off)]


def judge_clock(subject: str, off: timedelta) -> Finding:
    """What a difference between our clock and another one means; positive is ahead."""
    seconds = off.total_seconds()
    text = f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
    todo = "synchronise the clock (NTP): signatures, OCSP answers and time stamps are refused otherwise"
    if abs(off) > _CLOCK_PROBLEM:
        return problem("clock", subject, text, todo)
    if abs(off) > _CLOCK_WARNING:
        return warning("clock", subject, text, todo)
    return ok("clock", subject, f"within {_CLOCK_WARNING.seconds} s")


async def _date(patient: Patient, url: str) -> datetime | None:
    try:
        async with patient.http.get(url, timeout=ASK, allow_redirects=False) as answer:
            moment = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, TypeError):
        return None
    # The header has whole seconds: on average it is half a second late.
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware + timedelta(milliseconds=500)
