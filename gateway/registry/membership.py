"""What the registry's operator decides, as changes of the shared parameters: pure functions from old to new values.

Follows PR-MSERV (the management requests whose effect they have) and PR-GCONF 2.12 section 3. Each raises
RegistrationRefused when the change contradicts what is registered; doing something twice is no contradiction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from cryptography import x509

from trust.certification_path import UNREADABLE
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.parameters import (
    ApprovedCA,
    ApprovedTSA,
    GlobalGroup,
    Member,
    MemberClass,
    SecurityServer,
    SharedParameters,
    Subsystem,
)


class RegistrationRefused(Exception):
    """The change does not fit what is registered. The operator's fault; the text says what to do first."""


def add_member_class(parameters: SharedParameters, code: str, description: str) -> SharedParameters:
    """A class of members, or a new description for one."""
    others = [known for known in parameters.member_classes if known.code != code]
    return replace(parameters, member_classes=(*others, MemberClass(code, description)))


def add_member(parameters: SharedParameters, member: MemberId, name: str) -> SharedParameters:
    """A member of a class that exists, or a new name for one."""
    _require_instance(parameters, member.instance)
    if member.member_class not in {known.code for known in parameters.member_classes}:
        raise RegistrationRefused(f"no member class {member.member_class}: add it first")
    if _find(parameters, member) is None:
        return replace(parameters, members=(*parameters.members, Member(member, name)))
    return _with_member(parameters, member, lambda known: replace(known, name=name))


def add_subsystem(parameters: SharedParameters, subsystem: SubsystemId, name: str) -> SharedParameters:
    """A subsystem of a member, or a new name for one."""

    def change(member: Member) -> Member:
        known = {part.id: part for part in member.subsystems}
        known[subsystem] = Subsystem(subsystem, name)
        return replace(member, subsystems=tuple(known.values()))

    return _with_member(parameters, subsystem.member, change)


def remove_subsystem(parameters: SharedParameters, subsystem: SubsystemId) -> SharedParameters:
    """Takes a subsystem off every gateway, out of every group and from its member."""

    def change(member: Member) -> Member:
        return replace(member, subsystems=tuple(part for part in member.subsystems if part.id != subsystem))

    return _with_member(_without_client(parameters, subsystem), subsystem.member, change)


def remove_member(parameters: SharedParameters, member: MemberId) -> SharedParameters:
    """Removes a member and its subsystems. Its gateways have to go first."""
    known = _require_member(parameters, member)
    if any(server.id.owner == member for server in parameters.security_servers):
        raise RegistrationRefused(f"{member} still owns a gateway: remove that first")
    for subsystem in known.subsystems:
        parameters = _without_client(parameters, subsystem.id)
    parameters = _without_client(parameters, member)
    return replace(parameters, members=tuple(other for other in parameters.members if other.id != member))


def register_server(parameters: SharedParameters, server: SecurityServerId, address: str) -> SharedParameters:
    """A gateway of a member at `address` (`host` or `host:port`), or a new address for one."""
    _require_member(parameters, server.owner)
    if all(known.id != server for known in parameters.security_servers):
        added = SecurityServer(server, address)
        return replace(parameters, security_servers=(*parameters.security_servers, added))
    return _with_server(parameters, server, lambda known: replace(known, address=address))


def remove_server(parameters: SharedParameters, server: SecurityServerId) -> SharedParameters:
    """Removes a gateway with its registrations."""
    _require_server(parameters, server)
    kept = tuple(known for known in parameters.security_servers if known.id != server)
    return replace(parameters, security_servers=kept)


def register_certificate(parameters: SharedParameters, server: SecurityServerId, der: bytes) -> SharedParameters:
    """An authentication certificate (DER) of a gateway. The registry keeps its hashes: SHA-1 is for version 2 alone."""
    try:
        x509.load_der_x509_certificate(der)
    except UNREADABLE:
        raise RegistrationRefused("not a certificate in DER") from None
    hash_ = hashlib.sha256(der).digest()
    if any(hash_ in known.authentication_hashes and known.id != server for known in parameters.security_servers):
        raise RegistrationRefused("the certificate is registered for another gateway")
    return _with_server(
        parameters,
        server,
        lambda known: replace(
            known,
            authentication_hashes=known.authentication_hashes | {hash_},
            authentication_sha1=known.authentication_sha1 | {_sha1(der)},
        ),
    )


def remove_certificate(parameters: SharedParameters, server: SecurityServerId, der: bytes) -> SharedParameters:
    """Takes back an authentication certificate: peers refuse it from the next generation on."""
    hash_ = hashlib.sha256(der).digest()
    return _with_server(
        parameters,
        server,
        lambda known: replace(
            known,
            authentication_hashes=known.authentication_hashes - {hash_},
            authentication_sha1=known.authentication_sha1 - {_sha1(der)},
        ),
    )


