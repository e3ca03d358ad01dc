"""`datenweg verify`: proves signed containers with the configuration of their instance, and prints what is proven.

What proves is `trust.asic`; here files are read, bounded, and results are printed or written. Takes one container, or
an archive with several as `/asic` and the message log's archives are. Needs no gateway, no network, no keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.admin.errors import AdminError
from gateway.admin.verified import hint_of, plain, read_within, utc_text, write_new
from gateway.clock import SystemClock
from trust.asic import (
    Limits,
    VerificationConfiguration,
    VerifiedContainer,
    parse_verification_configuration,
    read_archive,
    read_verification_configuration,
)
from trust.asic.configuration import FOLDER, INSTANCE_FILE, PARAMETERS_FILE
from trust.asic.verify import ContainerVerifier
from trust.errors import ConfigurationInvalid, ContainerInvalid, TrustError

_SUFFIX: Final = ".asice"
_BUNDLE: Final = Limits(archive_bytes=256 << 20, entries=20_000, total_bytes=512 << 20)
_MAX_CONFIGURATION: Final = 64 << 20
_MAX_INSTANCES: Final = 500
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out for one container: `container` if it holds, else `error`."""

    name: str
    container: VerifiedContainer | None
    error: TrustError | None


def run_verification(
    file: Path,
    configuration: Path,
    *,
    as_json: bool = False,
    extract: Path | None = None,
    show: Callable[[str], None] = print,
) -> bool:
    """Verifies, prints, extracts what holds. Whether every container held.

    Raises AdminError when a file can't be read or written, or holds no container or configuration.
    """
    known = load_verification_configuration(configuration)
    outcomes = verify_file(file, known, at=SystemClock().now())
    if as_json:
        show(json.dumps(_as_document(outcomes), indent=2, ensure_ascii=True))
    else:
        for outcome in outcomes:
            for line in _lines(outcome):
                show(line)
    if extract is not None:
        _extract(outcomes, extract)
    return all(outcome.error is None for outcome in outcomes)


def verify_file(file: Path, configuration: VerificationConfiguration, *, at: datetime) -> tuple[Outcome, ...]:
    """The outcome for each container in `file`. Raises AdminError when it can't be read or holds none."""
    data = read_within(file, _BUNDLE.archive_bytes)
    verifier = ContainerVerifier(configuration)

    def outcome(name: str, content: bytes) -> Outcome:
        try:
            return Outcome(name, verifier.verify(content, at=at), None)
        except TrustError as error:
            return Outcome(name, None, error)

    bundled: dict[str, bytes] = {}
    # What can't be read as an archive is reported as the container that it was said to be.
    with suppress(ContainerInvalid):
        files = read_archive(data, _BUNDLE)
        if "mimetype" not in files:
            bundled = {name: content for name, content in files.items() if name.lower().endswith(_SUFFIX)}
    if not bundled:
        return (outcome(file.name, data),)
    return tuple(outcome(name, content) for name, content in bundled.items())


def load_verification_configuration(path: Path) -> VerificationConfiguration:
    """The configuration in an archive, or in a folder: with `verificationconf` in it, or that folder itself.

    Raises AdminError.
    """
    try:
        if not path.is_dir():
            return read_verification_configuration(read_within(path, _MAX_CONFIGURATION))
        inner = path / FOLDER
        return parse_verification_configuration(_configuration_files(inner if inner.is_dir() else path))
    except ConfigurationInvalid as error:
        raise AdminError(f"{path}: {error}") from None


