"""A global configuration as flat text, for people and for comparison: one entry for each thing that it names.

Pure functions from shared parameters to strings; what they say of authenticity is whoever reads the parameters' matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509

from trust.parameters import ApprovedCA, SharedParameters

Entry = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What one configuration has and another hasn't; `changed` has attribute, old and new value."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether both say the same."""
        return not (self.added or self.removed or self.changed)


def fingerprint(der: bytes) -> str:
    """A certificate's SHA-256, shortened to what people compare."""
    return hashlib.sha256(der).hexdigest()[:16]


def describe(parameters: SharedParameters) -> dict[str, dict[str, str]]:
    """Every member, subsystem, server, group, authority and source by its name, with its attributes."""
    found: dict[str, dict[str, str]] = {
        "settings": {
            "instance": parameters.instance,
            "ocsp freshness": f"{parameters.ocsp_freshness_seconds} s",
            "member classes": ", ".join(sorted(f"{c.code} ({c.description})" for c in parameters.member_classes)),
        }
    }
    for source in parameters.sources:
        found[f"source {source.address}"] = {
            "internal certificates": _certificates(source.internal_certificates),
            "external certificates": _certificates(source.external_certificates),
        }
    for authority in parameters.approved_cas:
        found[f"authority {authority.name} ({fingerprint(authority.certificate)})"] = _authority(authority)
    for tsa in parameters.approved_tsas:
        found[f"time stamps {tsa.name} ({fingerprint(tsa.certificate)})"] = {
            "url": tsa.url,
            "cost": "" if tsa.cost_type is None else tsa.cost_type.value,
        }
    for member in parameters.members:
        found[str(member.id)] = {"name": member.name}
        for subsystem in member.subsystems:
            found[str(subsystem.id)] = {"name": subsystem.name}
    for server in parameters.security_servers:
        found[str(server.id)] = {
            "address": server.address,
            "certificates": ", ".join(
                sorted(h.hex()[:16] for h in server.authentication_hashes)
                or sorted(f"sha1:{h.hex()[:16]}" for h in server.authentication_sha1)
            ),
            "clients": ", ".join(sorted(map(str, server.clients))),
            "maintenance": "no" if server.maintenance is None else f"yes {server.maintenance}".strip(),
        }
    for group in parameters.groups:
        found[str(group.id)] = {
            "description": group.description,
            "members": ", ".join(sorted(map(str, group.members))),
        }
    return found


def compare(old: SharedParameters, new: SharedParameters) -> Difference:
    """What `new` adds to, takes from and changes in `old`."""
    before, after = describe(old), describe(new)
    changed: dict[str, dict[str, tuple[str, str]]] = {}
    for name in before.keys() & after.keys():
        attributes = {
            key: (before[name][key], value) for key, value in after[name].items() if before[name][key] != value
        }
        if attributes:
            changed[name] = attributes
    return Difference(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=dict(sorted(changed.items())),
    )


def _authority(authority: ApprovedCA) -> dict[str, str]:
    certificate = x509.load_der_x509_certificate(authority.certificate)
    return {
        "expires": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        "ocsp": ", ".join(authority.ocsp_urls),
        "responders": _certificates(authority.ocsp_responders),
        "intermediates": _certificates(authority.intermediates),
        "profile": authority.profile.rpartition(".")[2],
        "usage": "authentication only" if authority.authentication_only else "signing and authentication",
        "acme": "" if authority.acme is None else authority.acme.directory_url,
        "csr format": "" if authority.default_csr_format is None else authority.default_csr_format.value,
        "costs": ", ".join(f"{url} {cost.value}" for url, cost in authority.ocsp_costs),
    }


def _certificates(ders: tuple[bytes, ...]) -> str:
    return ", ".join(sorted(map(fingerprint, ders)))
