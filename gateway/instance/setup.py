"""Sets an instance up in its folder: authority, keys, certificates, registrations, each gateway's own configuration.

Doing it again on the same folder keeps keys and logs, and makes everything else what the file says now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from typing import Final

from audit.store import open_engine
from gateway.clock import Clock
from gateway.instance.client_keys import generated_certificate
from gateway.instance.node_keys import make_gateway_keys, make_hosted_keys
from gateway.instance.plan import REGISTRY, TESTCA, InstancePlan
from gateway.instance.reading import InvalidTopology
from gateway.instance.references import client_reference
from gateway.instance.store import OwnConfiguration, own_configuration, write_configuration
from gateway.instance.topology import Topology
from gateway.node_keys import make_log_key, make_witness_key
from gateway.registry import membership
from gateway.registry.node import Registry
from gateway.settings import GatewaySettings, RegistrySettings, Settings
from gateway.store.migrate import migrate
from gateway.store.repository import Repository
from gateway.witnessing import write_mutual_policy
from trust.identifiers import ClientId
from trust.parameters import SharedParameters
from trust.testca.authority import CertificateAuthority

# Whose keys and logs a gateway's folder holds.
_IDENTITY: Final = "server.txt"


async def prepare(plan: InstancePlan, clock: Clock, *, exact: bool = True) -> dict[str, Settings]:
    """The instance on disk, ready to start; the settings of its nodes by name.

    `exact`: what a gateway's store holds beside the file goes. Raises InvalidTopology, NotATestInstance, KeyUnavailable
    and the registry's errors.
    """
    plan.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = plan.all_settings()
    for name in plan.topology.gateways:
        _claim_folder(plan, name)
        own = own_configuration(plan.file, name, lambda i: generated_certificate(plan.data_directory, i, clock.now()))
        await _write(plan.gateway_settings(name), own, exact=exact)
    authority = CertificateAuthority.load_or_create(
        plan.folder(TESTCA), plan.topology.instance, clock=clock.now, profile=plan.topology.certificate_profile
    )
    certificates = {
        name: make_gateway_keys(
            plan.gateway_settings(name), plan.topology, authority, names=("localhost", plan.ports[name].host)
        )
        for name in plan.topology.gateways
    }
    registry_settings = settings[REGISTRY]
    assert isinstance(registry_settings, RegistrySettings)
    registered = _registrations(plan, authority, certificates)
    parameters = Registry(registry_settings, clock).state.update(registered)
    for name in plan.topology.gateways:
        hosted = dict.fromkeys(client.member for client in _clients(plan.topology, name))
        gateway = plan.gateway_settings(name)
        make_hosted_keys(gateway, plan.topology, hosted, authority=authority, parameters=parameters, at=clock.now())
    gateways = {name: plan.gateway_settings(name) for name in plan.topology.gateways}
    write_mutual_policy(plan.witness_policy_file, gateways, clock.now().year)
    return settings


def _claim_folder(plan: InstancePlan, name: str) -> None:
    folder, server = plan.folder(name), plan.topology.server(name).encoded
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = folder / _IDENTITY
    if not identity.exists():
        identity.write_text(server + "\n", "utf-8")
    known = identity.read_text("utf-8").strip()
    if known != server:
        raise InvalidTopology(f"gateways.{name}: {folder} holds keys and logs of {known}: choose another --directory")


async def _write(settings: GatewaySettings, own: OwnConfiguration, *, exact: bool) -> None:
    engine = open_engine(settings.database_url)
    try:
        await migrate(engine)
        await make_log_key(settings, engine)
        await make_witness_key(settings, engine)
        await write_configuration(Repository(engine), own, exact=exact)
    finally:
        await engine.dispose()


def _registrations(
    plan: InstancePlan, authority: CertificateAuthority, certificates: Mapping[str, bytes]
) -> Callable[[SharedParameters], SharedParameters]:
    """Members, gateways, groups and trust services as the file has them, as one change of the registry's state."""
    topology = plan.topology

    def change(parameters: SharedParameters) -> SharedParameters:
        parameters = replace(parameters, members=(), security_servers=(), groups=(), member_classes=())
        for code, description in topology.classes.items():
            parameters = membership.add_member_class(parameters, code, description)
        parameters = membership.approve_ca(parameters, authority.approved_ca(plan.ocsp_url))
        parameters = membership.approve_tsa(parameters, authority.approved_tsa(plan.tsa_url))
        for member in topology.members:
            identifier = topology.id_of(member)
            parameters = membership.add_member(parameters, identifier, member.name or member.code)
        for subsystem_id, subsystem in topology.subsystems:
            parameters = membership.add_subsystem(parameters, subsystem_id, subsystem.name or subsystem.code)
        parameters = reduce(add_gateway, topology.gateways, parameters)
        for group in topology.global_groups:
            members = (client_reference(topology.instance, text) for text in group.members)
            parameters = membership.set_group(parameters, group.code, group.description, members)
        return parameters

    def add_gateway(parameters: SharedParameters, name: str) -> SharedParameters:
        server = topology.server(name)
        parameters = membership.register_server(parameters, server, plan.ports[name].address)
        parameters = membership.register_certificate(parameters, server, certificates[name])
        if topology.gateways[name].maintenance is not None:
            parameters = membership.set_maintenance(parameters, server, topology.gateways[name].maintenance)
        for client in _clients(topology, name):
            parameters = membership.register_client(parameters, server, client)
        return parameters

    return change


def _clients(topology: Topology, name: str) -> list[ClientId]:
    """Everybody who is registered at a gateway, its owner included."""
    clients: list[ClientId] = [topology.server(name).owner]
    clients += [topology.id_of(member) for member in topology.members if name in member.gateways]
    clients += [identifier for identifier, subsystem in topology.subsystems if name in subsystem.gateways]
    return clients