def _configuration_files(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name in (INSTANCE_FILE, *_parameter_files(folder)):
        if (folder / name).is_file():
            files[name] = read_within(folder / name, _MAX_CONFIGURATION)
    return files


def _parameter_files(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if len(names) > _MAX_INSTANCES:
        raise AdminError(f"{folder}: too many folders for a verification configuration")
    return [f"{name}/{PARAMETERS_FILE}" for name in names]


# Printing


def _lines(outcome: Outcome) -> Iterator[str]:
    if outcome.error is not None:
        yield f"{plain(outcome.name)}: NOT VERIFIED: {plain(outcome.error.code)}"
        yield f"  reason        {plain(str(outcome.error))}"
        if hint := hint_of(outcome.error):
            yield f"  what to do    {plain(hint)}"
        return
    yield f"{plain(outcome.name)}: verified"
    for label, value in _facts(outcome.container):
        yield f"  {label:<13} {plain(value)}"


def _facts(verified: VerifiedContainer | None) -> Iterator[tuple[str, str]]:
    if verified is None:
        return
    kind = "response" if verified.origin.is_response else "request"
    yield "message", f"{kind} {verified.origin.message_id}".rstrip()
    yield "member", str(verified.member)
    yield "signer", verified.signer_subject
    yield "serial number", str(verified.signer_serial_number)
    yield "signing time", f"{utc_text(verified.signing_time)} (the signer's clock)"
    yield "OCSP answer", f"good, produced {utc_text(verified.ocsp_produced_at)} by {verified.ocsp_responder}"
    yield "time-stamp", f"{utc_text(verified.timestamp.time)} by {verified.tsa_subject}"
    yield "form", f"signature {verified.form.value}, time-stamp over {_STAMPED[verified.timestamp_form.value]}"
    for name in ("/message.xml", *verified.attachments_verified):
        yield "covered", f"{name} (signed, unchanged)"
    for attachment in verified.attachments_unverified:
        digest = f"{attachment.digest_algorithm} must be {attachment.digest.hex()}"
        yield "NOT COVERED", f"{attachment.name} is signed but not in the container; {digest}"
    for name in verified.not_signed:
        yield "NOT SIGNED", f"{name} is in the container, and nobody vouches for it"
    if not verified.container.mimetype_first:
        yield "remark", "mimetype isn't the first entry: somebody packed the container again"


_STAMPED: Final = {"signature": "this signature", "batch": "a batch of signatures"}


def _as_document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "verified": all(outcome.error is None for outcome in outcomes),
        "containers": [_as_object(outcome) for outcome in outcomes],
    }


def _as_object(outcome: Outcome) -> dict[str, Any]:
    verified, error = outcome.container, outcome.error
    if verified is None:
        assert error is not None
        return {
            "name": outcome.name, "verified": False, "code": error.code, "reason": str(error), "hint": hint_of(error)
        }  # fmt: skip
    return {
        "name": outcome.name,
        "verified": True,
        "message_id": verified.origin.message_id,
        "direction": "response" if verified.origin.is_response else "request",
        "member": verified.member.encoded,
        "signer": {"subject": verified.signer_subject, "serial_number": str(verified.signer_serial_number)},
        "signing_time": utc_text(verified.signing_time),
        "ocsp": {"produced_at": utc_text(verified.ocsp_produced_at), "responder": verified.ocsp_responder},
        "timestamp": {
            "time": utc_text(verified.timestamp.time),
            "tsa": verified.tsa_subject,
            "name": verified.tsa.name,
            "form": verified.timestamp_form.value,
        },
        "signature_form": verified.form.value,
        "covered": ["/message.xml", *verified.attachments_verified],
        "not_covered": [
            {"name": part.name, "digest_algorithm": part.digest_algorithm, "digest": part.digest.hex()}
            for part in verified.attachments_unverified
        ],
        "not_signed": list(verified.not_signed),
        "mimetype_first": verified.container.mimetype_first,
    }


# Extracting


def _extract(outcomes: Sequence[Outcome], directory: Path) -> None:
    """Writes the covered parts of what holds, into a folder for each container where there are several."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for outcome in outcomes:
            if outcome.container is None:
                continue
            target = directory
            if len(outcomes) > 1:
                # The archive chose the name: its last part, without anything that a path or a shell would read.
                stem = outcome.name.rpartition("/")[2][: -len(_SUFFIX)]
                target = directory / (_UNSAFE.sub("_", stem).lstrip(".") or "container")
                target.mkdir(mode=0o700)
            covered = {"/message.xml", *outcome.container.attachments_verified}
            for name, content in outcome.container.container.parts().items():
                if name in covered:
                    write_new(target / name.removeprefix("/"), content)
    except FileExistsError as error:
        raise AdminError(f"{error.filename} exists already and isn't overwritten: choose another folder") from None
    except OSError as error:
        raise AdminError(f"{error.filename}: {error.strerror}") from None
