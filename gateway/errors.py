"""The error tree of a process's start.

StartRefused     the process can't start; the text is for its operator: what is wrong and what to do
ListenFailed     an address can't be listened at: it is taken, or not this machine's                 (an OSError)
"""

from __future__ import annotations


class StartRefused(Exception):
    """The process can't start. The text is for the operator: what is wrong and what to do."""


class ListenFailed(OSError):
    """An address can't be listened at. `strerror` names it."""
