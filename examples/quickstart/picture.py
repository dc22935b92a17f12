"""Draw what the quickstart's pre-training did: losses per scale, accuracies, a reconstruction.

Reads the training log and the pre-trained checkpoint; `quickstart.py` calls it last. For any other
run: python examples/quickstart/picture.py RUN_FOLDER MANIFEST.tsv PICTURE.png
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mgf_fairseq.extract.reconstruct import Signal, reconstruct
from mgf_fairseq.monitoring.training_log import LOG_NAME, columns, read_log

SCALES = {"sample": "#4c72b0", "frame": "#55a868", "phoneme": "#c44e52", "utterance": "#8172b2"}


def draw_losses(axes: Axes, entries: list[dict[str, float]]) -> None:
    """Draw each scale's loss as a share of its first value, so that one axis serves all."""
    for name, color in SCALES.items():
        updates, losses = columns(entries, f"loss_{name}")
        if losses:
            label = f"{name}: {losses[0]:.2f} to {losses[-1]:.2f}"
            axes.plot(updates, np.array(losses) / abs(losses[0]), color=color, label=label)
    axes.set(title="Loss per scale, relative to its start", xlabel="update")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="lower left")


def draw_accuracies(axes: Axes, entries: list[dict[str, float]]) -> None:
    """Draw contrastive and retrieval accuracy, each with its chance level."""
    updates, phoneme = columns(entries, "phoneme_accuracy")
    axes.plot(updates, phoneme, color=SCALES["phoneme"], label="masked frame: which latent?")
    updates, chance = columns(entries, "phoneme_chance")
    axes.plot(updates, chance, color=SCALES["phoneme"], linestyle=":", label="... by chance")
    updates, utterance = columns(entries, "utterance_accuracy")
    axes.plot(updates, utterance, color=SCALES["utterance"], label="segment: same utterance?")
    updates, chance = columns(entries, "utterance_chance")
    axes.plot(updates, chance, color=SCALES["utterance"], linestyle=":", label="... by chance")
    axes.set(title="Accuracy of the two discriminative scales", xlabel="update", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="upper left")


def draw_signal(wave: Axes, spectrum: Axes, signal: Signal, rate: int, title: str) -> None:
    """Draw a waveform and, below it, its spectrogram."""
    wave.plot(np.arange(len(signal)) / rate, signal, linewidth=0.4, color="#333333")
    wave.set(title=title, xlim=(0, len(signal) / rate), ylim=(-6, 6), xticks=[])
    wave.set_ylabel("amplitude")
    spectrum.specgram(signal, NFFT=400, Fs=rate, noverlap=300, cmap="magma", vmin=-110, vmax=-30)
    spectrum.set(xlabel="seconds", ylabel="Hz", ylim=(0, 8000))


def draw(run: Path, manifest: Path, destination: Path) -> None:
    """Draw the picture of a pre-training run from its log and last checkpoint."""
    entries = read_log(run / LOG_NAME, "train_inner")
    found = reconstruct(run / "checkpoint_last.pt", manifest)
    if found is None:
        sys.exit(
            f"{run} was trained without the sample objective, or no utterance of {manifest} can be "
            "read: there is nothing to decode"
        )
    original, decoded = found.original, found.decoded
    residual = original - decoded
    si_sdr = 10 * np.log10(np.square(decoded).sum() / np.square(residual).sum())
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(12, 9), layout="constrained")
        grid = figure.add_gridspec(3, 2, height_ratios=[3, 1, 2])
        draw_losses(figure.add_subplot(grid[0, 0]), entries)
        draw_accuracies(figure.add_subplot(grid[0, 1]), entries)
        for column, (signal, title) in enumerate(
            [
                (original, "An utterance that training did not see"),
                (decoded, f"The same, decoded from the latents (SI-SDR {si_sdr:.1f} dB)"),
            ]
        ):
            axes = [figure.add_subplot(grid[row, column]) for row in (1, 2)]
            draw_signal(axes[0], axes[1], signal, found.sample_rate, title)
        figure.savefig(destination, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} RUN_FOLDER MANIFEST.tsv PICTURE.png")
    logging.disable(logging.INFO)  # fairseq turns everybody's debugging messages on
    draw(*map(Path, sys.argv[1:]))
