"""Every way to change a signature over a hash chain that we could think of, each with the answer that it must get."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from tests.trust.factory import BODY, MESSAGE, PARTS, parts_of, world
from tests.trust.forging import Change, resign, rsub, sub
from tests.trust.signature_changes import MALFORMED, REFERENCE, SHA256, VALUE
from tests.trust.test_hashchain import WRONG
from tests.trust.test_xades_classic import sign_batch, verdict
from trust.hashchain import build_message_chain
from trust.xades import MessageSignature, SignedPart, VerifiedSignature

# -- what is refused --


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_chain_that_the_member_signed_has_its_code(name: str) -> None:
    """The member's own key signs the wrong result, so that only the chain can be refused."""
    (good,) = sign_batch(PARTS)
    assert good.hash_chain_result is not None
    result, chain, code = WRONG[name]
    old, new = (b64encode(hashlib.sha512(r).digest()) for r in (good.hash_chain_result, result))
    document = resign(good.document.replace(old, new), world().key)
    # Parts come as digests: what differs from them shows at the root (PR-MESSTRANSP 2.7, SignatureVerifier).
    codes = {code, "invalid_hash_chain"} if code == "invalid_hash_chain_ref" else {code}
    answer = verdict(MessageSignature(document, result, chain))
    assert answer in [("SignatureMalformed", f"malformed_signature.{c}") for c in codes]


@dataclass(frozen=True)
class Mutation:
    """A change of the document, signed again or not; parts and chain as given."""

    expected: tuple[str, str]
    change: Change = str
    signed: bool = False
    parts: tuple[SignedPart, ...] = PARTS
    result: bytes | None = b"good"
    chain: bytes | None = b"good"


