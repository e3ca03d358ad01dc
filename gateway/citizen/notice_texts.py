"""Notices in words: what stands in the page, in a mail, in a push message. A core.

A mail's subject and a push message say that there is news and no more, unless the citizen chose to be told in detail.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import tzinfo
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

from gateway.citizen.moments import format_date
from gateway.citizen.notices import Notice, NoticeKind
from gateway.citizen.texts import text
from gateway.messages.headers import ROLES

# Of a push message's body, as JSON has it: its title and path find room beside it (web_push).
_MAX_BODY: Final = 700


def notice_text(notice: Notice, language: str, zone: tzinfo) -> str:
    """One notice as a sentence, its days by the clock of `zone`. Names in it are other parties' texts."""
    facts = notice.facts
    expires = facts.get("expires_ms", "")
    parts = {
        "institution": facts.get("institution") or text("an_institution", language),
        "title": facts.get("title") or facts.get("service") or "–",
        "name": facts.get("name") or "–",
        "role": text(f"acting_by_{facts['role']}" if facts.get("role") in ROLES else "an_institution", language),
        "day": facts.get("day") or "–",
        "date": format_date(int(expires), zone) if expires.isdigit() else "–",
    }
    return text(f"notice_{notice.kind.value}", language, **parts)


def kind_text(kind: NoticeKind, language: str) -> str:
    """A kind of notice, to choose."""
    return text(f"notice_kind_{kind.value}", language)


def build_mail(
    notices: Sequence[Notice],
    *,
    sender: str,
    to: str,
    language: str,
    detailed: bool,
    city: str,
    url: str,
    zone: tzinfo,
    at_ms: int,
) -> EmailMessage:
    """One mail about all that happened since the last."""
    lines = [text("mail_greeting", language), "", text("mail_news", language, count=len(notices))]
    if detailed:
        lines += ["", *(f"- {_one_line(notice_text(notice, language, zone))}" for notice in notices)]
    lines += ["", text("mail_where", language), f"{url}/notices", "", text("mail_why", language)]
    return _mail(text("mail_subject", language, city=city), lines, sender=sender, to=to, language=language, at_ms=at_ms)


def build_code_mail(code: str, *, sender: str, to: str, language: str, city: str, at_ms: int) -> EmailMessage:
    """The mail that shows whose address it is."""
    lines = [text("mail_greeting", language), "", text("mail_code", language, code=code), "",
             text("mail_code_not_you", language)]  # fmt: skip
    subject = text("mail_code_subject", language, city=city)
    return _mail(subject, lines, sender=sender, to=to, language=language, at_ms=at_ms)


def push_content(
    notices: Sequence[Notice], *, language: str, detailed: bool, city: str, zone: tzinfo
) -> dict[str, str]:
    """What the browser shows: a title and a sentence."""
    title = text("mail_subject", language, city=city)
    if detailed and len(notices) == 1:
        body = _clipped(_one_line(notice_text(notices[0], language, zone)))
        return {"title": title, "body": body, "path": "/notices"}
    return {"title": title, "body": text("mail_news", language, count=len(notices)), "path": "/notices"}


def _mail(subject: str, lines: Sequence[str], *, sender: str, to: str, language: str, at_ms: int) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = formatdate(at_ms / 1000)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip("<> ") or None)
    message["Content-Language"] = language
    # RFC 3834 section 5: nobody's absence note answers this.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(lines) + "\n", cte="quoted-printable")
    return message


def _clipped(sentence: str) -> str:
    """What finds room in a message of a fixed length, however many bytes its letters take in JSON."""
    while len(json.dumps(sentence)) > _MAX_BODY:
        sentence = sentence[: len(sentence) * 9 // 10]
    return sentence


def _one_line(sentence: str) -> str:
    return " ".join(sentence.split())
