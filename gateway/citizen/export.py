"""Everything that is known of a citizen here, in one document or archive (GDPR Articles 15 and 20).

Accesses are asked for live, month by month, from every log; a login that proves too little for them gets the rest, and
reads why they are missing.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, Final

from gateway.citizen.accesses import load_accesses, months_before
from gateway.citizen.acting import verified_citizen
from gateway.citizen.documents import (
    complaint_json,
    consent_json,
    device_json,
    link_json,
    notice_json,
    represented_json,
)
from gateway.citizen.errors import LevelTooLow
from gateway.citizen.sessions import Session
from gateway.citizen.web import Citizen

# The same moment for every file: an archive of the same things is the same archive.
_ZIP_MOMENT: Final = (1980, 1, 1, 0, 0, 0)


async def build_export(citizen: Citizen, session: Session, *, months: int) -> dict[str, Any]:
    """The document, with `months` months of accesses. Raises NotLoggedIn, IssuerDown."""
    person, context = citizen.person(session), citizen.context
    consents = await citizen.consents.of(session)
    # What a person logs in with and whom they act for is theirs alone, not for who acts for them.
    own = session.representing is None
    devices = await citizen.devices.of(person) if own else ()
    represented = await citizen.relations.of(await verified_citizen(citizen, session)) if own else ()
    accesses: list[Mapping[str, Any]] = []
    for month in months_before(context.clock.now())[:months]:
        try:
            accesses.append((await load_accesses(citizen, session, month)).as_json())
        except LevelTooLow as error:
            accesses.append({"missing": "identity_level_too_low", "requiredLevel": error.required})
            break
    return {
        "made": context.clock.now().isoformat(timespec="seconds"),
        "identity": _identity(session),
        "devices": [device_json(one, current=session.device) for one in devices],
        "links": [link_json(one) for one in await citizen.links.of(person)],
        "consents": [consent_json(one) for one in consents],
        "receipts": [citizen.consents.receipt_of(session, one) for one in consents],
        "notices": [notice_json(one) for one in await citizen.notices.of(person)],
        "complaints": [complaint_json(one) for one in await citizen.complaints.of(person)],
        "represented": [represented_json(one) for one in represented],
        "accesses": accesses,
    }


def _identity(session: Session) -> dict[str, Any]:
    if (represented := session.representing) is not None:
        # What the issuer calls another person leaves this application nowhere.
        return {"reference": represented.reference, "name": represented.name, "representedBy": represented.role}
    return {
        "issuer": session.issuer,
        "subject": session.subject,
        "name": session.name or None,
        "identityLevel": session.level.word,
    }


def build_archive(document: Mapping[str, Any]) -> bytes:
    """The document as a ZIP archive: one file for each part, one for each month of accesses."""
    files: dict[str, bytes] = {}
    for name, part in document.items():
        if name == "accesses":
            for number, month in enumerate(part):
                files[f"accesses/{month.get('month', number)}.json"] = json_file(month)
        else:
            files[f"{name}.json"] = json_file(part)
    return build_zip(files)


def build_zip(files: Mapping[str, bytes]) -> bytes:
    """These files as a ZIP archive; the same files give the same archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            file = zipfile.ZipInfo(name, _ZIP_MOMENT)
            file.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(file, content)
    return buffer.getvalue()


def json_file(document: object) -> bytes:
    """A JSON document as a file that people can look into."""
    return json.dumps(document, ensure_ascii=False, indent=1).encode()
