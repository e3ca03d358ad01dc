"""The log's side of witnessing: asks the policy's witnesses to cosign, and publishes what a quorum has seen.

All witnesses are asked at once, each for a second at most. One that has seen another size says which, and gets the
proof from there. A checkpoint becomes public with the cosignatures that made the quorum; when that was last is what
`seconds_without_quorum` counts from, over restarts too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.checkpoint import parse_checkpoint
from audit.cosignature import verify_cosignatures
from audit.dialects import insert_into
from audit.errors import AuditError, MalformedInput, ProofInvalid
from audit.note import MAX_SIGNATURES, NoteSignature, parse_note, parse_signature_line
from audit.policy import Policy, WitnessLine
from audit.publisher import Publisher
from audit.store import cosigned_checkpoint
from audit.tree_reader import consistency_path
from audit.witness import SIZE_TYPE, AddCheckpoint

_TIMEOUT: Final = aiohttp.ClientTimeout(total=1.0)
_MAX_ANSWER_BYTES: Final = 8192
_MAX_SIZE_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class WitnessReport:
    """How one witness answered last: `problem` is empty, or says what is wrong in one of a few fixed sentences."""

    name: str
    problem: str


class WitnessedPublisher:
    """Gets one log's checkpoints cosigned. Use from one event loop."""

    def __init__(
        self,
        engine: AsyncEngine,
        publisher: Publisher,
        policy: Policy,
        http: aiohttp.ClientSession,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._policy = policy
        self._http = http
        self._clock_ms = clock_ms
        self._seen: dict[str, int] = {}
        self._since_ms = clock_ms()
        self.reports: tuple[WitnessReport, ...] = ()

    async def start(self) -> None:
        """Put the newest stored cosigned checkpoint before the public."""
        log = self._publisher.log
        async with self._engine.connect() as connection:
            query = select(cosigned_checkpoint).where(cosigned_checkpoint.c.log == log)
            row = (await connection.execute(query.order_by(cosigned_checkpoint.c.size.desc()).limit(1))).first()
        if row is not None:
            self._since_ms = row.cosigned_ms
            self._publisher.show(str(row.note).encode())

    @property
    def seconds_without_quorum(self) -> float:
        """For how long no quorum has confirmed the log."""
        return max(0.0, (self._clock_ms() - self._since_ms) / 1000)

    async def round(self) -> bool:
        """Have the newest checkpoint cosigned; whether a quorum did. Durable on return."""
        note = self._publisher.newest_note
        asked = [witness for witness in self._policy.witnesses if witness.url is not None]
        answers = await asyncio.gather(*(self._ask(witness, note) for witness in asked))
        signatures = [line for lines, _ in answers for line in lines]
        self.reports = tuple(report for _, report in answers)
        whole = note + "".join(signature.line for signature in signatures[: MAX_SIGNATURES - 1]).encode()
        found = verify_cosignatures(parse_note(whole), self._policy.witness_keys)
        if not self._policy.is_quorum({cosignature.witness for cosignature in found}):
            return False
        await self._publish(whole)
        return True

    async def _publish(self, note: bytes) -> None:
        now_ms = self._clock_ms()
        size = parse_checkpoint(parse_note(note).text).size
        row = {"log": self._publisher.log, "size": size, "note": note.decode(), "cosigned_ms": now_ms}
        new = insert_into(cosigned_checkpoint, self._engine.dialect).values(row)
        # An idle log is confirmed again and again at one size: the newest confirmation counts.
        newest = {"note": new.excluded.note, "cosigned_ms": new.excluded.cosigned_ms}
        async with self._engine.begin() as connection:
            await connection.execute(new.on_conflict_do_update(index_elements=["log", "size"], set_=newest))
        self._since_ms = now_ms
        self._publisher.show(note)

    async def _ask(self, witness: WitnessLine, note: bytes) -> tuple[list[NoteSignature], WitnessReport]:
        try:
            return await self._cosigned(witness, note), WitnessReport(witness.name, "")
        except _Refused as refused:
            problem = refused.args[0]
        except (aiohttp.ClientError, OSError, TimeoutError):
            problem = "can't be reached"
        except AuditError:
            problem = "answered with something that is no cosignature of this checkpoint"
        return [], WitnessReport(witness.name, problem)

    async def _cosigned(self, witness: WitnessLine, note: bytes) -> list[NoteSignature]:
        size = parse_checkpoint(parse_note(note).text).size
        old = min(self._seen.get(witness.name, 0), size)
        status, answer = await self._post(witness, await self._request(old, size, note))
        if status == 409:
            old = _size_in(answer)
            if old > size:
                raise _Refused(
                    "has seen a larger tree than ours: our database was rolled back, or somebody has our key"
                )
            status, answer = await self._post(witness, await self._request(old, size, note))
        if status == 422:
            raise _Refused("holds another history of our log than we do")
        if status in (403, 404):
            raise _Refused("does not know our log's key")
        if status != 200:
            raise _Refused("did not cosign")
        lines = [parse_signature_line(line) for line in _text_of(answer).split("\n") if line]
        # One is enough: whoever repeats itself takes up the places of others in the note, which has few.
        ours = [line for line in lines if (line.name, line.key_id) == (witness.key.name, witness.key.key_id)][:1]
        whole = note + "".join(line.line for line in ours).encode()
        if not verify_cosignatures(parse_note(whole), [witness.key]):
            raise ProofInvalid("no cosignature of this witness")
        self._seen[witness.name] = size
        return ours

    async def _request(self, old: int, size: int, note: bytes) -> bytes:
        async with self._engine.connect() as connection:
            path = await consistency_path(connection, self._publisher.log, old, size)
        return AddCheckpoint(old, tuple(path), note).encode()

    async def _post(self, witness: WitnessLine, body: bytes) -> tuple[int, bytes]:
        url = f"{witness.url}/add-checkpoint"
        async with self._http.post(url, data=body, timeout=_TIMEOUT, allow_redirects=False) as answer:
            content = await answer.content.read(_MAX_ANSWER_BYTES)
            if answer.status == 409 and answer.content_type != SIZE_TYPE:
                raise _Refused("did not cosign")
            return answer.status, content


class _Refused(Exception):
    """A witness's no, as one of our own sentences."""


def _text_of(answer: bytes) -> str:
    try:
        return answer.decode()
    except UnicodeDecodeError:
        raise MalformedInput("not text") from None


def _size_in(answer: bytes) -> int:
    text = answer.removesuffix(b"\n")
    if not text.isdigit() or len(text) > _MAX_SIZE_DIGITS:
        raise MalformedInput("not a size")
    return int(text)
