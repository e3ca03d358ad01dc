"""Keys and certificates of the fuzzers' own town. Kept in a file, an input that was found once is found again."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.trust.containers import Making, make
from tests.trust.factory import Authority, Holder, World
from trust.keys import SoftwareKey
from trust.testca.authority import KeyPair

ROOT: Final = Path(__file__).parents[2] / "build" / "fuzz"
_NAMES: Final = ("authority", "responder", "member", "tsa")


@cache
def town() -> Making:
    """The town of this machine's fuzzers."""
    path = ROOT / "town.json"
    if path.exists():
        return _read(path)
    making = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_written(making))
    return making


def _written(making: Making) -> str:
    world = making.world
    holders = (world.authority, world.responder, world.holder, making.tsa)
    return json.dumps(
        {
            name: [
                holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
                holder.certificate.public_bytes(Encoding.PEM).decode(),
            ]
            for name, holder in zip(_NAMES, holders, strict=True)
        }
    )


def _read(path: Path) -> Making:
    holders: list[Holder] = []
    for key, certificate in (json.loads(path.read_text())[name] for name in _NAMES):
        private = load_pem_private_key(key.encode(), None)
        holders.append(Holder(private, x509.load_pem_x509_certificate(certificate.encode())))  # type: ignore[arg-type]
    root, responder, member, tsa = holders
    authority = Authority(root.key, root.certificate)
    status = authority.status(member.certificate, responder=responder)
    world = World(authority, responder, member, SoftwareKey(member.key, member.certificate), status)
    return Making(world, KeyPair(tsa.key, tsa.certificate))  # type: ignore[arg-type]
