"""What fuzzing has found, as the smallest input that shows it. Each was mended; each is refused since."""

from __future__ import annotations

import gc
from base64 import b64encode
from collections.abc import Iterator

import pytest

from audit.archive_chain import LINKING_INFO, ArchiveEnd, linking_info, next_digest
from tests.fuzz.citizen_targets import identity_claims, proof_with
from tests.fuzz.material import town
from tests.fuzz.status_targets import certificate_seeds
from tests.fuzz.targets import TARGETS
from tests.trust import configurations
from tests.trust.zips import Entry, pack
from trust.globalconf import build_anchor

_HASH = b64encode(bytes(32))


def _anchor_with(der: bytes) -> bytes:
    """An anchor file that has this for a certificate."""
    good = b64encode(configurations.key().certificate_der)
    return build_anchor(configurations.anchor()).replace(good, b64encode(der), 1)


def _archive_of(*names: str) -> bytes:
    """An archive whose chain has these containers; each lies in it once."""
    links, digest = [], ""
    for name in names:
        digest = next_digest(digest, b"container")
        links.append((digest, name))
    files = [Entry(name, b"container") for name in dict.fromkeys(names)]
    return pack([*files, Entry(LINKING_INFO, linking_info(ArchiveEnd(), links))])


FINDINGS = {
    # A lone surrogate, as HTTP parsers leave bytes that are no UTF-8, left parsers as UnicodeEncodeError.
    "half a character in an identifier": ("trust.identifiers", b"DE-TEST/GOV/MUSTERSTADT\xff/app"),
    "half a character beside an escape": ("trust.identifiers", b"DE-TEST/GOV/%41\xff/app"),
    "half a character in a key's name": ("audit.vkey", b"a\xff+00000000+" + b64encode(b"\1" + bytes(32))),
    "half a character in a policy": ("audit.policy", b"# \xff\nquorum none\n"),
    "half a character in a nonce": ("citizen.identity_token", identity_claims(nonce="\ud800")),
    "half a character in a proof's identifier": ("gateway.dpop", proof_with(jti="\ud800")),
    "half a character in a proof's token hash": ("gateway.dpop", proof_with(ath="\ud800")),
    "an archive that can't be unpacked": ("audit.archive", pack([Entry("linkinginfo", b"x", packed=b"\xff\xff")])),
    "an archive that names a file twice": ("audit.archive", _archive_of("a", "a")),
    "a group of padding": ("trust.base64", b"QQQQ===="),
    "claims of brackets": ("citizen.identity_token", b"[" * 1200),
    "claims of an access token, of brackets": ("citizen.access_token", b"[" * 1200),
    # Python refuses to read more than 4,300 digits with a ValueError.
    "a threshold of many digits": (
        "audit.policy",
        b"witness w w+680f52bc+" + b64encode(b"\4" + bytes(32)) + b"\ngroup g " + b"1" * 4301 + b" w\nquorum g\n",
    ),
    # A kilobyte of brackets is enough for a RecursionError.
    "an index record of brackets": ("audit.period_index", b"[" * 1024),
    # ٣ is a digit to a regular expression and to int(): one checkpoint had several spellings.
    "a size in other digits": ("audit.checkpoint", "log.test\n1٣\n".encode() + _HASH + b"\n"),
    # Types of YAML 1.1 whose constructors raise whatever they meet.
    "an empty integer": ("gateway.openapi", b'a: !!int ""'),
    "an empty float": ("gateway.openapi", b'a: !!float ""'),
    "a truth value that is none": ("gateway.openapi", b"a: !!bool x"),
    "a time that is none": ("gateway.openapi", b"a: !!timestamp x"),
    "an index in superscript": (
        "gateway.openapi",
        (
            b'{"openapi":"3.0.0","info":{"title":"x","version":"1"},"x":[1],"paths":{"/a":{"get":{"responses":{"200":'
            b'{"$ref":"#/x/\\u00b2"}}}}}}'
        ),
    ),
    "a certificate of a version to come": (
        "trust.globalconf.anchor",
        _anchor_with(town().world.holder.der.replace(b"\xa0\3\2\1\2", b"\xa0\3\2\1\5", 1)),
    ),
    "a certificate with a name of an old kind": (
        "trust.certificates",
        certificate_seeds()[1].replace(b"\x82\x0cgateway.test", b"\xa3\x0cgateway.test", 1),
    ),
    "a float in base sixty": ("gateway.openapi", b"a: 1" + b":1" * 400 + b".0"),
}


def test_an_archive_that_names_each_file_once_is_taken() -> None:
    assert TARGETS["audit.archive"].accepts(_archive_of("a", "b"))


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is collected meanwhile: at the bottom of a recursion other tests' garbage couldn't be finalised."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(("target", "data"), FINDINGS.values(), ids=FINDINGS)
def test_what_was_found_once_is_refused(target: str, data: bytes) -> None:
    assert not TARGETS[target].accepts(data)
