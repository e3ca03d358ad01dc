"""What a citizen gets to see: every access to their data in one month of one log, with all that it takes to check it.

The bundle holds the month's key and the leaves as stored; the verifier in the browser recomputes the tag, walks the
chain from the newest leaf to n=1, opens each commitment, and checks each leaf against the signed checkpoint. A leaf
younger than the newest checkpoint has no proof yet; a record whose retention has ended has neither nonce nor record.
What was withheld and released comes with the proof that the withheld leaf is in its log.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.checkpoint import parse_checkpoint
from audit.errors import MalformedInput, RecordUnopenable
from audit.leaf import parse_leaf
from audit.note import parse_note
from audit.period_store import IndexProof, newest_index, prove, withheld_days
from audit.proofs import leaf_proof
from audit.publisher import Publisher
from audit.record import open_record
from audit.release import KIND as RELEASE
from audit.release import Released, parse_release
from audit.store import RECORD_OF_ENTRY, log_entry, log_head, record, subject_head
from audit.subject_keys import SubjectKeys
from audit.tag import MonthKey, SubjectKey, months_between
from audit.tree_reader import consistency_path, inclusion_paths


@dataclass(frozen=True, slots=True)
class WithheldProof:
    """The inclusion proof (base64) of a withheld leaf, None while no checkpoint covers it.

    `checkpoint` is None when that is the bundle's own; another year's log brings its newest.
    """

    proof: list[str] | None
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """One access. Hashes, nonce and record are base64; `proof` is None while no checkpoint covers the leaf.

    `withheld`: of a release, where what was withheld is proven to stand.
    """

    index: int
    leaf: str
    nonce: str | None
    record: str | None
    proof: list[str] | None
    withheld: WithheldProof | None = None

    def as_json(self) -> dict[str, Any]:
        """As plain values; `withheld` is there of releases only."""
        values = {
            "index": self.index,
            "leaf": self.leaf,
            "nonce": self.nonce,
            "record": self.record,
            "proof": self.proof,
        }
        return values if self.withheld is None else values | {"withheld": asdict(self.withheld)}


@dataclass(frozen=True, slots=True)
class Consistency:
    """The proof (base64) that the tree of size `old`, which an earlier visit saw, is the checkpoint's beginning."""

    old: int
    path: list[str]


@dataclass(frozen=True, slots=True)
class AccessBundle:
    """A month's accesses to one person's data, oldest first. `month_key` is None when the log knows no such person.

    `index` proves against the month's newest index how many there were when it was made, or that there were none; it is
    None while no index of the month is under a public checkpoint. `withheld`: by ended day, how many accesses to
    anybody's data the law withholds in this log; the list is complete except for these.
    """

    version: int
    origin: str
    vkey: str
    month: str
    month_key: str | None
    checkpoint: str
    accesses: list[Access]
    index: IndexProof | None = None
    consistency: Consistency | None = None
    withheld: list[dict[str, str | int]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As plain values for `json.dumps`."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return values | {
            "accesses": [access.as_json() for access in self.accesses],
            "index": None if self.index is None else asdict(self.index),
            "consistency": None if self.consistency is None else asdict(self.consistency),
        }


async def months_of(engine: AsyncEngine, keys: SubjectKeys, subject_ref: str, *, origin: str) -> list[str]:
    """The months in which the log holds accesses to the person's data, oldest first."""
    key = await keys.existing(subject_ref)
    if key is None:
        return []
    async with engine.connect() as connection:
        head = (await connection.execute(select(log_head).where(log_head.c.origin == origin))).first()
        if head is None or head.size == 0:
            return []
        query = select(log_entry.c.leaf).where(log_entry.c.log == head.log, log_entry.c.idx == 0)
        first = parse_leaf((await connection.execute(query)).scalar_one())
        months = {key.month(origin, month).tag: month for month in months_between(first.time_ms, head.last_ms)}
        found = (await connection.execute(select(subject_head.c.tag).where(subject_head.c.tag.in_(months)))).scalars()
        return sorted(months[bytes(tag)] for tag in found)


