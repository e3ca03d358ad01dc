"""The access log as a file: CSV (RFC 4180) and JSON; PDF is in `access_pdf`. A core."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway.citizen.access import Access
from gateway.citizen.access_listing import basis_of, behalf_of, title_of
from gateway.citizen.accesses import AccessView
from gateway.citizen.texts import categories_text, text

# A spreadsheet takes a cell that begins so for a formula; the texts are other people's (CWE-1236). Where the comma
# stands in numbers it parts cells at semicolons, whatever the file means, and some take the signs' wide forms, too.
_FORMULA: Final = re.compile('(^|[;\t\r\n])([\\s"]*)(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])')
COLUMNS: Final = (
    "when", "result", "reason", "who", "on_behalf", "from_whom", "service", "which_data", "what_for", "legal_basis",
    "occasion", "consent_reference", "recorded_by", "request_number",
)  # fmt: skip


def row_of(access: Access, language: str) -> tuple[str, ...]:
    """An access in words, in the order of COLUMNS."""
    return (
        access.time,
        text(f"outcome_{access.result}", language),
        access.reason,
        access.client,
        behalf_of(access, language),
        access.provider,
        title_of(access, language),
        categories_text(access.data_categories, language),
        access.purpose(language) or text("not_stated", language),
        basis_of(access, language),
        access.occasion,
        access.consent,
        ", ".join(name or text("own_gateway", language) for name in access.recorded_by),
        access.request_id,
    )


def build_csv(accesses: Sequence[Access], language: str) -> bytes:
    """A table with a heading, UTF-8 with a byte order mark, by which spreadsheets know it."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(text(column, language) for column in COLUMNS)
    writer.writerows([_harmless(cell) for cell in row_of(access, language)] for access in accesses)
    return b"\xef\xbb\xbf" + file.getvalue().encode()


def build_json(views: Sequence[AccessView], accesses: Sequence[Access], *, at: datetime, person: str = "") -> bytes:
    """The accesses that were chosen, and all logs' bundles of these months, by which each of them can be checked.

    `person`: the name of whose data they are about, where somebody acts for them.
    """
    document = {
        "version": 1,
        "exported": at.isoformat(timespec="seconds"),
        **({"person": person} if person else {}),
        "accesses": [access.as_json() for access in accesses],
        "months": [{"month": view.month, "sources": view.as_json()["sources"]} for view in views],
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _harmless(cell: str) -> str:
    return _FORMULA.sub(r"\1\2'", cell)
