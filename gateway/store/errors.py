"""What the store refuses: changes that contradict what it holds.

StoreError
  UnknownService   UnknownEndpoint   UnknownGroup
  StaleConsent     a newer state is there
  ConsentConflict  the reference is another consent's
"""

from __future__ import annotations


class StoreError(Exception):
    """The change contradicts what is stored."""


class UnknownService(StoreError):
    """No such service is registered at this gateway."""


class UnknownEndpoint(StoreError):
    """The service has no such endpoint."""


class UnknownGroup(StoreError):
    """The subsystem keeps no such group."""


class StaleConsent(StoreError):
    """A newer state of this consent is already stored."""


class ConsentConflict(StoreError):
    """The reference already belongs to a consent of another client, subject or service."""
