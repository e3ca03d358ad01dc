"""The signed directory: which files make up a configuration, their digests, until when, signed by whom.

Follows PR-GCONF 2.12 section 2.3: `multipart/related` of two parts, a `multipart/mixed` directory and a signature over
its bytes from the first inner boundary to the last. The headers of the outer message stand in the body itself. Reading
here is strict where a signature could otherwise cover something else than what is read: the inner message is read from
the very bytes that were verified, headers occur once, nothing stands outside the boundaries.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from trust.errors import ConfigurationExpired, ConfigurationInvalid, SignatureInvalid, SignatureMalformed
from trust.globalconf_elements import decode_base64, encode_base64
from trust.keys import SignatureAlgorithm, SigningKey, require_strong, verify_value

SHARED_PARAMETERS: Final = "SHARED-PARAMETERS"
PRIVATE_PARAMETERS: Final = "PRIVATE-PARAMETERS"

MAX_DIRECTORY_BYTES: Final = 256 << 10
_MAX_PARTS: Final = 32
_SHA512: Final = "http://www.w3.org/2001/04/xmlenc#sha512"
# SHA-1, which the old versions allow, is left out on purpose.
_DIGESTS: Final = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    _SHA512: "sha512",
}
_BOUNDARY: Final = re.compile(r"""boundary=("?)([0-9A-Za-z'()+_,./:=?-]{1,70})\1(?:;|\s|$)""", re.IGNORECASE)
_PARAMETER: Final = re.compile(r""";\s*([A-Za-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^"';\s]+))\s*(?=;|$)""")
_FOLD: Final = re.compile(r"\r?\n[ \t]+")
_GENERATION: Final = re.compile(r"^/V\d{1,2}/(\d{14,29})/[^/]+$")

_UNNAMED_VERSION: Final = 2
_NOT_A_DIRECTORY: Final = "global_conf_parsing_downloaded_conf_directory_failure"
_NO_EXPIRY: Final = "global_conf_missing_signed_data_expiration_date"
_FIELD_MISSING: Final = "global_conf_header_field_missing"
_FIELD_WRONG: Final = "global_conf_header_field_wrong_value"
_PARAMETER_MISSING: Final = "global_conf_header_field_missing_parameter"


@dataclass(frozen=True, slots=True)
class DirectoryPart:
    """One file of a configuration, as its directory names it."""

    identifier: str
    instance: str
    location: str
    digest_name: str
    digest: bytes
    file_name: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedDirectory:
    """A directory whose signature holds. `sequence` is the time stamp in its locations, if they have one."""

    expires: datetime
    version: int
    parts: tuple[DirectoryPart, ...]
    sequence: int | None
    document: bytes

    @property
    def digests(self) -> frozenset[tuple[str, str, bytes]]:
        """What the files are, wherever they stand: two directories with the same say the same."""
        return frozenset((part.identifier, part.digest_name, part.digest) for part in self.parts)

    def part(self, identifier: str) -> DirectoryPart | None:
        """The file with that content identifier."""
        return next((part for part in self.parts if part.identifier == identifier), None)

    def require_current(self, at: datetime) -> None:
        """Raises ConfigurationExpired at or after the expiry date."""
        if at >= self.expires:
            raise ConfigurationExpired("the global configuration has expired", hint="reach its source again")


# Building


def build_directory(
    files: Sequence[tuple[str, str, bytes]],
    *,
    instance: str,
    version: int,
    expires: datetime,
    boundary: str,
) -> bytes:
    """The bytes to be signed: `files` are (content identifier, location, bytes)."""
    parts = [f"Expire-date: {expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}\r\nVersion: {version}\r\n"]
    quoted = f'"{instance}"' if "'" in instance else f"'{instance}'"
    for identifier, location, data in files:
        headers = (
            "Content-type: application/octet-stream",
            "Content-transfer-encoding: base64",
            f"Content-identifier: {identifier}; instance={quoted}",
            f"Content-location: {location}",
            f"Hash-algorithm-id: {_SHA512}",
        )
        digest = encode_base64(hashlib.sha512(data).digest())
        parts.append("".join(f"{header}\r\n" for header in headers) + f"\r\n{digest}")
    return _multipart(parts, boundary).encode()


