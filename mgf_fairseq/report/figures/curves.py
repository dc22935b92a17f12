"""Training curves: one small picture per logged number, all runs in it, named at their ends.

Fed with the entries of `training.jsonl`; the page puts the pictures side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...monitoring.training_log import columns
from .theme import INK, MUTED, Picture, drawing, put_title, series_color, series_line, to_picture

_SMOOTH_OVER = 40  # a curve keeps about this many independent points
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """The log of one pre-training; runs of one label share a color and one name in the picture."""

    label: str
    train: list[dict[str, float]]
    valid: list[dict[str, float]]


@dataclass(frozen=True)
class Panel:
    """A number to follow: the first of `names` that a run has logged."""

    names: tuple[str, ...]
    title: str
    unit: str
    chance: str = ""  # what the run logs as its chance level
    share: bool = False  # drawn in percent

    def values(self, entries: Sequence[dict[str, float]], name: str = "") -> tuple[Points, Points]:
        """Return updates and values, both (entries,), of the number (or of another `name`)."""
        for wanted in (name,) if name else self.names:
            updates, values = columns(entries, wanted)
            if updates:
                finite = np.isfinite(values)
                scaled = np.array(values) * (100.0 if self.share else 1.0)
                return np.array(updates)[finite], scaled[finite]
        return np.empty(0), np.empty(0)


@dataclass(frozen=True)
class _End:
    """Where a curve ends, and how it is drawn."""

    update: float
    value: float
    color: str
    line: Any


PROGRESS = (
    Panel(
        ("sample_si_sdr",),
        "Sample scale: closeness of the decoded waveform (higher is better)",
        "SI-SDR, dB",
    ),
    Panel(
        ("frame_mel",),
        "Frame scale: error of the predicted log-mel (smooth L1, lower is better)",
        "normalized log-mel",
    ),
    Panel(
        ("frame_mel_masked",),
        "Frame scale: the same of masked frames (smooth L1, lower is better)",
        "normalized log-mel",
    ),
    Panel(
        ("phoneme_accuracy", "accuracy"),
        "Phoneme scale: right target found among others (higher is better)",
        "% of frames",
        "phoneme_chance",
        share=True,
    ),
    Panel(
        ("utterance_accuracy",),
        "Utterance scale: other segment of an utterance found (higher is better)",
        "% of segments",
        "utterance_chance",
        share=True,
    ),
)


def loss_panels(runs: Sequence[Run]) -> list[Panel]:
    """Return one panel per `loss_<objective>` that any run logged, and one for the whole loss."""
    logged = {name for run in runs for entry in run.train for name in entry}
    names = sorted(name for name in logged if name.startswith("loss_"))
    panels = [
        Panel((name,), f"Loss of {name.removeprefix('loss_')} (lower is better)", "loss")
        for name in names
    ]
    whole = Panel(
        ("loss",), "Whole training loss (runs with other objectives are not comparable)", "loss"
    )
    return [*panels, whole]


def draw_panel(panel: Panel, runs: Sequence[Run]) -> Picture | None:
    """Draw one number over all runs; None where no run has logged it."""
    labels = list(dict.fromkeys(run.label for run in runs))
    drawn = [run for run in runs if len(panel.values(run.train)[0])]
    if not drawn:
        return None
    with drawing():
        named = len({run.label for run in drawn})
        figure = Figure(figsize=(5.6, max(3.5, 1.5 + 0.17 * named)), layout="constrained")
        axes = figure.add_subplot()
        ends: dict[str, _End] = {}
        any_valid = False
        for run in drawn:
            index = labels.index(run.label)
            color, line = series_color(index), series_line(index)
            updates, values = panel.values(run.train)
            if len(values) > 2 * _SMOOTH_OVER:
                axes.plot(updates, values, color=color, linewidth=0.5, alpha=0.25)
            smooth = _smooth(values)
            axes.plot(updates, smooth, color=color, linestyle=line, linewidth=1.6)
            ends[run.label] = _End(float(updates[-1]), float(smooth[-1]), color, line)
            updates, values = panel.values(run.valid)
            any_valid |= bool(len(updates))
            axes.plot(updates, values, "o", color=color, markersize=3.5, clip_on=False)
        _draw_chance(axes, panel, drawn)
        dots = "; dots: held-out audio" if any_valid else ""
        put_title(figure, panel.title, f"Lines: training, running mean{dots}")
        axes.set(xlabel="update", ylabel=panel.unit)
        axes.margins(x=0)
        if axes.dataLim.ymin >= 0:
            axes.set_ylim(bottom=0)
        _reach_edge(axes, list(ends.values()))
        axes.grid(axis="y")
        # The axes take about 72 % of the height; a line of letters takes 0.15 inches.
        _name_ends(axes, ends, 0.15 / (0.72 * figure.get_figheight()))
        text = f"{panel.title}; at the end: " + ", ".join(
            f"{label} {end.value:.3g} {panel.unit}" for label, end in ends.items()
        )
        return to_picture(figure, text)


def _smooth(values: Points) -> Points:
    """Mean over a centered window that shrinks at both ends: (entries,) -> (entries,)."""
    reach = len(values) // (2 * _SMOOTH_OVER)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    half = np.minimum(np.minimum(at, len(values) - 1 - at), reach)
    result: Points = (sums[at + half + 1] - sums[at - half]) / (2 * half + 1)
    return result


def _draw_chance(axes: Axes, panel: Panel, runs: Sequence[Run]) -> None:
    """Draw the highest chance level that a run logged: what guessing would reach."""
    if not panel.chance:
        return
    levels = [panel.values(run.train, panel.chance)[1] for run in runs]
    means = [float(np.mean(level)) for level in levels if len(level)]
    if means:
        axes.axhline(max(means), color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
        axes.annotate(
            f"chance {max(means):.1f}",
            (0, max(means)),
            xycoords=("axes fraction", "data"),
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=8,
            color=MUTED,
        )


def _reach_edge(axes: Axes, ends: Sequence[_End]) -> None:
    """Lead the eye from curves that end early to their names at the edge."""
    last = max(end.update for end in ends)
    for end in ends:
        if end.update < last:
            axes.plot([end.update, last], [end.value] * 2, ":", color=end.color, linewidth=1)


def _name_ends(axes: Axes, ends: dict[str, _End], gap: float) -> None:
    """Write each label right of its curve, moved apart where ends lie closer than `gap`."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ordered = sorted(ends.items(), key=lambda item: item[1].value)
    wanted = [(end.value - low) / (high - low) for _, end in ordered]
    for (label, end), start, place in zip(ordered, wanted, spread(wanted, gap), strict=True):
        axes.plot(
            [1.0, 1.03, 1.06],
            [start, place, place],
            color=end.color,
            linestyle=end.line,
            linewidth=1.4,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            1.07, place, label, transform=axes.transAxes, va="center", fontsize=8.5, color=INK
        )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Move ascending positions apart to at least `gap`, each group about its own middle.

    They stay between 0 and 1 as far as there is room.
    """
    groups: list[tuple[float, int]] = []  # of touching labels: the sum of wished starts, and size
    for place in wanted:
        groups.append((place, 1))
        while len(groups) > 1:
            (below, n), (above, m) = groups[-2:]
            if below / n + gap * n <= above / m:
                break
            groups[-2:] = [(below + above - gap * n * m, n + m)]
    places = [total / size + gap * i for total, size in groups for i in range(size)]
    count = len(places)
    places = [min(place, 1 - gap * (count - 1 - i)) for i, place in enumerate(places)]
    return [max(place, gap * i) for i, place in enumerate(places)]
