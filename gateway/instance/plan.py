"""An instance on paper: folders, ports and the settings of each node, from the topology.

With a base port everything counts from it: the registry at 0, the test trust services at 1, then ten ports for each
gateway in the file's order (clients at 0, messages at 1, OCSP at 2, operations at 3, clients over TLS at 7; the rest is
the demo city's). Without one, free ports are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gateway.exchange.addresses import MESSAGE_PORT, OCSP_PORT
from gateway.instance.ports import FreePorts
from gateway.instance.reading import InvalidTopology, TopologyFile
from gateway.instance.references import client_reference
from gateway.instance.topology import Topology
from gateway.settings import GatewaySettings, RegistrySettings, Settings, TestCASettings
from gateway.settings_base import problems_of

HOST: Final = "127.0.0.1"
REGISTRY: Final = "registry"
TESTCA: Final = "testca"
# Nobody waits for long for a test instance to end.
SHUTDOWN_SECONDS: Final = 15
# How soon the gateways confirm each other's logs: whoever looks at a proof here has just made the access.
WITNESS_SECONDS: Final = 0.5
# How ports count from a base port.
FIRST_GATEWAY: Final = 10
SPAN: Final = 10


@dataclass(frozen=True, slots=True)
class GatewayPorts:
    """Where a gateway listens."""

    host: str
    client_http: int
    client_https: int
    message: int
    ocsp: int
    operations: int

    @property
    def address(self) -> str:
        """What the global configuration says: a bare host with X-Road's ports, else host:port."""
        standard = (self.message, self.ocsp) == (MESSAGE_PORT, OCSP_PORT)
        return self.host if standard else f"{self.host}:{self.message}"


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """An instance at one place."""

    file: TopologyFile
    data_directory: Path
    registry_port: int
    testca_port: int
    ports: Mapping[str, GatewayPorts]

    @property
    def topology(self) -> Topology:
        return self.file.topology

    def folder(self, name: str) -> Path:
        """The folder of a node."""
        return self.data_directory / name

    def settings_file(self, name: str) -> Path:
        """The settings of a node, for commands and for one that runs as a process."""
        return self.data_directory / f"{name}.toml"

    @property
    def witness_policy_file(self) -> Path:
        """By which the gateways witness each other."""
        return self.data_directory / "witnesses.policy"

    @property
    def anchor_file(self) -> Path:
        return self.folder(REGISTRY) / "configuration-anchor.xml"

    @property
    def ocsp_url(self) -> str:
        return f"http://{HOST}:{self.testca_port}/ocsp"

    @property
    def tsa_url(self) -> str:
        return f"http://{HOST}:{self.testca_port}/tsa"

    def gateway_settings(self, name: str) -> GatewaySettings:
        """The settings of a gateway. Raises InvalidTopology."""
        gateway, ports, server = self.topology.gateways[name], self.ports[name], self.topology.server(name)
        values: dict[str, Any] = {
            "instance": self.topology.instance,
            "owner": server.owner.encoded,
            "server_code": server.server_code,
            "data_directory": self.folder(name),
            "client_host": ports.host,
            "client_port": ports.client_http,
            "client_tls_host": ports.host,
            "client_tls_port": ports.client_https,
            "peer_host": ports.host,
            "peer_port": ports.message,
            "ocsp_port": ports.ocsp,
            "operations_host": ports.host,
            "operations_port": ports.operations,
            "anchor_file": self.anchor_file,
        }
        at = f"gateways.{name}.settings"
        ours = sorted(values.keys() & gateway.settings.keys())
        if ours:
            raise InvalidTopology(f"{self.file.path}: {at}: {', '.join(ours)} follow from the rest of the file")
        usual: dict[str, Any] = {"shutdown_seconds": SHUTDOWN_SECONDS}
        if len(self.topology.gateways) > 1:
            usual |= {"witness_policy_file": self.witness_policy_file, "witness_interval_seconds": WITNESS_SECONDS}
        try:
            return GatewaySettings(**(usual | values | gateway.settings))
        except ValidationError as error:
            found = (f"{at}.{problem}" for problem in problems_of(error))
            raise InvalidTopology(f"{self.file.path}: {'; '.join(found)}") from None

    def all_settings(self) -> dict[str, Settings]:
        """The settings of every node by its name: the trust services, the registry, the gateways."""
        instance, monitoring = self.topology.instance, self.topology.monitoring_client
        return {
            TESTCA: TestCASettings(
                instance=instance,
                data_directory=self.folder(TESTCA),
                host=HOST,
                port=self.testca_port,
                certificate_profile=self.topology.certificate_profile,
                shutdown_seconds=SHUTDOWN_SECONDS,
            ),
            REGISTRY: RegistrySettings(
                instance=instance,
                data_directory=self.folder(REGISTRY),
                host=HOST,
                port=self.registry_port,
                shutdown_seconds=SHUTDOWN_SECONDS,
                monitoring_client=None if monitoring is None else client_reference(instance, monitoring).encoded,
            ),
        } | {name: self.gateway_settings(name) for name in self.topology.gateways}


def build_plan(file: TopologyFile, data_directory: Path, base_port: int | None) -> InstancePlan:
    """The plan with every port chosen. Raises StartRefused when there aren't enough, InvalidTopology for settings."""
    gateways = file.topology.gateways
    fixed = frozenset(number for gateway in gateways.values() for _, number in gateway.ports.fixed)
    free = FreePorts(fixed)
    ports: dict[str, GatewayPorts] = {}
    for place, (name, gateway) in enumerate(gateways.items()):
        named, host = gateway.ports, gateway.host
        if base_port is None:
            # The message port and the one after it, then one for each other.
            message = named.message or free.row(host, 2)
            first = [free.row(host, 1) for _ in range(3)]
        else:
            start = base_port + FIRST_GATEWAY + place * SPAN
            message, first = named.message or start + 1, [start, start + 7, start + 3]
        ports[name] = GatewayPorts(
            host,
            client_http=named.client_http or first[0],
            client_https=named.client_https or first[1],
            message=message,
            ocsp=named.ocsp or message + 1,
            operations=named.operations or first[2],
        )
    registry = free.row(HOST, 2) if base_port is None else base_port
    if base_port is not None and registry + FIRST_GATEWAY + len(gateways) * SPAN > 65_535:
        raise InvalidTopology("--base-port leaves no room for the ports of all gateways")
    plan = InstancePlan(file, data_directory.resolve(), registry, registry + 1, ports)
    plan.all_settings()
    return plan
