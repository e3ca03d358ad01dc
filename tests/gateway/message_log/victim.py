"""A process that does everything that a log does, under load, until it is killed: `python -m` this.

For each line on standard input, `<database URL> <folder> <hours>`, it forks a child, which appends accesses with their
sealed messages, signs checkpoints, time-stamps and archives, and prints a line for each of these once it is done:

- `begun <pid>`
- `logged <request id> <receipt>`
- `published <base64 of the checkpoint>`
- `stamped <how many>`, `archived <name>`

and, when the child is gone, `ended`. Before all that: `ready` with the time-stamping authority's certificate and key.
Every line is written in one go, so that a kill can't cut it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit.note import NoteSigner
from audit.publisher import Publisher
from audit.store import open_engine
from audit.subject_keys import SubjectKeys
from gateway.logging import configure_logging
from tests.audit.factory import ORIGIN, access
from tests.gateway.message_log.rig import Rig, open_rig
from tests.trust.containers import making

SIGNER = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEK, INDEX_KEY = bytes(range(32)), bytes(32)
CALLERS, PERSONS = 4, 5


def say(*words: object) -> None:
    """One line, in one write."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def work(url: str, folder: Path, hours: int) -> None:
    """Never returns."""
    async with open_rig(url, folder, making()) as rig:
        # The leases of whoever was killed have lapsed by now.
        rig.clock.advance(seconds=hours * 3600)
        key_engine = open_engine(f"sqlite+aiosqlite:///{folder / 'keys.sqlite'}")
        persons = SubjectKeys(key_engine, KEK, INDEX_KEY)
        await persons.create_schema()
        publisher = Publisher(rig.engine, SIGNER, lock_file=folder / "lock", origin=ORIGIN, clock_ms=rig.clock.now_ms)
        await publisher.start()
        say("begun", os.getpid())
        await asyncio.gather(
            *(_append(rig, persons, number) for number in range(CALLERS)), _publish(publisher), _keep(rig, folder)
        )


async def _append(rig: Rig, persons: SubjectKeys, number: int) -> None:
    while True:
        entry = access(await persons.key_for(f"person-{number % PERSONS}"))
        record = rig.record()
        (receipt,) = await rig.sequencer.append((entry,), lambda _, made=record: (made,))
        say("logged", record.request_id, receipt.encode())


async def _publish(publisher: Publisher) -> None:
    while True:
        say("published", b64encode(await publisher.publish()).decode())
        await asyncio.sleep(0.005)


async def _keep(rig: Rig, folder: Path) -> None:
    stamper, archiver = rig.stamper(), rig.archiver(folder / "archive")
    while True:
        say("stamped", await stamper.round())
        for name in await archiver.round():
            say("archived", name)
        await asyncio.sleep(0)


def main() -> None:
    """Loads and makes everything once; a child is there at once."""
    # What is logged for operators doesn't come between the lines.
    configure_logging("error")
    made = making()
    key = made.tsa.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    say("ready", b64encode(made.tsa.certificate_der).decode(), b64encode(key).decode())
    for line in sys.stdin:
        url, folder, hours = line.split(" ")
        child = os.fork()
        if not child:
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(work(url, Path(folder), int(hours)))
            os._exit(1)
        os.waitpid(child, 0)
        say("ended")


if __name__ == "__main__":
    main()
