"""Messages out of the log as ASiC-E containers: what a third party can verify without this gateway.

Follows UG-SIGDOC and PR-META (`/asic`). A message that hasn't been time-stamped proves no time, so it isn't exported
until it is; `force` has it stamped at once. The same message gives the same bytes each time.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Final
from urllib.parse import quote_plus

from audit import message_stamps
from audit.errors import LogInconsistent
from audit.message_reader import MessageHeader, MessageReader, OpenedMessage
from audit.message_stamps import Stamp
from gateway.message_log.stamping import Stamper
from trust.asic.build import write_container
from trust.asic.model import Container
from trust.errors import TrustError
from trust.hashchain import TIMESTAMP_FILES, build_batch
from trust.xades import insert_timestamp

_ID_BYTES: Final = 10
_MAX_QUERY_ID: Final = 120
_REMEMBERED_BATCHES: Final = 2


class ExportProblem(Enum):
    """Why there is no container."""

    NOT_FOUND = "not_found"
    NOT_STAMPED = "not_stamped"
    NOT_UNIQUE = "not_unique"
    NOT_KEPT = "not_kept"


class ExportRefused(Exception):
    """No container; `str(error)` is for whoever asked (UG-SIGDOC's words where it has some)."""

    def __init__(self, problem: ExportProblem) -> None:
        super().__init__(_TEXTS[problem])
        self.problem = problem


_TEXTS: Final = {
    ExportProblem.NOT_FOUND: "No message found in the message log",
    ExportProblem.NOT_STAMPED: "Message signature has not been timestamped yet!",
    ExportProblem.NOT_UNIQUE: "More than one message found, and only one was asked for",
    ExportProblem.NOT_KEPT: "The message log holds the message without its body, or not any more",
}


@dataclass(frozen=True, slots=True)
class NamedContainer:
    """An ASiC-E container and the name of its file."""

    name: str
    content: bytes


class Exporter:
    """Makes containers of logged messages. Use from one event loop."""

    def __init__(self, reader: MessageReader, stamper: Stamper | None = None) -> None:
        """`stamper` is what `force` needs."""
        self.reader = reader
        self._stamper = stamper
        self._chains: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

    async def containers(
        self,
        query_id: str,
        client: str | None,
        *,
        request: bool = True,
        response: bool = True,
        unique: bool = False,
        force: bool = False,
    ) -> tuple[NamedContainer, ...]:
        """The containers of the messages with this id that are `client`'s (encoded; None: whoever's) at this gateway.

        `request` and `response` choose between them; `unique` demands that there is one only; `force` has them stamped
        now if they aren't. Raises ExportRefused, RecordUnopenable.
        """
        wanted = {name for name, chosen in (("request", request), ("response", response)) if chosen}
        found = [
            header
            for header in await self.reader.of_message_id(query_id)
            if header.direction in wanted and (client is None or header.owner == client)
        ]
        # The end of an exchange that failed has a row, but nothing that was signed.
        signatures = await self.reader.signatures(found)
        signed = [header for header, signature in zip(found, signatures, strict=True) if signature]
        if not signed:
            raise ExportRefused(ExportProblem.NOT_FOUND if not found else ExportProblem.NOT_KEPT)
        if unique and len(signed) > 1:
            raise ExportRefused(ExportProblem.NOT_UNIQUE)
        if any(header.stamp is None for header in signed):
            if not force or self._stamper is None:
                raise ExportRefused(ExportProblem.NOT_STAMPED)
            try:
                for request_id in {header.request_id for header in signed if header.stamp is None}:
                    await self._stamper.stamp_exchange(request_id)
            except TrustError:
                raise ExportRefused(ExportProblem.NOT_STAMPED) from None
            signed = await self.reader.of_keys([(header.log, header.id) for header in signed])
        return await self.export(signed)

    async def export(self, headers: Sequence[MessageHeader]) -> tuple[NamedContainer, ...]:
        """The containers of these messages. Raises ExportRefused if one can't be exported."""
        if any(header.stamp is None for header in headers):
            raise ExportRefused(ExportProblem.NOT_STAMPED)
        if any(header.kept != "whole" for header in headers):
            raise ExportRefused(ExportProblem.NOT_KEPT)
        opened = await self.reader.open(headers)
        if len(opened) != len(headers):
            raise ExportRefused(ExportProblem.NOT_KEPT)
        numbers = {header.stamp for header in headers if header.stamp is not None}
        stamps = await message_stamps.stamps(self.reader.engine, sorted(numbers))
        return tuple([await self._container(message, stamps[message.header.stamp or 0]) for message in opened])

    async def _container(self, message: OpenedMessage, stamp: Stamp) -> NamedContainer:
        header = message.header
        container = Container(
            message=message.message,
            attachments=message.attachments,
            signature=message.signature,
            signature_hash_chain_result=message.hash_chain_result,
            signature_hash_chain=message.hash_chain,
            timestamp=stamp.token,
        )
        if stamp.result is None:
            container = replace(container, signature=insert_timestamp(message.signature, stamp.token))
        else:
            chains = await self._chains_of(stamp)
            container = replace(
                container,
                timestamp_hash_chain_result=stamp.result,
                timestamp_hash_chain=chains[header.position or 0],
            )
        # ZIP counts in steps of two seconds; the time is the message's, so that the bytes are the same each time.
        time = datetime.fromtimestamp(header.time_ms // 2000 * 2, UTC)
        return NamedContainer(container_name(header), write_container(container, time=time))

    async def _chains_of(self, stamp: Stamp) -> tuple[bytes, ...]:
        assert stamp.result is not None
        known = self._chains.get(stamp.token)
        if known is not None:
            return known
        result, chains = await asyncio.to_thread(build_batch, stamp.inputs, files=TIMESTAMP_FILES)
        if result != stamp.result:
            raise LogInconsistent("the stored hash chain is not the one that was time-stamped")
        self._chains[stamp.token] = chains
        if len(self._chains) > _REMEMBERED_BATCHES:
            self._chains.popitem(last=False)
        return chains


def container_name(header: MessageHeader) -> str:
    """`<query id>-request|response-<id>.asice`; the id is of the record, so that no two share a name."""
    identifier = base64.b32encode(header.digest[:_ID_BYTES]).decode().lower()
    return f"{file_name_part(header.message_id)}-{header.direction}-{identifier}.asice"


def file_name_part(text: str) -> str:
    """A text from outside as part of a file's name: no separators, no dots at its start, bounded.

    Form encoding, as X-Road names its containers.
    """
    return quote_plus(text).lstrip(".")[:_MAX_QUERY_ID] or "_"
