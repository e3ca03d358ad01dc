"""The tokens by which gateways know their auditor: which one is shown to whom.

A gateway that is shown another's token could read that one's entries with it. So each gateway has one of its own, and
is shown that and no other: lines `GATEWAY TOKEN`, the gateway as INST/CLASS/MEMBER/SERVER. A file with nothing but one
token is for one gateway, or for several that are all on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from audit.policy import LogLine
from gateway.admin.errors import AdminError
from gateway.exchange.origins import keeper_of
from gateway.settings_base import is_loopback, is_private
from gateway.witnessing import require_auditor_token
from trust.errors import KeyUnavailable
from trust.keystore import read_secret

_OPTION: Final = "--token-file"


@dataclass(frozen=True, slots=True)
class AuditorTokens:
    """By keeper of a log (its name without the year); `single` is one that names nobody."""

    named: Mapping[str, str] = field(default_factory=dict)
    single: str | None = None

    def token_for(self, origin: str) -> str | None:
        """The token of the gateway that keeps this log; None if it has none."""
        return self.single if self.single is not None else self.named.get(keeper_of(origin))


def read_auditor_tokens(path: Path | None) -> AuditorTokens:
    """The tokens in a file; none without one. Raises AdminError, StartRefused (a token that won't do)."""
    if path is None:
        return AuditorTokens()
    try:
        text = read_secret(file=path)
    except KeyUnavailable as error:
        raise AdminError(f"{_OPTION}: {path}: {error.hint or 'it can not be read'}") from None
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) == 1 and len(lines[0]) == 1:
        return AuditorTokens(single=require_auditor_token(lines[0][0], path))
    if not lines or any(len(line) != 2 for line in lines):
        raise AdminError(f"{_OPTION}: {path}: one token alone, or a line `GATEWAY TOKEN` for each gateway")
    named: dict[str, str] = {}
    for line in lines:
        keeper, token = keeper_of(line[0]), require_auditor_token(line[1], path)
        if keeper in named:
            raise AdminError(f"{_OPTION}: {path}: {keeper} stands there twice")
        if token in named.values():
            raise AdminError(f"{_OPTION}: {path}: {keeper} has another gateway's token: each needs one of its own")
        named[keeper] = token
    return AuditorTokens(named)


def require_own_tokens(tokens: AuditorTokens, logs: Iterable[LogLine]) -> None:
    """No gateway is shown another's token, and nobody on the way reads one. Raises AdminError."""
    shown = [line for line in logs if tokens.token_for(line.key.name) is not None]
    for line in shown:
        if not is_private(line.url or ""):
            raise AdminError(
                f"{_OPTION}: {line.key.name} has neither an https address nor one on this machine: others would read "
                "the token on the way"
            )
    keepers = {keeper_of(line.key.name) for line in shown}
    here = all(is_loopback(urlsplit(line.url or "").hostname or "") for line in shown)
    if tokens.single is not None and len(keepers) > 1 and not here:
        raise AdminError(
            f"{_OPTION}: one token for several gateways, each of which could read the others' entries with it: write a "
            "line `GATEWAY TOKEN` for each"
        )
