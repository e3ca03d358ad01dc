"""Faults: what they tell, and their forms over REST and SOAP."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.faults import (
    ERRORS,
    Fault,
    Hop,
    TrustStep,
    Vocabulary,
    error_header,
    from_trust_error,
    parse_soap_fault,
    rest_error_body,
    same_code,
    soap_fault,
)
from trust import errors, xml

DENIED = "server.serverproxy.access_denied"
ID = "0b6f2d4c-7a57-4d9b-a4f3-2f1d7e7b0001"


def test_message_names_hop_cause_and_mend() -> None:
    fault = Fault(DENIED, "SUBSYSTEM:DE-TEST/GOV/1/app")
    assert fault.message == (
        "Provider gateway: the client has no access right to the service (SUBSYSTEM:DE-TEST/GOV/1/app). "
        "Ask the provider to grant it."
    )
    assert fault.status == 500


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_code_makes_a_whole_message(code: str) -> None:
    message = Fault(code).message
    assert message.isprintable()
    assert message.lower().startswith(ERRORS[code].hop.value)
    assert message.endswith(".")


def test_the_id_is_set_once() -> None:
    fault = Fault(DENIED).identify(ID)
    assert fault.identify("another").detail == ID


@given(st.text(max_size=2000))
def test_a_reason_stays_in_one_bounded_line(reason: str) -> None:
    message = Fault(DENIED, reason).message
    assert message.isprintable()
    assert len(message) < 1000


# -- REST


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ((), "application/json"),
        ("", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/xml-patch+xml", "application/json"),
        ("garbage;;,,/", "application/json"),
        ("text/xml", "text/xml;charset=utf-8"),
        ("TEXT/XML ; q=0.1", "text/xml;charset=utf-8"),
        ("text/*", "text/xml;charset=utf-8"),
        ("application/xml", "application/xml;charset=utf-8"),
        ("application/json, application/xml;q=0.1, text/xml", "application/xml;charset=utf-8"),
        (("application/json", "text/xml, application/xml"), "text/xml;charset=utf-8"),
    ],
)
def test_the_client_chooses_between_json_and_xml(accept: str | tuple[str, ...], content_type: str) -> None:
    assert rest_error_body(Fault(DENIED), accept)[0] == content_type


def test_the_json_body_has_type_message_and_id() -> None:
    body = rest_error_body(Fault(DENIED, "Müller").identify(ID))[1]
    assert body.startswith(b'{"type":"server.serverproxy.access_denied","message":"Provider gateway: ')
    assert json.loads(body) == {"type": DENIED, "message": Fault(DENIED, "Müller").message, "detail": ID}


def test_xml_body() -> None:
    fault = Fault(DENIED, "<&\x00>").identify(ID)
    root = xml.parse(rest_error_body(fault, "text/xml", Vocabulary.CAMEL)[1])
    assert [child.tag for child in root] == ["type", "message", "detail"]
    assert [child.text for child in root] == ["Server.ServerProxy.AccessDenied", fault.message, ID]


def test_error_header() -> None:
    assert error_header(Fault(DENIED)) == ("X-Road-Error", DENIED)
    assert error_header(Fault(DENIED), Vocabulary.CAMEL) == ("X-Road-Error", "Server.ServerProxy.AccessDenied")
    assert error_header(Fault("soap:Server", relayed=True))[1] == "soap:Server"
    assert error_header(Fault("a\r\nb"))[1] == "server.serverproxy.internal_error"


# -- SOAP


def test_soap_fault_is_byte_for_byte_that_of_the_proxy() -> None:
    fault = Fault("server.clientproxy.unknown_member", "no & way", relayed=True, detail=ID, actor="")
    assert soap_fault(fault) == (
        b'<?xml version="1.0" encoding="UTF-8"?>'
        b'<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body><SOAP-ENV:Fault>'
        b"<faultcode>server.clientproxy.unknown_member</faultcode><faultstring>no &amp; way</faultstring>"
        b'<detail><faultDetail xmlns="">' + ID.encode() + b"</faultDetail></detail>"
        b"</SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )


def test_soap_fault_leaves_out_what_is_not_set() -> None:
    document = soap_fault(Fault(DENIED))
    assert b"faultactor" not in document
    assert b"<detail>" not in document
    assert b"<faultactor>me</faultactor>" in soap_fault(Fault(DENIED, actor="me"))


@given(code=st.sampled_from(sorted(ERRORS)), reason=st.text(max_size=300), vocabulary=st.sampled_from(Vocabulary))
def test_soap_round_trip(code: str, reason: str, vocabulary: Vocabulary) -> None:
    sent = Fault(code, reason, detail=ID)
    read = parse_soap_fault(soap_fault(sent, vocabulary))
    assert same_code(read.code, sent.code)
    assert " ".join(read.message.split()) == " ".join(sent.message.split())
    assert read.detail == ID
    assert read.relayed


@pytest.mark.parametrize(
    ("document", "leaf"),
    [
        (b"", "invalid_soap"),
        (b"<a/>", "invalid_soap"),
        (b"not xml", "invalid_soap"),
        (b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"/>', "missing_body"),
        (b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body/></Envelope>', "invalid_message"),
        (
            b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><a/><b/></Body></Envelope>',
            "invalid_body",
        ),
        (
            b'<!DOCTYPE a><Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><Fault/></Body></Envelope>',
            "invalid_soap",
        ),
        (
            b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault/></s:Body></s:Envelope>',
            "invalid_message",
        ),
        (b" " * 70_000, "invalid_soap"),
    ],
)
def test_what_is_no_fault_is_refused_as_what_it_is(document: bytes, leaf: str) -> None:
    with pytest.raises(Fault) as caught:
        parse_soap_fault(document)
    assert caught.value.code == f"server.clientproxy.service_failed.{leaf}"
    assert not caught.value.relayed


@given(st.binary(max_size=400) | st.builds(lambda a, b: soap_fault(Fault(DENIED))[a:b], st.integers(), st.integers()))
def test_parse_raises_nothing_but_faults(document: bytes) -> None:
    try:
        fault = parse_soap_fault(document)
    except Fault as refusal:
        fault = refusal
    assert fault.message.isprintable()


def test_a_relayed_fault_is_cut_and_cleaned() -> None:
    document = soap_fault(Fault(DENIED)).replace(b"Provider gateway", b"x\ny" * 4000)
    fault = parse_soap_fault(document)
    assert len(fault.message) <= 2048
    assert fault.message.isprintable()


# -- trust


@pytest.mark.parametrize(
    ("error", "step", "code"),
    [
        (errors.SignatureInvalid("x"), TrustStep.SIGNATURE, "signature_verification.invalid_signature_value"),
        (errors.SignatureMalformed("x"), TrustStep.SIGNATURE, "signature_verification.malformed_signature"),
        (
            errors.SignatureInvalid("x", code="invalid_reference"),
            TrustStep.SIGNATURE,
            "signature_verification.invalid_reference",
        ),
        (
            errors.CertificateUntrusted("x", code="cannot_create_cert_path.internal_error"),
            TrustStep.SIGNATURE,
            "signature_verification.cannot_create_cert_path.internal_error",
        ),
        (
            errors.StatusNotGood("x", code="invalid_cert_path.cert_validation"),
            TrustStep.SIGNATURE,
            "signature_verification.invalid_cert_path.cert_validation",
        ),
        (errors.StatusNotGood("x", code="no such"), TrustStep.SIGNATURE, "signature_verification.malformed_signature"),
        (errors.StatusNotGood("x"), TrustStep.PEER, "ssl_authentication_failed"),
        (
            errors.CertificateUntrusted("x", code="cannot_create_cert_path.internal_error"),
            TrustStep.PEER,
            "ssl_authentication_failed",
        ),
        (errors.ConfigurationExpired("x"), TrustStep.SIGNATURE, "global_conf_outdated"),
        (errors.ConfigurationRolledBack("x"), TrustStep.CONFIGURATION, "malformed_global_conf"),
        (errors.MalformedInput("x"), TrustStep.CONFIGURATION, "malformed_global_conf"),
        (errors.KeyUnavailable("x"), TrustStep.SIGNATURE, "cannot_create_signature"),
        (errors.FetchFailed("x"), TrustStep.PEER, "network_error"),
    ],
)
@pytest.mark.parametrize("hop", [Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY])
def test_trust_errors(hop: Hop, error: errors.TrustError, step: TrustStep, code: str) -> None:
    fault = from_trust_error(hop, error, step)
    assert (
        fault.code
        == f"server.{hop.value.split()[0].replace('consumer', 'client').replace('provider', 'server')}proxy.{code}"
    )
    assert fault.code in ERRORS
    assert fault.hop is hop


def test_the_text_of_a_trust_error_is_not_shown() -> None:
    fault = from_trust_error(Hop.PROVIDER_GATEWAY, errors.SignatureInvalid("secret inside", hint="other secret"))
    assert "secret" not in fault.message