def sign_directory(directory: bytes, key: SigningKey, *, boundary: str, envelope_boundary: str) -> bytes:
    """The message that a source publishes: the directory (built with `boundary`) and its signature.

    Raises KeyUnavailable.
    """
    certificate_hash = encode_base64(hashlib.sha512(key.certificate_der).digest())
    inner = f"Content-Type: multipart/mixed; charset=UTF-8; boundary={boundary}\r\n\r\n{directory.decode()}"
    headers = (
        "Content-Type: application/octet-stream",
        "Content-Transfer-Encoding: base64",
        f"Signature-Algorithm-Id: {key.algorithm.uri}",
        f'Verification-certificate-hash: {certificate_hash}; hash-algorithm-id="{_SHA512}"',
    )
    signature = encode_base64(_detached_signature(key, directory))
    signed = "".join(f"{header}\r\n" for header in headers) + f"\r\n{signature}"
    envelope = _multipart((inner, signed), envelope_boundary)
    return f"Content-Type: multipart/related; charset=UTF-8; boundary={envelope_boundary}\r\n\r\n{envelope}".encode()


def _detached_signature(key: SigningKey, data: bytes) -> bytes:
    """The signature as these files carry it: ECDSA in DER, where XML signatures have r || s."""
    value = key.sign(data)
    if not key.algorithm.is_elliptic:
        return value
    half = len(value) // 2
    return encode_dss_signature(int.from_bytes(value[:half]), int.from_bytes(value[half:]))


def _multipart(parts: Iterable[str], boundary: str) -> str:
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"


# Verifying


def verify_directory(document: bytes, *, instance: str, certificates: Sequence[bytes]) -> VerifiedDirectory:
    """The directory in `document`, once its signature is found to be by one of `certificates` (DER).

    Its expiry is the caller's to check (`require_current`). Raises ConfigurationInvalid with X-Road's code for what is
    wrong.
    """
    if len(document) > MAX_DIRECTORY_BYTES:
        raise ConfigurationInvalid("the directory is too large", code=_NOT_A_DIRECTORY)
    # 1. Two parts, signed data and signature (PR-GCONF 2.3).
    headers, body = _split_headers(document)
    parts = _split_multipart(body, _boundary(headers, "multipart/related"))
    if len(parts) != 2:
        # X-Road's client reads a directory when it has met its signature: without one it knows of no expiry date.
        code = _NO_EXPIRY if len(parts) == 1 else "global_conf_missing_signed_data"
        raise ConfigurationInvalid("a signed directory has two parts", code=code)
    directory_headers, directory = _split_headers(parts[0])
    signature_headers, signature = _split_headers(parts[1])
    # 2. The signature, over the inner message's bytes as received.
    _verify_signature(signature_headers, signature, directory, certificates)
    # 3. Only now is the inner message read, from the bytes just verified.
    inner = _split_multipart(directory, _boundary(directory_headers, "multipart/mixed"))
    if not inner:
        raise ConfigurationInvalid("the directory is empty", code=_NO_EXPIRY)
    head, rest = _split_headers(inner[0])
    expires = _expires(head)
    if rest.strip():
        raise ConfigurationInvalid("the first part has content", code=_NOT_A_DIRECTORY)
    found = tuple(_part(*_split_headers(part)) for part in inner[1:])
    _require_unambiguous(found, instance)
    return VerifiedDirectory(expires, _version(head), found, _sequence(found), document)


def verify_file(part: DirectoryPart, data: bytes) -> bytes:
    """`data`, when it is the file that the directory names. Raises ConfigurationInvalid."""
    if hashlib.new(part.digest_name, data).digest() != part.digest:
        raise ConfigurationInvalid(
            "a file differs from its directory", code="global_conf_part_downloaded_file_integrity_failure"
        )
    return data


