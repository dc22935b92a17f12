"""Long recordings are cut in their pauses: where planted, never too long, nothing spoken lost."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgf_fairseq.cli import main
from mgf_fairseq.data.audio import AudioReader
from mgf_fairseq.prepare.speech import FRAME_S, levels, pieces, speech

RATE = 8000


def recording(*parts: tuple[float, float]) -> np.ndarray:
    """Noise of so many seconds at such a level in dB, one after the other."""
    chance = np.random.default_rng(0)
    return np.concatenate(
        [10 ** (level / 20) * chance.normal(size=round(s * RATE)) for s, level in parts]
    )


def level_of(waveform: np.ndarray, tmp_path: Path) -> np.ndarray:
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    with AudioReader(str(tmp_path / "a.wav"), 0) as reader:
        return levels(reader)


def seconds(spans: list[tuple[int, int]]) -> list[list[float]]:
    return [[round(edge * FRAME_S, 2) for edge in span] for span in spans]


def test_the_level_is_the_mean_power_of_each_frame_also_across_blocks(tmp_path):
    waveform = recording((61.01, -20))  # a block is a minute; the last frame is half a one
    hop = round(FRAME_S * RATE)
    expected = [
        10 * np.log10(np.mean(waveform[k : k + hop] ** 2)) for k in range(0, len(waveform), hop)
    ]
    np.testing.assert_allclose(level_of(waveform, tmp_path), expected, atol=1e-3)


@pytest.mark.parametrize("background", [-100, -60, -45])
def test_speech_is_found_where_it_was_planted_with_a_margin(tmp_path, background):
    parts = ((2, background), (3, -20), (2, background), (1, -25), (1.5, background))
    found = seconds(speech(level_of(recording(*parts), tmp_path)))
    assert found == [[1.8, 5.2], [6.8, 8.2]]


def test_short_pauses_are_speech_and_clicks_are_none(tmp_path):
    parts = ((1, -70), (1, -20), (0.2, -70), (1, -20), (2, -70), (0.04, -20), (2, -70))
    assert seconds(speech(level_of(recording(*parts), tmp_path))) == [[0.8, 3.4]]


def test_a_recording_without_pauses_is_speech_throughout(tmp_path):
    level = level_of(recording((10, -30)), tmp_path)
    assert speech(level) == [(0, len(level))]


def test_pieces_are_joined_up_to_the_length_and_never_across_a_long_pause(tmp_path):
    talk = [(2.0, -20.0), (0.8, -70.0)] * 4
    level = level_of(recording(*talk, (3, -70), (2, -20)), tmp_path)
    found = seconds(pieces(level, round(6 / FRAME_S)))
    assert all(end - begin <= 6 for begin, end in found)
    assert found == [[0, 5.0], [5.4, 10.6], [14.0, 16.2]]


def test_speech_that_is_too_long_is_cut_at_its_quietest_frames(tmp_path):
    parts = ((5, -20), (0.1, -50), (5, -20))
    level = level_of(recording((2, -80), *parts, (2, -80)), tmp_path)
    found = pieces(level, round(6 / FRAME_S))
    assert len(found) == 2 and found[0][1] == found[1][0]
    assert 7.0 <= found[0][1] * FRAME_S <= 7.1


@pytest.mark.parametrize("longest", [1, 7, 100])
def test_no_piece_is_longer_than_asked_and_no_speech_is_lost(longest):
    level = np.random.default_rng(3).normal(-30, 15, size=2000)
    found = pieces(level, longest)
    assert all(0 < end - begin <= longest for begin, end in found)
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    covered = np.zeros(len(level), bool)
    for begin, end in found:
        covered[begin:end] = True
    assert all(covered[begin:end].all() for begin, end in speech(level))


def test_prepare_cuts_long_recordings_in_pauses_and_names_silent_ones(tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    parts = ((1, -80), (4, -20), (2, -80), (4, -20), (1, -80))
    soundfile.write(source / "long.wav", recording(*parts), RATE)
    soundfile.write(source / "short.wav", recording((0.5, -80), (1, -20), (0.5, -80)), RATE)
    soundfile.write(source / "silent.wav", np.zeros(10 * RATE), RATE)
    words = ["prepare", str(source), "--dest", str(tmp_path / "out"), "--valid-percent", "0"]
    assert main([*words, "--vad"]) == 2
    assert "--vad needs --segment-seconds" in capsys.readouterr().err
    assert main([*words, "--vad", "--segment-seconds", "5"]) == 0
    rows = (tmp_path / "out/train.tsv").read_text().splitlines()[1:]
    spans = [row.split("\t")[0] for row in rows]
    assert spans == [
        f"long.wav:{round(0.8 * RATE)}:{round(4.4 * RATE)}",
        f"long.wav:{round(6.8 * RATE)}:{round(4.4 * RATE)}",
        "short.wav",
    ]
    assert "silent.wav\tno speech was found in it" in (tmp_path / "out/skipped.txt").read_text()
    assert "pauses and were skipped" in capsys.readouterr().out
