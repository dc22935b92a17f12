"""An utterance with masked stretches filled in: of which checkpoints, with which masks, on disk."""

import dataclasses

import numpy as np
import pytest
import tiny
from omegaconf import OmegaConf

from mgf_fairseq.extract import example as module
from mgf_fairseq.extract.infill import infill
from mgf_fairseq.extract.infilled import Infilling, read_infilling, write_infilling


def stub(monkeypatch, names=("sample", "frame"), normalize=True, seed=1):
    """Replace the checkpoint by a tiny model with these objectives."""

    def load(path, objectives):
        assert list(objectives) == ["frame"]
        _, model, _ = tiny.tiny_training(names, seed=seed)
        model.mask_seed = seed
        return model.eval(), OmegaConf.create(
            {"task": {"sample_rate": 16000, "normalize": normalize}}
        )

    monkeypatch.setattr(module, "load_pretrained", load)


def test_runs_of_any_seed_are_masked_alike_and_shown_at_one_loudness(monkeypatch, corpus):
    stub(monkeypatch)
    one = infill("ck.pt", corpus / "train.tsv", seconds=1.0)
    stub(monkeypatch, seed=2, normalize=False)
    two = infill("ck.pt", str(corpus / "train.tsv"), seconds=1.0)
    assert one is not None and two is not None
    assert one.original.shape == (49, 80) and one.frame_rate == 50
    assert np.array_equal(one.masked, two.masked)
    assert np.array_equal(one.original, two.original)
    # The encoder was given the recording as it is, not at unit variance.
    assert not np.allclose(one.filled, two.filled)


def test_a_checkpoint_without_the_frame_objective_and_a_manifest_without_audio_give_none(
    monkeypatch, corpus, tmp_path
):
    stub(monkeypatch, names=["sample"])
    assert infill("ck.pt", corpus / "train.tsv") is None
    stub(monkeypatch)
    (tmp_path / "gone.tsv").write_text(f"{tmp_path}\ngone.wav\t16000\n")
    assert infill("ck.pt", tmp_path / "gone.tsv") is None
    with pytest.raises(ValueError, match=r"seconds=0\.01 are 160 samples"):
        infill("ck.pt", corpus / "train.tsv", seconds=0.01)


def made() -> Infilling:
    """Two masked frames of three bins: 2 dB off; the mean of the others is 5 dB off."""
    original = np.tile(np.array([[0.0], [4.0], [7.0], [7.0]], np.float32), (1, 3))
    filled = original + np.array([[0], [0], [2], [-2]], np.float32)
    masked = np.array([False, False, True, True])
    return Infilling(original, filled, masked, np.array([100, 200, 300], np.float32), 50.0)


def test_errors_are_those_of_masked_frames_and_the_file_gives_back_what_it_was_given(tmp_path):
    shown = made()
    assert (shown.error, shown.error_of_means) == (2.0, 5.0)
    write_infilling(tmp_path / "infilling.npz", shown)
    again = read_infilling(tmp_path / "infilling.npz")
    for field in dataclasses.fields(Infilling):
        assert np.array_equal(getattr(again, field.name), getattr(shown, field.name)), field.name


def test_a_file_that_is_none_of_ours_is_named(tmp_path):
    path = tmp_path / "infilling.npz"
    whole = {field.name: getattr(made(), field.name) for field in dataclasses.fields(Infilling)}
    for content in ({"masked": [True]}, {**whole, "masked": [True]}, {**whole, "original": 1.0}):
        np.savez(path, **content)
        with pytest.raises(ValueError, match=r"infilling\.npz cannot be read .*evaluate again"):
            read_infilling(path)
    path.write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ValueError, match=r"infilling\.npz cannot be read"):
        read_infilling(path)
