"""A tampering peer at work: sends to the utility's gateway, and judges the refusal."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.records import message_count
from tests.gateway.exchange.refusals import Watch, check_peer_refusal, watch
from tests.gateway.exchange.rogue import CallingRogue
from trust.identifiers import ServiceId
from trust.keys import SoftwareKey


@dataclass
class Peer:
    """The tampering peer, what it may spoil with, and how what it sends is judged."""

    pair: GatewayPair
    city: CallingRogue
    strangers: SoftwareKey

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.pair.provider.settings.peer_port}/"

    async def refused(
        self,
        code: str,
        request_id: str,
        encoded: tuple[str, bytes],
        *,
        context: ssl.SSLContext | None = None,
        provider: str | None = None,
    ) -> Watch:
        seen = watch(self.pair)
        before = None if provider else await message_count(self.pair.provider.gateway)
        answer = await self.city.send(self.url, request_id, encoded, context=context)
        await check_peer_refusal(seen, answer, code, request_id, provider=provider, messages_before=before)
        return seen

    async def hang_up_halfway(self, target: ServiceId) -> None:
        """Sends half of a good message, and is gone."""
        request_id, good = self.city.request(target, body=bytes(100_000))
        content_type, content = good.encode()
        port = self.pair.provider.settings.peer_port
        _, writer = await asyncio.open_connection(HOST, port, ssl=self.city.context(), server_hostname="")
        head = f"POST / HTTP/1.1\r\nHost: x\r\nx-road-request-id: {request_id}\r\nContent-Type: {content_type}\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[:50_000])
        await writer.drain()
        writer.close()