def _verify_signature(headers: Mapping[str, str], encoded: bytes, data: bytes, certificates: Sequence[bytes]) -> None:
    _require(headers, "content-type", "application/octet-stream")
    _require(headers, "content-transfer-encoding", "base64")
    algorithm_uri = _require(headers, "signature-algorithm-id")
    try:
        algorithm = SignatureAlgorithm(algorithm_uri)
    except ValueError:
        raise ConfigurationInvalid("unsupported signature algorithm", code=_FIELD_WRONG) from None
    hash_field, parameters = _parameters(_require(headers, "verification-certificate-hash"))
    if not parameters.get("hash-algorithm-id"):
        raise ConfigurationInvalid("the certificate hash names no algorithm", code=_PARAMETER_MISSING)
    digest_name = _digest_name(parameters["hash-algorithm-id"])
    wanted = decode_base64(hash_field)
    certificate = next((der for der in certificates if hashlib.new(digest_name, der).digest() == wanted), None)
    if certificate is None:
        raise ConfigurationInvalid(
            "signed with a certificate that the anchor does not name",
            code="global_conf_missing_verification_cert",
            hint="the instance may have changed its key: obtain its current anchor",
        )
    try:
        signature = decode_base64(encoded.decode("ascii"))
    except (UnicodeDecodeError, ConfigurationInvalid):
        raise ConfigurationInvalid("no base64 signature", code="global_conf_signature_decode_failure") from None
    # As with X-Road the certificate only carries the key: the anchor vouches for it, its validity dates do not count.
    try:
        key = require_strong(x509.load_der_x509_certificate(certificate).public_key())
        if algorithm.is_elliptic and isinstance(key, ec.EllipticCurvePublicKey):
            size = (key.curve.key_size + 7) // 8
            r, s = decode_dss_signature(signature)
            signature = r.to_bytes(size) + s.to_bytes(size)
        verify_value(algorithm, key, signature, data)
    # ValueError and OverflowError: not a DER signature, or of numbers that no such key makes.
    except (SignatureInvalid, SignatureMalformed, UnsupportedAlgorithm, ValueError, OverflowError):
        raise ConfigurationInvalid(
            "the directory's signature does not hold", code="global_conf_signature_verification_failure"
        ) from None


def _part(headers: Mapping[str, str], body: bytes) -> DirectoryPart:
    _require(headers, "content-type", "application/octet-stream")
    _require(headers, "content-transfer-encoding", "base64")
    identifier, parameters = _parameters(headers.get("content-identifier", ""))
    instance = parameters.get("instance", "")
    if identifier in (SHARED_PARAMETERS, PRIVATE_PARAMETERS) and not instance:
        raise ConfigurationInvalid("a content identifier names no instance", code=_PARAMETER_MISSING)
    digest_name = _digest_name(_require(headers, "hash-algorithm-id"))
    try:
        digest = decode_base64(body.decode("ascii"))
    except UnicodeDecodeError:
        raise ConfigurationInvalid("a digest is not base64") from None
    location = _require(headers, "content-location")
    return DirectoryPart(identifier, instance, location, digest_name, digest, headers.get("content-file-name"))


def _require_unambiguous(parts: Sequence[DirectoryPart], instance: str) -> None:
    identifiers = [part.identifier for part in parts if part.identifier]
    locations = [part.location for part in parts]
    if len(set(identifiers)) != len(identifiers) or len(set(locations)) != len(locations):
        raise ConfigurationInvalid("the directory lists a file twice", code=_NOT_A_DIRECTORY)
    # A source can only speak for its own instance, whoever else's files its key may have signed.
    if any(part.instance not in ("", instance) for part in parts):
        raise ConfigurationInvalid(
            "the directory is of another instance", code="global_conf_part_invalid_instance_identifier"
        )
    if SHARED_PARAMETERS not in identifiers:
        raise ConfigurationInvalid("the directory has no shared parameters", code=_NOT_A_DIRECTORY)


def _sequence(parts: Sequence[DirectoryPart]) -> int | None:
    shared = next(part for part in parts if part.identifier == SHARED_PARAMETERS)
    generation = _GENERATION.match(shared.location)
    # Time stamps have 14 digits (seconds) and up to 15 more for the fraction: comparable once they are equally long.
    return None if generation is None else int(generation[1].ljust(29, "0"))