CHAIN = ("SignatureMalformed", "malformed_signature.invalid_hash_chain")
RESULT = 'URI="/sig-hashchainresult.xml"'
FIRST = '<ds:Reference Id="signature-reference-0" '
MORE = '<ds:Reference URI="/message.xml">\\g<1></ds:Reference>'
ZERO = bytes(64)
MUTATIONS: Mapping[str, Mutation] = {
    "no result": Mutation(REFERENCE, result=None),
    "no chain": Mutation(("SignatureMalformed", "malformed_signature.invalid_reference"), chain=None),
    "neither": Mutation(REFERENCE, result=None, chain=None),
    "an empty chain": Mutation(("SignatureMalformed", "malformed_signature.malformed_hash_chain"), chain=b""),
    "another message": Mutation(CHAIN, parts=parts_of(MESSAGE + b" ", BODY)),
    "another body": Mutation(CHAIN, parts=parts_of(MESSAGE, BODY + b" ")),
    "parts exchanged": Mutation(CHAIN, parts=parts_of(BODY, MESSAGE)),
    "a part less": Mutation(("SignatureMalformed", "malformed_signature.invalid_reference"), parts=parts_of(MESSAGE)),
    "a part more": Mutation(
        ("SignatureMalformed", "malformed_signature.hashchain_unused_inputs"), parts=parts_of(MESSAGE, BODY, b"")
    ),
    "a part twice": Mutation(REFERENCE, parts=(PARTS[0], PARTS[0])),
    "no part": Mutation(REFERENCE, parts=()),
    "the chain of other parts": Mutation(
        VALUE,
        parts=parts_of(b"x", BODY),
        result=build_message_chain(parts_of(b"x", BODY))[0],
        chain=build_message_chain(parts_of(b"x", BODY))[1],
    ),
    "white space in the result": Mutation(VALUE, result=build_message_chain(PARTS)[0] + b"\n"),
    "a reference to a part besides": Mutation(
        REFERENCE, rsub("(<ds:DigestMethod.*?)</ds:Reference>", rf"\g<1></ds:Reference>{MORE}"), signed=True
    ),
    "the result twice": Mutation(
        REFERENCE,
        rsub(
            "(<ds:DigestMethod.*?)</ds:Reference>", rf"\g<1></ds:Reference><ds:Reference {RESULT}>\g<1></ds:Reference>"
        ),
        signed=True,
    ),
    "the parts instead of the result": Mutation(REFERENCE, sub(RESULT, 'URI="/message.xml"'), signed=True),
    "a result of another name": Mutation(REFERENCE, sub(RESULT, 'URI="/sig-hashchainresult2.xml"'), signed=True),
    "a result outside": Mutation(REFERENCE, sub(RESULT, 'URI="file:///sig-hashchainresult.xml"'), signed=True),
    "a result with transforms": Mutation(
        MALFORMED,
        sub(
            f"{FIRST}{RESULT}>",
            f"{FIRST}{RESULT}><ds:Transforms><ds:Transform "
            'Algorithm="http://www.w3.org/2000/09/xmldsig#base64"/></ds:Transforms>',
        ),
        signed=True,
    ),
    "a result with a canonicalization": Mutation(
        MALFORMED,
        sub(
            f"{FIRST}{RESULT}>",
            f"{FIRST}{RESULT}><ds:Transforms><ds:Transform "
            'Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/></ds:Transforms>',
        ),
        signed=True,
    ),
    "the result by SHA-1": Mutation(
        MALFORMED,
        sub("http://www.w3.org/2001/04/xmlenc#sha512", "http://www.w3.org/2000/09/xmldsig#sha1"),
        signed=True,
    ),
    "the result by a digest of another algorithm": Mutation(
        VALUE, sub("http://www.w3.org/2001/04/xmlenc#sha512", SHA256), signed=True
    ),
    "another digest of the result": Mutation(
        VALUE, rsub("<ds:DigestValue>[^<]*", f"<ds:DigestValue>{b64encode(ZERO).decode()}"), signed=True
    ),
    "another media type": Mutation(VALUE, sub("application/hash-chain-result", "text/xml")),
    "another media type, a digest in it": Mutation(VALUE, sub("hash-chain-result<", "hash-chain-result <")),
    "properties that aren't signed": Mutation(
        MALFORMED, rsub('<ds:Reference Id="signature-reference-1".*?</ds:Reference>', ""), signed=True
    ),
    "the order of the references": Mutation(
        VALUE,
        rsub("(<ds:Reference .*?</ds:Reference>)(<ds:Reference .*?</ds:Reference>)", r"\g<2>\g<1>"),
    ),
    "an identifier twice": Mutation(MALFORMED, sub("signature-reference-1", "signature-reference-0"), signed=True),
    "a comment": Mutation(MALFORMED, sub(FIRST, "<!-- -->" + FIRST)),
    "a time-stamp that isn't base64": Mutation(
        MALFORMED,
        sub(
            "<xades:RevocationValues>",
            "<xades:SignatureTimeStamp><xades:EncapsulatedTimeStamp>?</xades:EncapsulatedTimeStamp>"
            "</xades:SignatureTimeStamp><xades:RevocationValues>",
        ),
    ),
    "too many time-stamps": Mutation(
        MALFORMED,
        sub(
            "<xades:RevocationValues>",
            "<xades:SignatureTimeStamp><xades:EncapsulatedTimeStamp>AAAA</xades:EncapsulatedTimeStamp>"
            "</xades:SignatureTimeStamp>" * 17 + "<xades:RevocationValues>",
        ),
    ),
    "a time-stamp over something else": Mutation(
        MALFORMED,
        sub(
            "<xades:RevocationValues>",
            '<xades:SignatureTimeStamp><xades:Include URI="#signature-value"/><xades:EncapsulatedTimeStamp>AAAA'
            "</xades:EncapsulatedTimeStamp></xades:SignatureTimeStamp><xades:RevocationValues>",
        ),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS, ids=lambda name: name.replace(" ", "-"))
def test_mutated_signature_gets_its_answer(name: str) -> None:
    mutation = MUTATIONS[name]
    (good,) = sign_batch(PARTS)
    document = mutation.change(good.document.decode()).encode()
    if mutation.signed:
        assert document != good.document
        document = resign(document, world().key)
    result = good.hash_chain_result if mutation.result == b"good" else mutation.result
    chain = good.hash_chain if mutation.chain == b"good" else mutation.chain
    changed = MessageSignature(document, result, chain)
    assert changed != good or mutation.parts != PARTS
    assert verdict(changed, mutation.parts) == mutation.expected


def test_a_chain_that_nobody_signed_is_refused() -> None:
    result, chain = build_message_chain(PARTS)
    assert verdict(MessageSignature(world().sign(), result, chain)) == REFERENCE


def test_signing_again_makes_an_unchanged_document_good() -> None:
    (good,) = sign_batch(PARTS)
    assert isinstance(verdict(replace(good, document=resign(good.document, world().key))), VerifiedSignature)
