"""Durable logging of a step: what stands between the sequencer's errors and the road's.

Fail closed: what can't be logged isn't forwarded, so each failure becomes a Fault that stops the exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from audit.entry import Entry, Receipt
from audit.errors import AuditError, DuplicateRecord, LogOverloaded
from audit.message_log import Kept, MessageRecord
from audit.sequencer import Beside, Seal
from audit.subject_keys import withheld
from audit.tag import SubjectKey
from gateway.bounded import BudgetSpent
from gateway.exchange.directory import keeps_body
from gateway.exchange.kinds import Request
from gateway.exchange.node import Node
from gateway.exchange.spool import Bodies
from gateway.logging import describe_error
from gateway.message_log.content import TooLargeToLog
from gateway.message_log.stamping import Stamper
from gateway.messages.content import Content, digest_of
from gateway.messages.faults import Fault, Hop, prefix_of
from gateway.messages.transport import HashChain
from trust.errors import TrustError
from trust.identifiers import ServiceId


async def subject_keys(
    node: Node, subjects: Sequence[str], hop: Hop, *, known_only: bool = False, withhold: bool = False
) -> list[SubjectKey]:
    """The access-log keys of the persons concerned, new ones for new persons. Raises Fault `logging_failed`.

    `known_only`: persons that this gateway has no key for are left out. `withhold`: the keys of what they may not see.
    """
    if withhold:
        subjects = [withheld(subject) for subject in subjects]
    try:
        if known_only:
            found = [await node.subject_keys.existing(subject) for subject in subjects]
            return [key for key in found if key is not None]
        return [await node.subject_keys.key_for(subject) for subject in subjects]
    except (AuditError, SQLAlchemyError, OSError) as error:
        node.log.error("subject keys unavailable", **describe_error(error))
        raise Fault(f"{prefix_of(hop)}.logging_failed") from None


class Logged(NamedTuple):
    """What the log is to have of a message's body and attachments."""

    attachments: tuple[bytes, ...]
    kept: Kept
    # SHA-512 of each attachment, where it is known.
    digests: tuple[bytes, ...] | None = None


WHOLE: Final = Logged((), "whole")


def message_record(
    request: Request,
    role: Literal["consumer", "provider"],
    direction: Literal["request", "response"],
    outcome: str,
    *,
    time_ms: int,
    message: bytes,
    signature: bytes,
    logged: Logged = WHOLE,
    chain: HashChain | None = None,
    unique: bytes | None = None,
) -> MessageRecord:
    """One message of the exchange of this request, as the log has it; `chain` is the hash chain that was signed."""
    return MessageRecord(
        request_id=request.request_id,
        message_id=request.message_id,
        role=role,
        direction=direction,
        client=request.client.encoded,
        service=request.service.encoded,
        outcome=outcome,
        time_ms=time_ms,
        message=message,
        signature=signature,
        attachments=logged.attachments,
        unique=unique,
        kept=logged.kept,
        hash_chain_result=None if chain is None else chain.result,
        hash_chain=None if chain is None else chain.chain,
        attachment_digests=logged.digests,
    )


async def keep_contents(
    node: Node, bodies: Bodies | None, service: ServiceId, message: bytes, contents: Sequence[Content], *, hop: Hop
) -> Logged:
    """What the log keeps of a body or attachments: read from the spool only if they are kept.

    Raises Fault `io_error` for what is too large to log, `overloaded` when there is no room to read it.
    """
    if not contents or not keeps_body(service):
        return WHOLE
    in_memory = tuple([content for content in contents if isinstance(content, bytes)])
    if len(in_memory) == len(contents):
        return Logged(in_memory, "whole")
    assert bodies is not None
    try:
        attachments, kept = await node.logged_content.load(service.encoded, len(message), contents, bodies.load)
    except TooLargeToLog:
        raise _too_large(hop) from None
    except BudgetSpent:
        raise Fault(f"{prefix_of(hop)}.overloaded") from None
    except OSError as error:
        node.log.error("a spooled body can't be read", **describe_error(error))
        raise Fault(f"{prefix_of(hop)}.io_error") from None
    whole = kept == "whole" and len(attachments) == len(contents)
    return Logged(attachments, kept, tuple(map(digest_of, contents)) if whole else None)


def _too_large(hop: Hop) -> Fault:
    return Fault(f"{prefix_of(hop)}.io_error", "the body is larger than what is logged")


def require_stamping(node: Node, hop: Hop) -> None:
    """Refuses new messages while the log hasn't been time-stamped for longer than the operator accepts.

    Raises Fault `timestamping_failed`.
    """
    if node.stamper is not None and node.stamper.refusing:
        raise Fault(f"{prefix_of(hop)}.timestamping_failed")


async def append(
    node: Node, entries: Sequence[Entry], seal: Seal, hop: Hop, *, beside: Sequence[Beside] = (), waits: bool = False
) -> tuple[Receipt, ...]:
    """Waits until entries, messages and what is beside are durable, and stamped where that is set to be done at once.

    What of the messages is kept is the operator's choice. `waits`: `seal` waits for a device, and is called in another
    thread. Raises Fault; a Fault that `seal` raises comes through as it is.
    """
    content = node.logged_content
    logged: list[MessageRecord] = []

    def keep(receipts: tuple[Receipt, ...]) -> Sequence[MessageRecord]:
        logged[:] = [content.apply(record) for record in seal(receipts)]
        return logged

    try:
        node.log_guard.require_quorum()
        receipts = await node.sequencer.append(entries, keep, beside=beside, waits=waits)
    except DuplicateRecord:
        raise Fault("server.serverproxy.replayed_message") from None
    except LogOverloaded:
        raise Fault(f"{prefix_of(hop)}.overloaded") from None
    except TooLargeToLog:
        raise _too_large(hop) from None
    except AuditError as error:
        node.log.error("the log can't be written", **describe_error(error))
        raise Fault(f"{prefix_of(hop)}.logging_failed") from None
    if node.stamper is not None and node.stamper.policy.immediate:
        await _stamp(node.stamper, node, logged, hop)
    return receipts


async def _stamp(stamper: Stamper, node: Node, logged: Sequence[MessageRecord], hop: Hop) -> None:
    # What only says how an exchange failed waits for the next batch: nothing goes on because of it.
    for request_id in {record.request_id for record in logged if record.outcome == "ok"}:
        try:
            await stamper.stamp_exchange(request_id)
        except (TrustError, AuditError, SQLAlchemyError, OSError) as error:
            node.log.error("a message was not time-stamped", **describe_error(error))
            raise Fault(f"{prefix_of(hop)}.timestamping_failed") from None
