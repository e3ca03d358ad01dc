"""What commands print: tables for people, and for the programs that read along."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from gateway.admin.verified import plain

if TYPE_CHECKING:
    from rich.console import Console

# In a file or a pipe nothing is folded, so that a line holds whole names.
_WIDE: Final = 10_000


def open_console(*, highlight: bool = True) -> Console:
    """Standard output, as wide as the terminal, or as `COLUMNS` says; without either, as wide as it takes."""
    # Loaded here: `--help` needs no tables.
    from rich.console import Console

    console = Console(highlight=highlight)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(plain(title)) if title else None, title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not markup, and no escape sequence: what comes from a citizen, a configuration or a peer is never an
        # instruction to the terminal.
        table.add_row(*(Text("\n".join(map(plain, str(cell).split("\n")))) for cell in row))
    open_console().print(table)
