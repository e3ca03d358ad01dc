"""For each parser the inputs that cost it the most, of any size: what `test_worst_cases.py` measures."""

from __future__ import annotations

from collections.abc import Callable

from audit.checkpoint import parse_checkpoint
from audit.entry_bundles import parse_bundle
from audit.errors import AuditError
from audit.note import parse_note
from audit.policy import parse_policy
from audit.proofs import parse_leaf_proof
from audit.witness import parse_add_checkpoint
from gateway.admin.errors import InvalidDescription
from gateway.admin.openapi import glob_of, parse_openapi
from gateway.admin.wsdl import parse_wsdl
from gateway.messages.descriptions import UnusableDescription, hide_addresses, hide_servers
from gateway.messages.faults import Fault, parse_soap_fault
from gateway.messages.headers import parse_subjects
from gateway.messages.mime import charset_of, split_related
from gateway.messages.multipart import MalformedMultipart, media_type_and_boundary
from gateway.messages.paths import PathRefused, matches_glob, normalise_path
from gateway.messages.related_reader import RelatedReader
from gateway.messages.rest import RESTLimits, parse_request, parse_request_message
from gateway.messages.soap import Reading, parse_message
from tests.fuzz.material import town
from tests.fuzz.status_targets import certificate_seeds
from tests.trust import configurations
from tests.trust.factory import NOW
from tests.trust.zips import Entry, pack
from trust import xml
from trust.asic import Limits, read_archive, read_origin
from trust.ber import with_definite_lengths
from trust.errors import TrustError
from trust.globalconf_directory import verify_directory
from trust.globalconf_xml import parse_shared_parameters
from trust.hashchain import verify_hash_chain
from trust.identifiers import InvalidIdentifier, parse_client_id
from trust.ocsp import concerns
from trust.timestamp import imprint_of
from trust.xades import parse_signature

OWN = (
    *(TrustError, AuditError, Fault, InvalidIdentifier, InvalidDescription, UnusableDescription),
    *(MalformedMultipart, PathRefused, ValueError),
)
_WIDE = Limits(archive_bytes=16 << 20, entries=100_000, name_bytes=65_535)
_MANY = 1 << 20
_LONG = RESTLimits(max_target=1 << 24, max_headers=1 << 20, max_message=1 << 24)


def _xml(body: bytes, attributes: bytes = b"") -> bytes:
    return b"<a" + attributes + b">" + body + b"</a>"


def _numbered(pattern: bytes, count: int) -> bytes:
    return b"".join(pattern % number for number in range(count))


def _soap(header: bytes = b"", body: bytes = b"", attributes: bytes = b"") -> bytes:
    return (
        b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"' + attributes + b"><e:Header>" + header
        + b"</e:Header><e:Body>" + body + b"</e:Body></e:Envelope>"
    )  # fmt: skip


def _soaped(data: bytes) -> None:
    parse_message(data, "text/xml", Reading.CLIENT_REQUEST)


def _wide_soap(data: bytes) -> None:
    parse_message(b"\xff\xfe" + data.decode().encode("utf-16-le"), "text/xml", Reading.CLIENT_REQUEST)


def _directory(data: bytes) -> None:
    verify_directory(data, instance="X", certificates=configurations.anchor().certificates)


def _chain(data: bytes) -> None:
    verify_hash_chain(_RESULT, data, {}, allow_missing=True)


_HC = b'xmlns="http://www.etsi.org/uri/TS102918/hash-chain"'
_RESULT = b""


def _bytewise(reader: RelatedReader, data: bytes, step: int = 7) -> None:
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.close()


def _signature(middle: bytes) -> bytes:
    document = town().world.sign()
    return document.replace(b"<ds:SignedInfo>", b"<ds:SignedInfo>" + middle, 1)


def _members(count: int) -> bytes:
    one = (
        b'<member id="m%d"><memberClass><code>GOV</code><description>d</description></memberClass><memberCode>%d'
        b'</memberCode><name>n</name><subsystem id="s%d"><subsystemCode>s</subsystemCode></subsystem></member>'
    )
    return _conf(b"".join(one % (number, number, number) for number in range(count)))


def _conf(body: bytes) -> bytes:
    return (
        b'<x:conf xmlns:x="http://x-road.eu/xsd/xroad.xsd"><instanceIdentifier>X</instanceIdentifier>' + body
        + b"<globalSettings><ocspFreshnessSeconds>60</ocspFreshnessSeconds></globalSettings></x:conf>"
    )  # fmt: skip


