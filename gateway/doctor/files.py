"""Who else on this machine may read or change what the gateway keeps."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.doctor.finding import Finding, ok, problem, warning
from gateway.doctor.patient import Patient
from gateway.private_files import Exposure, exposures, exposures_of_settings

_NAME: Final = "files"


async def check_files(patient: Patient) -> list[Finding]:
    """Are keys, databases, bodies under way and archives the gateway's user's alone?"""
    found = await asyncio.to_thread(_looked_at, patient)
    return [_finding(exposure) for exposure in found] or [ok(_NAME, "modes", "nobody else's to read or change")]


def _looked_at(patient: Patient) -> list[Exposure]:
    named = () if patient.settings_file is None else exposures_of_settings(patient.settings_file, patient.settings)
    return [*named, *exposures(patient.settings)]


def _finding(exposure: Exposure) -> Finding:
    judge = problem if exposure.grave else warning
    return judge(_NAME, str(exposure.path), exposure.what, exposure.todo)
