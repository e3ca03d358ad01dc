"""`datenweg verify-document`: proves a third party's XAdES document by the authorities that its reader trusts.

What proves is `trust.third_party` and, for the signer's status, `trust.document_verifier`; here files are read and
results are printed or written.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.admin.errors import AdminError
from gateway.admin.verified import hint_of, plain, read_within, utc_text, write_new
from gateway.clock import Clock, SystemClock
from trust.errors import TrustError

if TYPE_CHECKING:
    from trust.ocsp import VerifiedStatus
    from trust.parameters import ApprovedCA
    from trust.third_party import VerifiedDocument

_NOT_ASKED: Final = "NOT ASKED: whether the certificate was revoked isn't known"


def verify_document(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An XML document with one XAdES signature.")],
    trusted: Annotated[
        Path, typer.Option(metavar="PATH", help="Certificates of the authorities to believe: a file, or a folder.")
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    extract: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write what was signed there; nothing is overwritten.")
    ] = None,
    insecure_no_status: Annotated[
        bool, typer.Option("--insecure-no-status", help="Don't ask whether the signer's certificate was revoked.")
    ] = False,
) -> None:
    """Prove a third party's signed document (XAdES), as institutions receive them. Asks the authority's OCSP responder.

    Exit codes: 0 it holds, 1 it doesn't (its code is printed), 2 wrong use.
    """
    from gateway.admin.trusted_authorities import load_authorities
    from trust.third_party import MAX_DOCUMENT_BYTES

    authorities = load_authorities(trusted)
    document = read_within(file, MAX_DOCUMENT_BYTES)
    try:
        found, status = asyncio.run(_verified(document, authorities, SystemClock(), ask=not insecure_no_status))
    except TrustError as error:
        _print_refusal(file.name, error, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(_as_document(file.name, found, status), indent=2, ensure_ascii=True))
    else:
        typer.echo(f"{plain(file.name)}: verified")
        for label, value in _facts(found, status):
            typer.echo(f"  {label:<13} {plain(value)}")
    if extract is not None:
        _extract(found, extract)


async def _verified(
    document: bytes, authorities: tuple[ApprovedCA, ...], clock: Clock, *, ask: bool
) -> tuple[VerifiedDocument, VerifiedStatus | None]:
    if not ask:
        from trust.third_party import verify_third_party

        return verify_third_party(document, authorities=authorities, at=clock.now()), None
    import aiohttp

    from trust.document_verifier import DocumentVerifier
    from trust.ocsp_client import StatusSource

    async with aiohttp.ClientSession() as session:
        statuses = StatusSource(session, clock.now)
        try:
            accepted = await DocumentVerifier(authorities, statuses, clock.now).verify(document)
        finally:
            await statuses.close()
    return accepted.document, accepted.status


def _print_refusal(name: str, error: TrustError, *, as_json: bool) -> None:
    if as_json:
        refusal = {"verified": False, "code": error.code, "reason": str(error), "hint": hint_of(error)}
        typer.echo(json.dumps({"name": name, **refusal}, indent=2, ensure_ascii=True))
        return
    typer.echo(f"{plain(name)}: NOT VERIFIED: {plain(error.code)}")
    typer.echo(f"  reason        {plain(str(error))}")
    if hint := hint_of(error):
        typer.echo(f"  what to do    {plain(hint)}")


def _facts(found: VerifiedDocument, status: VerifiedStatus | None) -> list[tuple[str, str]]:
    signed_at = "not stated" if found.signing_time is None else f"{utc_text(found.signing_time)} (the signer's clock)"
    return [
        ("signer", found.certificate.subject.rfc4514_string()),
        ("serial number", str(found.certificate.serial_number)),
        ("authority", found.authority.name),
        ("signing time", signed_at),
        ("OCSP answer", _NOT_ASKED if status is None else f"good, produced {utc_text(status.produced_at)}"),
        *(("signed", f"part {number}, {len(part)} bytes") for number, part in enumerate(found.signed, 1)),
    ]


def _as_document(name: str, found: VerifiedDocument, status: VerifiedStatus | None) -> dict[str, Any]:
    return {
        "name": name,
        "verified": True,
        "signer": {
            "subject": found.certificate.subject.rfc4514_string(),
            "serial_number": str(found.certificate.serial_number),
        },
        "authority": found.authority.name,
        "signing_time": None if found.signing_time is None else utc_text(found.signing_time),
        "ocsp": None if status is None else {"produced_at": utc_text(status.produced_at)},
        "signed_parts": len(found.signed),
    }


def _extract(found: VerifiedDocument, directory: Path) -> None:
    """Writes what was signed, and nothing around it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, part in enumerate(found.signed, 1):
            write_new(directory / f"signed-{number}", part)
    except FileExistsError as error:
        raise AdminError(f"{error.filename} exists already and isn't overwritten: choose another folder") from None
    except OSError as error:
        raise AdminError(f"{error.filename}: {error.strerror}") from None
