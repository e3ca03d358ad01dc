"""Names in a topology file: codes as they are, references percent-encoded with the instance left out.

Each function raises ValueError with what is allowed, as pydantic wants it.
"""

from __future__ import annotations

from trust.identifiers import ClientId, InvalidIdentifier, MemberId, SubsystemId, decode_segment, encode_segment


def check_code(text: str) -> str:
    """A code of an identifier: 1 to 255 characters, none of them a control character."""
    try:
        return decode_segment(encode_segment(text))
    except InvalidIdentifier as error:
        raise ValueError(str(error)) from None


def member_reference(instance: str, text: str) -> MemberId:
    """`CLASS/MEMBER`."""
    segments = _segments(text)
    if len(segments) != 2:
        raise ValueError(f"{text!r} is not CLASS/MEMBER, each percent-encoded")
    return MemberId(instance, *segments)


def subsystem_reference(instance: str, text: str) -> SubsystemId:
    """`CLASS/MEMBER/SUBSYSTEM`."""
    segments = _segments(text)
    if len(segments) != 3:
        raise ValueError(f"{text!r} is not CLASS/MEMBER/SUBSYSTEM, each percent-encoded")
    return SubsystemId(instance, *segments)


def client_reference(instance: str, text: str) -> ClientId:
    """`CLASS/MEMBER` or `CLASS/MEMBER/SUBSYSTEM`."""
    match _segments(text):
        case [member_class, member_code]:
            return MemberId(instance, member_class, member_code)
        case [member_class, member_code, subsystem_code]:
            return SubsystemId(instance, member_class, member_code, subsystem_code)
        case _:
            raise ValueError(f"{text!r} is not CLASS/MEMBER or CLASS/MEMBER/SUBSYSTEM, each percent-encoded")


def _segments(text: str) -> list[str]:
    try:
        return [decode_segment(part) for part in text.split("/")]
    except InvalidIdentifier as error:
        raise ValueError(f"{text!r}: {error}") from None
