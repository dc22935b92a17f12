"""A flat picture of utterance embeddings: which utterances a representation holds to be alike.

Drawn from the vectors of `speaker.npz` and `emotion.npz`: t-SNE, or the first two principal
components of very few utterances; the title says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from .theme import INK, MARKERS, PAPER, Picture, drawing, put_title, series_color, to_picture

_MOST_POINTS = 1500  # more make a blot, and a large file
_LEGEND_UP_TO = 10  # classes; beyond, each cluster bears its name instead
_LEAST_FOR_TSNE = 12
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Where each utterance lies on paper."""

    points: Points  # (N, 2)
    kept: npt.NDArray[np.int64]  # (N,) rows of the embeddings that are drawn
    method: str  # "t-SNE" or "PCA", and what the axes mean
    axes: tuple[str, str]


def lay_out(embeddings: npt.NDArray[np.float32]) -> Layout:
    """Bring (rows, D) embeddings to the plane, each channel standardized; the same every time.

    Raises:
        ValueError: the embeddings hold a value that is not finite.
    """
    if not np.isfinite(embeddings).all():
        raise ValueError("the embeddings hold values that are not finite")
    count = len(embeddings)
    kept = np.arange(count)
    if count > _MOST_POINTS:
        kept = np.sort(np.random.default_rng(1).permutation(count)[:_MOST_POINTS])
    values = embeddings[kept].astype(np.float64)
    deviation = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    components, shares = _principal(values)
    tsne = _tsne(components) if len(kept) >= _LEAST_FOR_TSNE else None
    if tsne is None:
        names = [f"principal component {i + 1} ({shares[i]:.0f} % of variance)" for i in (0, 1)]
        return Layout(components[:, :2], kept, "PCA", (names[0], names[1]))
    return Layout(tsne, kept, "t-SNE", ("t-SNE 1 (no unit)", "t-SNE 2 (no unit)"))


def _principal(values: Points) -> tuple[Points, tuple[float, float]]:
    """Return up to 50 principal components (N, K) and the first two's share of variance in %."""
    left, sizes, _ = np.linalg.svd(values, full_matrices=False)
    components = left * sizes
    if components.shape[1] < 2:
        components = np.pad(components, ((0, 0), (0, 2 - components.shape[1])))
        sizes = np.pad(sizes, (0, 2))
    shares = 100 * sizes**2 / max(float((sizes**2).sum()), 1e-30)
    return components[:, :50], (float(shares[0]), float(shares[1]))


def _tsne(components: Points) -> Points | None:
    """Run t-SNE from the first principal components; None where all utterances are equal."""
    perplexity = min(30.0, (len(components) - 1) / 3)
    if not components.std():
        return None
    model = TSNE(perplexity=perplexity, init="pca", random_state=1, learning_rate="auto")
    # One thread: its loop waits for all threads at every step, forever on a busy machine.
    with threadpool_limits(limits=1):
        made: Points = model.fit_transform(components.astype(np.float32))
    return made


def draw_scatter(title: str, layout: Layout, labels: Sequence[str]) -> Picture:
    """Draw the utterances, one color and mark per label; close together means alike."""
    drawn = [labels[index] for index in layout.kept]
    classes = sorted(set(drawn))
    with drawing():
        figure = Figure(figsize=(5.4, 5.0), layout="constrained")
        axes = figure.add_subplot()
        for index, name in enumerate(classes):
            members = np.array([label == name for label in drawn])
            axes.scatter(
                layout.points[members, 0],
                layout.points[members, 1],
                s=17,
                color=series_color(index),
                marker=_marker(index, len(classes)),
                linewidths=0,
                alpha=0.85,
                label=name,
            )
        if len(classes) > _LEGEND_UP_TO:
            _name_clusters(axes, layout.points, drawn, classes)
            note = "names: above the middle of a class"
        else:
            figure.legend(loc="outside lower center", ncols=4, fontsize=8.5, handletextpad=0.1)
            note = "close together is alike"
        put_title(figure, title, f"{layout.method}; one dot is one utterance; {note}")
        axes.set(xlabel=layout.axes[0], ylabel=layout.axes[1], xticks=[], yticks=[])
        text = f"{title}, {layout.method} of {len(drawn)} utterances, {len(classes)} classes"
        return to_picture(figure, text)


def _marker(index: int, count: int) -> str:
    """Give few classes a mark each, many classes a new mark when the colors start over."""
    return MARKERS[(index if count <= len(MARKERS) else index // 8) % len(MARKERS)]


def _name_clusters(
    axes: Axes, points: Points, labels: Sequence[str], classes: Sequence[str]
) -> None:
    """Write each class's name at the median of its points."""
    for name in classes:
        x, y = np.median(points[[label == name for label in labels]], axis=0)
        axes.annotate(
            name,
            (float(x), float(y)),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=INK,
            fontweight="bold",
            path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        )
