"""Reading hash chains and their results, as the schema has them and nothing besides.

Follows X-Road's hash chain schema. Says nothing about whether a chain holds. Bounded: a chain is a path with a
neighbour at each step, so thousands of steps are nobody's chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lxml import etree

from trust.canonical import CanonicalisationMethod, DigestAlgorithm, decode_base64
from trust.errors import HashChainMalformed, MalformedInput
from trust.hashchain.model import (
    NAMESPACE,
    DataReference,
    HashChain,
    HashChainResult,
    HashStep,
    HashValue,
    StepReference,
    StepValue,
)
from trust.xml import parse

MAX_BYTES: Final = 256 * 1024
_MAX_DIGEST: Final = 64
_MAX_TRANSFORMS: Final = 4
_SPACE: Final = " \t\r\n"
_NO_SPACE: Final = str.maketrans("", "", _SPACE)
_DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_HC: Final = f"{{{NAMESPACE}}}"
# The attribute that an element has, if it has any; all are required but a step's identifier.
_ATTRIBUTES: Final = {
    _HC + "HashChainResult": "URI",
    _HC + "DefaultDigestMethod": "Algorithm",
    _HC + "HashStep": "id",
    _HC + "StepRef": "URI",
    _HC + "DataRef": "URI",
    _DS + "DigestMethod": "Algorithm",
    _DS + "Transform": "Algorithm",
}


def parse_hash_chain_result(document: bytes) -> HashChainResult:
    """The hash chain result in `document`. Raises HashChainMalformed."""
    root = _parse(document, _HC + "HashChainResult")
    children = list(root)
    if [child.tag for child in children] != [_DS + "DigestMethod", _DS + "DigestValue"]:
        raise HashChainMalformed("a hash chain result without a digest")
    chain, step = _step_uri(root)
    if not chain:
        raise HashChainMalformed("a hash chain result that names no chain")
    return HashChainResult(_algorithm(children[0]), _octets(children[1]), chain, step)


def parse_hash_chain(document: bytes) -> HashChain:
    """The hash chain in `document`. Raises HashChainMalformed."""
    root = _parse(document, _HC + "HashChain")
    children = list(root)
    default = None
    if children and children[0].tag == _HC + "DefaultDigestMethod":
        default = _algorithm(children.pop(0))
    steps: dict[str, HashStep] = {}
    names: set[str] = set()
    for element in children:
        if element.tag != _HC + "HashStep":
            raise HashChainMalformed("a hash chain is made of steps")
        step = HashStep(tuple(_value(child, default) for child in element))
        name = element.get("id")
        # A step that has no identifier can't be referred to.
        if name is None:
            continue
        if name in names or not name:
            raise HashChainMalformed("a step's identifier is empty or stands twice")
        names.add(name)
        steps[name] = step
    return HashChain(steps)


def _parse(document: bytes, tag: str) -> etree._Element:
    try:
        root = parse(document, max_bytes=MAX_BYTES, max_depth=8, max_elements=8000)
    except MalformedInput as error:
        raise HashChainMalformed(str(error)) from None
    if root.tag != tag or root.getprevious() is not None or root.getnext() is not None:
        raise HashChainMalformed("another root element, or something beside it")
    for element in root.iter():
        if not isinstance(element.tag, str):
            raise HashChainMalformed("a comment or processing instruction in a hash chain")
        attribute = _ATTRIBUTES.get(element.tag)
        if any(name != attribute for name in element.attrib) or (
            attribute not in (None, "id") and attribute not in element.attrib
        ):
            raise HashChainMalformed("an attribute too many or too few")
        if len(element) and any(text and text.strip(_SPACE) for text in _between(element)):
            raise HashChainMalformed("text where elements belong")
    return root


def _between(element: etree._Element) -> Iterator[str | None]:
    yield element.text
    for child in element:
        yield child.tail


def _value(element: etree._Element, default: DigestAlgorithm | None) -> StepValue:
    children = list(element)
    algorithm = default
    if children and children[0].tag == _DS + "DigestMethod":
        algorithm = _algorithm(children.pop(0))
    if algorithm is None:
        raise HashChainMalformed("a value without a digest method")
    if element.tag == _HC + "StepRef":
        if children:
            raise HashChainMalformed("a reference to a step states no digest")
        return StepReference(algorithm, *_step_uri(element))
    transforms: tuple[CanonicalisationMethod, ...] = ()
    if children and children[0].tag == _DS + "Transforms":
        transforms = _transforms(children.pop(0))
    if [child.tag for child in children] != [_DS + "DigestValue"]:
        raise HashChainMalformed("a value without its digest")
    digest = _octets(children[0])
    if element.tag == _HC + "HashValue":
        # There is nothing to transform: the schema allows them here, the digest is the chain's word anyway.
        return HashValue(algorithm, digest)
    if element.tag == _HC + "DataRef":
        return DataReference(algorithm, str(element.get("URI")), digest, transforms)
    raise HashChainMalformed("a value of no kind")


def _transforms(element: etree._Element) -> tuple[CanonicalisationMethod, ...]:
    children = list(element)
    if not 0 < len(children) <= _MAX_TRANSFORMS or any(
        child.tag != _DS + "Transform" or len(child) or (child.text or "").strip(_SPACE) for child in children
    ):
        raise HashChainMalformed("transforms with parameters, none, or too many")
    try:
        return tuple(CanonicalisationMethod(child.get("Algorithm")) for child in children)
    except ValueError:
        raise HashChainMalformed("a transform that isn't accepted") from None


def _algorithm(element: etree._Element) -> DigestAlgorithm:
    if len(element) or (element.text or "").strip(_SPACE):
        raise HashChainMalformed("a digest algorithm with parameters")
    try:
        return DigestAlgorithm(element.get("Algorithm"))
    except ValueError:
        raise HashChainMalformed("a digest algorithm that isn't accepted") from None


def _octets(element: etree._Element) -> bytes:
    if len(element):
        raise HashChainMalformed("elements where a digest belongs")
    try:
        octets = decode_base64((element.text or "").translate(_NO_SPACE))
    except MalformedInput as error:
        raise HashChainMalformed(str(error)) from None
    if len(octets) > _MAX_DIGEST:
        raise HashChainMalformed("a digest longer than any")
    return octets


def _step_uri(element: etree._Element) -> tuple[str, str]:
    chain, _, step = str(element.get("URI")).partition("#")
    if not step:
        raise HashChainMalformed("a reference to no step")
    return chain, step
