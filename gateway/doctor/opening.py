"""A gateway opened for examination from its settings file, whether it runs or not. Nothing is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.store import open_engine
from gateway.clock import Clock
from gateway.doctor.finding import Finding, ok, problem
from gateway.doctor.patient import ASK, Patient
from gateway.node_keys import load_keys
from gateway.settings import GatewaySettings
from trust.configuration_store import ConfigurationStore
from trust.errors import ConfigurationInvalid, KeyUnavailable, TrustError
from trust.federation import FederatedConfiguration, federated_anchors, parse_allowed_federations
from trust.globalconf import SHARED_PARAMETERS, VerifiedConfiguration, parse_anchor


@asynccontextmanager
async def opened(settings: GatewaySettings, clock: Clock) -> AsyncIterator[Patient]:
    """The gateway's parts, as far as they can be opened."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        patient = Patient(settings, clock, http)
        try:
            patient.anchor = parse_anchor(settings.anchor_file.read_bytes())
            patient.configuration = _stored(patient)
        except OSError:
            patient.failures["anchor"] = ConfigurationInvalid("no anchor", code="anchor_file_not_found")
        except TrustError as error:
            patient.failures["anchor" if patient.anchor is None else "configuration"] = error
        try:
            patient.keys = load_keys(settings)
        except TrustError as error:
            patient.failures["keys"] = error
        except OSError:
            patient.failures["keys"] = KeyUnavailable("a key file can't be read", code="token_not_available")
        patient.engine = _engine(settings.database_url)
        try:
            yield patient
        finally:
            if patient.engine is not None:
                await patient.engine.dispose()


async def check_process(patient: Patient) -> list[Finding]:
    """Does the gateway's process run, and what does it say of itself?"""
    settings = patient.settings
    host = f"[{settings.operations_host}]" if ":" in settings.operations_host else settings.operations_host
    url = f"http://{host}:{settings.operations_port}/healthz"
    try:
        async with patient.http.get(url, timeout=ASK) as answer:
            said = await answer.json()
            checks = {str(name): str(result) for name, result in said["checks"].items()}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError, AttributeError):
        todo = "start it, or look into its log for what keeps it from starting"
        return [problem("process", "gateway", f"doesn't answer at {url}", todo)]
    failing = [
        problem("process", name, result, "see what the other checks find, and the gateway's log")
        for name, result in checks.items()
        if answer.status != 200 and result not in {"ok", "expires soon", "late"}
    ]
    return failing or [ok("process", "gateway", "takes exchanges")]


def _stored(patient: Patient) -> VerifiedConfiguration | None:
    assert patient.anchor is not None
    folder = patient.settings.data_directory / "configuration"
    stored = ConfigurationStore(folder, patient.anchor).load()
    if stored is None:
        return None
    own, others = stored.configuration, []
    allowed = parse_allowed_federations(patient.settings.allowed_federations)
    for anchor in federated_anchors(own, allowed):
        try:
            other = ConfigurationStore(folder, anchor, parts=(SHARED_PARAMETERS,)).load()
        except ConfigurationInvalid:
            continue  # found missing by the check of the configuration
        if other is not None:
            others.append(other.configuration)
    return FederatedConfiguration(own, others)


def _engine(url: str) -> AsyncEngine | None:
    try:
        database = make_url(url)
        # SQLite would make an empty one.
        missing = database.get_backend_name() == "sqlite" and not Path(database.database or "").is_file()
        return None if missing else open_engine(url)
    except (SQLAlchemyError, ImportError):
        return None
