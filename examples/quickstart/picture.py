"""Draw the quickstart's picture: losses per scale, errors per task, layers, and an utterance.

Reads the training log, the checkpoint and the results; `quickstart.py` calls it last. For any other
run: python examples/quickstart/picture.py RUN_FOLDER MANIFEST.tsv RESULTS PICTURE.png
"""

from __future__ import annotations

import logging
import statistics
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from mgf_fairseq.evaluation.result_files import ResultFolder, read_results
from mgf_fairseq.extract.example import Signal
from mgf_fairseq.extract.infill import infill
from mgf_fairseq.extract.infilled import Infilling
from mgf_fairseq.extract.reconstruct import Reconstruction, reconstruct
from mgf_fairseq.losses.reconstruction import si_sdr_of
from mgf_fairseq.monitoring.training_log import LOG_NAME, columns, read_log
from mgf_fairseq.report.describing import POINTS_BELOW
from mgf_fairseq.report.figures.infilling import draw_panels

SCALES = {"sample": "#4c72b0", "frame": "#55a868", "phoneme": "#c44e52", "utterance": "#8172b2"}
ROWS = {"mgf": "#2b6ca3", "random": "#b8b8b8", "fbank": "#dd9f40"}
ROW_NAMES = {"mgf": "MGF", "random": "random weights", "fbank": "log-mel"}
TASKS = {"phone": "phones", "speaker": "speakers", "emotion": "styles"}
WHY_NOT_THE_TOP = (
    "Where the highest layer falls behind a lower one:\n"
    "it specializes in what pre-training predicts."
)
SMOOTHED = 9  # logged updates that a loss is averaged over


def draw_losses(axes: Axes, entries: list[dict[str, float]]) -> None:
    """Draw each scale's loss as a share of its first value, so that one axis serves all.

    A signal-to-noise ratio has no zero to be a share of: the sample scale's curve is the share of
    the decoded waveform's energy that is error.
    """
    for name, color in SCALES.items():
        updates, losses = columns(entries, f"loss_{name}")
        measured, ratios = columns(entries, f"{name}_si_sdr")
        if ratios:
            updates, losses = measured, [1 / (1 + 10 ** (ratio / 10)) for ratio in ratios]
        if losses:
            smooth = smoothed(np.array(losses) / abs(losses[0]))
            label = f"{name}: {losses[0]:.2f} to {losses[-1]:.2f}"
            axes.plot(updates, smooth, color=color, label=label)
    axes.set(title="Pre-training: the loss of each scale, relative to its start", xlabel="update")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="lower left")


def smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean over the values around each, fewer of them at both ends."""
    half = SMOOTHED // 2
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def errors_of(folder: ResultFolder) -> dict[str, float]:
    """Errors per task in percent: of probes 100 minus accuracy, of recognition CER and WER."""
    found = {}
    for task, name in TASKS.items():
        if task in folder.tasks:
            result = folder.tasks[task]
            chosen = result.representations[result.chosen].test[result.metric]
            found[name] = 100 - statistics.fmean(chosen)
    if folder.recognition is not None:
        test = folder.recognition.test
        found |= {"letters (CER)": statistics.fmean(test["cer"])}
        found |= {"words (WER)": statistics.fmean(test["wer"])}
    return found


def draw_errors(axes: Axes, folders: dict[str, ResultFolder]) -> None:
    """Draw a group of bars per task, a bar per representation, with its number on it."""
    errors = {name: errors_of(folder) for name, folder in folders.items()}
    tasks = list(dict.fromkeys(task for found in errors.values() for task in found))
    for place, (name, found) in enumerate(errors.items()):
        across = [tasks.index(task) + 0.27 * (place - 1) for task in found]
        label = ROW_NAMES[name]
        bars = axes.bar(across, list(found.values()), 0.25, color=ROWS[name], label=label)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_xlim(-0.6, len(tasks) - 0.4)
    # Room above the bars, so that the legend hides none.
    axes.set(title="Errors on test, %: shorter is better", ylim=(0, 1.15 * axes.get_ylim()[1]))
    axes.legend(fontsize=9, ncols=3, loc="upper center")


def draw_layers(axes: Axes, folder: ResultFolder) -> None:
    """Draw the score of each layer of MGF in each task."""
    for (task, name), marker in zip(TASKS.items(), "os^", strict=True):
        if task not in folder.tasks:
            continue
        result, layers = folder.tasks[task], folder.upstream.layer_names
        means: dict[str, float] = {}
        for one in result.representations:
            if one.layer in layers:  # the better pooling, where there are two
                score = statistics.fmean(one.test[result.metric])
                means[one.layer] = max(score, means.get(one.layer, 0.0))
        axes.plot(range(len(layers)), [means[n] for n in layers], marker=marker, label=name)
    layers = folder.upstream.layer_names
    axes.set_xticks(range(len(layers)), layers)
    axes.set(ylim=(0, 100), title="Which layer of MGF knows what: score of a linear probe, %")
    scores = [np.asarray(line.get_ydata()) for line in axes.lines]
    if any(score.max() - score[-1] > POINTS_BELOW for score in scores):
        axes.set_xlabel(WHY_NOT_THE_TOP)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)


def rebuild(checkpoint: Path, manifest: Path) -> Infilling | Reconstruction | None:
    """Fill in an utterance by the frame objective or, without one, decode it by the sample's."""
    return infill(checkpoint, manifest) or reconstruct(checkpoint, manifest)


