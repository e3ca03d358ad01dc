"""The verified global configuration: the only form in which the rest of the road sees members, gateways and approvals.

Follows PR-GCONF 2.12 sections 2.3 (signed directory), 3 (contents) and 4 (how a client takes a configuration). A
VerifiedConfiguration comes from `verify_configuration` alone. Its expiry goes on running after that: whoever decides
something by it calls `require_current` with the time of the decision. The XML, the anchor and the multipart form are
`trust.globalconf_xml`'s, `trust.globalconf_anchor`'s and `trust.globalconf_directory`'s.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from trust.errors import ConfigurationInvalid, ConfigurationRolledBack
from trust.globalconf_anchor import (
    Anchor,
    AnchorSource,
    PrivateParameters,
    anchor_hash,
    build_anchor,
    build_private_parameters,
    parse_anchor,
    parse_private_parameters,
)
from trust.globalconf_directory import (
    PRIVATE_PARAMETERS,
    SHARED_PARAMETERS,
    DirectoryPart,
    VerifiedDirectory,
    build_directory,
    sign_directory,
    verify_directory,
    verify_file,
)
from trust.globalconf_xml import READABLE_VERSIONS, VERSION, build_shared_parameters, parse_shared_parameters
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId
from trust.parameters import SecurityServer, SharedParameters

__all__ = [
    "PRIVATE_PARAMETERS",
    "READABLE_VERSIONS",
    "SHARED_PARAMETERS",
    "VERSION",
    "Anchor",
    "AnchorSource",
    "DirectoryPart",
    "PrivateParameters",
    "VerifiedConfiguration",
    "VerifiedDirectory",
    "anchor_hash",
    "announced_certificates",
    "build_anchor",
    "build_directory",
    "build_private_parameters",
    "build_shared_parameters",
    "parse_anchor",
    "parse_private_parameters",
    "parse_shared_parameters",
    "sign_directory",
    "verify_configuration",
    "verify_current_directory",
    "verify_stored_configuration",
]


class VerifiedConfiguration:
    """An authentic configuration with its indexes: every look-up is O(1). Immutable, shared by all tasks."""

    __slots__ = (
        "_by_certificate",
        "_clients",
        "_groups",
        "_members",
        "_servers",
        "_servers_of",
        "directory",
        "parameters",
        "private",
    )

    def __init__(
        self, directory: VerifiedDirectory, parameters: SharedParameters, private: PrivateParameters | None
    ) -> None:
        """Called by the verifying functions of this module only."""
        self.directory = directory
        self.parameters = parameters
        self.private = private
        self._members: dict[MemberId, str] = {member.id: member.name for member in parameters.members}
        self._clients: dict[ClientId, str] = dict(self._members.items())
        self._clients.update((part.id, part.name) for member in parameters.members for part in member.subsystems)
        self._servers = {server.id: server for server in parameters.security_servers}
        self._by_certificate = {
            hash_: server for server in parameters.security_servers for hash_ in server.authentication_hashes
        }
        servers_of: dict[ClientId, list[SecurityServer]] = defaultdict(list)
        for server in parameters.security_servers:
            # A gateway serves its owner without a registration (PR-GCONF 3.1).
            for client in {*server.clients, server.id.owner}:
                servers_of[client].append(server)
        self._servers_of = {client: tuple(servers) for client, servers in servers_of.items()}
        groups: dict[ClientId, set[GlobalGroupId]] = defaultdict(set)
        for group in parameters.groups:
            for client in group.members:
                groups[client].add(group.id)
        self._groups = {client: frozenset(ids) for client, ids in groups.items()}

    @property
    def expires(self) -> datetime:
        """The end of its validity."""
        return self.directory.expires

    @property
    def version(self) -> int:
        """The format's version."""
        return self.directory.version

    @property
    def sequence(self) -> int | None:
        """When its source generated it, as a number that grows; None if the source does not say."""
        return self.directory.sequence

    def require_current(self, at: datetime) -> None:
        """Raises ConfigurationExpired at or after the end of its validity: processing stops then."""
        self.directory.require_current(at)

    def has_client(self, client: ClientId) -> bool:
        """Whether a member or subsystem of that name is registered in the instance."""
        return client in self._clients

    def member_name(self, member: MemberId) -> str | None:
        """The member's name for people, None for an unknown member."""
        return self._members.get(member)

    def client_name(self, client: ClientId) -> str | None:
        """The member's or subsystem's name for people (possibly empty), None for an unknown client."""
        return self._clients.get(client)

    def server(self, server: SecurityServerId) -> SecurityServer | None:
        """The gateway of that name."""
        return self._servers.get(server)

    def servers_of(self, client: ClientId) -> tuple[SecurityServer, ...]:
        """The gateways where the client is registered, those in maintenance included."""
        return self._servers_of.get(client, ())

    def server_with_certificate(self, der: bytes) -> SecurityServer | None:
        """The gateway that registered this authentication certificate."""
        return self._by_certificate.get(hashlib.sha256(der).digest())

    def groups_of(self, client: ClientId) -> frozenset[GlobalGroupId]:
        """The global groups that the client belongs to."""
        return self._groups.get(client, frozenset())


