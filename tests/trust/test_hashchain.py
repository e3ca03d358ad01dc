"""Hash chains: what is built holds and nothing else does, whatever comes in."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.factory import BODY, MESSAGE, PARTS
from trust.canonical import DigestAlgorithm
from trust.errors import HashChainInvalid, HashChainMalformed, MalformedInput, TrustError
from trust.hashchain import (
    NAMESPACE,
    TIMESTAMP_FILES,
    PartDigest,
    VerifiedChain,
    build_batch,
    build_message_chain,
    digest_step,
    parse_hash_chain,
    parse_hash_chain_result,
    verify_hash_chain,
)

SHA512 = DigestAlgorithm.SHA512
DS = "http://www.w3.org/2000/09/xmldsig#"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
FILES: Mapping[str, bytes] = {"/message.xml": MESSAGE, "/attachment1": BODY}
DIGESTS: Mapping[str, PartDigest] = {part.name: PartDigest(SHA512, part.digest) for part in PARTS}


def outcome(result: bytes, chain: bytes, inputs: Mapping[str, bytes | PartDigest], **options: bool) -> object:
    """The verified chain, or the error's code."""
    try:
        return verify_hash_chain(result, chain, inputs, **options)
    except TrustError as error:
        return error.code


def test_the_digest_of_a_step_by_hand() -> None:
    """DER written out: the algorithm's name has 39 octets, so a digest takes 111, and two of them 222."""
    one, two = hashlib.sha512(b"1").digest(), hashlib.sha512(b"2").digest()
    name = b"\x0c\x27http://www.w3.org/2001/04/xmlenc#sha512"
    single = [b"\x30\x6d\x04\x40" + digest + name + b"\x30\x00" for digest in (one, two)]
    written = hashlib.sha512(b"\x30\x81\xde" + b"".join(single)).digest()
    assert digest_step(SHA512, [(SHA512, one), (SHA512, two)]) == written


@pytest.mark.parametrize("algorithm", DigestAlgorithm)
def test_a_message_of_several_parts(algorithm: DigestAlgorithm) -> None:
    digests = [(name, algorithm.digest(content)) for name, content in FILES.items()]
    result, (chain,) = build_batch([digests], algorithm)
    verified = verify_hash_chain(result, chain, FILES)
    assert verified.covered == ("/message.xml", "/attachment1")
    assert verified.digest == digest_step(algorithm, [(algorithm, digest) for _, digest in digests])
    assert verified == verify_hash_chain(result, chain, {n: PartDigest(algorithm, d) for n, d in digests})


