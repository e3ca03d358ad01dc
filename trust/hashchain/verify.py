"""Verifying a hash chain, as a numbered proof: from its result down to every input.

Follows PR-MESSTRANSP 2.7 and the order of X-Road's HashChainVerifier, so that a chain with several defects gets the
same answer from either. Stricter in this: each step is used at most once and each file is referred to at most once, so
the work is bounded by the chain's length and no part has two digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trust.canonical import DigestAlgorithm, canonicalise
from trust.errors import HashChainInvalid, HashChainMalformed, MalformedInput
from trust.hashchain.model import (
    SIGNATURE_CHAIN,
    DataReference,
    HashChain,
    HashValue,
    PartDigest,
    StepReference,
    StepValue,
    VerifiedChain,
    digest_step,
)
from trust.hashchain.parse import parse_hash_chain, parse_hash_chain_result
from trust.xml import parse

_MAX_DEPTH: Final = 64


def verify_hash_chain(
    result: bytes,
    chain: bytes,
    inputs: Mapping[str, bytes | PartDigest],
    *,
    chain_name: str = SIGNATURE_CHAIN,
    further_chains: Mapping[str, bytes] | None = None,
    allow_missing: bool = False,
) -> VerifiedChain:
    """The chain, when it leads from `result` (XML) to every one of `inputs`.

    `inputs` gives for each name the file's bytes, or its digest where only that is at hand. `chain_name` is the name
    under which `result` refers to `chain`; `further_chains` are other files that steps may refer to. With
    `allow_missing`, files that the chain refers to may be absent from `inputs` and are reported as unverified.
    Raises HashChainMalformed (`malformed_hash_chain`) and HashChainInvalid (`invalid_reference`,
    `invalid_hash_chain_ref`, `invalid_hash_chain`, `hashchain_unused_inputs`).
    """
    # 1. The result is one of the schema's, and names a chain that is there.
    claimed = parse_hash_chain_result(result)
    walk = _Walk({**(further_chains or {}), chain_name: chain}, inputs, allow_missing=allow_missing)
    # 2. From the first step on, every reference resolves, and a file that is there has the digest that is stated.
    digest = walk.step(claimed.chain, claimed.step, claimed.algorithm, 0)
    # 3. The digest of the first step is the result's.
    if digest != claimed.digest:
        raise HashChainInvalid("the chain doesn't lead to its result")
    # 4. Every input was met on the way.
    if any(name not in walk.met for name in inputs):
        raise HashChainInvalid("the chain leaves out an input", code="hashchain_unused_inputs")
    # 5. Digests that were given instead of files are those that the chain states.
    if walk.contradicted:
        raise HashChainInvalid("the chain states another digest of an input", code="invalid_hash_chain_ref")
    covered = tuple(name for name in walk.met if name in inputs)
    return VerifiedChain(claimed.algorithm, claimed.digest, covered, tuple(walk.unverified))


class _Walk:
    """One way through the steps; remembers what it met."""

    def __init__(
        self, files: Mapping[str, bytes], inputs: Mapping[str, bytes | PartDigest], *, allow_missing: bool
    ) -> None:
        self._files = files
        self._inputs = inputs
        self._allow_missing = allow_missing
        self._chains: dict[str, HashChain] = {}
        self._used: set[tuple[str, str]] = set()
        self.met: dict[str, None] = {}
        self.unverified: list[tuple[str, PartDigest]] = []
        self.contradicted = False

    def step(self, chain_name: str, name: str, algorithm: DigestAlgorithm, depth: int) -> bytes:
        """The digest of a step. Raises HashChainMalformed, HashChainInvalid."""
        step = self._chain(chain_name).steps.get(name)
        if step is None:
            raise HashChainMalformed("a reference to a step that isn't there")
        if depth >= _MAX_DEPTH or (chain_name, name) in self._used:
            raise HashChainMalformed("the steps go in a circle, or too deep")
        self._used.add((chain_name, name))
        return digest_step(
            algorithm, [(value.algorithm, self._value(value, chain_name, depth)) for value in step.values]
        )

    def _chain(self, name: str) -> HashChain:
        chain = self._chains.get(name)
        if chain is None:
            document = self._files.get(name)
            if document is None:
                raise HashChainInvalid("a chain that isn't there", code="invalid_reference")
            chain = self._chains[name] = parse_hash_chain(document)
        return chain

    def _value(self, value: StepValue, chain_name: str, depth: int) -> bytes:
        match value:
            case HashValue():
                return value.digest
            case StepReference():
                return self.step(value.chain or chain_name, value.step, value.algorithm, depth + 1)
            case DataReference():
                return self._data(value)

    def _data(self, reference: DataReference) -> bytes:
        if reference.uri in self.met:
            raise HashChainMalformed("two references to one file")
        self.met[reference.uri] = None
        given = self._inputs.get(reference.uri)
        if isinstance(given, bytes):
            digest = reference.algorithm.digest(_transformed(given, reference))
            if digest != reference.digest:
                raise HashChainInvalid("a file was changed", code="invalid_hash_chain_ref")
            return digest
        if given is not None and given.algorithm is reference.algorithm and not reference.transforms:
            # As X-Road does it: the digest at hand takes the stated one's place, and step 3 shows the difference.
            self.contradicted |= given.digest != reference.digest
            return given.digest
        if given is None and self._allow_missing:
            self.unverified.append((reference.uri, PartDigest(reference.algorithm, reference.digest)))
            return reference.digest
        raise HashChainInvalid("a file that isn't there", code="invalid_reference")


def _transformed(data: bytes, reference: DataReference) -> bytes:
    for method in reference.transforms:
        try:
            data = canonicalise(parse(data), method)
        except MalformedInput:
            # A file that a transform can't read doesn't have the digest either.
            raise HashChainInvalid("a file that can't be transformed", code="invalid_hash_chain_ref") from None
    return data
