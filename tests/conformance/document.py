"""The conformance table as docs/conformance.md: `python -m tests.conformance.document` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gateway.messages.faults import ERRORS
from tests.conformance.table import CASES, excuse
from tests.conformance.words import Row

PAGE: Final = Path(__file__).parents[2] / "docs" / "conformance.md"
_HEAD: Final = """\
# Conformance: which error when

Each line is a case that runs in `tests/conformance/` on the real sockets of a pair of gateways, some of them with a
third gateway, a configuration source or a time-stamping authority that does wrong. The parts are the lines of X-Road's
error list, in its order. `form` is who is told: a REST client (status and `X-Road-Error`), a SOAP client (a fault with
HTTP 200), a gateway that sent a message (a fault with HTTP 200), or the operator (in a log line, or by a command).
`hop` is whose failure the message names. Where X-Road's documents and its proxy differ, the proxy counts
(docs/errors.md says where).

This page is written from the table: `python -m tests.conformance.document`.
"""


def render() -> str:
    """The page."""
    parts = [_HEAD]
    for row in Row:
        cases = [case for case in CASES if case.row is row]
        parts.append(f"## {row.value}\n\n| situation | form | code | status | hop |\n| --- | --- | --- | --- | --- |")
        parts += [
            f"| {case.situation} | {case.form.value} | `{case.code}` | {case.http_status or '–'} | {case.hop.value} |"
            for case in cases
        ]
        parts.append("")
    parts.append("## Codes that no case raises\n\n| code | why |\n| --- | --- |")
    raised = {case.code for case in CASES}
    parts += [f"| `{code}` | {excuse(code)} |" for code in ERRORS if code not in raised]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
