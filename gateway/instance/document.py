"""Where an instance is to be found, as JSON: what `datenweg instance` prints when all of it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.instance.client_keys import client_files
from gateway.instance.plan import HOST, TESTCA, InstancePlan
from gateway.instance.store import version_of
from gateway.node_keys import load_keys
from gateway.registry.node import EXTERNAL_PATH, INTERNAL_PATH
from gateway.settings import GatewaySettings
from trust.identifiers import ClientId, MemberId, ServiceId

FORMAT: Final = 1
_USAGES: Final = ("signing", "authentication", "client_https")


def describe(plan: InstancePlan) -> dict[str, Any]:
    """The document, JSON data. The instance has been started once: all keys are there."""
    topology = plan.topology
    registry = f"http://{HOST}:{plan.registry_port}"
    return {
        "format": FORMAT,
        "instance": topology.instance,
        "directory": str(plan.data_directory),
        "registry": {
            "configuration_url": registry + INTERNAL_PATH,
            "external_configuration_url": registry + EXTERNAL_PATH,
            "anchor_file": str(plan.anchor_file),
        },
        "trust_services": {
            "ocsp_url": plan.ocsp_url,
            "tsa_url": plan.tsa_url,
            "ca_certificate": (plan.folder(TESTCA) / "root.crt").read_text("ascii"),
            "tsa_certificate": (plan.folder(TESTCA) / "tsa.crt").read_text("ascii"),
        },
        "gateways": {name: _gateway(plan, name) for name in topology.gateways},
        "clients": {identifier.encoded: _client(plan, identifier) for identifier in _clients(plan)},
        "services": [_service(service_id, kind) for service_id, kind in _services(plan)],
    }


def _gateway(plan: InstancePlan, name: str) -> dict[str, Any]:
    ports = plan.ports[name]
    return {
        "server": plan.topology.server(name).encoded,
        "address": ports.address,
        "client_http_url": f"http://{ports.host}:{ports.client_http}",
        "client_https_url": f"https://{ports.host}:{ports.client_https}",
        "message_url": f"https://{ports.host}:{ports.message}",
        "ocsp_url": f"http://{ports.host}:{ports.ocsp}",
        "operations_url": f"http://{ports.host}:{ports.operations}",
        "settings_file": str(plan.settings_file(name)),
        "clients": [identifier.encoded for identifier in _clients_at(plan, name)],
        "certificates": certificates_of(plan.gateway_settings(name)),
        "certificate_files": {usage: str(path) for usage, path in certificate_files(plan, name).items()},
    }


def certificate_files(plan: InstancePlan, name: str) -> dict[str, Path]:
    """Where a gateway's certificates lie as PEM files."""
    return {usage: plan.folder(name) / "certificates" / f"{usage}.pem" for usage in _USAGES}


def certificates_of(settings: GatewaySettings) -> dict[str, str]:
    """A gateway's certificates (PEM) by what they are for."""
    keys = load_keys(settings)
    found = (keys.signing, keys.authentication, keys.internal_tls)
    return {usage: _pem(key.certificate) for usage, key in zip(_USAGES, found, strict=True)}


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _clients(plan: InstancePlan) -> list[ClientId]:
    found = (identifier for name in plan.topology.gateways for identifier in _clients_at(plan, name))
    return list(dict.fromkeys(found))


def _clients_at(plan: InstancePlan, name: str) -> list[ClientId]:
    topology = plan.topology
    owner = topology.server(name).owner
    members = (topology.id_of(m) for m in topology.members if name in m.gateways or topology.id_of(m) == owner)
    return [*members, *(identifier for identifier, subsystem in topology.subsystems if name in subsystem.gateways)]


def _client(plan: InstancePlan, identifier: ClientId) -> dict[str, Any]:
    topology = plan.topology
    known = next((part for found, part in topology.subsystems if found == identifier), None) or next(
        part for part in topology.members if topology.id_of(part) == identifier
    )
    owned = (
        n for n in topology.gateways if isinstance(identifier, MemberId) and topology.server(n).owner == identifier
    )
    described: dict[str, Any] = {
        "gateways": list(dict.fromkeys((*known.gateways, *owned))),
        "connection_type": known.connection_type.value,
        "state": known.state.value,
    }
    if known.generate_certificate:
        certificate, key = client_files(plan.data_directory, identifier)
        described |= {"certificate_file": str(certificate), "key_file": str(key)}
    return described


def _services(plan: InstancePlan) -> list[tuple[ServiceId, str]]:
    return [
        (ServiceId(provider, service.code, version_of(plan.file, service)), service.type)
        for provider, subsystem in plan.topology.subsystems
        for service in subsystem.services
    ]


def _service(identifier: ServiceId, kind: str) -> dict[str, Any]:
    described: dict[str, Any] = {"service": identifier.encoded, "type": kind}
    if kind in ("REST", "OPENAPI3"):
        described["path"] = f"/r1/{identifier.encoded}"
    return described