def _expires(headers: Mapping[str, str]) -> datetime:
    text = _require(headers, "expire-date")
    try:
        expires = datetime.fromisoformat(text)
        if expires.tzinfo is None:
            raise ConfigurationInvalid("the expiry date has no time zone", code=_FIELD_WRONG)
        return expires.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigurationInvalid("the expiry date is not a date", code=_FIELD_WRONG) from None


def _version(headers: Mapping[str, str]) -> int:
    # PR-GCONF 2.4: the header SHOULD be there; sources that know of one version only leave it out.
    text = headers.get("version") or str(_UNNAMED_VERSION)
    if not re.fullmatch(r"[1-9]\d?", text, re.ASCII):
        raise ConfigurationInvalid("the version is not a number", code=_FIELD_WRONG)
    return int(text)


def _digest_name(uri: str) -> str:
    name = _DIGESTS.get(uri)
    if name is None:
        raise ConfigurationInvalid("unsupported digest algorithm", code=_FIELD_WRONG)
    return name


# The multipart form


def _split_headers(data: bytes) -> tuple[dict[str, str], bytes]:
    """Header fields (names in lower case) and what follows the empty line."""
    # A part may end with its headers; the first empty line ends them otherwise. Both line ends are met.
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        head, separator, body = data.partition(b"\n\n")
    headers: dict[str, str] = {}
    try:
        # RFC 5322 2.2.3: a line that begins with white space continues the one before (the specification's example).
        lines = _FOLD.sub(" ", head.decode("utf-8").rstrip("\r\n")).split("\n")
    except UnicodeDecodeError:
        raise ConfigurationInvalid("a header is not UTF-8", code=_NOT_A_DIRECTORY) from None
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name or name in headers:
            raise ConfigurationInvalid("a header is malformed or given twice", code=_NOT_A_DIRECTORY)
        headers[name] = value.strip()
    return headers, body


def _split_multipart(body: bytes, boundary: bytes) -> list[bytes]:
    """The parts between the boundaries; nothing may stand before the first or after the last.

    The last boundary may be missing, as in configurations that X-Road reads: the signature is over what is there.
    """
    delimiter = re.compile(rb"(?:\r?\n|\A)--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    parts: list[bytes] = []
    # A delimiter's line end also begins the next delimiter of an empty part: find each with the line end before it.
    match = delimiter.match(body)
    while match is not None and match[1] is None:
        start = match.end()
        match = delimiter.search(body, max(start - 1, 0))
        if len(parts) == _MAX_PARTS:
            break
        parts.append(body[start:] if match is None else body[start : max(match.start(), start)])
        if match is None:
            return parts
    if match is None or match[1] is None or body[match.end() :].strip():
        raise ConfigurationInvalid("the multipart message is malformed", code=_NOT_A_DIRECTORY)
    return parts


def _boundary(headers: Mapping[str, str], content_type: str) -> bytes:
    value = headers.get("content-type", "")
    found = _BOUNDARY.search(value)
    if value.partition(";")[0].strip().lower() != content_type or found is None:
        raise ConfigurationInvalid(f"the content type is not {content_type}", code=_NOT_A_DIRECTORY)
    return found[2].encode()


def _parameters(value: str) -> tuple[str, dict[str, str]]:
    """`text; name="value"` as text and parameters. X-Road writes single quotes, the specification double ones."""
    text = value.partition(";")[0]
    parameters: dict[str, str] = {}
    position = len(text)
    while position < len(value):
        match = _PARAMETER.match(value, position)
        if match is None or match[1].lower() in parameters:
            raise ConfigurationInvalid("a header's parameters are malformed", code=_NOT_A_DIRECTORY)
        parameters[match[1].lower()] = match[2] or match[3] or match[4] or ""
        position = match.end()
    return text.strip(), parameters


def _require(headers: Mapping[str, str], name: str, value: str | None = None) -> str:
    found = headers.get(name, "")
    if not found:
        raise ConfigurationInvalid(f"header {name} is missing", code=_FIELD_MISSING)
    if value is not None and found != value:
        raise ConfigurationInvalid(f"header {name} has another value", code=_FIELD_WRONG)
    return found
