"""What commands print: texts of others are shown, never obeyed by the terminal."""

from __future__ import annotations

import pytest

from gateway.admin.output import print_table


def test_a_table_holds_no_instruction_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A citizen's complaint may hold any character; an operator's terminal would rename itself, or worse."""
    monkeypatch.setenv("COLUMNS", "120")
    hostile = "\x1b]52;c;Ym9lc2U=\x07\x1b[2J\x9b31m\r\u202efalsch"
    print_table(f"Titel {hostile}", ("Spalte",), [(f"erste [red]Zeile[/red]\nzweite {hostile} ä",)])
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "erste [red]Zeile[/red]" in shown
    assert "zweite" in shown
    assert "ä" in shown
