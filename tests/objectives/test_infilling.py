"""Masked stretches filled in: from what the encoder heard, with training's own error, in dB."""

import math

import pytest
import tiny
import torch
from encoded import build

from mgf_fairseq.acoustics.normalization import unit_variance
from mgf_fairseq.acoustics.spectrum import mel_edges
from mgf_fairseq.losses.reconstruction import smooth_l1
from mgf_fairseq.objectives.infilling import fill_in
from mgf_fairseq.types import Batch

WAVEFORM = unit_variance(torch.from_numpy(tiny.speech_like(1.5, seed=5)))
LOG = math.log(10) / 10  # natural logarithm per dB


def trained(**settings):
    """A tiny model in evaluation mode, and its frame objective."""
    objectives = {"frame": {"hidden_dim": 16, **settings}}
    _, model, _ = tiny.tiny_training(["frame"], objectives=objectives)
    return model.eval(), model.objectives["frame"]


@pytest.mark.parametrize("normalization", ["global", "utterance", "none"])
def test_the_error_of_what_is_filled_in_is_that_of_training_and_the_rest_is_the_target(
    normalization,
):
    model, objective = trained(normalization=normalization)
    found = fill_in(model, objective, WAVEFORM, WAVEFORM)
    unpadded = torch.zeros(1, len(WAVEFORM), dtype=torch.bool)
    row = torch.zeros(1, dtype=torch.int64)
    encoded, _ = model.encode(WAVEFORM[None], mask=True, row_id=[0], update=0)
    with torch.no_grad():
        output = objective(encoded, Batch(WAVEFORM[None], unpadded, row, row, draw=0))
    loss, count = output.metrics["mel_masked"]
    natural = found.original * LOG
    deviation = {
        "global": torch.tensor(4.44),
        "utterance": natural.std(0, correction=0),
        "none": torch.tensor(1.0),
    }[normalization]
    off = ((found.filled - found.original) * LOG / deviation)[found.masked]
    ours, frames = smooth_l1(off, torch.zeros_like(off))
    assert (float(ours), float(frames)) == pytest.approx((float(loss), float(count)), rel=1e-4)
    assert torch.equal(found.filled[~found.masked], found.original[~found.masked])


def test_a_tone_is_in_the_bin_of_its_frequency():
    model, objective = trained()
    tone = unit_variance(torch.sin(2 * math.pi * 1000 / 16000 * torch.arange(16000)))
    loudest = fill_in(model, objective, tone, tone).original.mean(0).argmax()
    assert float(mel_edges(80, 16000)[1 + loudest]) == pytest.approx(1000, abs=40)  # a bin's width


def test_what_is_filled_in_depends_on_what_was_heard_alone():
    model, objective = trained()
    before = fill_in(model, objective, WAVEFORM, WAVEFORM)
    heard = torch.zeros(len(WAVEFORM), dtype=torch.bool)
    for frame in (~before.masked).nonzero()[:, 0].tolist():
        heard[320 * frame : 320 * frame + 400] = True
    heard[320 * (len(before.masked) - 1) + 400 :] = True  # the rest belongs to no frame
    noise = torch.randn(len(WAVEFORM), generator=torch.Generator().manual_seed(1))
    inside = torch.where(heard, WAVEFORM, noise)
    after = fill_in(model, objective, inside, inside)
    assert torch.equal(after.masked, before.masked)
    assert not torch.allclose(after.original, before.original, atol=1.0)
    assert torch.equal(after.filled[after.masked], before.filled[before.masked])
    outside = torch.where(heard, noise, WAVEFORM)
    other = fill_in(model, objective, outside, outside)
    assert not torch.allclose(other.filled[other.masked], before.filled[before.masked])


def test_without_log_mel_of_masked_frames_or_without_masks_there_is_nothing_to_show():
    model, objective = trained()
    for changed in (build("frame", masked_level="none"), build("frame", features=["mfcc"])):
        assert fill_in(model, changed, WAVEFORM, WAVEFORM) is None
    assert fill_in(model, objective, WAVEFORM[:800], WAVEFORM[:800]) is None  # shorter than a span
