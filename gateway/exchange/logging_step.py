"""Durable logging of a step: what stands between the sequencer's errors and the road's.

Fail closed: what can't be logged isn't forwarded, so each failure becomes a Fault that stops the exchange.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from audit.entry import Entry, Receipt
from audit.errors import AuditError, DuplicateRecord, LogOverloaded
from audit.sequencer import Seal
from audit.tag import SubjectKey
from gateway.exchange.node import Node
from gateway.logging import describe_error
from gateway.messages.faults import Fault, Hop, prefix_of


async def subject_keys(node: Node, subjects: Sequence[str], hop: Hop, *, known_only: bool = False) -> list[SubjectKey]:
    """The access-log keys of the persons concerned, new ones for new persons. Raises Fault `logging_failed`.

    `known_only`: persons that this gateway has no key for are left out.
    """
    try:
        if known_only:
            found = [await node.subject_keys.existing(subject) for subject in subjects]
            return [key for key in found if key is not None]
        return [await node.subject_keys.key_for(subject) for subject in subjects]
    except (AuditError, SQLAlchemyError, OSError) as error:
        node.log.error("subject keys unavailable", **describe_error(error))
        raise Fault(f"{prefix_of(hop)}.logging_failed") from None


async def append(node: Node, entries: Sequence[Entry], seal: Seal, hop: Hop) -> tuple[Receipt, ...]:
    """Waits until entries and messages are durable. Raises Fault; a Fault that `seal` raises comes through as it is."""
    try:
        return await node.sequencer.append(entries, seal)
    except DuplicateRecord:
        raise Fault("server.serverproxy.replayed_message") from None
    except LogOverloaded:
        raise Fault(f"{prefix_of(hop)}.overloaded") from None
    except AuditError as error:
        node.log.error("the log can't be written", **describe_error(error))
        raise Fault(f"{prefix_of(hop)}.logging_failed") from None