def verify_current_directory(
    directory: bytes, *, anchor: Anchor, at: datetime, previous: VerifiedConfiguration | None
) -> VerifiedDirectory:
    """The directory, when it is authentic, current and not older than the last accepted one.

    A client asks this before it fetches any file that the directory names. Raises ConfigurationInvalid,
    ConfigurationExpired, ConfigurationRolledBack.
    """
    verified = verify_directory(directory, instance=anchor.instance, certificates=_certificates(anchor, previous))
    if verified.version not in READABLE_VERSIONS:
        raise ConfigurationInvalid(
            "the configuration has a version that is not supported", code="global_conf_get_version_failed"
        )
    verified.require_current(at)
    if previous is not None:
        _require_not_rolled_back(verified, previous.directory)
    return verified


def verify_configuration(
    directory: bytes,
    files: Mapping[str, bytes],
    *,
    anchor: Anchor,
    at: datetime,
    previous: VerifiedConfiguration | None,
) -> VerifiedConfiguration:
    """The configuration made of a signed directory and its `files` (by location, as the directory has them).

    1. The directory is signed with a key of the anchor, or one that the previous configuration announced.
    2. It has not expired at `at` and is not older than `previous`.
    3. The shared parameters, and the private ones if listed, are the files it names.
    4. They are of the anchor's instance.

    Raises ConfigurationInvalid with X-Road's code, ConfigurationExpired, ConfigurationRolledBack.
    """
    verified = verify_current_directory(directory, anchor=anchor, at=at, previous=previous)
    return _verify_contents(verified, files, anchor.instance)


def verify_stored_configuration(
    directory: bytes, files: Mapping[str, bytes], *, anchor: Anchor, announced: tuple[bytes, ...]
) -> VerifiedConfiguration:
    """A configuration that was accepted before and kept: authentic, possibly expired by now (`require_current` tells).

    `announced` are the certificates (DER) that the configuration accepted before it had announced.
    """
    certificates = (*anchor.certificates, *announced)
    verified = verify_directory(directory, instance=anchor.instance, certificates=certificates)
    return _verify_contents(verified, files, anchor.instance)


def announced_certificates(configuration: VerifiedConfiguration) -> tuple[bytes, ...]:
    """The certificates that the configuration announces for its successors: keys change without new anchors."""
    return tuple(
        certificate for source in configuration.parameters.sources for certificate in source.internal_certificates
    )


def _certificates(anchor: Anchor, previous: VerifiedConfiguration | None) -> tuple[bytes, ...]:
    if previous is None or previous.parameters.instance != anchor.instance:
        return anchor.certificates
    return (*anchor.certificates, *announced_certificates(previous))


def _require_not_rolled_back(new: VerifiedDirectory, accepted: VerifiedDirectory) -> None:
    # Generation time decides where both have one; the expiry alone would refuse a source that shortens its validity.
    if new.sequence is not None and accepted.sequence is not None:
        older, same = new.sequence < accepted.sequence, new.sequence == accepted.sequence
    else:
        older, same = new.expires < accepted.expires, False
    # Two different sets of files under one generation: the source contradicts itself.
    if older or (same and new.parts != accepted.parts):
        raise ConfigurationRolledBack(
            "the global configuration is older than the one in force", hint="check the source's clock and its copies"
        )


def _verify_contents(directory: VerifiedDirectory, files: Mapping[str, bytes], instance: str) -> VerifiedConfiguration:
    contents: dict[str, bytes] = {}
    for part in directory.parts:
        if part.identifier not in (SHARED_PARAMETERS, PRIVATE_PARAMETERS):
            continue
        if part.location not in files:
            raise ConfigurationInvalid(
                "a file of the configuration is missing", code="global_conf_part_download_failure"
            )
        contents[part.identifier] = verify_file(part, files[part.location])
    parameters = parse_shared_parameters(contents[SHARED_PARAMETERS])
    private_data = contents.get(PRIVATE_PARAMETERS)
    private = None if private_data is None else parse_private_parameters(private_data)
    if parameters.instance != instance or (private is not None and private.instance != instance):
        raise ConfigurationInvalid(
            "a file of the configuration is of another instance", code="global_conf_part_invalid_instance_identifier"
        )
    return VerifiedConfiguration(directory, parameters, private)
