"""Following an instance's global configuration: download, verify, keep, tell.

Follows PR-GCONF 2.12 section 4. The rules are `trust.globalconf`'s, the disk is `trust.configuration_store`'s; here are
the order of sources, the version that each offers, and the limits on what they may send.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from trust.configuration_store import ConfigurationStore
from trust.errors import ConfigurationInvalid, FetchFailed, TrustError
from trust.globalconf import (
    PRIVATE_PARAMETERS,
    READABLE_VERSIONS,
    SHARED_PARAMETERS,
    Anchor,
    DirectoryPart,
    VerifiedConfiguration,
    VerifiedDirectory,
    verify_configuration,
    verify_current_directory,
)
from trust.globalconf_directory import MAX_DIRECTORY_BYTES
from trust.globalconf_xml import MAX_BYTES

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=20)

OnChange = Callable[[VerifiedConfiguration], Awaitable[None] | None]
OnFailure = Callable[[TrustError], Awaitable[None] | None]


class ConfigurationClient:
    """Keeps one instance's configuration current. Use from one event loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        anchor: Anchor,
        directory: Path,
        clock: Callable[[], datetime],
    ) -> None:
        """`directory` holds what was accepted; `clock` gives the time as aware UTC."""
        self._session = session
        self._anchor = anchor
        self._store = ConfigurationStore(directory, anchor)
        self._clock = clock
        self._current: VerifiedConfiguration | None = None
        self._files: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._preferred: str | None = None
        self._refreshing = asyncio.Lock()

    @property
    def current(self) -> VerifiedConfiguration | None:
        """The last accepted configuration. It may have expired: `require_current` tells."""
        return self._current

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
            failure: TrustError = FetchFailed("the anchor names no source that answers")
            for url in self._sources():
                try:
                    configuration = await self._take(url)
                except TrustError as error:
                    # What a source says wrongly weighs more than that another is silent.
                    if isinstance(error, ConfigurationInvalid) or not isinstance(failure, ConfigurationInvalid):
                        failure = error
                    continue
                self._preferred = url
                return configuration
            raise failure

    async def follow(
        self,
        interval: float,
        on_change: OnChange,
        on_failure: OnFailure | None = None,
        on_round: Callable[[], None] | None = None,
    ) -> None:
        """Refreshes every `interval` seconds until cancelled.

        `on_change` hears of each new generation, after it is on disk, and again until it has taken it without raising;
        `on_failure` of each refresh that failed and of each generation that `on_change` didn't take (`__cause__` says
        why); `on_round` of the end of each refresh, whatever came of it.
        """
        told: VerifiedDirectory | None = None
        while True:
            failure: TrustError | None = None
            try:
                configuration = await self.refresh()
                if configuration.directory is not told:
                    await _told(on_change(configuration))
                    told = configuration.directory
            except TrustError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - what goes wrong in one round must not end the following
                failure = TrustError("the global configuration could not be put into use")
                failure.__cause__ = error
            if failure is not None and on_failure is not None:
                await _told(on_failure(failure))
            if on_round is not None:
                on_round()
            await asyncio.sleep(interval)

    def _sources(self) -> list[str]:
        """Source addresses: the one that served last, then the anchor's, then announced ones; https before http."""
        anchored = [source.url for source in self._anchor.sources]
        announced: list[str] = []
        if self._current is not None:
            path = urlsplit(anchored[0]).path
            addresses = [source.address for source in self._current.parameters.sources if source.address]
            announced = [f"{scheme}://{address}{path}" for address in addresses for scheme in ("https", "http")]
        random.shuffle(anchored)  # to spread the load (PR-GCONF 4.1), not to keep a secret
        anchored.sort(key=lambda url: not url.startswith("https://"))
        preferred = [self._preferred] if self._preferred is not None else []
        return list(dict.fromkeys((*preferred, *anchored, *announced)))

    async def _take(self, url: str) -> VerifiedConfiguration:
        """One source's configuration, verified and kept."""
        document = await self._fetch_directory(url)
        previous = self._current
        if previous is not None and previous.directory.document == document:
            previous.require_current(self._clock())
            return previous
        directory = verify_current_directory(document, anchor=self._anchor, at=self._clock(), previous=previous)
        files = {part.location: await self._fetch_part(url, part) for part in _wanted(directory.parts)}
        configuration = verify_configuration(document, files, anchor=self._anchor, at=self._clock(), previous=previous)
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
        for version in (known,) if known is not None else READABLE_VERSIONS:
            document = await self._get(URL(url).update_query(version=str(version)), MAX_DIRECTORY_BYTES)
            if document is not None:
                self._versions[url] = version
                return document
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
            raise ConfigurationInvalid("a file's location leads elsewhere", code="global_conf_part_download_failure")
        data = await self._get(target, MAX_BYTES)
        if data is None:
            raise FetchFailed("a file of the global configuration is gone", code="global_conf_part_download_failure")
        return data

    def _kept(self, part: DirectoryPart) -> bytes | None:
        """The file from the last generation, if this one has the same."""
        if self._current is None:
            return None
        last = self._current.directory.part(part.identifier)
        if last is None or (last.digest_name, last.digest) != (part.digest_name, part.digest):
            return None
        return self._files.get(last.location)

    async def _get(self, url: URL, limit: int) -> bytes | None:
        """The body at `url`, at most `limit` bytes; None for 404. Raises FetchFailed."""
        try:
            async with self._session.get(url, timeout=_TIMEOUT, allow_redirects=False) as response:
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise FetchFailed("a source of the global configuration answered with an error")
                body = bytearray()
                async for chunk in response.content.iter_chunked(64 << 10):
                    body += chunk
                    if len(body) > limit:
                        raise FetchFailed("a source of the global configuration sent too much")
                return bytes(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise FetchFailed("a source of the global configuration is not reachable") from error


def _wanted(parts: Iterable[DirectoryPart]) -> list[DirectoryPart]:
    return [part for part in parts if part.identifier in (SHARED_PARAMETERS, PRIVATE_PARAMETERS)]


async def _told(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result
