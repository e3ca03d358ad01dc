"""The gettext catalogues: what is read is what a translator's tools would read."""

from __future__ import annotations

import gettext
import io
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.citizen.catalogues import CatalogueBroken, Message, compile_catalogue, load_catalogue, parse_catalogue
from gateway.citizen.texts import CATALOGUES, LANGUAGES

HEADER = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n'
)
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=20)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=60)


def read(po: str) -> gettext.GNUTranslations:
    return load_catalogue(HEADER + "\n" + po).translations


def test_a_text_is_found_in_its_form() -> None:
    po = '# a note\n#: gateway/x.py:1\nmsgid "a"\nmsgstr ""\n"Eins \\"und\\"\\n"\n"zwei\\\\"\n\n'
    po += 'msgid "days"\nmsgid_plural "days"\nmsgstr[0] "{count} Tag"\nmsgstr[1] "{count} Tage"\n'
    catalogue = load_catalogue(HEADER + "\n" + po)
    assert catalogue.text("a") == 'Eins "und"\nzwei\\'
    assert [catalogue.text("days", count) for count in (0, 1, 2, None)] == ["{count} Tage", "{count} Tag"] + [
        "{count} Tage"
    ] * 2
    with pytest.raises(KeyError):
        catalogue.text("b")


@pytest.mark.parametrize(
    "po",
    [
        'msgid "a"',
        'msgid "a"\nmsgstr ""',
        'msgstr "a"',
        'msgid "a"\nmsgstr "b"\n\nmsgid "a"\nmsgstr "c"',
        'msgid "a"\nmsgstr "b" "c"',
        'msgid "a"\nmsgstr "b\\x41"',
        'msgid "a"\nmsgstr "b\\"',
        'msgid "a"\nmsgid_plural "b"\nmsgstr[0] "c"',
        'msgid "a"\nmsgid_plural "a"\nmsgstr[1] "c"',
        'msgid "a"\nmsgid_plural "a"\nmsgstr "c"',
        'msgid "a"\nmsgstr[0] "c"',
        'msgctxt "x"\nmsgid "a"\nmsgstr "b"',
        "nothing of the kind",
    ],
)
def test_what_is_no_catalogue_is_refused(po: str) -> None:
    with pytest.raises(CatalogueBroken):
        read(po)


def test_a_catalogue_says_its_charset() -> None:
    with pytest.raises(CatalogueBroken):
        parse_catalogue('msgid "a"\nmsgstr "b"')


@given(st.dictionaries(KEYS, TEXTS, max_size=20))
def test_the_standard_library_reads_what_we_compile(texts: dict[str, str]) -> None:
    header = Message("", is_plural=False, forms=("Content-Type: text/plain; charset=UTF-8\n",))
    messages = {"": header} | {key: Message(key, is_plural=False, forms=(text,)) for key, text in texts.items()}
    compiled = gettext.GNUTranslations(io.BytesIO(compile_catalogue(messages)))
    assert {key: compiled.gettext(key) for key in texts} == texts


@pytest.mark.skipif(shutil.which("msgfmt") is None, reason="there is no msgfmt (Debian: apt-get install gettext)")
@pytest.mark.parametrize("language", LANGUAGES)
def test_gettexts_own_compiler_agrees(language: str, tmp_path: Path) -> None:
    (tmp_path / "in.po").write_bytes(files("gateway.citizen").joinpath("locale", f"{language}.po").read_bytes())
    command = ["msgfmt", "--output-file", "out.mo", "in.po"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    with (tmp_path / "out.mo").open("rb") as file:
        theirs = gettext.GNUTranslations(file)
    ours = CATALOGUES[language]
    for key, message in ours.messages.items():
        if message.is_plural:
            assert [theirs.ngettext(key, key, count) for count in (1, 2)] == [ours.text(key, n) for n in (1, 2)]
        else:
            assert theirs.gettext(key) == ours.text(key)
