"""Reading a container: which of its files are which, and that none is missing which the others need.

Follows ETSI EN 319 162-1 annex A and X-Road's own reader, in the order of its checks, so that a container with several
defects gets the same answer from either. Says nothing about whether the signature holds.
"""

from __future__ import annotations

import re
from typing import Final

from trust.asic import model
from trust.asic.archive import NOT_A_ZIP, TOO_LARGE, Limits, read_archive
from trust.asic.model import MAX_ATTACHMENTS, MIME_TYPE, Container
from trust.canonical import decode_base64
from trust.errors import ContainerInvalid, MalformedInput
from trust.timestamp import MAX_TOKEN_BYTES

DEFAULT_LIMITS: Final = Limits()
_ATTACHMENT: Final = re.compile(r"attachment([1-9][0-9]{0,5})")
_SPACE: Final = b" \t\r\n"
# SEQUENCE: how DER of a token begins. Its base64 begins with 'M'.
_DER: Final = b"\x30"
_KNOWN: Final = frozenset(
    {
        model.MIMETYPE_FILE,
        model.MESSAGE,
        model.SIGNATURE,
        model.SIGNATURE_CHAIN,
        model.SIGNATURE_CHAIN_RESULT,
        model.TIMESTAMP_CHAIN,
        model.TIMESTAMP_CHAIN_RESULT,
        model.TIMESTAMP,
        model.MANIFEST,
        model.ASIC_MANIFEST,
    }
)

# How an entry of a ZIP archive begins (APPNOTE 4.3.7).
_ENTRY: Final = b"PK\x03\x04"


def read_container(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Container:
    """The container in `data`.

    Raises ContainerInvalid: X-Road's `asic_…` codes for what is missing, codes of our own for ZIP archives that are
    damaged, too large, or that different readers would read differently.
    """
    if _ENTRY not in data:
        # No archive at all; X-Road's verifier finds no entries in it.
        raise ContainerInvalid("not an archive", code="asic_mime_type_not_found")
    files = read_archive(data, limits)
    # 1. It says that it is a container. ETSI wants that first; X-Road's verifier takes it anywhere, and so do the
    #    containers that people packed again by hand.
    mimetype = _text(files, model.MIMETYPE_FILE, "asic_mime_type_not_found")
    if mimetype.lower() != MIME_TYPE:
        raise ContainerInvalid("not an ASiC-E container", code="asic_invalid_mime_type")
    # 2. There is a message and its signature.
    message = _required(files, model.MESSAGE, "asic_message_not_found")
    signature = _required(files, model.SIGNATURE, "asic_signature_not_found")
    # 3. A hash chain comes with its result.
    signature_chain = _pair(files, model.SIGNATURE_CHAIN_RESULT, model.SIGNATURE_CHAIN)
    timestamp = _timestamp(files)
    timestamp_chain = _pair(files, model.TIMESTAMP_CHAIN_RESULT, model.TIMESTAMP_CHAIN)
    # 4. The manifests are there: ASiCManifest.xml says what a time-stamp beside the signature stamps.
    _required(files, model.MANIFEST, "asic_manifest_not_found")
    asic_manifest = None
    if model.ASIC_MANIFEST in files or (timestamp is not None and timestamp_chain[0] is not None):
        asic_manifest = _required(files, model.ASIC_MANIFEST, "asic_manifest_not_found")
    attachments, named = _attachments(files)
    return Container(
        message=message,
        signature=signature,
        attachments=attachments,
        signature_hash_chain_result=signature_chain[0],
        signature_hash_chain=signature_chain[1],
        timestamp_hash_chain_result=timestamp_chain[0],
        timestamp_hash_chain=timestamp_chain[1],
        timestamp=timestamp,
        asic_manifest=asic_manifest,
        mimetype=mimetype,
        mimetype_first=next(iter(files)) == model.MIMETYPE_FILE,
        extras=tuple(name for name in files if name not in _KNOWN and name not in named),
    )


def _required(files: dict[str, bytes], name: str, code: str) -> bytes:
    content = files.get(name, b"")
    if not content.strip(_SPACE):
        raise ContainerInvalid(f"{name} is missing or empty", code=code)
    return content


def _text(files: dict[str, bytes], name: str, code: str) -> str:
    # Latin-1 reads any byte, so that garbage is compared, not guessed at.
    return _required(files, name, code).decode("latin-1")


def _pair(files: dict[str, bytes], result: str, chain: str) -> tuple[bytes | None, bytes | None]:
    if not files.get(result, b"").strip(_SPACE) and not files.get(chain, b"").strip(_SPACE):
        return None, None
    return (
        _required(files, result, "asic_hash_chain_result_not_found"),
        _required(files, chain, "asic_hash_chain_not_found"),
    )


def _timestamp(files: dict[str, bytes]) -> bytes | None:
    if model.TIMESTAMP not in files:
        return None
    content = _required(files, model.TIMESTAMP, "asic_timestamp_not_found")
    if content.startswith(_DER):
        return content
    if len(content) > 2 * MAX_TOKEN_BYTES:
        raise ContainerInvalid("the time-stamp is too large", code=TOO_LARGE)
    try:
        # Met in the field: the token as base64, with or without line breaks.
        return decode_base64(content.translate(None, _SPACE))
    except MalformedInput:
        raise ContainerInvalid("the time-stamp is neither DER nor base64", code="timestamp_validation") from None


def _attachments(files: dict[str, bytes]) -> tuple[tuple[bytes | None, ...], set[str]]:
    numbered: dict[int, bytes] = {}
    for name, content in files.items():
        if match := _ATTACHMENT.fullmatch(name):
            numbered[int(match[1])] = content
    last = max(numbered, default=0)
    if last > MAX_ATTACHMENTS:
        raise ContainerInvalid("an attachment with too high a number", code=NOT_A_ZIP)
    names = {f"{model.ATTACHMENT}{number}" for number in numbered}
    return tuple(numbered.get(number) for number in range(1, last + 1)), names
