"""The error tree of `audit`.

    AuditError
    ├── LogOverloaded      more steps wait for the log than it takes            (nobody's: try again)
    ├── LogUnavailable     the log can't be written, or is closed               (ours)
    ├── LogInconsistent    the stored log contradicts itself                    (ours)
    ├── LogRolledBack      the database is behind what was signed               (the operator's)
    │   └── LockFileMoved  another publisher has signed meanwhile               (nobody's: look again)
    ├── DuplicateRecord    a message with this replay key was logged before     (the sender's)
    ├── MalformedInput     bytes that are no note, checkpoint, leaf or proof    (the sender's)
    ├── ProofInvalid       well-formed, but it does not hold                    (the prover's)
    ├── WitnessRefused     a witness won't cosign                               (the log's)
    │   ├── UnknownLog          it knows no log of this origin
    │   ├── UntrustedSignature  the log's key has not signed
    │   └── SizeConflict        it has seen another size than the log thinks
    ├── QuorumMissing      too few witnesses have cosigned for too long         (the operator's)
    ├── RecordUnopenable   a record whose key or bytes are not the right ones   (nobody's: it may be erased)
    └── OutOfRange         an index or size that the log does not have          (the asker's)

`str(error)` is for logs; it never holds personal data, keys or a driver's exception text.
"""

from __future__ import annotations


class AuditError(Exception):
    """Whatever `audit` raises."""


class LogOverloaded(AuditError):
    """More steps wait for the log than it takes. Answer 503; trying again may help."""


class LogUnavailable(AuditError):
    """The log can't be written, or is closed. What is not logged must not be forwarded."""


class LogInconsistent(AuditError):
    """The stored log contradicts itself. Nothing is written until an operator has looked (`datenweg log verify`)."""


class LogRolledBack(AuditError):
    """The database is behind the last signed checkpoint: an old backup was restored. Refuse to start."""


class LockFileMoved(LogRolledBack):
    """Another publisher has signed since the lock file was read: look again at what there is to sign."""


class DuplicateRecord(AuditError):
    """A message with this replay key was logged before. Fails its own step only."""


class MalformedInput(AuditError):
    """The bytes are not what they claim to be."""


class ProofInvalid(AuditError):
    """A well-formed proof or signature that does not hold."""


class WitnessRefused(AuditError):
    """A witness does not cosign the checkpoint."""


class UnknownLog(WitnessRefused):
    """The witness knows no log of this origin (404)."""


class UntrustedSignature(WitnessRefused):
    """No key that the witness trusts for this origin has signed the checkpoint (403)."""


class SizeConflict(WitnessRefused):
    """The witness has seen another size than the request says (409); `size` is the one that it has seen."""

    def __init__(self, size: int) -> None:
        super().__init__("the witness has seen another size")
        self.size = size


class QuorumMissing(AuditError):
    """Too few witnesses have cosigned for too long: what nobody has seen could still be taken back."""


class RecordUnopenable(AuditError):
    """The record doesn't open under this key, or isn't the one that its leaf commits to."""


class OutOfRange(AuditError):
    """An index or size that the log does not have (yet)."""
