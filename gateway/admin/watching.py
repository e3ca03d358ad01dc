"""`datenweg log witness`, `monitor` and `proof`: who watches this gateway's log, and what watching others' found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
from sqlalchemy import select

from audit.checkpoint import parse_checkpoint
from audit.cosignature import verify_cosignatures
from audit.errors import AuditError, LogUnavailable
from audit.monitor import Monitor, followable
from audit.note import parse_note
from audit.policy import LogLine, Policy, parse_policy
from audit.proofs import leaf_proof
from audit.store import checkpoint, cosigned_checkpoint, log_head
from gateway.admin.auditor_tokens import AuditorTokens, require_own_tokens
from gateway.admin.errors import AdminError
from gateway.admin.own_log import open_database
from gateway.clock import SystemClock
from gateway.exchange.origins import origin_of
from gateway.settings import GatewaySettings
from gateway.witnessing import policy_lines, read_policy

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


# -- witness ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WitnessStanding:
    """How a witness of the policy stands: what it answered last, or when it last cosigned as far as is stored."""

    name: str
    state: str


def own_lines(settings: GatewaySettings) -> tuple[str, str]:
    """The `log` and `witness` lines of this gateway. Raises KeyUnavailable."""
    return policy_lines(settings, SystemClock().now().year)


async def witness_standings(settings: GatewaySettings) -> tuple[WitnessStanding, ...]:
    """How each witness of the gateway's policy stands: asked of the running gateway, else read from its database."""
    policy = read_policy(settings.witness_policy_file)
    if policy.quorum is None:
        return ()
    told = await _told_by_gateway(settings)
    stored = await _stored(settings, policy)
    return tuple(
        WitnessStanding(witness.name, told.get(witness.name) or stored.get(witness.key.name) or "has not cosigned yet")
        for witness in policy.witnesses
    )


async def _told_by_gateway(settings: GatewaySettings) -> dict[str, str]:
    url = f"http://{settings.operations_host}:{settings.operations_port}/witnesses"
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as http, http.get(url) as answer:
            if answer.status != 200:
                return {}
            body = await answer.json()
            return {str(one["name"]): str(one["problem"]) or "cosigned the newest checkpoint" for one in body}
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
        return {}


async def _stored(settings: GatewaySettings, policy: Policy) -> dict[str, str]:
    """By key name: the newest stored checkpoint that each witness has cosigned."""
    origin = origin_of(settings.server_id, SystemClock().now().year)
    async with open_database(settings) as engine, engine.connect() as connection:
        log = (await connection.execute(select(log_head.c.log).where(log_head.c.origin == origin))).scalar()
        query = select(cosigned_checkpoint.c.note).where(cosigned_checkpoint.c.log == log)
        notes = (await connection.execute(query.order_by(cosigned_checkpoint.c.size.desc()).limit(100))).scalars()
        found: dict[str, str] = {}
        for text in notes:
            note = parse_note(text.encode())
            size = parse_checkpoint(note.text).size
            for cosignature in verify_cosignatures(note, policy.witness_keys):
                at = datetime.fromtimestamp(cosignature.time, UTC).isoformat()
                found.setdefault(cosignature.witness, f"cosigned {size} entries at {at}")
    return found


# -- monitor ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class MonitorReport:
    """What following the logs came to. `unreachable` is nobody's lie; the other two are findings."""

    followed: list[dict[str, object]] = field(default_factory=list)
    unreachable: list[dict[str, str]] = field(default_factory=list)
    lies: list[dict[str, str]] = field(default_factory=list)
    one_sided: list[dict[str, object]] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every log was reached, none lies, and no exchange stands in one alone."""
        return not (self.unreachable or self.lies or self.one_sided)

    def as_json(self) -> dict[str, object]:
        """As plain values for `json.dumps`."""
        return {"holds": self.holds, **asdict(self)}


class Progress:
    """Told of each log as it is followed."""

    def followed(self, origin: str, size: int, new: int) -> None:
        """A log was followed to this size."""


async def follow_logs(
    policy_file: Path, state: Path, tokens: AuditorTokens, *, settle_seconds: float, progress: Progress
) -> MonitorReport:
    """Follow every log of the policy, and compare them. Raises AdminError, StartRefused."""
    logs = followable(_policy(policy_file).logs)
    if not logs:
        raise AdminError("--policy: no log line has an address")
    require_own_tokens(tokens, logs)
    report = MonitorReport()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        monitor = Monitor(state, http, token_for=tokens.token_for)
        try:
            for line in logs:
                await _follow(monitor, line, report, progress)
            before_ms = SystemClock().now_ms() - int(settle_seconds * 1000)
            for found in monitor.one_sided(before_ms=before_ms):
                time = datetime.fromtimestamp(found.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
                entry: dict[str, object] = {"log": found.origin, "index": found.index, "time": time}
                report.one_sided.append(entry | {"exchange": found.exchange.hex()})
        finally:
            monitor.close()
    return report


async def _follow(monitor: Monitor, line: LogLine, report: MonitorReport, progress: Progress) -> None:
    try:
        years: Sequence[LogLine] = await monitor.years_of(line)
    except LogUnavailable as error:
        report.unreachable.append({"log": line.key.name, "reason": str(error)})
        return
    except AuditError as error:
        report.lies.append({"log": line.key.name, "reason": str(error)})
        return
    for year in years:
        try:
            done = await monitor.follow(year)
        except LogUnavailable as error:
            report.unreachable.append({"log": year.key.name, "reason": str(error)})
        except AuditError as error:
            report.lies.append({"log": year.key.name, "reason": str(error)})
        else:
            size = done.checkpoint.size
            report.followed.append({"log": done.checkpoint.origin, "size": size, "new": done.new_entries})
            progress.followed(done.checkpoint.origin, size, done.new_entries)


def _policy(path: Path) -> Policy:
    try:
        return parse_policy(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        raise AdminError(f"{path}: can't be read") from None
    except AuditError as error:
        raise AdminError(f"{path}: {error}") from None


# -- proof -----------------------------------------------------------------------------------------------------------


async def build_proof(settings: GatewaySettings, index: int, log: str | None) -> bytes:
    """The proof (C2SP tlog-proof) that an entry is under the newest public one. Raises AdminError, AuditError."""
    current = origin_of(settings.server_id, SystemClock().now().year)
    origin = current if log is None else (log if "/" in log else f"{current.rpartition('/')[0]}/{log}")
    table = checkpoint if read_policy(settings.witness_policy_file).quorum is None else cosigned_checkpoint
    async with open_database(settings) as engine, engine.connect() as connection:
        number = (await connection.execute(select(log_head.c.log).where(log_head.c.origin == origin))).scalar()
        query = select(table.c.note).where(table.c.log == number).order_by(table.c.size.desc()).limit(1)
        note = None if number is None else (await connection.execute(query)).scalar()
        if number is None or note is None:
            raise AdminError(f"{origin}: no checkpoint of this log is public")
        return (await leaf_proof(connection, number, index, str(note).encode())).encode()