def reference_root(leaves: Sequence[bytes]) -> bytes:
    """The tree in one line of thought: the left half is the largest power of two that leaves something to the right."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    pair = (reference_root(leaves[:half]), reference_root(leaves[half:]))
    return digest_step(SHA512, [(SHA512, digest) for digest in pair])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 33])
def test_every_message_of_a_batch_has_its_own_way_to_the_root(count: int) -> None:
    contents = [{"/message.xml": b"m%d" % n, **{f"/attachment{a}": b"a" for a in range(n % 3)}} for n in range(count)]
    for files in contents:
        files.pop("/attachment0", None)
    inputs = [[(name, hashlib.sha512(data).digest()) for name, data in files.items()] for files in contents]
    result, chains = build_batch(inputs)
    if count > 1:
        leaves = [m[0][1] if len(m) == 1 else digest_step(SHA512, [(SHA512, d) for _, d in m]) for m in inputs]
        assert parse_hash_chain_result(result).digest == reference_root(leaves)
    for number, (chain, files) in enumerate(zip(chains, contents, strict=True)):
        assert verify_hash_chain(result, chain, files).covered == tuple(files)
        other = contents[number - 1]
        if count > 1:
            assert outcome(result, chain, other) in ("invalid_hash_chain_ref", "hashchain_unused_inputs")
        # No longer than the tree is high, and one step for a message's own parts.
        assert len(parse_hash_chain(chain).steps) <= (count - 1).bit_length() + 1


def test_a_batch_of_signatures_for_a_time_stamp() -> None:
    documents = [b"<signature/>" * n for n in range(1, 6)]
    result, chains = build_batch([hashlib.sha512(d).digest() for d in documents], files=TIMESTAMP_FILES)
    assert b'URI="/ts-hashchain.xml#STEP0"' in result
    for document, chain in zip(documents, chains, strict=True):
        inputs = {"/META-INF/signatures.xml": document}
        assert verify_hash_chain(result, chain, inputs, chain_name="/ts-hashchain.xml").covered == tuple(inputs)
        assert outcome(result, chain, inputs) == "invalid_reference"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda t: t.isprintable()), st.binary(max_size=9),
                        min_size=1, max_size=4),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_whatever_is_built_holds(messages: list[dict[str, bytes]]) -> None:
    inputs = [[(name, hashlib.sha512(data).digest()) for name, data in files.items()] for files in messages]
    result, chains = build_batch(inputs)
    for files, chain in zip(messages, chains, strict=True):
        assert set(verify_hash_chain(result, chain, files).covered) == set(files)


def test_what_cannot_be_chained() -> None:
    for inputs in ([], [[]], [[("a", b"1"), ("a", b"2")]], [b""] * 20_000, [[(str(n), b"") for n in range(2000)]]):
        with pytest.raises(MalformedInput):
            build_batch(inputs)


def chain_of(*steps: str, default: str = SHA512.value) -> bytes:
    """A chain by hand."""
    method = f'<DefaultDigestMethod Algorithm="{default}"/>' if default else ""
    return f'<HashChain xmlns="{NAMESPACE}" xmlns:ds="{DS}">{method}{"".join(steps)}</HashChain>'.encode()


def step(name: str, *values: str) -> str:
    return f'<HashStep id="{name}">{"".join(values)}</HashStep>'


def value(digest: bytes, tag: str = "HashValue", uri: str = "", before: str = "") -> str:
    address = f' URI="{uri}"' if uri else ""
    return f"<{tag}{address}>{before}<ds:DigestValue>{b64encode(digest).decode()}</ds:DigestValue></{tag}>"


def data(name: str, digest: bytes, before: str = "") -> str:
    return value(digest, "DataRef", name, before)


def to(uri: str) -> str:
    return f'<StepRef URI="{uri}"/>'


def result_of(digest: bytes, uri: str = "/sig-hashchain.xml#S", algorithm: str = SHA512.value) -> bytes:
    return (
        f'<HashChainResult xmlns="{NAMESPACE}" xmlns:ds="{DS}" URI="{uri}"><ds:DigestMethod Algorithm="{algorithm}"/>'
        f"<ds:DigestValue>{b64encode(digest).decode()}</ds:DigestValue></HashChainResult>"
    ).encode()


MESSAGE_DIGEST, BODY_DIGEST = PARTS[0].digest, PARTS[1].digest
BOTH = (data("/message.xml", MESSAGE_DIGEST), data("/attachment1", BODY_DIGEST))
ROOT = digest_step(SHA512, [(SHA512, MESSAGE_DIGEST), (SHA512, BODY_DIGEST)])


def test_by_hand() -> None:
    assert isinstance(outcome(result_of(ROOT), chain_of(step("S", *BOTH)), FILES), VerifiedChain)


def test_digest_methods_of_their_own() -> None:
    small = hashlib.sha256(BODY).digest()
    method = f'<ds:DigestMethod Algorithm="{DigestAlgorithm.SHA256.value}"/>'
    inner = digest_step(DigestAlgorithm.SHA384, [(DigestAlgorithm.SHA256, small)])
    outer = digest_step(SHA512, [(SHA512, MESSAGE_DIGEST), (DigestAlgorithm.SHA384, inner)])
    reference = f'<StepRef URI="#T"><ds:DigestMethod Algorithm="{DigestAlgorithm.SHA384.value}"/></StepRef>'
    chain = chain_of(step("S", BOTH[0], reference), step("T", data("/attachment1", small, method)))
    assert isinstance(outcome(result_of(outer), chain, FILES), VerifiedChain)
    assert outcome(result_of(outer), chain, DIGESTS) == "invalid_reference"  # a digest by another algorithm is no help


@pytest.mark.parametrize("method", [C14N, EXCLUSIVE])
def test_transforms_of_a_file(method: str) -> None:
    document, canonical = b'<a  b="1"   a="2"/>', b'<a a="2" b="1"></a>'
    digest = hashlib.sha512(canonical).digest()
    transforms = f'<ds:Transforms><ds:Transform Algorithm="{method}"/></ds:Transforms>'
    chain = chain_of(step("S", data("/message.xml", digest, transforms)))
    result = result_of(digest_step(SHA512, [(SHA512, digest)]))
    assert isinstance(outcome(result, chain, {"/message.xml": document}), VerifiedChain)
    assert outcome(result, chain, {"/message.xml": b'<a a="2" b="2"/>'}) == "invalid_hash_chain_ref"
    assert outcome(result, chain, {"/message.xml": b"no XML"}) == "invalid_hash_chain_ref"
    assert outcome(result, chain, {"/message.xml": PartDigest(SHA512, digest)}) == "invalid_reference"


def test_a_chain_in_two_files() -> None:
    top = digest_step(SHA512, [(SHA512, ROOT)])
    first, second = chain_of(step("S", to("/more.xml#T"))), chain_of(step("T", to("#U")), step("U", *BOTH))
    top = digest_step(SHA512, [(SHA512, digest_step(SHA512, [(SHA512, ROOT)]))])
    further = {"/more.xml": second}
    assert verify_hash_chain(result_of(top), first, FILES, further_chains=further).covered == tuple(FILES)
    assert outcome(result_of(top), first, FILES) == "invalid_reference"


def test_missing_attachments_are_said_to_be_unverified() -> None:
    result, chain = build_message_chain(PARTS)
    only = {"/message.xml": MESSAGE}
    assert outcome(result, chain, only) == "invalid_reference"
    verified = verify_hash_chain(result, chain, only, allow_missing=True)
    assert verified.covered == ("/message.xml",)
    assert verified.unverified == (("/attachment1", PartDigest(SHA512, BODY_DIGEST)),)


SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
GOOD = chain_of(step("S", *BOTH))
MALFORMED = "malformed_hash_chain"
XSLT = '<ds:Transforms><ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/></ds:Transforms>'
INNER = f'<ds:Transforms><ds:Transform Algorithm="{C14N}"><ds:XPath>1</ds:XPath></ds:Transform></ds:Transforms>'
WRONG: Mapping[str, tuple[bytes, bytes, str]] = {
    "another root": (result_of(ROOT[::-1]), GOOD, "invalid_hash_chain"),
    "another algorithm of the root": (
        result_of(ROOT, algorithm=DigestAlgorithm.SHA256.value), GOOD, "invalid_hash_chain"),
    "the parts exchanged": (result_of(ROOT), chain_of(step("S", *BOTH[::-1])), "invalid_hash_chain"),
    "another digest of a part": (
        result_of(ROOT), chain_of(step("S", BOTH[0], data("/attachment1", MESSAGE_DIGEST))), "invalid_hash_chain_ref"),
    "a part by its digest only": (
        result_of(ROOT), chain_of(step("S", BOTH[0], value(BODY_DIGEST))), "hashchain_unused_inputs"),
    "a part of another name": (
        result_of(ROOT), chain_of(step("S", BOTH[0], data("/attachment2", BODY_DIGEST))), "invalid_reference"),
    "a part outside": (
        result_of(ROOT), chain_of(step("S", BOTH[0], data("file:///etc/passwd", BODY_DIGEST))), "invalid_reference"),
    "a part twice": (result_of(ROOT), chain_of(step("S", BOTH[0], BOTH[0])), MALFORMED),
    "a chain of another name": (result_of(ROOT, "/other.xml#S"), GOOD, "invalid_reference"),
    "a chain on the network": (result_of(ROOT, "https://example.org/#S"), GOOD, "invalid_reference"),
    "no chain": (result_of(ROOT, "#S"), GOOD, MALFORMED),
    "no step": (result_of(ROOT, "/sig-hashchain.xml"), GOOD, MALFORMED),
    "an empty step": (result_of(ROOT, "/sig-hashchain.xml#"), GOOD, MALFORMED),
    "another step": (result_of(ROOT, "/sig-hashchain.xml#T"), GOOD, MALFORMED),
    "a step that refers to itself": (result_of(ROOT), chain_of(step("S", to("#S"))), MALFORMED),
    "a circle": (result_of(ROOT), chain_of(step("S", to("#T")), step("T", to("#S"))), MALFORMED),
    "a step used twice": (result_of(ROOT), chain_of(step("S", to("#T"), to("#T")), step("T", *BOTH)), MALFORMED),
    "two steps of one name": (result_of(ROOT), chain_of(step("S", *BOTH), step("S", *BOTH)), MALFORMED),
    "too deep": (
        result_of(ROOT), chain_of(step("S", to("#T0")), *(step(f"T{n}", to(f"#T{n + 1}")) for n in range(200))),
        MALFORMED),
    "too long": (result_of(ROOT), chain_of(step("S", *BOTH, *[value(ROOT)] * 5000)), MALFORMED),
    "too large": (result_of(ROOT), GOOD + b" " * (1 << 18), MALFORMED),
    "SHA-1 by default": (result_of(ROOT), chain_of(step("S", *BOTH), default=SHA1), MALFORMED),
    "SHA-1 in the result": (result_of(ROOT, algorithm=SHA1), GOOD, MALFORMED),
    "SHA-1 of a part": (
        result_of(ROOT),
        chain_of(step("S", BOTH[0], data("/attachment1", b"1", f'<ds:DigestMethod Algorithm="{SHA1}"/>'))), MALFORMED),
    "no digest method": (result_of(ROOT), chain_of(step("S", *BOTH), default=""), MALFORMED),
    "a stylesheet": (result_of(ROOT), chain_of(step("S", data("/message.xml", ROOT, XSLT))), MALFORMED),
    "a transform with parameters": (result_of(ROOT), chain_of(step("S", data("/message.xml", ROOT, INNER))), MALFORMED),
    "a comment": (result_of(ROOT), GOOD.replace(b"<HashStep", b"<!-- --><HashStep"), MALFORMED),
    "a comment in a digest": (result_of(ROOT), GOOD.replace(b"DigestValue>", b"DigestValue><!-- -->", 1), MALFORMED),
    "a processing instruction": (result_of(ROOT), GOOD.replace(b"<HashStep", b"<?x y?><HashStep"), MALFORMED),
    "a document type": (result_of(ROOT), b"<!DOCTYPE HashChain>" + GOOD, MALFORMED),
    "text between": (result_of(ROOT), GOOD.replace(b"<HashStep", b"x<HashStep"), MALFORMED),
    "an attribute more": (result_of(ROOT), GOOD.replace(b"<HashStep", b'<HashStep URI="x"'), MALFORMED),
    "a reference without address": (result_of(ROOT), GOOD.replace(b' URI="/attachment1"', b""), MALFORMED),
    "an element of no kind": (result_of(ROOT), chain_of(step("S", *BOTH, value(ROOT, "Other"))), MALFORMED),
    "another namespace": (result_of(ROOT), GOOD.replace(NAMESPACE.encode(), b"urn:x"), MALFORMED),
    "a result for a chain": (result_of(ROOT), result_of(ROOT), MALFORMED),
    "a chain for a result": (GOOD, GOOD, MALFORMED),
    "no XML": (result_of(ROOT), b"chain", MALFORMED),
    "nothing": (b"", b"", MALFORMED),
    "a digest that is none": (result_of(ROOT), GOOD.replace(b"DigestValue>", b"DigestValue>?", 1), MALFORMED),
    "a digest longer than any": (result_of(ROOT), chain_of(step("S", *BOTH, value(bytes(65)))), MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_chain_gets_its_answer(name: str) -> None:
    result, chain, expected = WRONG[name]
    assert outcome(result, chain, FILES) == expected


def test_parts_that_are_not_the_chains() -> None:
    result, chain = build_message_chain(PARTS)
    assert outcome(result, chain, {**FILES, "/attachment2": b""}) == "hashchain_unused_inputs"
    assert outcome(result, chain, {**FILES, "/attachment1": b"x"}) == "invalid_hash_chain_ref"
    assert outcome(result, chain, {**DIGESTS, "/attachment1": DIGESTS["/message.xml"]}) == "invalid_hash_chain"
    # The root is right for the digests at hand, but the chain names another: as good as forged.
    forged = chain.replace(b64encode(BODY_DIGEST), b64encode(MESSAGE_DIGEST))
    assert outcome(result, forged, DIGESTS) == "invalid_hash_chain_ref"


def test_every_byte_matters() -> None:
    """A change of any byte of result or chain behind the XML declaration is refused."""
    result, chain = build_message_chain(PARTS)
    for place in range(result.index(b"<HashChain"), len(result)):
        changed = result[:place] + bytes([result[place] ^ 1]) + result[place + 1 :]
        assert not isinstance(outcome(changed, chain, FILES), VerifiedChain), place
    for place in range(chain.index(b"<HashChain"), len(chain)):
        changed = chain[:place] + bytes([chain[place] ^ 1]) + chain[place + 1 :]
        assert not isinstance(outcome(result, changed, FILES), VerifiedChain), place


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_foreign_error_leaves_the_verifier(draw: st.DataObject) -> None:
    documents = [bytearray(document) for document in build_message_chain(PARTS)]
    for document in documents:
        for _ in range(draw.draw(st.integers(0, 3))):
            start = draw.draw(st.integers(0, len(document) - 1))
            document[start : start + draw.draw(st.integers(0, 30))] = draw.draw(
                st.one_of(st.binary(max_size=12), st.sampled_from([b"<!--", b"&#0;", b"</HashStep>", b"#", b"=="]))
            )
    outcome(bytes(documents[0]), bytes(documents[1]), FILES)


@given(st.binary(max_size=200))
def test_any_bytes_raise_only_our_errors(content: bytes) -> None:
    with pytest.raises(HashChainMalformed):
        parse_hash_chain(content)
    with pytest.raises(HashChainMalformed):
        parse_hash_chain_result(content)


def test_errors_say_whose_fault_it_is() -> None:
    assert issubclass(HashChainMalformed, MalformedInput)
    assert not issubclass(HashChainInvalid, MalformedInput)
