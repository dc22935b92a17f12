"""Lengths at which the shipped recipes skip or refuse an utterance, and rates that audio may have.

The task's default and `mgf check` read them here, so that no recipe skips what the check kept.
"""

from __future__ import annotations

# Pre-training, task.min_sample_size: 0.25 s at 16 kHz is the length of a spoken digit, 12 frames of
# the encoder; half a second dropped most recordings of digits and commands (0.4 to 1 s). Shorter
# than this the masked spans (10 frames) would leave nothing to predict from.
PRETRAINING_MIN_SAMPLES = 4000
FINETUNING_MIN_SAMPLES = 400  # task.min_sample_size there: one frame of the encoder
FINETUNING_MAX_TOKENS = 1_600_000  # dataset.max_tokens there; fairseq stops at a longer utterance

SAMPLE_RATES = (1000, 1_000_000)  # Hz; a header of 1 Hz would make hours of a second

# Skipping more than this share of the utterances or hours is a warning, or an error.
MUCH = 0.05
