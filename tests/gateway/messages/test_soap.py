"""The SOAP core: any bytes give a message, a fault or a Fault."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.messages import soap
from gateway.messages.faults import Fault, Hop
from gateway.messages.rest_form import RepresentedParty
from gateway.messages.soap import Reading, SOAPFault, SOAPMessage, parse_message, parse_soap
from gateway.messages.soap_fields import PDU, RequestHash, SecurityToken
from trust.identifiers import MemberId, SecurityServerId, ServiceId, SubsystemId

ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
TYPE = "text/xml; charset=UTF-8"
CLIENT = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
PROVIDER = SubsystemId("DE-TEST", "COM", "STADTWERKE", "kundenservice")
MEMBER = "<i:xRoadInstance>{0}</i:xRoadInstance><i:memberClass>{1}</i:memberClass><i:memberCode>{2}</i:memberCode>"
ENTRIES = {
    "client": '<x:client i:objectType="SUBSYSTEM">'
    + MEMBER.format("DE-TEST", "GOV", "MUSTERSTADT")
    + "<i:subsystemCode>app</i:subsystemCode></x:client>",
    "service": '<x:service i:objectType="SERVICE">'
    + MEMBER.format("DE-TEST", "COM", "STADTWERKE")
    + "<i:subsystemCode>kundenservice</i:subsystemCode><i:serviceCode>frage</i:serviceCode></x:service>",
    "id": "<x:id>7</x:id>",
    "protocolVersion": "<x:protocolVersion>4.0</x:protocolVersion>",
}


def envelope(*more: str, body: str = "<frage/>", **changes: str) -> bytes:
    entries = "".join((ENTRIES | changes).values()) + "".join(more)
    return (
        f'<e:Envelope xmlns:e="{ENVELOPE}" xmlns:x="http://x-road.eu/xsd/xroad.xsd" '
        f'xmlns:i="http://x-road.eu/xsd/identifiers"><e:Header>{entries}</e:Header><e:Body>{body}</e:Body></e:Envelope>'
    ).encode()


def parse(data: bytes, reading: Reading = Reading.CLIENT_REQUEST, content_type: str = TYPE) -> SOAPMessage:
    return parse_soap(data, content_type, reading)


def refused(data: bytes, reading: Reading = Reading.CLIENT_REQUEST, content_type: str = TYPE) -> str:
    with pytest.raises(Fault) as caught:
        parse(data, reading, content_type)
    return caught.value.code


# -- reading


def test_everything_that_a_header_says() -> None:
    server = '<x:securityServer i:objectType="SERVER">' + MEMBER.format("DE-TEST", "COM", "STADTWERKE")
    message = parse(
        envelope(
            "<x:userId>DE1</x:userId><x:issue> Akte\n7 </x:issue>",
            server + "<i:serverCode>ss1</i:serverCode></x:securityServer>",
            '<r:representedParty xmlns:r="http://x-road.eu/xsd/representation.xsd"><r:partyClass>COM</r:partyClass>'
            "<r:partyCode>X &amp; Y</r:partyCode></r:representedParty>",
            '<t:securityToken xmlns:t="http://x-road.eu/xsd/security-token.xsd" tokenType="j">a.b</t:securityToken>',
            '<p:pdu xmlns:p="http://x-road.eu/xsd/pdu.xsd"><p:reason>r</p:reason><p:hidden>true</p:hidden></p:pdu>',
            '<x:requestHash algorithmId="a">h</x:requestHash>',
            body='<f:frageRequest xmlns:f="urn:f"><x:id>9</x:id></f:frageRequest>',
        )
    )
    assert (message.client, message.service) == (CLIENT, ServiceId(PROVIDER, "frage"))
    assert (message.message_id, message.user_id, message.issue) == ("7", "DE1", " Akte\n7 ")
    assert message.security_server == SecurityServerId(MemberId("DE-TEST", "COM", "STADTWERKE"), "ss1")
    assert message.represented_party == RepresentedParty("COM", "X & Y")
    assert message.security_token == SecurityToken("j", "a.b")
    assert message.pdu == PDU("r", None, hidden=True)
    assert message.request_hash == RequestHash("a", "h")
    assert (message.body.namespace, message.body.local, message.rpc) == ("urn:f", "frageRequest", False)
    assert not message.knows_us


def test_rpc_encoded_and_a_service_of_a_member_with_a_version() -> None:
    service = (
        '<x:service i:objectType="SERVICE">'
        + MEMBER.format("A", "B", "C")
        + "<i:serviceCode>frage</i:serviceCode><i:serviceVersion>v2</i:serviceVersion></x:service>"
    )
    data = envelope(service=service).replace(
        b"<e:Envelope", b'<e:Envelope e:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"', 1
    )
    message = parse(data)
    assert message.rpc
    assert message.service == ServiceId(MemberId("A", "B", "C"), "frage", "v2")


def test_comments_references_and_cdata_are_text() -> None:
    message = parse(envelope(id="<x:id>a<!-- <x:id>b</x:id> --><![CDATA[<c>]]>&#100;</x:id>"))
    assert message.message_id == "a<c>d"


def test_empty_values_are_values() -> None:
    message = parse(envelope("<x:userId/><x:issue></x:issue>", id="<x:id/>"))
    assert (message.message_id, message.user_id, message.issue) == ("", "", "")


def test_elements_deeper_in_the_header_are_nobodys_headers() -> None:
    data = envelope('<f:fremd xmlns:f="urn:f"><x:id>8</x:id><f:g><x:client/></f:g></f:fremd>')
    assert parse(data).message_id == "7"


@pytest.mark.parametrize(
    ("reading", "code"),
    [
        (Reading.CLIENT_REQUEST, "client.invalid_client_identifier"),
        (Reading.SIGNED_REQUEST, "server.serverproxy.service_failed.invalid_xml"),
        (Reading.SERVICE_ANSWER, "server.serverproxy.service_failed.invalid_xml"),
        (Reading.SIGNED_RESPONSE, "server.clientproxy.service_failed.invalid_xml"),
    ],
)
def test_a_client_whose_type_contradicts_its_elements(reading: Reading, code: str) -> None:
    """X-Road's two parsers would take it for two different clients."""
    for one, other in ((b'"SUBSYSTEM"', b'"MEMBER"'), (b"<i:subsystemCode>app</i:subsystemCode>", b"")):
        data = envelope().replace(one, other, 1)
        assert data != envelope()
        assert refused(data, reading) == code


