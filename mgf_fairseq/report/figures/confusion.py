"""A confusion matrix one can read: ordered, row-normalized, and its worst entries in words.

Fed with the counts of a task's result; arpabet.py knows the ARPAbet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from . import arpabet as phones
from .theme import INK, SEQUENTIAL, Picture, drawing, put_title, to_picture

Counts = npt.NDArray[np.int64]
_NUMBERS_UP_TO = 12  # classes whose cells have room for a number


@dataclass(frozen=True)
class Confused:
    """One off-diagonal entry."""

    truth: str
    taken_for: str
    count: int
    share: float  # of all items of the true class, in percent


def ordering(classes: Sequence[str], counts: Counts, by_manner: bool) -> list[int]:
    """Order classes by manner of articulation, for which they must be ARPAbet, or frequency."""
    if by_manner:
        return sorted(range(len(classes)), key=lambda i: (phones.place(classes[i]), classes[i]))
    return sorted(range(len(classes)), key=lambda i: (-int(counts[i].sum()), classes[i]))


def row_shares(counts: Counts) -> npt.NDArray[np.float64]:
    """Percent of each true class: (K, K) -> (K, K), nan for a class without an item."""
    totals = counts.sum(axis=1, keepdims=True).astype(np.float64)
    return 100 * counts / np.where(totals > 0, totals, np.nan)


def top_confusions(classes: Sequence[str], counts: Counts, number: int = 10) -> list[Confused]:
    """Return the most frequent mistakes, most items first."""
    off = counts.copy()
    np.fill_diagonal(off, 0)
    shares = row_shares(counts)
    flat = np.argsort(-off, axis=None, kind="stable")[:number]
    found = [divmod(int(index), len(classes)) for index in flat]
    return [
        Confused(classes[i], classes[j], int(off[i, j]), float(shares[i, j]))
        for i, j in found
        if off[i, j] > 0
    ]


def sentence(confused: Confused, items: str, arpabet: bool) -> str:
    """Put one mistake into words; ARPAbet phones get a word that shows them."""
    truth, other = confused.truth, confused.taken_for
    if arpabet:
        truth, other = phones.in_words(truth), phones.in_words(other)
    return f"{truth} taken for {other}: {confused.share:.1f} % of its {items} ({confused.count:,})"


def draw_confusion(
    title: str, classes: Sequence[str], counts: Counts, items: str, by_manner: bool
) -> Picture:
    """Draw the matrix: rows are the truth, columns what the probe answered."""
    order = ordering(classes, counts, by_manner)
    names = [classes[i] for i in order]
    shares = row_shares(counts)[np.ix_(order, order)]
    size = max(5.2, min(9.6, 2.0 + 0.185 * len(names)))
    with drawing():
        figure = Figure(figsize=(size, size * 0.86 + 0.3), layout="constrained")
        axes = figure.add_subplot()
        # A root scale: mistakes of a few percent are what one looks for.
        image = axes.imshow(shares, cmap=SEQUENTIAL, norm=PowerNorm(0.5, 0, 100))
        font = 9 if len(names) <= 20 else 7
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=font)
        axes.set_yticks(range(len(names)), names, fontsize=font)
        axes.tick_params(length=0)
        by = "frequency"
        if by_manner:
            by = "manner of articulation"
            _mark_manners(axes, names)
        if len(names) <= _NUMBERS_UP_TO:
            _write_numbers(axes, shares)
        how = f"Row: the truth; column: the answer; bright diagonal: right. Ordered by {by}"
        put_title(figure, title, how)
        axes.set(xlabel="answer of the probe", ylabel="truth")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 1, 5, 10, 25, 50, 100])
        bar.set_label(f"% of the {items} of a row")
        bar.outline.set_visible(False)
        worst = [sentence(c, items, by_manner) for c in top_confusions(classes, counts, 3)]
        return to_picture(figure, f"{title}. Most frequent mistakes: {'; '.join(worst) or 'none'}")


def _mark_manners(axes: Axes, names: Sequence[str]) -> None:
    """Draw lines between manners of articulation and name them at the right."""
    start = 0
    for name, members in groupby(names, key=phones.manner):
        end = start + len(list(members))
        for line in (axes.axhline, axes.axvline):
            line(end - 0.5, color="#ffffff", linewidth=0.8, alpha=0.7)
        axes.annotate(
            name,
            (len(names) - 0.3, (start + end - 1) / 2),
            annotation_clip=False,
            fontsize=7.5,
            color=INK,
            va="center",
        )
        start = end


def _write_numbers(axes: Axes, shares: npt.NDArray[np.float64]) -> None:
    for (i, j), share in np.ndenumerate(shares):
        if np.isfinite(share) and share >= 0.5:
            color = "#000000" if share > 30 else "#ffffff"  # past the middle of the root scale
            axes.text(j, i, f"{share:.0f}", ha="center", va="center", fontsize=8, color=color)
