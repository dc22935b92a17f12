"""Mixtures are the same for everybody, at the ratio they claim, of noise that test alone has."""

import dataclasses

import numpy as np
import pytest
import soundfile

from mgf_fairseq.evaluation.enhancement.mixtures import BABBLE, MixtureConfig, Mixtures
from mgf_fairseq.evaluation.labeled import ProbeError, read_labeled

RATE = 16000
CONFIG = MixtureConfig(seconds=1.0)
TONES = {"ann": 300, "bob": 700, "cat": 1500}  # Hz; each speaker is one tone


@pytest.fixture
def split(tmp_path):
    """Four utterances of three speakers each, then a silent, a missing and a short one."""
    lines, speakers = [str(tmp_path)], []
    sounds = [
        (f"{name}{take}", 0.1 * np.sin(2 * np.pi * tone * np.arange(24000) / RATE + take))
        for name, tone in TONES.items()
        for take in range(4)
    ]
    sounds += [("silent", np.zeros(24000)), ("short", np.ones(4000))]
    for name, sound in sounds:
        soundfile.write(tmp_path / f"{name}.wav", sound, RATE)
        lines.append(f"{name}.wav\t{len(sound)}")
        speakers.append(name.rstrip("0123"))
    lines.append("missing.wav\t24000")
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "test.spk").write_text("\n".join([*speakers, "nobody"]) + "\n")
    return read_labeled(tmp_path, "test", [], ["spk"])


def power_at(signal, tone):
    return np.abs(np.exp(-2j * np.pi * tone * np.arange(len(signal)) / RATE) @ signal)


def test_a_mixture_depends_on_row_and_part_alone_and_has_the_ratio_it_says(split):
    first, again = (Mixtures(split, "train", CONFIG, RATE) for _ in range(2))
    other = Mixtures(split, "test", CONFIG, RATE)
    for number in range(12):
        one, same, unlike = (made.make(number) for made in (first, again, other))
        assert np.array_equal(one.noisy, same.noisy) and len(one.clean) == RATE
        assert not np.array_equal(one.noisy, unlike.noisy)
        noise = one.noisy - one.clean
        ratio = 10 * np.log10(np.square(one.clean).sum() / np.square(noise).sum())
        assert ratio == pytest.approx(one.snr_db, abs=1e-3) and 0 <= one.snr_db <= 15
    assert {first.make(k).noise for k in range(12)} == set(CONFIG.learned)
    assert set(CONFIG.learned) & set(CONFIG.unheard) == {BABBLE}


def test_babble_holds_other_speakers_alone(split):
    made = Mixtures(split, "test", dataclasses.replace(CONFIG, unheard=(BABBLE,)), RATE)
    mixture = made.make(0)
    noise = mixture.noisy - mixture.clean
    own, bob, cat = (power_at(noise, TONES[name]) for name in ("ann", "bob", "cat"))
    assert own < 0.01 * max(bob, cat)


def test_silent_and_missing_utterances_give_none_short_ones_are_not_used_and_rows_are_spread(
    split,
):
    made = Mixtures(split, "test", CONFIG, RATE)
    assert made.rows == [*range(13), 14] and made.make(12) is None and made.make(13) is None
    few = Mixtures(split, "test", dataclasses.replace(CONFIG, test=3), RATE)
    assert few.rows == [0, 6, 14]
    with pytest.raises(ProbeError, match=r"test.tsv: 0 utterance.*9 s or more"):
        Mixtures(split, "test", dataclasses.replace(CONFIG, least_seconds=9.0), RATE)
