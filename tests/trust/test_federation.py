"""Several instances in one view: what one of them claims of another's gateways."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trust.federation import FederatedConfiguration
from trust.globalconf import VerifiedConfiguration, VerifiedDirectory
from trust.identifiers import MemberId, SecurityServerId
from trust.parameters import SecurityServer, SharedParameters

CERTIFICATE = b"a gateway's"
HASHES = {"sha256": hashlib.sha256(CERTIFICATE).digest(), "sha1": hashlib.sha1(CERTIFICATE).digest()}


def instance(name: str, *codes: str, hashes: tuple[str, ...] = ("sha256",)) -> VerifiedConfiguration:
    """An instance of one member, whose gateways claim the certificate."""
    owner = MemberId(name, "GOV", "M")
    servers = tuple(
        SecurityServer(
            SecurityServerId(owner, code),
            "gateway.example",
            authentication_hashes=frozenset({HASHES["sha256"]} if "sha256" in hashes else ()),
            authentication_sha1=frozenset({HASHES["sha1"]} if "sha1" in hashes else ()),
        )
        for code in codes
    )
    directory = cast("VerifiedDirectory", SimpleNamespace(expires=datetime(2100, 1, 1, tzinfo=UTC)))
    return VerifiedConfiguration(directory, SharedParameters(name, security_servers=servers), None)


def found_by(own: VerifiedConfiguration, *others: VerifiedConfiguration) -> Any:
    server = FederatedConfiguration(own, others).server_with_certificate(CERTIFICATE)
    return None if server is None else server.id.encoded


def test_no_other_instance_takes_our_gateways_name_from_it() -> None:
    """Certificates are public: whoever runs another registry could claim all of ours, and nobody would be known."""
    own = instance("DE-TEST", "ss1")
    assert found_by(own) == "DE-TEST/GOV/M/ss1"
    assert found_by(own, instance("EE-TEST", "ss9")) == "DE-TEST/GOV/M/ss1"
    assert found_by(own, instance("EE-TEST", "ss9"), instance("FI-TEST", "ss8")) == "DE-TEST/GOV/M/ss1"
    assert found_by(own, instance("EE-TEST", "ss9", hashes=("sha1",))) == "DE-TEST/GOV/M/ss1"


@pytest.mark.parametrize("hashes", [("sha256",), ("sha1",)])
def test_another_instances_gateway_is_found_if_one_alone_claims_it(hashes: tuple[str, ...]) -> None:
    nobody = instance("DE-TEST")
    assert found_by(nobody, instance("EE-TEST", "ss9", hashes=hashes)) == "EE-TEST/GOV/M/ss9"
    both = (instance("EE-TEST", "ss9", hashes=hashes), instance("FI-TEST", "ss8", hashes=hashes))
    assert found_by(nobody, *both) is None
    assert found_by(nobody, instance("EE-TEST", "ss8", "ss9", hashes=hashes)) is None


def test_an_instance_that_lapsed_claims_nothing() -> None:
    other = instance("EE-TEST", "ss9")
    federated = FederatedConfiguration(instance("DE-TEST"), [other])
    assert federated.at(datetime(2099, 1, 1, tzinfo=UTC)).server_with_certificate(CERTIFICATE) is not None
    assert federated.at(datetime(2101, 1, 1, tzinfo=UTC)).server_with_certificate(CERTIFICATE) is None