@pytest.mark.parametrize(
    ("order", "code"),
    [
        # The first defect in the document decides, as in a streaming parser.
        (envelope("<x:id>8</x:id>") + b"<", "client.duplicate_header_field"),
        (
            envelope(protocolVersion="<x:protocolVersion>1</x:protocolVersion><x:id>8</x:id>"),
            "client.invalid_protocol_version",
        ),
        (envelope(client="", service="", protocolVersion=""), "client.missing_header_field"),
        (envelope(client="<x:client/>", body="<a/><b/>"), "client.invalid_xml"),
    ],
)
def test_the_first_defect_decides(order: bytes, code: str) -> None:
    assert refused(order) == code


@pytest.mark.parametrize(
    ("reading", "code", "hop"),
    [
        (Reading.CLIENT_REQUEST, "client.invalid_body", Hop.CLIENT),
        (Reading.SIGNED_REQUEST, "server.serverproxy.service_failed.invalid_body", Hop.CONSUMER_GATEWAY),
        (Reading.SERVICE_ANSWER, "server.serverproxy.service_failed.invalid_body", Hop.SERVICE),
        (Reading.SIGNED_RESPONSE, "server.clientproxy.service_failed.invalid_body", Hop.PROVIDER_GATEWAY),
    ],
)
def test_a_refusal_names_whose_message_it_was(reading: Reading, code: str, hop: Hop) -> None:
    with pytest.raises(Fault) as caught:
        parse(envelope(body=""), reading)
    assert (caught.value.code, caught.value.hop) == (code, hop)


# -- hostile


BILLION = b"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>" + b"".join(
    b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12)
)


@pytest.mark.parametrize(
    "data",
    [
        BILLION + b"]><e>&m;</e>",
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + envelope(id="<x:id>&x;</x:id>"),
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">' + envelope(),
        b'<?xml version="1.0"?><!DOCTYPE e:Envelope>' + envelope(),
        envelope(id="<x:id>&unbekannt;</x:id>"),
        envelope(body="<frage>" + "<a>" * 5000 + "</a>" * 5000 + "</frage>"),
        envelope(body="<frage " + " ".join(f"a{n}='x'" for n in range(5000)) + "/>"),
        envelope("<x:fremd/>" * 5000),
        envelope("<f xmlns='urn:f'>" + "x" * 300_000 + "</f>"),
        envelope(id="<x:id>a\x00b</x:id>"),
        envelope(id="<x:id>\ufffe</x:id>"),
        b"\xef\xbb\xbf\xef\xbb\xbf" + envelope(),
        b"\xff\xfe" + envelope(),
        envelope().decode().encode("utf-32"),
        b'<?xml version="1.0" encoding="UTF-16"?>' + envelope(),
        b'<?xml version="1.0" encoding="utf-7"?>' + envelope(),
        b'<?xml version="1.0" encoding="idna"?>' + envelope(),
        b'<?xml version="1.0" encoding="shift_jis"?>' + envelope(),
        envelope() + envelope(),
        envelope().replace(b"xmlns:x=", b"xmlns:y="),
        envelope().replace(b"<e:Header>", b"<e:Header/><e:Header>"),
        envelope(body="<a>" * 300 + "</a>" * 300),
        envelope(f"<y>{'<a>' * 300}{'</a>' * 300}</y>"),
    ],
    ids=range(23),
)
def test_hostile_documents_are_refused_at_once(data: bytes) -> None:
    started = time.perf_counter()
    assert refused(data) == "client.invalid_soap"
    assert time.perf_counter() - started < 2


