"""Somebody else at the address of a provider's gateway, and what the client's gateway says of the certificate shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance.situations import AT_CONSUMER
from tests.conformance.stage import Case, Do, Stage, Told, told_rest
from tests.conformance.words import Row
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.rogue import RogueGateway
from tests.gateway.exchange.town import UTILITY
from trust.keys import SoftwareKey
from trust.testca.authority import CertificateAuthority


def _at_its_address(make: Callable[[Stage], SoftwareKey]) -> Do:
    """Another one listens there, with this TLS key."""

    async def do(stage: Stage) -> Told:
        pair = stage.pair
        port = pair.provider.settings.peer_port
        other = RogueGateway(pair.rogue.signing, make(stage), pair.authority)
        await pair.provider.stop()
        try:
            async with other.also_at(HOST, port):
                return told_rest(await pair.call("echo"))
        finally:
            await pair.provider.start()

    return do


def _issued(authority: CertificateAuthority, **options: timedelta) -> SoftwareKey:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.issue_authentication(
        key.public_key(), UTILITY.member, member_name="Stadtwerke", server_code="ss1", **options
    )
    return SoftwareKey(key, issued)


def _by_a_stranger(_: Stage) -> SoftwareKey:
    with TemporaryDirectory() as folder:
        return _issued(CertificateAuthority.load_or_create(Path(folder) / "ca", "DE-TEST"))


NO_PATH = "cannot_create_cert_path.internal_error"
CASES: list[Case] = [
    AT_CONSUMER.case(
        Row.TLS, f"the provider's gateway shows {what}", f"ssl_authentication_failed{below}", _at_its_address(make)
    )
    for what, below, make in (
        ("a certificate of an authority that isn't approved", f".{NO_PATH}", _by_a_stranger),
        (
            "a certificate that has expired",
            f".{NO_PATH}",
            lambda stage: _issued(stage.pair.authority, validity=timedelta(seconds=-60)),
        ),
        ("a certificate that isn't registered", "", lambda stage: _issued(stage.pair.authority)),
        ("another gateway's certificate", "", lambda stage: stage.pair.rogue.authentication),
        ("a certificate for signing", "", lambda stage: stage.pair.rogue.signing),
    )
]
