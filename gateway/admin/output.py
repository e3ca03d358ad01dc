"""What commands print: tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output, as wide as the terminal."""
    # Loaded here: `--help` needs no tables.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not markup: what comes from a configuration or a peer is never an instruction to the terminal.
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)