def test_a_value_that_is_too_long() -> None:
    assert refused(envelope(id=f"<x:id>{'x' * 5000}</x:id>")) == "client.invalid_xml"


_PIECES = st.sampled_from(
    [
        *ENTRIES.values(), "<x:id>", "</x:id>", "<x:userId>u</x:userId>", "<!--", "-->", "<![CDATA[", "]]>", "&#0;",
        "ä", "<e:Fault><faultcode>c</faultcode></e:Fault>", "</e:Header>", "<e:Body>", "</e:Body><e:Body>", "<frage/>",
        "<?a b?>",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300)
    | st.lists(_PIECES, max_size=8).map(lambda pieces: envelope(*pieces))
    | st.builds(
        lambda a, b, c: envelope()[:a] + b + envelope()[c:],
        st.integers(0, 900),
        st.binary(max_size=6),
        st.integers(0, 900),
    ),
    st.sampled_from(Reading),
    st.sampled_from(
        [
            TYPE,
            "text/xml",
            "application/xop+xml; charset=iso-8859-1",
            "",
            'text/xml; charset="',
            "text/xml;charset=utf-16",
        ]
    ),
)
def test_any_bytes_raise_nothing_but_faults(data: bytes, reading: Reading, content_type: str) -> None:
    try:
        found = parse_message(data, content_type, reading)
    except Fault as refusal:
        found = refusal
    if isinstance(found, Fault):
        assert found.code.startswith((reading.prefix, "server.serverproxy."))
        return
    assert found.data == data
    if isinstance(found, SOAPMessage):
        for entry in found.entries:
            piece = data[entry.start : entry.end].decode(found.encoding)
            assert piece.startswith("<")
            assert piece.endswith(">")


# -- faults


def test_a_services_fault() -> None:
    data = (
        f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body><e:Fault><faultcode> e:Server </faultcode>'
        "<faultstring>s</faultstring><faultactor>a</faultactor><detail><faultDetail>d</faultDetail></detail></e:Fault></e:Body></e:Envelope>"
    ).encode()
    assert parse_message(data, TYPE, Reading.SERVICE_ANSWER) == SOAPFault(data, "utf-8", "e:Server", "s", "a", "d")


@pytest.mark.parametrize(
    ("code", "answered"), [("CODE", "client.code"), ("s:Server", "client.s_server"), ("", "client.invalid_soap")]
)
def test_a_clients_fault(code: str, answered: str) -> None:
    assert refused(envelope(body=f"<e:Fault><faultcode>{code}</faultcode></e:Fault>")) == answered


def test_a_fault_and_something_besides() -> None:
    assert refused(envelope(body="<e:Fault/><frage/>")) == "client.invalid_body"
    assert refused(envelope(body="<frage/><e:Fault/>")) == "client.invalid_body"


# -- SOAPAction


@pytest.mark.parametrize("value", [None, "", '""', '"a"', '"urn:a"', '"http://a.example/b?c#d"', '"a%20b"', '"/"'])
def test_good_actions(value: str | None) -> None:
    assert soap.check_soap_action(value, Reading.CLIENT_REQUEST) == value


@pytest.mark.parametrize(
    "value",
    [
        '"',
        "a",
        '"a',
        'a"',
        '"a""',
        '"a "',
        '"a\tb"',
        '"a<"',
        '"a\\b"',
        '"a#b#c"',
        '"a%b"',
        '"%zz"',
        '"http://[::1"',
        '"' + "a" * 1100 + '"',
    ],
)
def test_bad_actions(value: str) -> None:
    with pytest.raises(Fault, match=r"^client\.invalid_soap_action$"):
        soap.check_soap_action(value, Reading.CLIENT_REQUEST)
    with pytest.raises(Fault, match=r"^server\.serverproxy\.invalid_soap_action$"):
        soap.check_soap_action(value, Reading.SIGNED_REQUEST)
