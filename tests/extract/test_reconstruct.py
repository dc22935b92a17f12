"""The reconstruction of a result folder: aligned, on one scale, absent where nothing decodes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from omegaconf import OmegaConf

from mgf_fairseq.extract import example as module
from mgf_fairseq.extract.reconstruct import Reconstruction, reconstruct, write_reconstruction


@pytest.fixture
def pretrained(monkeypatch):
    """Replace the checkpoint by a tiny model; the list says which objectives it has."""
    names = ["sample", "frame"]

    def load(path, objectives):
        assert list(objectives) == ["sample"]
        _, model, _ = tiny.tiny_training(names)
        config = OmegaConf.create({"task": {"sample_rate": 16000, "normalize": True}})
        return model.eval(), config

    monkeypatch.setattr(module, "load_pretrained", load)
    return names


def test_it_is_as_long_as_the_frames_reach_and_scaled_to_fit_the_original(pretrained, corpus):
    found = reconstruct(Path("ck.pt"), corpus / "train.tsv", seconds=1.0)
    assert found is not None and found.sample_rate == 16000
    assert len(found.original) == len(found.decoded) == ((16000 - 400) // 320 + 1) * 320
    # The best scale leaves a rest that is orthogonal to what was decoded (fp32 sums).
    rest = found.original - found.decoded
    assert abs(rest @ found.decoded) < 1e-3 * np.square(found.decoded).sum()


def test_a_checkpoint_without_the_sample_objective_gives_none(pretrained, corpus):
    pretrained.remove("sample")
    assert reconstruct(Path("ck.pt"), corpus / "train.tsv") is None


def test_paths_are_taken_as_text_and_so_few_seconds_that_no_frame_is_in_them_are_refused(
    pretrained, corpus
):
    assert reconstruct("ck.pt", str(corpus / "train.tsv"), seconds=0.025) is not None
    with pytest.raises(ValueError, match=r"seconds=0.01 are 160 samples, fewer than the 400"):
        reconstruct("ck.pt", str(corpus / "train.tsv"), seconds=0.01)


def test_an_utterance_that_cannot_be_read_is_passed_over_for_the_next_longest(pretrained, tmp_path):
    rng = np.random.default_rng(1)
    rows = []
    for name, length in {"gone": 32000, "broken": 24000, "short": 399, "good": 8000}.items():
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(length), 16000)
        rows.append(f"{name}.wav\t{length + (20000 if name == 'short' else 0)}")
    (tmp_path / "valid.tsv").write_text("\n".join([str(tmp_path), *rows]) + "\n")
    (tmp_path / "gone.wav").unlink()
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    found = reconstruct(Path("ck.pt"), tmp_path / "valid.tsv")
    assert found is not None and len(found.original) == ((8000 - 400) // 320 + 1) * 320
    (tmp_path / "good.wav").unlink()
    assert reconstruct(Path("ck.pt"), tmp_path / "valid.tsv") is None


def test_both_files_keep_their_ratio_and_nothing_clips(tmp_path):
    time = np.arange(16000) / 16000
    loud = (6 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    files = tmp_path / "original.wav", tmp_path / "reconstruction.wav"
    write_reconstruction(Reconstruction(loud, 0.5 * loud, 16000), *files)
    original, rate = soundfile.read(tmp_path / "original.wav")
    decoded, _ = soundfile.read(tmp_path / "reconstruction.wav")
    assert rate == 16000 and np.abs(original).max() < 0.99
    # 16 bit: steps of 3e-5.
    assert np.allclose(decoded, 0.5 * original, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "original.wav",
        "reconstruction.wav",
    ]
