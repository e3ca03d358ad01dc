"""Answers that the road makes itself: X-Road's prefix and boundary, the request's headers in order."""

from __future__ import annotations

import hashlib
import os

from gateway.messages.mime import Part, boundary_of, split_related
from gateway.messages.soap import Reading, add_request_hash, check_response_consistency, parse_soap, request_hash
from gateway.messages.soap_answer import build_soap_answer
from tests.gateway.messages.test_soap import ENTRIES, envelope

BODY = "<xroad:frageResponse><xroad:service id:objectType='SERVICE'/></xroad:frageResponse>"


def test_the_answer_repeats_the_headers_in_their_order() -> None:
    data = envelope(
        '<r:representedParty xmlns:r="http://x-road.eu/xsd/representation.xsd"><r:partyCode>a&amp;b</r:partyCode></r:representedParty>',
        '<t:securityToken xmlns:t="http://x-road.eu/xsd/security-token.xsd" tokenType="&quot;">a&lt;</t:securityToken>',
        "<x:requestHash>vom Client</x:requestHash>",
        '<f:fremd xmlns:f="urn:f"><f:g/></f:fremd>',
        id="<x:issue>ä\n</x:issue>" + ENTRIES["id"],
        body='<f:frageRequest xmlns:f="urn:f"/>',
    )
    request = parse_soap(data, "text/xml", Reading.CLIENT_REQUEST)
    parts = build_soap_answer(request, BODY)
    assert parts.content_type == "text/xml; charset=UTF-8"
    assert parts.root.data.startswith(b'<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="')
    answer = parse_soap(parts.root.data, parts.root.content_type, Reading.SERVICE_ANSWER)
    assert [entry.name for entry in answer.entries] == [
        entry.name for entry in request.entries if entry.name.local not in {"requestHash", "fremd"}
    ]
    assert answer.security_token == request.security_token
    signed = add_request_hash(answer, request_hash(data))
    assert b"</xroad:id><xroad:requestHash algorithmId=" in signed
    response = parse_soap(signed, parts.root.content_type, Reading.SIGNED_RESPONSE)
    check_response_consistency(request, response, hashlib.sha512(data).digest())


def test_attachments() -> None:
    request = parse_soap(envelope(), "text/xml", Reading.CLIENT_REQUEST)
    wsdl = Part("text/xml", (("content-transfer-encoding", "binary"), ("content-id", "<wsdl>")), b"<definitions/>")
    parts = build_soap_answer(request, BODY, attachments=[wsdl], entropy=os.urandom(30))
    boundary = boundary_of(parts.content_type)
    assert boundary is not None
    assert boundary.startswith("xroad")
    body = parts.join()
    assert body.startswith(b"--xroad")
    assert b"\r\ncontent-type:text/xml; charset=UTF-8\r\n\r\n<?xml" in body
    assert b"\r\ncontent-type:text/xml\r\ncontent-transfer-encoding: binary\r\ncontent-id: <wsdl>\r\n\r\n<def" in body
    assert split_related(body, boundary)[1] == wsdl
