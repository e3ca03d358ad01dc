"""The values that hash chains are made of, and the digest of one step.

A step is a list of digests; its own digest is taken over their DER encoding, so that no two lists share their bytes
(PR-MESSTRANSP 2.7; the structure DigestList of the hash chain schema). What is parsed and what is verified are
different types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trust.canonical import CanonicalisationMethod, DigestAlgorithm

NAMESPACE: Final = "http://cyber.ee/hashchain"
SIGNATURE_CHAIN: Final = "/sig-hashchain.xml"
SIGNATURE_CHAIN_RESULT: Final = "/sig-hashchainresult.xml"


@dataclass(frozen=True, slots=True)
class ChainFiles:
    """The names under which a chain, its result and the data of an input without a name are referred to."""

    chain: str
    result: str
    data: str


SIGNATURE_FILES: Final = ChainFiles(SIGNATURE_CHAIN, SIGNATURE_CHAIN_RESULT, "/message.xml")
TIMESTAMP_FILES: Final = ChainFiles("/ts-hashchain.xml", "/ts-hashchainresult.xml", "/META-INF/signatures.xml")


@dataclass(frozen=True, slots=True)
class PartDigest:
    """The digest of an input whose bytes aren't at hand."""

    algorithm: DigestAlgorithm
    digest: bytes


@dataclass(frozen=True, slots=True)
class HashValue:
    """A digest on the chain's word: a sibling of what is being proved."""

    algorithm: DigestAlgorithm
    digest: bytes


@dataclass(frozen=True, slots=True)
class StepReference:
    """The digest of another step. `chain` is empty for a step of the same chain."""

    algorithm: DigestAlgorithm
    chain: str
    step: str


@dataclass(frozen=True, slots=True)
class DataReference:
    """The digest of a file, after `transforms`."""

    algorithm: DigestAlgorithm
    uri: str
    digest: bytes
    transforms: tuple[CanonicalisationMethod, ...] = ()


StepValue = HashValue | StepReference | DataReference


@dataclass(frozen=True, slots=True)
class HashStep:
    """A list of digests, in order."""

    values: tuple[StepValue, ...]


@dataclass(frozen=True, slots=True)
class HashChain:
    """A hash chain as it was read: its steps by identifier. Nothing in it is verified."""

    steps: dict[str, HashStep]


@dataclass(frozen=True, slots=True)
class HashChainResult:
    """A hash chain result as it was read: where the chain begins, and the digest of that step."""

    algorithm: DigestAlgorithm
    digest: bytes
    chain: str
    step: str


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A chain that leads from its result to every input.

    `covered` are the inputs' names in the chain's order; `unverified` are files that the chain refers to but that
    weren't given, with the digest that it states.
    """

    algorithm: DigestAlgorithm
    digest: bytes
    covered: tuple[str, ...]
    unverified: tuple[tuple[str, PartDigest], ...] = ()


def digest_step(algorithm: DigestAlgorithm, digests: Sequence[tuple[DigestAlgorithm, bytes]]) -> bytes:
    """The digest of a step, by `algorithm`, over the digests in it and the names of theirs."""
    singles = b"".join(_single(*digest) for digest in digests)
    return algorithm.digest(_tagged(0x30, singles))


def _single(algorithm: DigestAlgorithm, digest: bytes) -> bytes:
    # SingleDigest: OCTET STRING, UTF8String, and the transforms, which are always empty.
    return _tagged(0x30, _tagged(0x04, digest) + _METHODS[algorithm] + b"\x30\x00")


def _tagged(tag: int, content: bytes) -> bytes:
    # X.690 section 8.1.3: definite lengths in the fewest octets.
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


_METHODS: Final = {algorithm: _tagged(0x0C, algorithm.value.encode()) for algorithm in DigestAlgorithm}
