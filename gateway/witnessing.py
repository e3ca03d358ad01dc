"""This gateway among the others' witnesses, and theirs for it: who has seen that its log only grew.

The policy (C2SP tlog-policy) is the operator's: its `log` lines are the logs that this gateway cosigns, its `witness`,
`group` and `quorum` lines say who must have cosigned ours before the public sees a checkpoint. Without a policy the
gateway's own signature is all that there is, and the citizens' pages say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.cosignature import CosignatureSigner
from audit.errors import AuditError, MalformedInput, QuorumMissing
from audit.note import NoteKey, NoteSigner
from audit.period_store import began_ms, build_period_index, newest_index
from audit.policy import Policy, parse_policy
from audit.publisher import Publisher
from audit.sequencer import Sequencer
from audit.witness_client import WitnessedPublisher, WitnessReport
from audit.witness_store import Witness
from gateway.clock import Clock
from gateway.errors import StartRefused
from gateway.exchange.origins import origin_of
from gateway.logs import OwnLogs
from gateway.node_keys import load_log_key, load_witness_key
from gateway.settings import GatewaySettings
from trust.errors import KeyUnavailable
from trust.identifiers import SecurityServerId
from trust.keystore import read_secret

WITNESS_PATH: Final = "/witness"
_TOKEN_CHARACTERS: Final = 20
_LAST_ROUND_SECONDS: Final = 2.0


def read_policy(path: Path | None) -> Policy:
    """The operator's policy; without a file one that asks for nobody. Raises StartRefused."""
    if path is None:
        return Policy()
    try:
        return parse_policy(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        raise StartRefused(f"{path}: the witness policy can't be read") from None
    except MalformedInput as error:
        raise StartRefused(f"{path}: {error}") from None


def read_auditor_token(path: Path | None) -> str | None:
    """The token by which the auditor is known. Raises StartRefused: an empty or short one would let anybody in."""
    if path is None:
        return None
    try:
        token = read_secret(file=path)
    except KeyUnavailable as error:
        raise StartRefused(f"{path}: {error.hint or 'the auditor token can not be read'}") from None
    return require_auditor_token(token, path)


def require_auditor_token(token: str, path: Path) -> str:
    """A token that stood in this file, if it will do. Raises StartRefused."""
    if len(token) < _TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise StartRefused(f"{path}: an auditor token has at least {_TOKEN_CHARACTERS} ASCII characters, no blanks")
    return token


def policy_lines(settings: GatewaySettings, year: int, *, name: str = "") -> tuple[str, str]:
    """The `log` and the `witness` line of a gateway, for the others' policies. Raises KeyUnavailable.

    `name`: the witness's in the policy; without one its server code.
    """
    origin = origin_of(settings.server_id, year)
    log = NoteSigner(origin, load_log_key(settings)).verifier
    witness = witness_key(settings.server_id, load_witness_key(settings))
    base = settings.audit_base_url
    named = name or settings.server_code
    return f"log {log.text} {base}/audit/{year}", f"witness {named} {witness.text} {base}{WITNESS_PATH}"


def write_mutual_policy(path: Path, gateways: Mapping[str, GatewaySettings], year: int) -> None:
    """A policy by which these gateways witness each other: a checkpoint counts once most of them have seen it.

    For gateways whose log and witness keys exist and that are all under one roof, as in a test instance. Raises
    KeyUnavailable.
    """
    lines = [policy_lines(settings, year, name=name) for name, settings in gateways.items()]
    most = len(gateways) // 2 + 1
    words = [*(log for log, _ in lines), *(witness for _, witness in lines)]
    words += [f"group gateways {most} {' '.join(gateways)}", "quorum gateways"]
    replacement = path.with_name(path.name + ".new")
    replacement.write_text("\n".join(words) + "\n", "utf-8")
    replacement.replace(path)


def witness_name(server: SecurityServerId) -> str:
    """The name under which a gateway cosigns, as C2SP signed-note wants it."""
    return f"{server.encoded.replace('+', '%2B')}/witness"


def witness_key(server: SecurityServerId, key: Ed25519PrivateKey) -> NoteKey:
    """The verifier key of a gateway's cosignatures, for the others' policies."""
    return CosignatureSigner(witness_name(server), key).verifier


def build_witness(
    engine: AsyncEngine, server: SecurityServerId, key: Ed25519PrivateKey, policy: Policy, clock: Clock
) -> Witness:
    """This gateway as a witness of the policy's logs."""
    signer = CosignatureSigner(witness_name(server), key)
    return Witness(engine, signer, [line.key for line in policy.logs], clock_ms=clock.now_ms)


class Witnessing:
    """Has this gateway's logs cosigned. Use from one event loop."""

    def __init__(
        self, engine: AsyncEngine, http: aiohttp.ClientSession, policy: Policy, clock: Clock, *, limit_seconds: float
    ) -> None:
        """`limit_seconds`: after so long without a quorum nothing is delivered any more."""
        self._engine = engine
        self._http = http
        self._policy = policy
        self._clock = clock
        self._limit = limit_seconds
        self._logs: dict[str, WitnessedPublisher] = {}
        self._finished: set[str] = set()
        self._current: WitnessedPublisher | None = None

    @property
    def required(self) -> bool:
        """Whether the policy asks for witnesses."""
        return self._policy.quorum is not None

    @property
    def policy_text(self) -> str:
        """The policy as its file has it."""
        return self._policy.text

    async def start(self, logs: OwnLogs) -> None:
        """Puts before the public what a quorum saw before this process began, then asks for the first time."""
        if self.required:
            await self.round(logs)

    async def round(self, logs: OwnLogs) -> None:
        """Has the newest checkpoint of each log cosigned that isn't finished."""
        if not self.required:
            return
        for name, publisher in list(logs.publishers.items()):
            witnessed = await self._witnessed(name, publisher)
            is_current = publisher is logs.publisher
            if is_current:
                self._current = witnessed
            if name not in self._finished and await witnessed.round() and not is_current:
                # A past year's log grows no more: once its last checkpoint is cosigned it stays so.
                self._finished.add(name)

    async def last_round(self, logs: OwnLogs) -> None:
        """Has what was published while the gateway stopped cosigned as well; gives up after two seconds.

        Never raises: the next start asks again, and what isn't cosigned isn't public.
        """
        with suppress(TimeoutError, AuditError, SQLAlchemyError, OSError):
            async with asyncio.timeout(_LAST_ROUND_SECONDS):
                await self.round(logs)

    @property
    def seconds_without_quorum(self) -> float:
        """For how long no quorum has confirmed the current log; 0 if none is asked for."""
        return 0.0 if self._current is None else self._current.seconds_without_quorum

    @property
    def reports(self) -> Mapping[str, WitnessReport]:
        """How each witness answered last."""
        return {} if self._current is None else {report.name: report for report in self._current.reports}

    def require_quorum(self) -> None:
        """Raises QuorumMissing when nobody has confirmed the log for longer than is allowed."""
        if self.seconds_without_quorum > self._limit:
            raise QuorumMissing(f"no quorum of witnesses for more than {self._limit:.0f} s")

    async def _witnessed(self, name: str, publisher: Publisher) -> WitnessedPublisher:
        known = self._logs.get(name)
        if known is None:
            known = WitnessedPublisher(self._engine, publisher, self._policy, self._http, clock_ms=self._clock.now_ms)
            await known.start()
            self._logs[name] = known
        return known


async def index_month(engine: AsyncEngine, logs: OwnLogs, clock: Clock) -> bool:
    """Indexes the month of the last UTC day that has ended, unless that was done; whether it was done now.

    On the first of a month that is the month before, for the last time: the index then covers it whole.
    """
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = midnight - timedelta(days=1)
    if yesterday.year != midnight.year:
        # `index_year_end` has done it: the old year's log takes no more entries.
        return False
    period, origin, day_ended_ms = f"{yesterday:%Y-%m}", logs.publisher.origin, midnight.timestamp() * 1000
    began = await began_ms(engine, origin)
    if began is None or began >= day_ended_ms:
        return False
    newest = await newest_index(engine, origin, period)
    if newest is not None and newest.made_ms >= day_ended_ms:
        return False
    await build_period_index(engine, logs.sequencer, origin, period)
    return True


async def index_year_end(engine: AsyncEngine, old: Sequencer, origin: str) -> None:
    """Indexes the December of a log that is about to be closed. The origin ends with its year."""
    await build_period_index(engine, old, origin, f"{origin.rpartition('/')[2]}-12")
