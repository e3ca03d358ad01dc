"""Writing a container, the same bytes for the same message.

Follows ETSI EN 319 162-1 annex A and UG-SIGDOC: `mimetype` first and stored, the archive's comment, X-Road's names and
order, the OpenDocument manifest (version 1.2), and ASiCManifest.xml in X-Road's namespace when a time-stamp lies beside
the signature. The dates are the caller's, so that nothing depends on the machine's clock.
"""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from typing import Final

from trust.asic import model
from trust.asic.model import COMMENT, MAX_ATTACHMENTS, MIME_TYPE, Container
from trust.canonical import DigestAlgorithm, encode_base64, escape_attribute
from trust.errors import ContainerInvalid

# The first moment that a ZIP archive can name.
_EPOCH: Final = datetime(1980, 1, 1, tzinfo=UTC)
_LAST_YEAR: Final = 2107
_XML: Final = "text/xml"
_BINARY: Final = "application/octet-stream"
_TOKEN: Final = "vnd.etsi.timestamp-token"  # noqa: S105 - a media type, as X-Road spells it
# A file that its owner alone may read.
_MODE: Final = 0o600 << 16
_LEVEL: Final = 6


def write_container(container: Container, *, time: datetime = _EPOCH) -> bytes:
    """The container as an ASiC-E file; its entries carry `time` (UTC, whole even seconds).

    The manifests are made anew; `container`'s extras and its own manifest are left out. Raises ContainerInvalid when a
    file is missing that another needs.
    """
    files = _files(container)
    moment = time.astimezone(UTC)
    if not _EPOCH.year <= moment.year <= _LAST_YEAR:
        moment = _EPOCH
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = COMMENT.encode()
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, moment.timetuple()[:6])
            entry.create_system = 3
            entry.external_attr = _MODE
            entry.compress_type = zipfile.ZIP_STORED if name == model.MIMETYPE_FILE else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=_LEVEL)
    return buffer.getvalue()


def build_manifest(files: list[tuple[str, str]]) -> bytes:
    """META-INF/manifest.xml over the given names and media types (OpenDocument 1.2 part 3)."""
    entries = "".join(
        f'    <manifest:file-entry manifest:media-type="{media_type}" manifest:full-path="{escape_attribute(name)}"/>\n'
        for name, media_type in (("/", MIME_TYPE), *files)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
        ' manifest:version="1.2">\n'
        f"{entries}</manifest:manifest>\n"
    ).encode()


def build_asic_manifest(timestamp_hash_chain_result: bytes) -> bytes:
    """META-INF/ASiCManifest.xml: the time-stamp token is over this hash chain result."""
    digest = encode_base64(DigestAlgorithm.SHA512.digest(timestamp_hash_chain_result)).decode()
    # X-Road's namespace lacks a zero that ETSI's has; its verifier reads what its writer writes.
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<asic:ASiCManifest xmlns:asic="http://uri.etsi.org/2918/v1.2.1#"'
        ' xmlns:ds="http://www.w3.org/2000/09/xmldsig#">\n'
        f'    <asic:SigReference URI="{model.TIMESTAMP}" MimeType="{_TOKEN}"/>\n'
        f'    <asic:DataObjectReference URI="{model.TIMESTAMP_CHAIN_RESULT}" MimeType="{_XML}">\n'
        f'        <ds:DigestMethod Algorithm="{DigestAlgorithm.SHA512.value}"/>\n'
        f"        <ds:DigestValue>{digest}</ds:DigestValue>\n"
        "    </asic:DataObjectReference>\n"
        "</asic:ASiCManifest>\n"
    ).encode()


def _files(container: Container) -> dict[str, bytes]:
    """The container's files in X-Road's order."""
    _require_complete(container)
    signature_chain, timestamp_chain = (
        {name: content for name, content in pair if content}
        for pair in (
            (
                (model.SIGNATURE_CHAIN_RESULT, container.signature_hash_chain_result),
                (model.SIGNATURE_CHAIN, container.signature_hash_chain),
            ),
            (
                (model.TIMESTAMP_CHAIN_RESULT, container.timestamp_hash_chain_result),
                (model.TIMESTAMP_CHAIN, container.timestamp_hash_chain),
            ),
        )
    )
    attachments = {
        f"{model.ATTACHMENT}{number}": data for number, data in enumerate(container.attachments, 1) if data is not None
    }
    described = [(name, _XML) for name in (model.MESSAGE, *signature_chain, *timestamp_chain)]
    described += [(name, _BINARY) for name in attachments]
    manifests = {model.MANIFEST: build_manifest(described)}
    if container.timestamp is not None and container.timestamp_hash_chain_result is not None:
        manifests[model.ASIC_MANIFEST] = build_asic_manifest(container.timestamp_hash_chain_result)
    if container.timestamp is not None:
        # Also where it is over one signature and stands inside it: X-Road's verifier looks for it here alone.
        manifests[model.TIMESTAMP] = container.timestamp
    return {
        model.MIMETYPE_FILE: MIME_TYPE.encode(),
        model.MESSAGE: container.message,
        model.SIGNATURE: container.signature,
        **signature_chain,
        **timestamp_chain,
        **manifests,
        **attachments,
    }


def _require_complete(container: Container) -> None:
    if not container.message.strip():
        raise ContainerInvalid("no message to write", code="asic_message_not_found")
    if not container.signature.strip():
        raise ContainerInvalid("no signature to write", code="asic_signature_not_found")
    for result, chain in (
        (container.signature_hash_chain_result, container.signature_hash_chain),
        (container.timestamp_hash_chain_result, container.timestamp_hash_chain),
    ):
        if chain and not result:
            raise ContainerInvalid("a hash chain without its result", code="asic_hash_chain_result_not_found")
        if result and not chain:
            raise ContainerInvalid("a hash chain result without its chain", code="asic_hash_chain_not_found")
    if len(container.attachments) > MAX_ATTACHMENTS:
        raise ContainerInvalid("too many attachments", code="asic_too_large")
