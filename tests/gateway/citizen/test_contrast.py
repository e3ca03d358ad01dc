"""The palettes of everything that a citizen sees: contrast in light and dark (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

import audit.browser
import gateway.citizen
import gateway.city

STYLES: Final = {
    "pages": Path(gateway.citizen.__file__).parent / "static" / "style.css",
    "issuer": Path(gateway.city.__file__).parent / "templates" / "issuer.css",
    "verifier": Path(audit.browser.__file__).with_name("page.css"),
}
DARK: Final = re.compile(r"@media\s*\(prefers-color-scheme:\s*dark\)\s*\{\s*:root\s*\{([^}]*)\}")
LIGHT: Final = re.compile(r"\A\s*:root\s*\{([^}]*)\}")
PROPERTY: Final = re.compile(r"--([a-z-]+):\s*(#[0-9a-f]{6})\b")
USED: Final = re.compile(r"var\(--([a-z-]+)\)")

# What stands on what. Rules only decorate: nothing is known by them alone.
TEXT: Final = {
    "ground": ("text", "muted", "accent", "bad", "warn", "good"),
    "surface": ("text", "muted", "accent", "bad", "warn", "good"),
    "accent": ("on-accent",),
    "band": ("on-band",),
}
EDGES: Final = {"ground": ("line", "accent"), "surface": ("line", "accent")}
DECORATION: Final = {"rule"}
# Set by the layout itself, no colours.
LAYOUT: Final = {"side"}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def palettes(style: str) -> dict[str, dict[str, str]]:
    light, dark = LIGHT.search(style), DARK.search(style)
    assert light is not None
    assert dark is not None
    first = dict(PROPERTY.findall(light[1]))
    return {"light": first, "dark": first | dict(PROPERTY.findall(dark[1]))}


def test_contrast_is_computed_as_the_guidelines_say() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", STYLES)
def test_everything_can_be_read(name: str, scheme: str) -> None:
    palette = palettes(STYLES[name].read_text("utf-8"))[scheme]
    assert {"ground", "text", "accent"} <= palette.keys()
    for pairs, least in ((TEXT, 4.5), (EDGES, 3.0)):
        for ground, colours in pairs.items():
            for colour in colours:
                if ground in palette and colour in palette:
                    found = contrast(palette[ground], palette[colour])
                    assert found >= least, f"{colour} on {ground}: {found:.2f}"


@pytest.mark.parametrize("name", STYLES)
def test_every_colour_is_of_the_palette_and_tested(name: str) -> None:
    style = STYLES[name].read_text("utf-8")
    found = palettes(style)
    assert found["light"].keys() == dict(PROPERTY.findall(DARK.findall(style)[0])).keys()
    known = {colour for pairs in (TEXT, EDGES) for both in pairs.items() for colour in (both[0], *both[1])}
    assert found["light"].keys() <= known | DECORATION
    assert set(USED.findall(style)) - LAYOUT == found["light"].keys()
    outside = LIGHT.sub("", DARK.sub("", style))
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?![^{]*\{)|rgb|hsl", outside)