def _subsystems(count: int) -> bytes:
    start = b"<member id='m'><memberClass><code>GOV</code></memberClass><memberCode>m</memberCode><name>n</name>"
    part = b'<subsystem id="s%d"><subsystemCode>%d</subsystemCode></subsystem>'
    return _conf(start + b"".join(part % (number, number) for number in range(count)) + b"</member>")


def _servers_clients(count: int) -> bytes:
    start = (
        b"<member id='m'><memberClass><code>GOV</code></memberClass><memberCode>m</memberCode><name>n</name></member>"
        b"<securityServer><owner>m</owner><serverCode>s</serverCode>"
    )
    return _conf(start + b"<client>m</client>" * count + b"</securityServer>")


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    octets = length.to_bytes((length.bit_length() + 7) // 8 or 1)
    head = bytes((length,)) if length < 0x80 else bytes((0x80 | len(octets),)) + octets
    return bytes((tag,)) + head + content


def _merges(count: int) -> bytes:
    """Each mapping merges the one before twice."""
    lines = [b"a0: &a0 {x: 1}", *(b"a%d: &a%d {<<: [*a%d, *a%d]}" % (n, n, n - 1, n - 1) for n in range(1, count))]
    return b"\n".join(lines)


def _operations(count: int) -> bytes:
    return b'{"openapi":"3.0.0","info":{"title":"x","version":"1"},"paths":{%b}}' % b",".join(
        b'"/p%d":{"get":{"responses":{"200":{"$ref":"#/paths/~1p%d/get"}}}}' % (number, number)
        for number in range(count)
    )


def _concerns(data: bytes) -> None:
    world = town().world
    concerns(data, certificate=world.holder.certificate, issuer=world.authority.certificate)


def _certificates(data: bytes) -> None:
    town().world.verifier().status_queries(data, at=NOW)


Make = Callable[[int], bytes]
CASES: dict[str, tuple[Callable[[bytes], object], Make]] = {
    "xml: deep": (xml.parse, lambda n: b"<a>" * n + b"</a>" * n),
    "xml: elements": (xml.parse, lambda n: _xml(b"<b/>" * n)),
    "xml: attributes": (xml.parse, lambda n: _xml(b"", _numbered(b' a%d=""', n))),
    "xml: namespaces": (xml.parse, lambda n: _xml(b"<b/>", _numbered(b' xmlns:n%d="u"', n))),
    "xml: namespaces, used": (
        xml.parse,
        lambda n: _xml(_numbered(b"<n%d:b/>", min(n, 9000)), _numbered(b' xmlns:n%d="u"', n)),
    ),
    "xml: namespaces at each depth": (xml.parse, lambda n: _xml(_numbered(b'<b xmlns:n%d="u">', n) + b"</b>" * n)),
    "xml: comments before the root": (xml.parse, lambda n: b"<!---->" * n + b"<a/>"),
    "xml: blanks and comments before the root": (xml.parse, lambda n: b" <!---->" * n + b"<a/>"),
    "xml: an instruction without an end": (xml.parse, lambda n: b"<?x" * n),
    "xml: declarations": (xml.parse, lambda n: b"<?xml " + b"encoding " * n + b"<a/>"),
    "xml: text": (xml.parse, lambda n: _xml(b"&#38;" * n)),
    "xml: an attribute": (xml.parse, lambda n: _xml(b"", b' a="' + b"&lt;" * n + b'"')),
    "xml: sections": (xml.parse, lambda n: _xml(b"<![CDATA[x]]>" * n)),
    "signature: blanks": (parse_signature, lambda n: _signature(b" " * n)),
    "signature: references": (
        parse_signature,
        lambda n: _signature(b'<ds:Reference URI="/a"><ds:DigestMethod Algorithm="x"/></ds:Reference>' * n),
    ),
    "signature: identifiers": (parse_signature, lambda n: _signature(_numbered(b'<ds:a Id="i%d"/>', n))),
    "signature: a large certificate": (
        parse_signature,
        lambda n: town().world.sign().replace(b"<ds:X509Certificate>", b"<ds:X509Certificate>" + b"QUJD\n" * n),
    ),
    "signature: almost ours": (parse_signature, lambda n: town().world.sign()[:-1] + b"\n" * n),
    "hash chain: steps": (
        _chain,
        lambda n: b"<HashChain %b>%b</HashChain>" % (_HC, _numbered(b'<HashStep id="s%d"/>', n)),
    ),
    "archive: entries": (
        lambda data: read_archive(data, _WIDE),
        lambda n: pack([Entry(str(number), b"") for number in range(min(n, 20_000))]),
    ),
    "archive: ends": (
        lambda data: read_archive(data, _WIDE),
        lambda n: pack([Entry("a", b"")], comment=b"PK\5\6" * min(n, 16_000)),
    ),
    "archive: extra fields": (
        lambda data: read_archive(data, _WIDE),
        lambda n: pack([Entry("a", b"", central={"extra": b"xx\0\0" * min(n, 16_000)})]),
    ),
    "archive: zeros": (lambda data: read_archive(data, Limits()), lambda n: pack([Entry("a", bytes(64 * n))])),
    "origin: headers": (read_origin, lambda n: b"GET\r\n/x\r\n" + b"x-road-a:b\r\n" * n),
    "origin: elements": (read_origin, lambda n: _soap(b"<a/>" * n)),
    "origin: comments before the root": (read_origin, lambda n: b"<!---->" * n + b"<a/>"),
    "ber: values": (with_definite_lengths, lambda n: b"\x30\x80" + b"\5\0" * n + b"\0\0"),
    "ber: segments": (with_definite_lengths, lambda n: b"\x24\x80" + b"\4\1a" * n + b"\0\0"),
    "ber: depth": (with_definite_lengths, lambda n: b"\x30\x80" * n + b"\0\0" * n),
    "ber: depth, then values": (with_definite_lengths, lambda n: b"\x30\x80" * 16 + b"\4\1a" * n + b"\0\0" * 16),
    "time-stamp: values": (imprint_of, lambda n: b"\x30\x80" + b"\5\0" * n + b"\0\0"),
    "ocsp: values": (_concerns, lambda n: _der(0x30, b"\x0a\1\0" + _der(0xA0, _der(0x30, b"\5\0" * n)))),
    "shared parameters: members": (parse_shared_parameters, _members),
    "shared parameters: subsystems": (parse_shared_parameters, _subsystems),
    "shared parameters: clients": (parse_shared_parameters, _servers_clients),
    "directory: headers": (_directory, lambda n: _numbered(b"h%d: x\r\n", n) + b"\r\n--b"),
    "directory: folds": (_directory, lambda n: b"h: x" + b"\r\n x" * n + b"\r\n\r\n"),
    "directory: parameters": (
        _directory,
        lambda n: _signed_with(b'; hash-algorithm-id="x"' + b"".join(b";%b=x" % _word(k) for k in range(n))),
    ),
    "directory: blanks": (_directory, lambda n: _signed_with(b";" + b" " * n)),
    "directory: delimiters": (
        _directory,
        lambda n: b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\n" + b"\r\n--b  x" * n,
    ),
    "identifier": (lambda data: parse_client_id(data.decode()), lambda n: b"a/" + b"%41" * n),
    "rest: headers": (
        lambda data: parse_request("GET", "/r1/a/b/c/d/e", [(line, "x") for line in data.decode().split()], _LONG),
        lambda n: _numbered(b"h%d ", n),
    ),
    "rest: a header": (
        lambda data: parse_request("GET", "/r1/a/b/c/d/e", [("h", data.decode())], _LONG),
        lambda n: b"a \t" * n,
    ),
    "rest: a path": (
        lambda data: parse_request("GET", data.decode(), [("X-Road-Client", "a/b/c")], _LONG),
        lambda n: b"/r1/a/b/c/d/e/" + b"x/" * n,
    ),
    "rest: a message": (
        lambda data: parse_request_message(data, _LONG),
        lambda n: b"GET\r\n/r1/a/b/c/d/e\r\n" + _numbered(b"h%d:x\r\n", n),
    ),
    "subjects": (lambda data: parse_subjects(data.decode()), lambda n: _numbered(b"s%d,", n)),
    "content type": (lambda data: charset_of(data.decode()), lambda n: b"text/xml" + b"; charset" * n),
    "content type: blanks": (lambda data: charset_of(data.decode()), lambda n: b"text/xml;" + b" " * n),
    "content type: quotes": (lambda data: charset_of(data.decode()), lambda n: b"text/xml" + b";charset='" * n),
    "content type: parameters": (lambda data: media_type_and_boundary(data.decode()), lambda n: b"a/b" + b";b=c" * n),
    "multipart: parts": (
        lambda data: split_related(data, "b", _MANY),
        lambda n: b"--b\r\n\r\n" + b"\r\n--b\r\n\r\n" * n + b"\r\n--b--",
    ),
    "multipart: parts, piece by piece": (
        lambda data: _bytewise(RelatedReader("b", _MANY), data),
        lambda n: b"--b\r\n\r\n" + b"\r\n--b\r\n\r\n" * n + b"\r\n--b--",
    ),
    "multipart: parts at once": (
        lambda data: _bytewise(RelatedReader("b", _MANY), data, 1 << 22),
        lambda n: b"--b\r\n\r\n" + b"\r\n--b\r\n\r\n" * n + b"\r\n--b--",
    ),
    "multipart: headers": (
        lambda data: split_related(data, "b", _MANY),
        lambda n: b"--b\r\n" + _numbered(b"h%d:x\r\n", n) + b"\r\n\r\n--b--",
    ),
    "multipart: a header, piece by piece": (
        lambda data: _bytewise(RelatedReader("b"), data),
        lambda n: b"--b\r\nh:" + b"x" * n,
    ),
    "multipart: almost delimiters": (
        lambda data: _bytewise(RelatedReader("b" * 70, _MANY), data),
        lambda n: b"--" + b"b" * 70 + b"\r\n\r\n" + b"\r\n--bbbb" * n,
    ),
    "attachments: almost delimiters": (
        lambda data: split_related(data, "b"),
        lambda n: b"--b\r\n\r\n" + b"\n--b  x" * n,
    ),
    "attachments: blanks after a delimiter": (
        lambda data: split_related(data, "b"),
        lambda n: b"--b\r\n\r\n\n--b" + b" " * n + b"x",
    ),
    "attachments: folds": (
        lambda data: split_related(data, "b"),
        lambda n: b"--b\r\nh: x" + b"\r\n x" * n + b"\r\n\r\n\r\n--b--",
    ),
    "attachments: almost delimiters, piece by piece": (
        lambda data: _bytewise(RelatedReader("b"), data),
        lambda n: b"--b\r\n\r\n" + b"\n--b  x" * n,
    ),
    "attachments: almost delimiters at once": (
        lambda data: _bytewise(RelatedReader("b"), data, 1 << 22),
        lambda n: b"--b\r\n\r\n" + b"\n--b  x" * n,
    ),
    "attachments: a preamble, piece by piece": (
        lambda data: _bytewise(RelatedReader("b"), data),
        lambda n: b"x\r\n" * n,
    ),
    "attachments: delimiters within a line at once": (
        lambda data: _bytewise(RelatedReader("b"), data, 1 << 22),
        lambda n: b"--b\r\n\r\n" + b"x--b" * n,
    ),
    "soap: deep": (_soaped, lambda n: _soap(b"", b"<a>" * n + b"</a>" * n)),
    "soap: elements": (_soaped, lambda n: _soap(b"", b"<a>" + b"<b/>" * n + b"</a>")),
    "soap: header entries": (_soaped, lambda n: _soap(b"<a/>" * n)),
    "soap: within a header entry": (_soaped, lambda n: _soap(b"<a>" + b"<b/>" * n + b"</a>")),
    "soap: an entry's text": (_soaped, lambda n: _soap(b"<a>" + b"&#38;" * n + b"</a>")),
    "soap: attributes": (_soaped, lambda n: _soap(b"", b"<a" + _numbered(b' a%d=""', n) + b"/>")),
    "soap: namespaces": (_soaped, lambda n: _soap(b"", b"<a/>", _numbered(b' xmlns:n%d="u"', n))),
    "soap: namespaces, used": (
        _soaped,
        lambda n: _soap(b"", b"<a>" + _numbered(b"<n%d:b/>", n) + b"</a>", _numbered(b' xmlns:n%d="u"', n)),
    ),
    "soap: namespaces, again and again": (
        _soaped,
        lambda n: _soap(b"", b"<a>" + b'<b xmlns:c="u" xmlns:d="v"/>' * n + b"</a>"),
    ),
    "soap: end tags of blanks": (_soaped, lambda n: _soap(b"<a></a" + b" " * n + b">")),
    "soap: end tags of blanks, in UTF-16": (_wide_soap, lambda n: _soap(b"<a></a" + b" " * n + b">")),
    "soap: entries, in UTF-16": (_wide_soap, lambda n: _soap(b"<a/>" * 100 + b"<a>" + b"<b/>" * n + b"</a>")),
    "soap: comments": (_soaped, lambda n: b"<!---->" * n + _soap()),
    "fault: text": (
        parse_soap_fault,
        lambda n: _soap(b"", b"<e:Fault><faultstring>" + b"&#38;" * n + b"</faultstring></e:Fault>"),
    ),
    "path: segments": (lambda data: normalise_path(data.decode()), lambda n: b"/a/.." * n),
    "path: slashes": (lambda data: normalise_path(data.decode()), lambda n: b"a" + b"/" * n + b"a"),
    "path: escapes": (lambda data: normalise_path(data.decode()), lambda n: b"/%41" * n),
    "path: a glob": (lambda data: matches_glob("/" + "**/a*" * 50, data.decode()), lambda n: b"/a" * n),
    "template: braces": (lambda data: glob_of(data.decode()), lambda n: b"/" + b"{" * n),
    "template: pairs": (lambda data: glob_of(data.decode()), lambda n: b"/" + b"{}" * n + b"{"),
    "openapi: operations": (parse_openapi, _operations),
    "openapi: merges": (parse_openapi, _merges),
    "openapi: a number in base sixty": (parse_openapi, lambda n: b"a: 1" + b":1" * n),
    "openapi: a number": (parse_openapi, lambda n: b"a: " + b"1" * n),
    "openapi: anchors": (
        parse_openapi,
        lambda n: _numbered(b"a%d: &a%d x\n".replace(b"%d", b"%%d", 1).replace(b"%%d", b"k"), n),
    ),
    "openapi: braces": (
        parse_openapi,
        lambda n: (
            b'{"openapi":"3.0.0","info":{"title":"x","version":"1"},"paths":{"/%b":{"get":{"responses":{"200":{"description":"x"}}}}}}'
            % (b"{" * n)
        ),
    ),
    "openapi: brackets": (parse_openapi, lambda n: b"[" * n),
    "openapi: parameters": (
        parse_openapi,
        lambda n: (
            b'{"openapi":"3.0.0","info":{"title":"x","version":"1"},"paths":{"/":{"parameters":[%b1]}}}'
            % (b'{"x":1},' * n)
        ),
    ),
    "servers": (hide_servers.__wrapped__, lambda n: b"servers:\n" + b"- {url: http://a/b}\n" * n),
    "servers, in JSON": (hide_servers.__wrapped__, lambda n: b'{"servers":[' + b'{"url":"http://a/b"},' * n + b"1]}"),
    "wsdl: addresses": (
        hide_addresses.__wrapped__,
        lambda n: _xml(b'<s:address xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" location="x"/>' * n),
    ),
    "wsdl: bindings": (
        parse_wsdl,
        lambda n: (
            b'<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/">' + b"<w:binding/>" * n + b"</w:definitions>"
        ),
    ),
    "note: signatures": (parse_note, lambda n: b"x\n\n" + b"\xe2\x80\x94 x QUJDREVG\n" * n),
    "note: lines": (parse_note, lambda n: b"x\n" * n),
    "checkpoint: lines": (
        lambda data: parse_checkpoint(data.decode()),
        lambda n: b"x\n1\n" + b"A" * 43 + b"=\n" + b"x\n" * n,
    ),
    "policy: lines": (lambda data: parse_policy(data.decode()), lambda n: _numbered(b"group g%d any x\n", n)),
    "policy: members": (lambda data: parse_policy(data.decode()), lambda n: b"group g any " + b"x " * n),
    "leaf proof: hashes": (
        parse_leaf_proof,
        lambda n: b"c2sp.org/tlog-proof@v1\nindex 1\n" + (b"A" * 43 + b"=\n") * n + b"x",
    ),
    "add-checkpoint: hashes": (parse_add_checkpoint, lambda n: b"old 1\n" + (b"A" * 43 + b"=\n") * n + b"x"),
    "entry bundle: empty entries": (lambda data: parse_bundle(data, 256), lambda n: bytes(2 * n)),
    "certificate: garbage": (_certificates, lambda n: certificate_seeds()[1] + bytes(n)),
}


def _word(number: int) -> bytes:
    """A parameter's name of letters."""
    return bytes(97 + int(digit) for digit in str(number))


def _signed_with(parameters: bytes) -> bytes:
    """A directory whose signature's header has these parameters; they are read before the signature is verified."""
    document = configurations.signed().directory
    line = b'; hash-algorithm-id="http://www.w3.org/2001/04/xmlenc#sha512"'
    assert line in document
    return document.replace(line, parameters, 1)
