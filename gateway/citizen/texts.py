"""Every sentence of the citizen's pages, in German and English: gettext catalogues, `locale/de.po` and `locale/en.po`.

Plain language: short sentences, no office German. A new text goes into both files under the same key; placeholders are
`{name}`, and one called `{count}` chooses between the forms for one and many. A test holds both languages to the same
keys and placeholders, and the templates to the keys that exist. What institutions write isn't here: it comes in the
catalogue of services and is escaped where shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from gateway.citizen.catalogues import Catalogue, load_catalogue

LANGUAGES: Final = ("de", "en")


def _load(language: str) -> Catalogue:
    return load_catalogue(files(__package__).joinpath("locale", f"{language}.po").read_text("utf-8"))


CATALOGUES: Final = {language: _load(language) for language in LANGUAGES}
# The keys that exist, for texts whose key is put together from what others sent.
TEXTS: Final = frozenset(CATALOGUES["de"].messages)


def text(key: str, language: str, **values: object) -> str:
    """A text with its placeholders filled. `language` is "de" or "en". Raises KeyError for an unknown key."""
    count = values.get("count")
    found = CATALOGUES["en" if language == "en" else "de"].text(key, count if isinstance(count, int) else None)
    return found.format(**values)


def fault_text(code: str, language: str) -> str:
    """What one of the road's errors means for the citizen; empty if there is nothing plainer than the code."""
    key = f"fault_{code.rpartition('.')[2]}"
    return text(key, language) if key in TEXTS else ""


def categories_text(codes: Iterable[str], language: str) -> str:
    """Categories of data in words, as far as they are known."""
    keys = ((code, f"category_{code}") for code in codes)
    return ", ".join(text(key, language) if key in TEXTS else code for code, key in keys) or text(
        "not_stated", language
    )
