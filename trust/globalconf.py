"""The verified global configuration: the only form in which the rest of the road sees members, gateways and approvals.

Follows PR-GCONF 2.12 sections 2.3 (signed directory), 3 (contents) and 4 (how a client takes a configuration). A
VerifiedConfiguration comes from `verify_configuration` alone. Its expiry goes on running after that: whoever decides
something by it calls `require_current` with the time of the decision. The XML, the anchor and the multipart form are
`trust.globalconf_xml`'s, `trust.globalconf_anchor`'s and `trust.globalconf_directory`'s.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

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
from trust.globalconf_parts import (
    DEFAULT_OCSP_FETCH_INTERVAL_SECONDS,
    FETCH_INTERVAL,
    MONITORING,
    NEXT_UPDATE,
    OptionalParts,
    build_optional_parts,
    parse_optional_parts,
)
from trust.globalconf_writing import VERSION, VERSIONS, build_registry_state, build_shared_parameters
from trust.globalconf_xml import READABLE_VERSIONS, parse_shared_parameters
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId
from trust.parameters import ApprovedCA, SecurityServer, SharedParameters

__all__ = [
    "EXTERNAL_PATH",
    "INTERNAL_PATH",
    "PRIVATE_PARAMETERS",
    "READABLE_VERSIONS",
    "SHARED_PARAMETERS",
    "USED_PARTS",
    "VERSION",
    "VERSIONS",
    "Anchor",
    "AnchorSource",
    "DirectoryPart",
    "OptionalParts",
    "PrivateParameters",
    "VerifiedConfiguration",
    "VerifiedDirectory",
    "anchor_hash",
    "announced_certificates",
    "build_anchor",
    "build_directory",
    "build_optional_parts",
    "build_private_parameters",
    "build_registry_state",
    "build_shared_parameters",
    "is_same_but_older",
    "parse_anchor",
    "parse_optional_parts",
    "parse_private_parameters",
    "parse_shared_parameters",
    "sign_directory",
    "source_path",
    "verify_configuration",
    "verify_current_directory",
    "verify_stored_configuration",
]

INTERNAL_PATH: Final = "/internalconf"
EXTERNAL_PATH: Final = "/externalconf"
# What a client fetches; whatever else a source distributes is left where it is.
USED_PARTS: Final = (PRIVATE_PARAMETERS, SHARED_PARAMETERS, MONITORING, FETCH_INTERVAL, NEXT_UPDATE)


class VerifiedConfiguration:
    """An authentic configuration with its indexes: every look-up is O(1). Immutable, shared by all tasks."""

    __slots__ = (
        "_by_certificate",
        "_by_sha1",
        "_clients",
        "_groups",
        "_members",
        "_servers",
        "_servers_of",
        "directory",
        "optional",
        "parameters",
        "private",
    )

    def __init__(
        self,
        directory: VerifiedDirectory,
        parameters: SharedParameters,
        private: PrivateParameters | None,
        optional: OptionalParts | None = None,
    ) -> None:
        """Called by the verifying functions of this module only."""
        self.directory = directory
        self.parameters = parameters
        self.private = private
        self.optional = optional or OptionalParts()
        self._members: dict[MemberId, str] = {member.id: member.name for member in parameters.members}
        self._clients: dict[ClientId, str] = dict(self._members.items())
        self._clients.update((part.id, part.name) for member in parameters.members for part in member.subsystems)
        self._servers = {server.id: server for server in parameters.security_servers}
        self._by_certificate = _by_hash(
            (hash_, server) for server in parameters.security_servers for hash_ in server.authentication_hashes
        )
        self._by_sha1 = _by_hash(
            (hash_, server) for server in parameters.security_servers for hash_ in server.authentication_sha1
        )
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

    @property
    def instance(self) -> str:
        """The instance that it describes."""
        return self.parameters.instance

    @property
    def ocsp_fetch_interval_seconds(self) -> int:
        """How often a gateway asks anew for the status of its certificates (PR-GCONF annex G)."""
        return self.optional.ocsp_fetch_interval_seconds or DEFAULT_OCSP_FETCH_INTERVAL_SECONDS

    @property
    def verify_next_update(self) -> bool:
        """Whether an OCSP answer lapses at its nextUpdate (PR-GCONF annex F); it does unless the instance says no."""
        return self.optional.verify_next_update is not False

    @property
    def monitoring_client(self) -> ClientId | None:
        """Who may read the monitoring data of every gateway (PR-GCONF annex D), None if nobody may."""
        return self.optional.monitoring_client

    @property
    def others(self) -> tuple[VerifiedConfiguration, ...]:
        """The configurations of federated instances (`trust.federation`); none here."""
        return ()

    @property
    def approved_cas(self) -> tuple[ApprovedCA, ...]:
        """The authorities of this instance and of federated ones."""
        return self.parameters.approved_cas

    def at(self, _moment: datetime) -> VerifiedConfiguration:
        """The configuration without federated instances that have expired by then."""
        return self

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
        """The gateway that registered this authentication certificate; None if several claim it."""
        found = self._by_certificate.get(hashlib.sha256(der).digest())
        if found is not None or not self._by_sha1:
            return found
        # Version 2 knows no other hash. A certificate is believed for its path and status, not for this.
        return self._by_sha1.get(hashlib.sha1(der, usedforsecurity=False).digest())

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
    parts: Sequence[str] = USED_PARTS,
) -> VerifiedConfiguration:
    """The configuration made of a signed directory and its `files` (by location, as the directory has them).

    Of the files only `parts` (content identifiers, the shared parameters among them) are looked at.

    1. The directory is signed with a key of the anchor, or one that the previous configuration announced.
    2. It has not expired at `at` and is not older than `previous`.
    3. The shared parameters, and the private and optional ones if listed, are the files it names.
    4. They are of the anchor's instance.

    Raises ConfigurationInvalid with X-Road's code, ConfigurationExpired, ConfigurationRolledBack.
    """
    verified = verify_current_directory(directory, anchor=anchor, at=at, previous=previous)
    return _verify_contents(verified, files, anchor.instance, parts)


def verify_stored_configuration(
    directory: bytes,
    files: Mapping[str, bytes],
    *,
    anchor: Anchor,
    announced: tuple[bytes, ...],
    parts: Sequence[str] = USED_PARTS,
) -> VerifiedConfiguration:
    """A configuration that was accepted before and kept: authentic, possibly expired by now (`require_current` tells).

    `announced` are the certificates (DER) that the configuration accepted before it had announced.
    """
    certificates = (*anchor.certificates, *announced)
    verified = verify_directory(directory, instance=anchor.instance, certificates=certificates)
    return _verify_contents(verified, files, anchor.instance, parts)


def source_path(anchor: Anchor) -> str:
    """The path at which the sources publish what the anchor is for; "" if its address has none.

    As X-Road's client has it: that of the first address over plain HTTP, here of the first one if there is none. A
    configuration proxy has a path of its own.
    """
    urls = [source.url for source in anchor.sources]
    return urlsplit(next((url for url in urls if url.startswith("http://")), urls[0])).path


def announced_certificates(configuration: VerifiedConfiguration, path: str = INTERNAL_PATH) -> tuple[bytes, ...]:
    """The certificates that the configuration announces for its successors: keys change without new anchors.

    At the internal path they are the internal ones, for other instances the external ones; a configuration proxy, whose
    `path` is neither, may have put its own under either name.
    """
    certificates: list[bytes] = []
    for source in configuration.parameters.sources:
        if path != EXTERNAL_PATH:
            certificates += source.internal_certificates
        if path != INTERNAL_PATH:
            certificates += source.external_certificates
    return tuple(certificates)


def is_same_but_older(new: VerifiedDirectory, accepted: VerifiedConfiguration) -> bool:
    """Whether `new` says what is in force, from an earlier moment: the clocks of several sources differ."""
    if new.sequence is None or accepted.sequence is None:
        return False
    return new.sequence < accepted.sequence and new.digests == accepted.directory.digests


def _certificates(anchor: Anchor, previous: VerifiedConfiguration | None) -> tuple[bytes, ...]:
    if previous is None or previous.parameters.instance != anchor.instance:
        return anchor.certificates
    return (*anchor.certificates, *announced_certificates(previous, source_path(anchor)))


def _by_hash(pairs: Iterable[tuple[bytes, SecurityServer]]) -> dict[bytes, SecurityServer]:
    """The gateway of each hash. A hash that two gateways have identifies neither."""
    found: dict[bytes, SecurityServer] = {}
    shared: set[bytes] = set()
    for hash_, server in pairs:
        if found.setdefault(hash_, server) is not server:
            shared.add(hash_)
    return {hash_: server for hash_, server in found.items() if hash_ not in shared}


def _require_not_rolled_back(new: VerifiedDirectory, accepted: VerifiedDirectory) -> None:
    # Generation time decides where both have one; the expiry alone would refuse a source that shortens its validity.
    if new.sequence is not None and accepted.sequence is not None:
        older, same = new.sequence < accepted.sequence, new.sequence == accepted.sequence
    else:
        older, same = new.expires < accepted.expires, False
    # The same files from another moment are no way back: a registry's nodes have clocks of their own.
    if older and new.sequence is not None and new.digests == accepted.digests:
        return
    # Two different sets of files under one generation: the source contradicts itself.
    if older or (same and new.digests != accepted.digests):
        raise ConfigurationRolledBack(
            "the global configuration is older than the one in force", hint="check the source's clock and its copies"
        )


def _verify_contents(
    directory: VerifiedDirectory, files: Mapping[str, bytes], instance: str, parts: Sequence[str]
) -> VerifiedConfiguration:
    contents: dict[str, bytes] = {}
    for part in directory.parts:
        if part.identifier not in parts or part.identifier not in USED_PARTS:
            continue
        if part.location not in files:
            raise ConfigurationInvalid(
                "a file of the configuration is missing", code="global_conf_part_download_failure"
            )
        contents[part.identifier] = verify_file(part, files[part.location])
    parameters = parse_shared_parameters(contents[SHARED_PARAMETERS], directory.version)
    private_data = contents.get(PRIVATE_PARAMETERS)
    private = None if private_data is None else parse_private_parameters(private_data)
    if parameters.instance != instance or (private is not None and private.instance != instance):
        raise ConfigurationInvalid(
            "a file of the configuration is of another instance", code="global_conf_part_invalid_instance_identifier"
        )
    return VerifiedConfiguration(directory, parameters, private, parse_optional_parts(contents))
