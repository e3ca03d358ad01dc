"""What a gateway adds to a SOAP message and takes out of it stands where it must, and nothing else changes."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest

from gateway.messages import soap
from gateway.messages.faults import Fault
from gateway.messages.headers import IdentityLevel, RoadFields
from gateway.messages.soap import Reading, SOAPMessage
from gateway.messages.soap_fields import RequestHash
from tests.gateway.messages.test_soap import ENTRIES, envelope, parse

# -- adding


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize(
    "id_entry",
    [
        "<x:id>ä</x:id>",
        "<x:id/>",
        "<x:id ></x:id\n>",
        '<id xmlns="http://x-road.eu/xsd/xroad.xsd">/></id>',
        '<y:id xmlns:y="http://x-road.eu/xsd/xroad.xsd" a="/>">7</y:id>',
    ],
)
def test_the_request_hash_stands_after_the_id_and_nothing_else_changes(codec: str, id_entry: str) -> None:
    declaration = f'<?xml version="1.0" encoding="{codec.removesuffix("-sig")}"?>'
    data = (declaration + envelope(id=id_entry).decode()).encode(codec)
    message = parse(data)
    added = soap.add_request_hash(message, "SEFTSA==", "quittung & mehr")
    again = parse(added, Reading.SIGNED_RESPONSE)
    assert again.request_hash == RequestHash("http://www.w3.org/2001/04/xmlenc#sha512", "SEFTSA==")
    assert again.receipt == "quittung & mehr"
    names = [entry.name.local for entry in again.entries]
    assert names[names.index("id") + 1 : names.index("id") + 3] == ["requestHash", "auditReceipt"]
    without_receipt = parse(soap.remove_receipt(again), Reading.SIGNED_RESPONSE)
    entry = next(entry for entry in without_receipt.entries if entry.name.local == "requestHash")
    assert without_receipt.data[: entry.start] + without_receipt.data[entry.end :] == data


def test_what_a_service_says_in_the_roads_name_is_removed() -> None:
    receipt = '<dw:auditReceipt xmlns:dw="urn:x-datenweg:soap:1">falsch</dw:auditReceipt>'
    forged = f"<x:requestHash>falsch</x:requestHash>{receipt}"
    message = parse(envelope(forged), Reading.SERVICE_ANSWER)
    assert b"falsch" not in soap.add_request_hash(message, "hash")
    assert parse(soap.add_request_hash(message, "hash"), Reading.SIGNED_RESPONSE).receipt is None


def test_the_roads_fields_are_added_at_the_headers_end() -> None:
    own = '<a:purpose xmlns:a="urn:x-datenweg:soap:1">zweck</a:purpose>'
    message = parse(envelope(own))
    assert message.knows_us
    assert message.fields == RoadFields(purpose="zweck")
    fields = replace(message.fields, subjects=("abc",), identity_level=IdentityLevel.HIGH, exchange_nonce=bytes(32))
    again = parse(soap.add_road_fields(message, fields), Reading.SIGNED_REQUEST)
    assert again.fields == fields
    assert again.data.startswith(message.data[: message.header_end])
    assert again.data.endswith(message.data[message.header_end :])


# -- binding


def answer_to(data: bytes, response: bytes) -> SOAPMessage:
    return parse(soap.add_request_hash(parse(response), soap.request_hash(data)), Reading.SIGNED_RESPONSE)


def test_a_response_is_bound_to_the_bytes_of_its_request() -> None:
    data = envelope()
    digest = hashlib.sha512(data).digest()
    assert soap.request_hash(data) == base64.b64encode(digest).decode()
    soap.check_response_consistency(parse(data), answer_to(data, data), digest)
    for other in (answer_to(data + b"\n", data), parse(data, Reading.SIGNED_RESPONSE)):
        with pytest.raises(Fault, match=r"^server\.clientproxy\.inconsistent_response$"):
            soap.check_response_consistency(parse(data), other, digest)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "<x:id>8</x:id>"},
        {"id": "<x:id>7 </x:id>"},
        {"id": ENTRIES["id"] + "<x:userId>u</x:userId>"},
        {"id": ENTRIES["id"] + "<x:issue/>"},
        {"client": ENTRIES["client"].replace("MUSTERSTADT", "MUSTERDORF")},
        {"service": ENTRIES["service"].replace("kundenservice", "anderer")},
    ],
)
def test_a_response_to_another_request(changes: dict[str, str]) -> None:
    data = envelope()
    with pytest.raises(Fault, match=r"^server\.clientproxy\.service_failed\.inconsistent_response$"):
        soap.check_response_consistency(
            parse(data), answer_to(data, envelope(**changes)), hashlib.sha512(data).digest()
        )


def test_headers_that_are_not_compared() -> None:
    data = envelope()
    other = envelope(protocolVersion="<x:protocolVersion>4.7</x:protocolVersion>")
    soap.check_response_consistency(parse(data), answer_to(data, other), hashlib.sha512(data).digest())
