"""The overview picture: one line per representation, its score with its uncertainty, and chance.

Fed with plain numbers; the page shows one per task above the table that holds the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .theme import INK, MUTED, Picture, drawing, put_title, series_color, to_picture


@dataclass(frozen=True)
class Bar:
    """One representation's place in the overview; percent, or the unit of the picture."""

    label: str
    mean: float
    low: float  # 95 % interval
    high: float
    single: tuple[float, ...]  # each seed by itself
    baseline: bool


def draw_ranking(
    title: str, unit: str, bars: Sequence[Bar], chance: float | None, lower_is_better: bool
) -> Picture:
    """Draw the representations from best (top) to worst."""
    ordered = sorted(bars, key=lambda bar: bar.mean, reverse=not lower_is_better)
    with drawing():
        figure = Figure(figsize=(5.6, 1.9 + 0.27 * len(ordered)), layout="constrained")
        axes = figure.add_subplot()
        for place, bar in enumerate(ordered):
            _draw_bar(axes, place, bar)
        if chance is not None:
            axes.axvline(chance, color=MUTED, linestyle=(0, (3, 2)), linewidth=1)
            axes.annotate(
                f"chance {chance:.1f}",
                (chance, -0.75),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=8,
                color=MUTED,
                va="center",
            )
        axes.set_yticks(range(len(ordered)), [bar.label for bar in ordered])
        axes.set_ylim(len(ordered) - 0.4, -1.1)
        axes.margins(x=0.09)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0] if any(b.low < 0 for b in ordered) else 0))
        direction = "left" if lower_is_better else "right"
        put_title(
            figure,
            f"{title}: further {direction} is better",
            "Blue circle: MGF; yellow diamond: baseline; bar: 95 % interval; "
            "thin strokes: single seeds",
        )
        axes.set_xlabel(unit)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        text = f"{title}, best first: " + ", ".join(f"{b.label} {b.mean:.1f}" for b in ordered)
        return to_picture(figure, text)


def _draw_bar(axes: Axes, place: int, bar: Bar) -> None:
    """Draw a representation's interval, its single seeds, its mean, and the mean as a number."""
    color = series_color(4 if bar.baseline else 0)
    marker = "D" if bar.baseline else "o"
    axes.plot([bar.low, bar.high], [place, place], color=color, linewidth=2.5, alpha=0.55)
    axes.plot(
        bar.single,
        [place] * len(bar.single),
        marker="|",
        markersize=12,
        markeredgewidth=0.9,
        color=MUTED,
        linestyle="none",
    )
    axes.plot(bar.mean, place, marker=marker, markersize=6, color=color)
    axes.annotate(
        f"{bar.mean:.1f}",
        (max(bar.high, bar.mean, *bar.single), place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=INK,
    )
