"""Following an instance's global configuration: download, verify, keep, tell.

Follows PR-GCONF 2.12 section 4. The rules are `trust.globalconf`'s, the disk is `trust.configuration_store`'s; here are
the order of sources, the version that each offers, and the limits on what they may send.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from trust.configuration_store import ConfigurationStore
from trust.errors import ConfigurationInvalid, FetchFailed, TrustError
from trust.globalconf import (
    READABLE_VERSIONS,
    USED_PARTS,
    Anchor,
    DirectoryPart,
    VerifiedConfiguration,
    is_same_but_older,
    source_path,
    verify_configuration,
    verify_current_directory,
)
from trust.globalconf_directory import MAX_DIRECTORY_BYTES
from trust.globalconf_xml import MAX_BYTES

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=20)
_UNREACHABLE: Final = "global_conf_download_url_connection_failure"
_NO_FILE: Final = "global_conf_part_download_failure"


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What came of asking one source last: the version that it offers, or the code of what went wrong."""

    url: str
    asked_at: datetime
    version: int | None = None
    failure: str | None = None


class ConfigurationClient:
    """Keeps one instance's configuration current. Use from one event loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        anchor: Anchor,
        directory: Path,
        clock: Callable[[], datetime],
        *,
        parts: Sequence[str] = USED_PARTS,
    ) -> None:
        """`directory` holds what was accepted; `clock` gives the time as aware UTC.

        `parts` are the content identifiers that are fetched; of a federated instance the shared parameters only.
        """
        self._session = session
        self._anchor = anchor
        self._parts = parts
        self._store = ConfigurationStore(directory, anchor, parts=parts)
        self._clock = clock
        self._current: VerifiedConfiguration | None = None
        self._files: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._preferred: str | None = None
        self._reports: dict[str, SourceReport] = {}
        self._refreshing = asyncio.Lock()

    @property
    def current(self) -> VerifiedConfiguration | None:
        """The last accepted configuration. It may have expired: `require_current` tells."""
        return self._current

    @property
    def anchor(self) -> Anchor:
        """Where trust in the instance begins."""
        return self._anchor

    @property
    def reports(self) -> tuple[SourceReport, ...]:
        """What came of each source that was asked, by address; the first is the one in use, if one is."""
        known = sorted(self._reports.values(), key=lambda report: report.url)
        return tuple(sorted(known, key=lambda report: report.url != self._preferred))

    async def load(self) -> VerifiedConfiguration | None:
        """Takes up what was accepted before the last stop. Raises ConfigurationInvalid when it has been altered."""
        stored = await asyncio.to_thread(self._store.load)
        if stored is not None:
            self._current, self._files = stored.configuration, dict(stored.files)
        return self._current

    async def refresh(self) -> VerifiedConfiguration:
        """The configuration as a source has it now; on disk when this returns.

        Raises what the last source failed with (ConfigurationInvalid before FetchFailed); the accepted one then stays.
        """
        async with self._refreshing:
            if self._current is None:
                await self.load()
            failure: TrustError = FetchFailed("the anchor names no source that answers", code=_UNREACHABLE)
            for url in self._sources():
                try:
                    configuration = await self._take(url)
                except TrustError as error:
                    self._reports[url] = SourceReport(url, self._clock(), failure=error.code)
                    # What a source says wrongly weighs more than that another is silent.
                    if isinstance(error, ConfigurationInvalid) or not isinstance(failure, ConfigurationInvalid):
                        failure = error
                    continue
                self._preferred = url
                self._reports[url] = SourceReport(url, self._clock(), version=self._versions.get(url))
                return configuration
            raise failure

    def _sources(self) -> list[str]:
        """Source addresses: the one that served last, then announced ones, which are newer, then the anchor's.

        https before http, otherwise in any order, to spread the load (PR-GCONF 4.1).
        """
        anchored = [source.url for source in self._anchor.sources]
        announced: list[str] = []
        if self._current is not None and (path := source_path(self._anchor)):
            addresses = [source.address for source in self._current.parameters.sources if source.address]
            announced = [f"{scheme}://{address}{path}" for address in addresses for scheme in ("https", "http")]
        for urls in (anchored, announced):
            random.shuffle(urls)
            urls.sort(key=lambda url: not url.startswith("https://"))
        preferred = [self._preferred] if self._preferred is not None else []
        found = list(dict.fromkeys((*preferred, *announced, *anchored)))
        self._reports = {url: report for url, report in self._reports.items() if url in found}
        return found

    async def _take(self, url: str) -> VerifiedConfiguration:
        """One source's configuration, verified and kept."""
        document = await self._fetch_directory(url)
        previous = self._current
        if previous is not None and previous.directory.document == document:
            previous.require_current(self._clock())
            return previous
        directory = verify_current_directory(document, anchor=self._anchor, at=self._clock(), previous=previous)
        if previous is not None and is_same_but_older(directory, previous):
            # Another node of the registry, a few seconds behind. The newer one stays, so nothing between can return.
            previous.require_current(self._clock())
            return previous
        wanted = [part for part in directory.parts if part.identifier in self._parts]
        files = {part.location: await self._fetch_part(url, part) for part in wanted}
        configuration = verify_configuration(
            document, files, anchor=self._anchor, at=self._clock(), previous=previous, parts=self._parts
        )
        try:
            await asyncio.to_thread(self._store.save, configuration, files, previous)
        except OSError as error:
            raise FetchFailed(
                f"the global configuration can't be kept on disk: {error.strerror}",
                hint="look at the space and the permissions of the data directory",
            ) from error
        self._current, self._files = configuration, files
        return configuration

    async def _fetch_directory(self, url: str) -> bytes:
        """PR-GCONF 4.1: the newest version that the source offers; found once, asked anew when it fails."""
        known = self._versions.pop(url, None)
        first = () if known is None else (known,)
        # Whoever fixes a version in the address of an anchor means it (as X-Road's client does).
        fixed = "version" in URL(url).query
        for version in dict.fromkeys((*first, *READABLE_VERSIONS)):
            target = URL(url) if fixed else URL(url).update_query(version=str(version))
            document = await self._get(target, MAX_DIRECTORY_BYTES)
            if document is not None:
                self._versions[url] = version
                return document
            if fixed:
                break
        raise FetchFailed(
            "a source of the global configuration offers no version that is supported",
            code="global_conf_get_version_failed",
        )

    async def _fetch_part(self, url: str, part: DirectoryPart) -> bytes:
        if (kept := self._kept(part)) is not None:
            return kept
        base, target = URL(url), URL(url).join(URL(part.location))
        # The directory is authentic, but a file still comes from where its directory came from.
        if target.origin() != base.origin():
            raise ConfigurationInvalid("a file's location leads elsewhere", code=_NO_FILE)
        data = await self._get(target, MAX_BYTES, code=_NO_FILE)
        if data is None:
            raise FetchFailed("a file of the global configuration is gone", code=_NO_FILE)
        return data

    def _kept(self, part: DirectoryPart) -> bytes | None:
        """The file from the last generation, if this one has the same."""
        if self._current is None:
            return None
        last = self._current.directory.part(part.identifier)
        if last is None or (last.digest_name, last.digest) != (part.digest_name, part.digest):
            return None
        return self._files.get(last.location)

    async def _get(self, url: URL, limit: int, *, code: str = _UNREACHABLE) -> bytes | None:
        """The body at `url`, at most `limit` bytes; None for 404. Raises FetchFailed with `code`."""
        try:
            async with self._session.get(url, timeout=_TIMEOUT, allow_redirects=False) as response:
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise FetchFailed("a source of the global configuration answered with an error", code=code)
                body = bytearray()
                async for chunk in response.content.iter_chunked(64 << 10):
                    body += chunk
                    if len(body) > limit:
                        raise FetchFailed("a source of the global configuration sent too much", code=code)
                return bytes(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise FetchFailed("a source of the global configuration is not reachable", code=code) from error