def draw_infilling(figure: Figure, place: SubplotSpec, shown: Infilling) -> None:
    """Draw an utterance, what the encoder heard of it, and how the model completes it."""
    axes = [figure.add_subplot(one) for one in place.subgridspec(3, 1)]
    error, of_means = shown.error, shown.error_of_means
    titles = (
        "An utterance that training did not hear",
        "What the encoder heard of it: gray is masked",
        f"Filled in: {error:.1f} dB off (the average spectrum: {of_means:.1f} dB)",
    )
    draw_panels(axes, shown, titles, blank="#d9dce1", mark="#2b9fd8", cmap="magma")


def draw_decoded(figure: Figure, place: SubplotSpec, shown: Reconstruction) -> None:
    """Draw the spectrograms of an utterance and of what the waveform decoder makes of it."""
    si_sdr = si_sdr_of(shown.original, shown.decoded)
    upper, lower = (figure.add_subplot(one) for one in place.subgridspec(2, 1))
    rate = shown.sample_rate
    draw_sound(upper, shown.original, rate, "An utterance that training did not hear")
    draw_sound(lower, shown.decoded, rate, f"The same, decoded (SI-SDR {si_sdr:.1f} dB)")
    upper.set_xticks([])
    lower.set_xlabel("seconds")


def draw_sound(axes: Axes, signal: Signal, rate: int, title: str) -> None:
    """Draw a spectrogram."""
    axes.specgram(signal, NFFT=400, Fs=rate, noverlap=300, cmap="magma", vmin=-110, vmax=-30)
    axes.set(title=title, ylabel="Hz", ylim=(0, 8000))


def draw(run: Path, manifest: Path, results: Path, destination: Path) -> None:
    """Draw the picture of a pre-training run and of its results, as far as there are any."""
    entries = read_log(run / LOG_NAME, "train_inner")
    rebuilt = rebuild(run / "checkpoint_last.pt", manifest)
    folders = {n: read_results(results / n) for n in ROW_NAMES if (results / n).is_dir()}
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(12, 8.4 if folders else 4.6), layout="constrained")
        grid = figure.add_gridspec(4 if folders else 2, 2)
        draw_losses(figure.add_subplot(grid[:2, 0]), entries)
        if folders:
            draw_errors(figure.add_subplot(grid[:2, 1]), folders)
            if folders["mgf"].tasks:
                draw_layers(figure.add_subplot(grid[2:, 0]), folders["mgf"])
        place = grid[2:, 1] if folders else grid[:2, 1]
        if isinstance(rebuilt, Infilling):
            draw_infilling(figure, place, rebuilt)
        elif rebuilt is not None:
            draw_decoded(figure, place, rebuilt)
        else:
            print(
                f"the picture shows no utterance: {run} has neither the frame nor the sample "
                f"objective, or no utterance of {manifest} can be read"
            )
        figure.savefig(destination, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(f"usage: {sys.argv[0]} RUN_FOLDER MANIFEST.tsv RESULTS PICTURE.png")
    logging.disable(logging.INFO)  # fairseq turns everybody's debugging messages on
    draw(*map(Path, sys.argv[1:]))