def register_client(parameters: SharedParameters, server: SecurityServerId, client: ClientId) -> SharedParameters:
    """Registers a member or subsystem at a gateway."""
    _require_client(parameters, client)
    return _with_server(parameters, server, lambda known: replace(known, clients=known.clients | {client}))


def remove_client(parameters: SharedParameters, server: SecurityServerId, client: ClientId) -> SharedParameters:
    """Ends a client's registration at a gateway."""
    return _with_server(parameters, server, lambda known: replace(known, clients=known.clients - {client}))


def set_maintenance(parameters: SharedParameters, server: SecurityServerId, notice: str | None) -> SharedParameters:
    """Puts a gateway into maintenance with a notice, or (None) back to work."""
    return _with_server(parameters, server, lambda known: replace(known, maintenance=notice))


def set_group(
    parameters: SharedParameters, group_code: str, description: str, members: Iterable[ClientId]
) -> SharedParameters:
    """A global group with exactly these members."""
    group = GlobalGroup(GlobalGroupId(parameters.instance, group_code), description, frozenset(members))
    for client in group.members:
        # Groups may hold clients of federated instances, which are not registered here.
        if client.instance == parameters.instance:
            _require_client(parameters, client)
    others = [known for known in parameters.groups if known.id != group.id]
    return replace(parameters, groups=(*others, group))


def remove_group(parameters: SharedParameters, group_code: str) -> SharedParameters:
    """Removes a global group."""
    return replace(parameters, groups=tuple(group for group in parameters.groups if group.id.group_code != group_code))


def approve_ca(parameters: SharedParameters, authority: ApprovedCA) -> SharedParameters:
    """Approves a certification authority; one with the same certificate is replaced."""
    others = [known for known in parameters.approved_cas if known.certificate != authority.certificate]
    return replace(parameters, approved_cas=(*others, authority))


def revoke_ca(parameters: SharedParameters, certificate: bytes) -> SharedParameters:
    """Ends the approval of a certification authority: its certificates count no more."""
    kept = tuple(known for known in parameters.approved_cas if known.certificate != certificate)
    return replace(parameters, approved_cas=kept)


def approve_tsa(parameters: SharedParameters, authority: ApprovedTSA) -> SharedParameters:
    """Approves a time-stamping authority; one with the same certificate is replaced."""
    others = [known for known in parameters.approved_tsas if known.certificate != authority.certificate]
    return replace(parameters, approved_tsas=(*others, authority))


def revoke_tsa(parameters: SharedParameters, certificate: bytes) -> SharedParameters:
    """Ends the approval of a time-stamping authority: its stamps count no more."""
    kept = tuple(known for known in parameters.approved_tsas if known.certificate != certificate)
    return replace(parameters, approved_tsas=kept)


def _sha1(der: bytes) -> bytes:
    return hashlib.sha1(der, usedforsecurity=False).digest()


def _require_instance(parameters: SharedParameters, instance: str) -> None:
    if instance != parameters.instance:
        raise RegistrationRefused(f"this registry is of instance {parameters.instance}")


def _find(parameters: SharedParameters, member: MemberId) -> Member | None:
    return next((known for known in parameters.members if known.id == member), None)


def _require_member(parameters: SharedParameters, member: MemberId) -> Member:
    known = _find(parameters, member)
    if known is None:
        raise RegistrationRefused(f"no {member}: add it first")
    return known


def _require_client(parameters: SharedParameters, client: ClientId) -> None:
    member = _require_member(parameters, client.member)
    if client != member.id and client not in {part.id for part in member.subsystems}:
        raise RegistrationRefused(f"no {client}: add it first")


def _require_server(parameters: SharedParameters, server: SecurityServerId) -> None:
    if all(known.id != server for known in parameters.security_servers):
        raise RegistrationRefused(f"no {server}: register it first")


def _with_member(
    parameters: SharedParameters, member: MemberId, change: Callable[[Member], Member]
) -> SharedParameters:
    _require_member(parameters, member)
    members = tuple(change(known) if known.id == member else known for known in parameters.members)
    return replace(parameters, members=members)


def _with_server(
    parameters: SharedParameters, server: SecurityServerId, change: Callable[[SecurityServer], SecurityServer]
) -> SharedParameters:
    _require_server(parameters, server)
    servers = tuple(change(known) if known.id == server else known for known in parameters.security_servers)
    return replace(parameters, security_servers=servers)


def _without_client(parameters: SharedParameters, client: ClientId) -> SharedParameters:
    return replace(
        parameters,
        security_servers=tuple(
            replace(server, clients=server.clients - {client}) for server in parameters.security_servers
        ),
        groups=tuple(replace(group, members=group.members - {client}) for group in parameters.groups),
    )
