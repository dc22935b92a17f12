"""Heat maps of layers against representations, and the weights of the weighted sum.

Fed with plain numbers per row; the page shows one of each per task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from .theme import INK, MUTED, SEQUENTIAL, Picture, drawing, put_title, to_picture


@dataclass(frozen=True)
class LayerScores:
    """One row of a heat map."""

    label: str
    scores: dict[str, float]  # representation -> score in percent
    chosen: str = ""  # the representation that the valid split chose


def draw_layers(title: str, unit: str, rows: Sequence[LayerScores]) -> Picture:
    """Draw scores of all layers of all rows; darker to lighter is worse to better."""
    with _heat_map(rows, "{:.1f}") as (figure, axes, names):
        for i, row in enumerate(rows):
            if row.chosen in names:
                place = (names.index(row.chosen) - 0.5, i - 0.5)
                axes.add_patch(
                    mpl.patches.Rectangle(place, 1, 1, fill=False, edgecolor=INK, linewidth=2.2)
                )
        framed = "; framed: chosen on the valid split" if any(row.chosen for row in rows) else ""
        put_title(figure, title, f"{unit}. Yellow is best{framed}")
        axes.set_xlabel("what the linear probe read")
        best = {row.label: max(row.scores, key=lambda n: row.scores[n]) for row in rows}
        text = f"{title}. Best: " + ", ".join(f"{label}: {name}" for label, name in best.items())
        return to_picture(figure, text)


def draw_weights(title: str, rows: Sequence[LayerScores]) -> Picture:
    """Draw the softmax weights (in percent) that the weighted sum gave to the layers."""
    with _heat_map(rows, "{:.0f}") as (figure, axes, _):
        put_title(figure, title, "% of the weighted sum; each row adds up to 100")
        axes.set_xlabel("layer of the encoder")
        heaviest = {row.label: max(row.scores, key=lambda n: row.scores[n]) for row in rows}
        text = f"{title}. Heaviest: " + ", ".join(f"{k}: {v}" for k, v in heaviest.items())
        return to_picture(figure, text)


@contextmanager
def _heat_map(
    rows: Sequence[LayerScores], form: str
) -> Iterator[tuple[Figure, mpl.axes.Axes, list[str]]]:
    """A table of the rows' scores, its axes, and the representations that are its columns."""
    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    values = _matrix([row.scores for row in rows], names)
    with drawing():
        figure = _figure(len(rows), len(names))
        axes = figure.add_subplot()
        _cells(axes, values, form, [row.label for row in rows], names)
        yield figure, axes, names


def _figure(rows: int, names: int) -> Figure:
    return Figure(figsize=(max(5.6, 2.6 + 0.62 * names), 1.85 + 0.32 * rows), layout="constrained")


def _matrix(rows: Sequence[dict[str, float]], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Arrange scores as (rows, names), nan where a row lacks a name."""
    return np.array([[row.get(name, np.nan) for name in names] for row in rows], dtype=np.float64)


def _cells(
    axes: mpl.axes.Axes,
    values: npt.NDArray[np.float64],
    form: str,
    rows: Sequence[str],
    names: Sequence[str],
) -> None:
    """Draw a table of colored cells with their numbers in them."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    norm = mpl.colors.Normalize(low, high if high > low else low + 1)
    image = axes.imshow(values, cmap=SEQUENTIAL, norm=norm, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        missing = bool(np.isnan(value))
        red, green, blue, _ = image.cmap(norm(0.0 if missing else value))
        bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        color = MUTED if missing else "#000000" if bright else "#ffffff"
        text = "\u2013" if missing else form.format(value)
        axes.text(j, i, text, ha="center", va="center", fontsize=8.5, color=color)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
