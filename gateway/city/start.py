"""Starts the city: every node in this process, or each as a process of its own.

Either way the same settings and ports.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import aiohttp

from gateway.city.institutions import build_adapter_app, build_sandbox_app
from gateway.city.issuer import build_issuer
from gateway.city.issuer_clients import DemoIssuerSettings
from gateway.city.plan import Plan
from gateway.clock import Clock
from gateway.errors import StartRefused
from gateway.instance.plan import HOST
from gateway.instance.start import running
from gateway.operations import UNCONFIRMED
from gateway.serve import Listener
from gateway.settings import (
    AdapterSettings,
    GatewaySettings,
    IssuerSettings,
    RegistrySettings,
    SandboxSettings,
    Settings,
    TestCASettings,
)

_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0
_COMMANDS: Final[tuple[tuple[type[Settings], str], ...]] = (
    (TestCASettings, "testca"),
    (RegistrySettings, "registry"),
    (IssuerSettings, "issuer"),
    (SandboxSettings, "sandbox"),
    (AdapterSettings, "adapter"),
    (GatewaySettings, "gateway"),
)


class NodeNotReady(Exception):
    """A node did not come up. The text says which, and where to look."""


@asynccontextmanager
async def embedded(settings: Mapping[str, Settings]) -> AsyncIterator[None]:
    """Within the block every node runs in this process."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(running(settings, more=_listeners))
        except StartRefused as error:
            raise NodeNotReady(f"{error} (--base-port)") from None
        async with aiohttp.ClientSession() as http:
            gateways = [(name, node) for name, node in settings.items() if isinstance(node, GatewaySettings)]
            await asyncio.gather(*(_ready(http, name, node) for name, node in gateways))
        yield


def _listeners(node: Settings, clock: Clock) -> Iterator[Listener]:
    """What stands beside the road."""
    match node:
        case IssuerSettings():
            yield Listener(build_issuer(DemoIssuerSettings.from_settings(node), clock=clock), node.host, node.port)
        case SandboxSettings():
            yield Listener(build_sandbox_app(node), node.host, node.port)
        case AdapterSettings():
            yield Listener(build_adapter_app(node), node.host, node.port)
        case _:
            return


@asynccontextmanager
async def processes(plan: Plan, settings: Mapping[str, Settings]) -> AsyncIterator[None]:
    """Within the block every node is a process of its own; its log is in its folder's `.log` file."""
    running: dict[str, Process] = {}
    try:
        async with aiohttp.ClientSession() as http:
            for kind, command in _COMMANDS:
                started = [name for name, node in settings.items() if isinstance(node, kind)]
                for name in started:
                    running[name] = await _spawn(plan, name, command)
                await asyncio.gather(*(_ready(http, name, settings[name], running[name]) for name in started))
        yield
    finally:
        # In reverse, so that gateways finish what they accepted while registry and adapters still answer.
        for name in reversed(running):
            await _stop(running[name])


async def _spawn(plan: Plan, name: str, command: str) -> Process:
    log = plan.data_directory / f"{name}.log"
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.cli",
            command,
            "--config",
            str(plan.settings_file(name)),
            stdout=output,
            stderr=output,
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C in the terminal is for us; we stop the nodes in order.
            start_new_session=True,
        )


async def _ready(http: aiohttp.ClientSession, name: str, node: Settings, process: Process | None = None) -> None:
    url = f"http://{HOST}:{_health_port(node)}/healthz"
    deadline = asyncio.get_running_loop().time() + _READY_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        if process is not None and process.returncode is not None:
            raise NodeNotReady(f"{name} ended with status {process.returncode}: look into {name}.log")
        with suppress(aiohttp.ClientError):
            async with http.get(url) as answer:
                # Gateways confirm each other's logs; before that there is nothing that the pages could show.
                if answer.status == 200 and UNCONFIRMED not in await answer.text():
                    return
        await asyncio.sleep(0.05)
    where = "above" if process is None else f"of {name}.log"
    raise NodeNotReady(f"{name} did not become ready within {_READY_SECONDS:g} s: look into the lines {where}")


def _health_port(node: Settings) -> int:
    match node:
        case GatewaySettings():
            return node.operations_port
        case TestCASettings() | RegistrySettings() | IssuerSettings() | SandboxSettings() | AdapterSettings():
            return node.port
        case _:
            raise NodeNotReady("a node of unknown kind")


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
