"""Colors, marks and the way from a matplotlib figure to an image inside a page.

Under every picture of the report: figures are drawn once, as SVG whose few colors are variables
that follow the reader's light or dark setting, so that one image serves both.
"""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Placeholders that the figures are drawn with -> (on a light page, on a dark page). The eight
# series follow Okabe and Ito (2008), which color-blind readers can distinguish; yellow and black,
# which vanish on one of the two pages, are replaced by darker and lighter relatives.
INK, MUTED, FAINT, PAPER = "#010203", "#010204", "#010205", "#010206"
_THEMED: dict[str, tuple[str, str]] = {
    INK: ("#1b1d21", "#e8e6e1"),
    MUTED: ("#5c6370", "#a2a8b4"),
    FAINT: ("#d9dce1", "#3a3f48"),
    PAPER: ("#ffffff", "#16181c"),
    "#020201": ("#0072b2", "#4aa8e0"),
    "#020202": ("#d55e00", "#f0803a"),
    "#020203": ("#00845f", "#27c298"),
    "#020204": ("#b8578f", "#dc8fba"),
    "#020205": ("#c28500", "#f0b429"),
    "#020206": ("#3f9fd8", "#8ecdf5"),
    "#020207": ("#6b5bb5", "#a99cf0"),
    "#020208": ("#7a6a4f", "#c4b391"),
}
SERIES: tuple[str, ...] = tuple(name for name in _THEMED if name.startswith("#0202"))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.5)))
SEQUENTIAL = "viridis"  # even in lightness and safe for color-blind readers

_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "axes.grid": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "path",  # the same letters on every machine
    "svg.hashsalt": "mgf",  # the same bytes for the same results
    "text.parse_math": False,  # a name from a file may hold dollar signs
    "image.interpolation": "none",
}


@dataclass(frozen=True)
class Picture:
    """An image that lives inside the page."""

    svg: str
    alt: str  # what one sees, for readers who cannot
    width: int  # CSS pixels at which its letters have their natural size

    def data_uri(self) -> str:
        """Return the image as an address that needs no file."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


@contextmanager
def drawing() -> Iterator[None]:
    """Set the report's style for figures made, drawn and saved inside."""
    with mpl.rc_context(_STYLE):
        yield


def put_title(figure: Figure, title: str, how_to_read: str) -> None:
    """Write the title and, below it, how to read the picture, broken to the figure's width."""
    letters = int(figure.get_figwidth() * 12.9)  # about, at the size of the title
    lines = [line for text in (title, how_to_read) for line in textwrap.wrap(text, letters)]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=10.5, color=INK)


def series_color(index: int) -> str:
    """Return the placeholder color of the index-th series; eight, then again."""
    return SERIES[index % len(SERIES)]


def series_line(index: int) -> Any:
    """Return a dash pattern that changes whenever the colors start over."""
    return LINES[index // len(SERIES) % len(LINES)]


def to_picture(figure: Figure, alt: str) -> Picture:
    """Render a figure; call it inside `drawing()`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(_follow_theme(buffer.getvalue()), alt, round(figure.get_figwidth() * 96))


def _follow_theme(svg: str) -> str:
    """Turn placeholder colors into variables and define them for light and dark pages."""
    names = {placeholder: f"--c{index}" for index, placeholder in enumerate(_THEMED)}
    for placeholder, name in names.items():
        svg = svg.replace(placeholder, f"var({name})")
    light, dark = (
        ";".join(f"{names[key]}:{value[side]}" for key, value in _THEMED.items()) for side in (0, 1)
    )
    style = (
        f"<style>svg{{{light}}}@media (prefers-color-scheme: dark){{svg{{{dark}}}}}"
        "path,use{stroke-linejoin:round}</style>"
    )
    svg = re.sub(r"<\?xml.*?\?>\s*|<!DOCTYPE.*?>\s*|<metadata>.*?</metadata>", "", svg, flags=re.S)
    return re.sub(r"(<svg[^>]*>)", lambda match: match[1] + style, svg, count=1)
