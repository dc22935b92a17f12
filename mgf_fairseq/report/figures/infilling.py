"""What the frame scale learned: masked stretches of an utterance, filled in by the model.

Fed with a file of a result folder; the quickstart's picture draws the same panels.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...extract.infilled import Infilling
from .theme import FAINT, SEQUENTIAL, Picture, drawing, put_title, series_color, to_picture

_DYNAMIC_DB = 70  # range of the spectrogram below the loudest place of the original
_NAMES = (
    "original",
    "what the encoder heard: gray stretches are masked",
    "filled in by the model, above the bars",
)
_TICKS = (250, 1000, 2000, 4000)  # Hz, as far as the bins reach


def draw_infilling(title: str, shown: Infilling) -> Picture:
    """Draw the utterance, what the encoder heard of it, and how the model completes it."""
    with drawing():
        figure = Figure(figsize=(9.2, 5.4), layout="constrained")
        put_title(
            figure,
            f"{title}: an utterance, and its masked stretches as the model fills them in",
            how_good(shown),
        )
        axes = figure.subplots(3, 1, sharex=True)
        image = draw_panels(axes, shown, _NAMES, FAINT, series_color(1), SEQUENTIAL)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01)
        bar.set_label("power, dB")
        bar.outline.set_visible(False)
        return to_picture(
            figure,
            f"{title}: log-mel spectrogram of an utterance, of what the encoder heard of it, and "
            f"with the masked stretches filled in. {how_good(shown)}",
        )


def how_good(shown: Infilling) -> str:
    """Say how near the filled-in frames come to the original."""
    return (
        f"Filled in with a mean error of {shown.error:.1f} dB; "
        f"the average spectrum instead: {shown.error_of_means:.1f} dB"
    )


def draw_panels(
    axes: Sequence[Axes],
    shown: Infilling,
    titles: Sequence[str],
    blank: str,
    mark: str,
    cmap: str,
) -> AxesImage:
    """Draw three spectrograms one below the other: original, heard, filled in.

    Args:
        axes: three, which share their x axis or not.
        shown: the utterance.
        titles: of the three.
        blank: color of masked stretches.
        mark: color of the bars under stretches that were filled in.
        cmap: colors of power.

    Returns:
        the last one, for a color bar.
    """
    heard = np.where(shown.masked[:, None], np.nan, shown.original)
    spectra = shown.original, heard, shown.filled
    top = float(shown.original.max())
    bins, duration = len(shown.frequencies), len(shown.masked) / shown.frame_rate
    ticks = [hertz for hertz in _TICKS if hertz < shown.frequencies[-1]]
    places = np.interp(ticks, shown.frequencies, np.arange(bins))
    for one, title, spectrum in zip(axes, titles, spectra, strict=True):
        image = one.imshow(
            spectrum.T,
            origin="lower",
            aspect="auto",
            cmap=cmap,
            norm=mpl.colors.Normalize(top - _DYNAMIC_DB, top),
            extent=(0, duration, -0.5, bins - 0.5),
            interpolation="nearest",
        )
        one.set_facecolor(blank)
        one.set(title=title, xlim=(0, duration), ylabel="kHz")
        one.set_yticks(places, [f"{hertz / 1000:g}" for hertz in ticks])
        one.label_outer()
    for start, end in _stretches(shown.masked):
        seconds = start / shown.frame_rate, end / shown.frame_rate
        axes[-1].plot(seconds, (1, 1), color=mark, linewidth=4, solid_capstyle="butt")
    axes[-1].set(xlabel="seconds", ylim=(-0.5, bins - 0.5))
    return image


def _stretches(masked: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First frame, and frame after the last, of each masked stretch."""
    edges = np.flatnonzero(np.diff(masked, prepend=False, append=False))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
