"""Paths and what rights say of them, service descriptions, and the queries of the monitoring services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.admin.errors import InvalidDescription
from gateway.admin.openapi import parse_openapi
from gateway.admin.wsdl import parse_wsdl
from gateway.messages.descriptions import MAX_DESCRIPTION, UnusableDescription, hide_addresses, hide_servers
from gateway.messages.faults import Fault
from gateway.messages.find_usage import NAMESPACE as FIND_USAGE
from gateway.messages.find_usage import parse_find_usage
from gateway.messages.metaservices import read_wsdl_request
from gateway.messages.paths import PathRefused, matches_glob, normalise_path
from gateway.monitoring.form import parse_health_query, parse_operational_query
from tests.fuzz.message_targets import soap_message
from tests.fuzz.registry import XML_TOKENS, Target, each, join, split, text_of
from trust.errors import TrustError

OWN: Final = (Fault,)


def _paths(data: bytes) -> None:
    glob, path = (text_of(part) for part in split(data, 2))
    found = normalise_path(path)
    assert ".." not in found
    matches_glob(glob, found)
    assert matches_glob("/**", "/" + found)


def _descriptions(data: bytes) -> None:
    if len(data) > MAX_DESCRIPTION:
        return
    each(
        lambda: hide_addresses.__wrapped__(data),
        lambda: read_wsdl_request(data),
        lambda: hide_servers.__wrapped__(hide_servers.__wrapped__(data)),
        refusals=(UnusableDescription, TrustError),
    )


_YAML: Final = b"""openapi: 3.0.3
info: {title: &t Rechnungen, version: '1'}
servers:
  - url: "https://back.test/base"
  - &s {url: http://other.test/x}
paths:
  /bills/{id}/{part}:
    parameters: [{name: id, in: path, required: true}, {$ref: '#/components/parameters/p'}]
    get: {operationId: one, responses: {'200': {description: *t}}}
    post: {<<: {operationId: two}, responses: {default: {description: x}}}
components: {parameters: {p: {name: part, in: path, required: true}}}
"""
_JSON: Final = (
    b'{"openapi":"3.1.0","info":{"title":"x","version":"1"},"servers":[{"url":"https://back.test/base"}],'
    b'"paths":{"/a":{"get":{"responses":{"200":{"$ref":"#/components/responses/r"}}}}},'
    b'"components":{"responses":{"r":{"description":"d"}}}}'
)
_YAML_TOKENS: Final = (
    b"!!int ",
    b"!!float ",
    b"!!bool ",
    b"!!timestamp ",
    b"!!binary ",
    b"!!null ",
    b"!!set ",
    b"!!omap ",
    b"!!python/none ",
    b'""',
    b"1:1:1",
    b"2001-12-14t21:59:43.10-05:00",
    b"<<: *t",
    b"&a",
    b"*a",
    b"? ",
    b"|\n",
    b"- ",
    b".inf",
    b"0x",
    b"[[",
    b"{{",
    b"$ref",
    b"#/paths",
)
_WSDL: Final = b"""<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:x="http://x-road.eu/xsd/xroad.xsd"><w:binding name="b"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>
<w:operation name="bills"><x:version>v1</x:version></w:operation></w:binding><w:service name="s">
<w:port binding="t:b" name="p"><s:address location="http://back.test/soap"/></w:port></w:service></w:definitions>"""


def _queries(data: bytes) -> None:
    each(lambda: parse_health_query(data), lambda: parse_find_usage(data), refusals=(TrustError, Fault))
    parse_operational_query(data)


def _query_seeds() -> Sequence[bytes]:
    search = (
        '<om:getSecurityServerOperationalData xmlns:om="http://x-road.eu/xsd/op-monitoring.xsd"><om:searchCriteria>'
        "<om:recordsFrom>1</om:recordsFrom><om:recordsTo>9</om:recordsTo></om:searchCriteria>"
        "<om:outputSpec><om:outputField>monitoringDataTs</om:outputField></om:outputSpec>"
        "</om:getSecurityServerOperationalData>"
    )
    usage = f'<p:findUsage xmlns:p="{FIND_USAGE}"><offset>1</offset><limit>9</limit></p:findUsage>'
    return soap_message(body=search), soap_message(body=usage), soap_message()


TARGETS: Final = (
    Target(
        "gateway.paths",
        _paths,
        lambda: [join(b"/bills/*/**", b"/bills/7/%C3%BC/./x/../y"), join(b"/\\*/*.json", b"/a//b")],
        (PathRefused,),
        (b"%2e%2e", b"%252e", b"/../", b"**", b"\\", b"*", b"//", b"%2f", b"%"),
    ),
    Target("gateway.descriptions", _descriptions, lambda: [_YAML, _JSON, _WSDL], (), _YAML_TOKENS),
    Target("gateway.openapi", parse_openapi, lambda: [_YAML, _JSON], (InvalidDescription,), _YAML_TOKENS),
    Target("gateway.wsdl", parse_wsdl, lambda: [_WSDL], (InvalidDescription,), XML_TOKENS),
    Target("gateway.monitoring", _queries, _query_seeds, (TrustError, Fault), XML_TOKENS),
)
