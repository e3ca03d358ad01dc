"""All checks at once, each within its time; and the running gateway's own, remembered for a few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Final

from gateway.doctor import configuration, storage, trust_services
from gateway.doctor.files import check_files
from gateway.doctor.finding import Finding, problem
from gateway.doctor.patient import Patient
from gateway.logging import describe_error, get_logger

Check = Callable[[Patient], Awaitable[list[Finding]]]

CHECKS: Final[Mapping[str, Check]] = {
    "clock": configuration.check_clock,
    "configuration": configuration.check_configuration,
    "sources": configuration.check_sources,
    "certificates": trust_services.check_certificates,
    "ocsp": trust_services.check_ocsp,
    "time-stamping": trust_services.check_time_stamping,
    "peers": trust_services.check_peers,
    "database": storage.check_database,
    "disk": storage.check_disk,
    "access log": storage.check_access_log,
    "message log": storage.check_message_log,
    "settings": storage.check_settings,
    "files": check_files,
}
CHECK_SECONDS: Final = 20.0
# Whoever asks in a loop asks us, not our authorities and peers.
_REMEMBERED_SECONDS: Final = 5.0


async def examine(patient: Patient, checks: Mapping[str, Check] = CHECKS) -> tuple[Finding, ...]:
    """Every check's findings, in the order of `checks`. Never raises but for cancellation."""
    results = await asyncio.gather(*(_run(name, check, patient) for name, check in checks.items()))
    return tuple(finding for findings in results for finding in findings)


async def _run(name: str, check: Check, patient: Patient) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check(patient)
    except TimeoutError:
        text = f"took longer than {CHECK_SECONDS:g} s"
        return [problem(name, "check", text, "something on the way to what it looks at hangs: network or disk")]
    except Exception as error:  # noqa: BLE001 - one check that fails must not hide what the others find
        get_logger().error("a check of the doctor failed", action=name, **describe_error(error))
        return [problem(name, "check", "could not be carried out", "look into the log, and report it")]


class Doctor:
    """A running gateway's examination. At most one is under way; its result counts for a few seconds."""

    def __init__(self, patient: Callable[[], Patient]) -> None:
        """`patient` gives the gateway's parts as they are at the moment."""
        self._patient = patient
        self._done_at = 0.0
        self._findings: tuple[Finding, ...] | None = None
        self._under_way = asyncio.Lock()

    async def findings(self) -> tuple[Finding, ...]:
        """The newest findings, at most some seconds old."""
        async with self._under_way:
            if self._findings is None or monotonic() - self._done_at > _REMEMBERED_SECONDS:
                self._findings = await examine(self._patient())
                self._done_at = monotonic()
            return self._findings
