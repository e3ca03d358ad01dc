"""What several tests of trust start from."""

from __future__ import annotations

import pytest

from tests.trust.containers import Making, making


@pytest.fixture(scope="module")
def one() -> Making:
    return making()
