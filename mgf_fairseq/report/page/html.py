"""HTML out of nested calls: text is escaped unless it is markup that these functions made.

Under scores_table.py and page.py; no template language, so nothing from a file can become a tag.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from ..figures.theme import Picture

_COLUMN = 640  # CSS pixels: wider pictures get a line of their own
_VOID = ("img", "meta", "link")


class Html(str):
    """Markup that is safe to put into a page."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: str) -> Html:
    """Make an element; `class_` becomes class, and `open=""` has no value."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"'
        for key, value in attributes.items()
    )
    if tag in _VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{join(children)}</{tag}>")


def join(children: Iterable[str], between: str = "") -> Html:
    """Put pieces after one another, each escaped unless it is markup."""
    return Html(
        between.join(
            child if isinstance(child, Html) else html.escape(child, quote=False)
            for child in children
        )
    )


def bullets(items: Iterable[str], **attributes: str) -> Html:
    """Make a list with bullets."""
    return element("ul", *(element("li", item) for item in items), **attributes)


def pairs(items: Iterable[tuple[str, str]]) -> Html:
    """Make a list of names with their values."""
    made = (join([element("dt", name), element("dd", value)]) for name, value in items)
    return element("dl", *made)


def fold(summary: str, *children: str, opened: bool = False) -> Html:
    """Make a part that opens on a click."""
    state = {"open": ""} if opened else {}
    return element("details", element("summary", summary), *children, **state)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """Make a plain table that scrolls sideways where it does not fit."""
    top = element("tr", *(element("th", name, scope="col") for name in head))
    body = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    whole = element("table", element("thead", top), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex="0")


def picture(image: Picture) -> Html:
    """Make an image that never grows beyond its own size and scrolls where it would be tiny."""
    wide = image.width > _COLUMN
    made = element(
        "img",
        src=image.data_uri(),
        alt=image.alt,
        width=str(image.width),
        style=f"min-width:min({image.width}px,{'44rem' if wide else '20rem'})",
    )
    return element("figure", made, class_=f"scroll{' wide' if wide else ''}", tabindex="0")


def gallery(images: Iterable[Picture]) -> Html:
    """Put pictures side by side as far as there is room."""
    return element("div", *(picture(image) for image in images), class_="gallery")
