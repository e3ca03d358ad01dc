"""Whether the parts of a topology fit together: names that are referred to exist, none stands there twice.

Each problem is one line that begins with the path to the key.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from gateway.instance.references import client_reference, member_reference, subsystem_reference
from trust.identifiers import MemberId, ServiceId

if TYPE_CHECKING:
    from gateway.instance.topology import Client, Member, Service, Subsystem, Topology

# Folders and files of the instance's own; no gateway may be named like one of them.
RESERVED_NAMES: Final = frozenset({"registry", "testca", "issuer", "clients"})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
# RFC 5280 appendix A.1: what an attribute of a certificate's subject has room for.
SUBJECT_ROOM: Final = 64


def problems(topology: Topology) -> Iterator[str]:
    """What doesn't fit, in the file's order."""
    broken = tuple(_gateways(topology))
    yield from broken
    if broken:
        # What follows asks for the gateways' identifiers.
        return
    yield from _twice("gateways: server code", (topology.server(name).encoded for name in topology.gateways))
    yield from _ports(topology)
    yield from _twice("members", (member.reference for member in topology.members))
    for place, member in enumerate(topology.members):
        yield from _member(topology, f"members[{place}]", member)
    yield from _twice("global_groups", (group.code for group in topology.global_groups))
    for place, group in enumerate(topology.global_groups):
        yield from _unknown(topology, f"global_groups[{place}].members", group.members)
    if topology.monitoring_client is not None:
        yield from _unknown(topology, "monitoring_client", (topology.monitoring_client,))


def _gateways(topology: Topology) -> Iterator[str]:
    members = {topology.id_of(member) for member in topology.members}
    for name, gateway in topology.gateways.items():
        at = f"gateways.{name}"
        if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
            yield f"{at}: a name has letters, digits, - and _, and is none of {', '.join(sorted(RESERVED_NAMES))}"
        try:
            owner = member_reference(topology.instance, gateway.owner)
        except ValueError as error:
            yield f"{at}.owner: {error}"
            continue
        if owner not in members:
            yield f"{at}.owner: there is no member {gateway.owner}"
        if len("/".join((topology.instance, gateway.code or name, owner.member_class))) > SUBJECT_ROOM:
            yield f"{at}: instance, server code and member class have {SUBJECT_ROOM - 2} characters at most together"


def _ports(topology: Topology) -> Iterator[str]:
    taken: dict[tuple[str, int], str] = {}
    for name, gateway in topology.gateways.items():
        for port, number in gateway.ports.fixed:
            at = f"gateways.{name}.ports.{port}"
            other = taken.setdefault((gateway.host, number), at)
            if other != at:
                yield f"{at}: {number} is {other} already"


def _member(topology: Topology, at: str, member: Member) -> Iterator[str]:
    identifier = topology.id_of(member)
    yield from _client(topology, at, identifier, member)
    yield from _twice(f"{at}.subsystems", (subsystem.code for subsystem in member.subsystems))
    for place, subsystem in enumerate(member.subsystems):
        inner = f"{at}.subsystems[{place}]"
        yield from _client(topology, inner, identifier, subsystem)
        yield from _twice(f"{inner}.local_groups", (group.code for group in subsystem.local_groups))
        for index, group in enumerate(subsystem.local_groups):
            yield from _unknown(topology, f"{inner}.local_groups[{index}].members", group.members, subsystems=True)
        provider = topology.subsystem_id(member, subsystem)
        keys = (ServiceId(provider, service.code, service.version) for service in subsystem.services)
        yield from _twice(f"{inner}.services", (key.encoded for key in keys))
        if subsystem.services and not subsystem.gateways:
            yield f"{inner}.gateways: a subsystem with services is registered at one gateway at least"
        for index, service in enumerate(subsystem.services):
            yield from _rights(topology, f"{inner}.services[{index}]", subsystem, service)


def _client(topology: Topology, at: str, member: MemberId, client: Client) -> Iterator[str]:
    for name in client.gateways:
        if name not in topology.gateways:
            yield f"{at}.gateways: there is no gateway {name!r}; there are {', '.join(sorted(topology.gateways))}"
            continue
        subject = (topology.instance, topology.server(name).server_code, member.member_class)
        if len("/".join(subject)) > SUBJECT_ROOM:
            yield f"{at}.gateways: instance, server code and member class have {SUBJECT_ROOM - 2} characters at most"


def _rights(topology: Topology, at: str, subsystem: Subsystem, service: Service) -> Iterator[str]:
    local = {group.code for group in subsystem.local_groups}
    known = {group.code for group in topology.global_groups}
    for index, right in enumerate(service.rights):
        inner = f"{at}.rights[{index}]"
        if right.subsystem is not None and right.instance not in {None, topology.instance}:
            # Who is there is for that instance's registry to say.
            try:
                subsystem_reference(right.instance, right.subsystem)
            except ValueError as error:
                yield f"{inner}.subsystem: {error}"
        elif right.subsystem is not None:
            yield from _unknown(topology, f"{inner}.subsystem", (right.subsystem,), subsystems=True)
        if right.group is not None and right.group not in known:
            yield f"{inner}.group: there is no global group {right.group!r}"
        if right.local_group is not None and right.local_group not in local:
            yield f"{inner}.local_group: the subsystem has no local group {right.local_group!r}"


def _unknown(topology: Topology, at: str, references: Iterable[str], *, subsystems: bool = False) -> Iterator[str]:
    known = {identifier for identifier, _ in topology.subsystems} | {topology.id_of(m) for m in topology.members}
    read = subsystem_reference if subsystems else client_reference
    for reference in references:
        try:
            found = read(topology.instance, reference)
        except ValueError as error:
            yield f"{at}: {error}"
            continue
        if found not in known:
            yield f"{at}: there is no {reference}"


def _twice(at: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{at}: {name} stands there {count} times"
