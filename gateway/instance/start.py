"""Starts an instance in this process: trust services and registry first, then the gateways, all on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import aiohttp

from gateway.app import serving
from gateway.clock import Clock, SystemClock
from gateway.errors import ListenFailed, StartRefused
from gateway.registry.app import build_app as build_registry
from gateway.serve import Listener, listening
from gateway.settings import GatewaySettings, RegistrySettings, Settings, TestCASettings
from trust.testca.app import build_app as build_testca
from trust.testca.authority import CertificateAuthority

_SHARED_SHUTDOWN_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 20.0

# Listeners of nodes that an instance doesn't know itself.
MoreListeners = Callable[[Settings, Clock], Iterator[Listener]]
Tell = Callable[[str], None]


def _nothing_more(_: Settings, __: Clock) -> Iterator[Listener]:
    return iter(())


def _silent(_: str) -> None:
    pass


@asynccontextmanager
async def running(
    settings: Mapping[str, Settings], *, more: MoreListeners = _nothing_more, tell: Tell = _silent
) -> AsyncIterator[None]:
    """Within the block every node runs in this process. Raises StartRefused and TrustError."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        # Gateways need the registry and the authority from their first second on.
        shared = [listener for node in settings.values() for listener in _listeners(node, clock, more)]
        try:
            await stack.enter_async_context(listening(shared, shutdown_seconds=_SHARED_SHUTDOWN_SECONDS))
        except ListenFailed as error:
            raise StartRefused(f"can't listen at {error.strerror}: stop what uses it, or choose other ports") from None
        tell("registry and trust services are up")
        for name, node in settings.items():
            if isinstance(node, GatewaySettings):
                await stack.enter_async_context(serving(node, clock=clock))
                tell(f"gateway {name} is up")
        yield


def _listeners(node: Settings, clock: Clock, more: MoreListeners) -> Iterator[Listener]:
    match node:
        case TestCASettings():
            authority = CertificateAuthority.load_or_create(
                node.data_directory, node.instance, clock=clock.now, profile=node.certificate_profile
            )
            yield Listener(build_testca(authority), node.host, node.port)
        case RegistrySettings():
            yield Listener(build_registry(node, clock=clock), node.host, node.port)
        case _:
            yield from more(node, clock)


async def all_answer(settings: Mapping[str, Settings]) -> None:
    """Returns when the health checks of all nodes say so. Raises StartRefused with the name of one that doesn't."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS)) as http:
        await asyncio.gather(*(_answers(http, name, node) for name, node in settings.items()))


async def _answers(http: aiohttp.ClientSession, name: str, node: Settings) -> None:
    match node:
        case GatewaySettings():
            url = f"http://{node.operations_host}:{node.operations_port}/healthz"
        case TestCASettings() | RegistrySettings():
            url = f"http://{node.host}:{node.port}/healthz"
        case _:
            return
    deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with http.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.05)
    raise StartRefused(f"{name} isn't healthy after {_ANSWER_SECONDS:g} s: ask {url}")