async def accesses(
    engine: AsyncEngine,
    keys: SubjectKeys,
    subject_ref: str,
    month: str,
    *,
    publisher: Publisher,
    seen: int = 0,
    others: Collection[Publisher] = (),
) -> AccessBundle:
    """The person's accesses of one month ("2026-11", UTC), proven against the newest public checkpoint.

    `seen` is the log's size that an earlier visit saw, if there was one. `others`: the logs of other years, in which
    may stand what was withheld then and is released now.
    """
    note = await publisher.latest()
    key: SubjectKey | None = await keys.existing(subject_ref)
    month_key = None if key is None else key.month(publisher.origin, month)
    found: list[Access] = []
    index: IndexProof | None = None
    size = parse_checkpoint(parse_note(note).text).size
    async with engine.connect() as connection:
        withheld = await withheld_days(connection, publisher.log, month)
    if month_key is not None:
        stored = await newest_index(engine, publisher.origin, month)
        async with engine.connect() as connection:
            found = await _accesses(connection, publisher, month_key, size)
            found = [await _elsewhere(connection, access, publisher, others) for access in found]
            if stored is not None:
                index = await prove(connection, stored, month_key.tag, size)
    return AccessBundle(
        version=1,
        origin=publisher.origin,
        vkey=publisher.verifier.text,
        month=month,
        month_key=None if month_key is None else b64encode(month_key.key).decode(),
        checkpoint=note.decode(),
        accesses=found,
        index=index,
        consistency=await _consistency(engine, publisher.log, seen, size),
        withheld=withheld,
    )


async def _consistency(engine: AsyncEngine, log: int, seen: int, size: int) -> Consistency | None:
    if not 0 < seen < size:
        return None
    async with engine.connect() as connection:
        return Consistency(
            seen, [b64encode(hashed).decode() for hashed in await consistency_path(connection, log, seen, size)]
        )


async def _accesses(connection: AsyncConnection, publisher: Publisher, month_key: MonthKey, size: int) -> list[Access]:
    log = publisher.log
    joined = log_entry.outerjoin(record, RECORD_OF_ENTRY)
    query = (
        select(log_entry.c.idx, log_entry.c.leaf, record.c.body)
        .select_from(joined)
        .where(log_entry.c.tag == month_key.tag)
        .order_by(log_entry.c.n)
    )
    found, proven = [], []
    for index, leaf, body in (await connection.execute(query)).all():
        nonce, opened = _opened(month_key, leaf, body)
        access = Access(index, bytes(leaf).decode(), nonce, opened, None)
        released = _released_in(access)
        found.append(access)
        proven += [index] if released is None or released.origin != publisher.origin else [index, released.index]
    proven = [index for index in proven if index < size]
    paths = dict(zip(proven, await inclusion_paths(connection, log, proven, size), strict=True))
    lines = {index: [b64encode(hashed).decode() for hashed in path] for index, path in paths.items()}
    return [_proven(access, lines, publisher.origin) for access in found]


def _proven(access: Access, lines: Mapping[int, list[str]], origin: str) -> Access:
    released = _released_in(access)
    withheld = None
    if released is not None and released.origin == origin:
        withheld = WithheldProof(lines.get(released.index))
    return replace(access, proof=lines.get(access.index), withheld=withheld)


async def _elsewhere(
    connection: AsyncConnection, access: Access, publisher: Publisher, others: Collection[Publisher]
) -> Access:
    """The access; a release of what another year's log holds, with that log's proof."""
    released = _released_in(access)
    if released is None or released.origin == publisher.origin:
        return access
    of = next((other for other in others if other.origin == released.origin and other.is_public), None)
    if of is None:
        return access
    proof = await leaf_proof(connection, of.log, released.index, await of.latest())
    path = [b64encode(hashed).decode() for hashed in proof.path]
    return replace(access, withheld=WithheldProof(path, proof.note.decode()))


def _released_in(access: Access) -> Released | None:
    """What a release gives to the person; None of any other access, and where the verifier will say what is wrong."""
    if access.record is None or f'"k":"{RELEASE}"' not in access.leaf:
        return None
    try:
        return parse_release(b64decode(access.record))
    except MalformedInput:
        return None


def _opened(month_key: MonthKey, leaf: bytes, body: bytes | None) -> tuple[str | None, str | None]:
    if body is None:
        return None, None
    try:
        nonce, opened = open_record(month_key, body, parse_leaf(leaf).commitment)
    except RecordUnopenable:
        # Shown as missing: the verifier tells the citizen, and `verify` the operator.
        return None, None
    return b64encode(nonce).decode(), b64encode(opened).decode()
