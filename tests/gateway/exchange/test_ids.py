"""New ids are UUIDs of their version, and those that grow do."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.ids import growing_id, random_id


def test_random_ids_are_uuids_of_version_4_and_differ() -> None:
    ids = {random_id() for _ in range(100)}
    assert len(ids) == 100
    for text in ids:
        found = uuid.UUID(text)
        assert (str(found), found.version, found.variant) == (text, 4, uuid.RFC_4122)


@given(st.integers(0, (1 << 48) - 2))
def test_growing_ids_are_uuids_of_version_7_and_begin_with_their_time(at_ms: int) -> None:
    text = growing_id(at_ms)
    found = uuid.UUID(text)
    assert (str(found), found.version, found.variant) == (text, 7, uuid.RFC_4122)
    assert found.int >> 80 == at_ms
    assert text < growing_id(at_ms + 1)
