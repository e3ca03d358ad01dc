"""Keys and certificates of the fuzzers' own town. Kept in a file, an input that was found once is found again."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.trust import configurations
from tests.trust.containers import Making, make, making
from tests.trust.factory import Authority, Holder, World
from trust.keys import PrivateKey, SoftwareKey
from trust.testca.authority import KeyPair

ROOT: Final = Path(__file__).parents[2] / "build" / "fuzz"
_NAMES: Final = ("authority", "responder", "member", "tsa")


def keep() -> None:
    """Makes this process one of the fuzzer's: its town is the one in the file, which is written if there is none.

    To be called before any target is used. Tests don't: theirs is a new town each time.
    """
    path = ROOT / "town.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_written(make(), configurations.key_pair())))
    _kept.update(json.loads(path.read_text()))


_kept: dict[str, list[str]] = {}


@cache
def configuration_key() -> SoftwareKey:
    """The key of the town's registry."""
    if not _kept:
        return configurations.key()
    holder = _holder(*_kept["registry"])
    return SoftwareKey(holder.key, holder.certificate)


@cache
def town() -> Making:
    """A member that signs, an authority that stamps, and whoever vouches for both."""
    if not _kept:
        return making()
    root, responder, member, tsa = (_holder(*_kept[name]) for name in _NAMES)
    authority = Authority(root.key, root.certificate)
    status = authority.status(member.certificate, responder=responder)
    world = World(authority, responder, member, SoftwareKey(member.key, member.certificate), status)
    return Making(world, KeyPair(tsa.key, tsa.certificate))  # type: ignore[arg-type]


def _written(town: Making, registry: SoftwareKey) -> dict[str, list[str]]:
    world = town.world
    holders = (world.authority, world.responder, world.holder, town.tsa)
    texts = {name: _texts(one.key, one.certificate) for name, one in zip(_NAMES, holders, strict=True)}
    return texts | {"registry": _texts(registry._private_key, registry.certificate)}


def _texts(key: PrivateKey, certificate: x509.Certificate) -> list[str]:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return [private.decode(), certificate.public_bytes(Encoding.PEM).decode()]


def _holder(key: str, certificate: str) -> Holder:
    private = load_pem_private_key(key.encode(), None)
    return Holder(private, x509.load_pem_x509_certificate(certificate.encode()))  # type: ignore[arg-type]
