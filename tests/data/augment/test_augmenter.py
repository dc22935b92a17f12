"""Augmented batches: reproducible, other in each view and epoch, padded as before; bad settings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch

from mgf_fairseq.data.augment.augmenter import Augmenter
from mgf_fairseq.data.augment.config import AugmentConfig, read_settings
from mgf_fairseq.data.augment.sources import Recordings
from mgf_fairseq.data.crops import Crops
from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.utils.transfer import from_bits

RATE = tiny.SAMPLE_RATE
ALL = {"noise_prob": 1.0, "room_prob": 1.0, "gain_prob": 1.0, "speed_prob": 1.0}


def dataset(corpus: Path, seed: int = 1, epoch: int = 1, **settings) -> MgfDataset:
    config = read_settings(AugmentConfig(**settings))
    augmenter = Augmenter(config, sample_rate=RATE, normalize=True, seed=seed)
    items = MgfDataset(
        read_manifest(corpus / "train.tsv"),
        Crops(views=2, max_samples=16000, min_samples=8000),
        sample_rate=RATE,
        normalize=True,
        shuffle=True,
        seed=seed,
        num_buckets=0,
        augmenter=augmenter if config.active else None,
    )
    items.set_epoch(epoch)
    return items


def batch(items: MgfDataset, rows=(0, 1, 2, 3)) -> dict[str, torch.Tensor]:
    inputs = items.collater([items[row] for row in rows])["net_input"]
    waveforms = {name: from_bits(inputs[name]) for name in ("source", "clean") if name in inputs}
    return {**inputs, **waveforms}


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    """A manifest of two recordings of noise, one of them shorter than a view."""
    rng = np.random.default_rng(0)
    lines = [f"{tmp_path}"]
    for number, count in enumerate((3000, 40000)):
        soundfile.write(tmp_path / f"{number}.wav", rng.uniform(-0.5, 0.5, count), RATE)
        lines.append(f"{number}.wav\t{count}")
    (tmp_path / "noise.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "noise.tsv"


def test_a_view_depends_on_seed_epoch_and_batch_alone_and_views_differ(corpus):
    first = batch(dataset(corpus, **ALL))
    again = dataset(corpus, **ALL)
    batch(again, rows=(4, 5))  # whatever was read before
    assert torch.equal(batch(again)["source"], first["source"])
    for other in ({"seed": 2}, {"epoch": 2}):
        assert not torch.equal(batch(dataset(corpus, **other, **ALL))["source"], first["source"])
    # Both views of one clip that is as long as a view: other noise, room, gain and speed in each.
    short = next(row for row in range(12) if again.view_sizes[row] < 16000)
    heard = again[short]["views"]
    assert not torch.equal(*heard)


@pytest.mark.parametrize("name", list(ALL))
def test_each_effect_alone_changes_what_is_heard_and_the_crops_stay(corpus, name):
    plain, changed = batch(dataset(corpus)), batch(dataset(corpus, **{name: 1.0}))
    assert torch.equal(plain["padding_mask"], changed["padding_mask"])
    assert torch.equal(plain["row_id"], changed["row_id"])
    assert not torch.equal(plain["source"], changed["source"])
    assert not changed["source"][changed["padding_mask"]].any()
    if name == "speed_prob":
        assert "clean" not in changed  # the target is at the new speed
    else:
        # Nothing but the sound has changed: the clean views are those without augmentation.
        assert torch.equal(changed["clean"], plain["source"])
    rows = changed["source"].float()[~changed["padding_mask"].any(dim=1)]
    # To the epsilon that unit_variance adds to the variance of soft speech.
    torch.testing.assert_close(
        rows.var(dim=1, correction=0), torch.ones(len(rows)), rtol=0.02, atol=0
    )


def test_noisy_targets_are_what_is_heard(corpus):
    assert "clean" not in batch(dataset(corpus, noise_prob=1.0, targets="noisy"))


def test_noise_of_the_batch_is_another_utterance_s_in_at_most_half_of_a_view(corpus):
    plain, mixed = batch(dataset(corpus)), batch(dataset(corpus, noise_prob=1.0))
    lengths = (~plain["padding_mask"]).sum(dim=1)
    for row, length in enumerate(lengths.tolist()):
        before, after = plain["source"][row, :length], mixed["source"][row, :length]
        # Normalization scales all; where there is no noise the samples keep one scale and shift.
        design = torch.stack([before, torch.ones_like(before)], dim=1)
        kept = torch.linalg.lstsq(design[: length // 8], after[: length // 8, None]).solution[:, 0]
        last = torch.linalg.lstsq(design[-length // 8 :], after[-length // 8 :, None]).solution[
            :, 0
        ]
        same = max(
            float(((design @ fit - after).abs() < 1e-4).double().mean()) for fit in (kept, last)
        )
        assert 0.49 <= same < 1 or same < 0.2  # both ends may be noisy
    alone = batch(dataset(corpus, noise_prob=1.0), rows=[3])
    assert torch.equal(alone["source"], batch(dataset(corpus), rows=[3])["source"])


def test_recorded_noise_and_rooms_come_from_the_manifest(corpus, noises):
    plain = batch(dataset(corpus))["source"]
    for settings in (
        {"noise_prob": 1.0, "noise": str(noises), "min_snr": 100.0, "max_snr": 100.0},
        {"noise_prob": 1.0, "noise": str(noises), "min_snr": -60.0, "max_snr": -60.0},
        {"room_prob": 1.0, "room": str(noises)},
    ):
        heard = batch(dataset(corpus, **settings))["source"]
        alike = torch.nn.functional.cosine_similarity(heard, plain, dim=1)
        # At 100 dB nothing is heard of the noise, at -60 dB nothing of the speech.
        quiet = settings.get("min_snr", 0) == 100
        assert (alike > 0.999).all() if quiet else (alike.abs() < 0.9).all()


def test_a_noise_that_cannot_be_read_is_named_once_and_the_view_stays(corpus, noises, caplog):
    items = dataset(corpus, noise_prob=1.0, noise=str(noises))
    for path in noises.parent.glob("*.wav"):
        path.unlink()
    heard = batch(items)
    assert torch.equal(heard["source"], batch(dataset(corpus))["source"])
    assert 1 <= caplog.text.count("task.augment.noise: not used") <= 2


def test_a_noise_outside_the_root_is_refused_at_the_start_and_later_no_utterance_s_fault(
    corpus, noises, monkeypatch, caplog
):
    text = noises.read_text().replace("\n0.wav", "\n../0.wav").replace("\n1.wav", "\n../1.wav")
    noises.write_text(text)
    settings = {"noise_prob": 1.0, "noise": str(noises)}
    with pytest.raises(ValueError, match=r"^task\.augment\.noise=.*leaves the root"):
        dataset(corpus, **settings)
    monkeypatch.setattr(Recordings, "_check", lambda *_: None)  # a line that was not looked at
    assert torch.equal(
        batch(dataset(corpus, **settings))["source"], batch(dataset(corpus))["source"]
    )
    assert "task.augment.noise: not used" in caplog.text and "skipped in" not in caplog.text


def test_settings_that_cannot_be_are_refused_by_name(corpus, tmp_path, noises):
    def refusal(**settings) -> str:
        with pytest.raises(ValueError) as caught:
            dataset(corpus, **settings)
        return str(caught.value)

    assert "task.augment.noise_prob=1.5" in refusal(noise_prob=1.5)
    assert "task.augment.min_snr=30 is above" in refusal(min_snr=30.0)
    assert "none of clean, noisy" in refusal(targets="dirty")
    missing = refusal(noise_prob=0.5, noise=str(tmp_path / "none.tsv"))
    assert "is no manifest; mgf prepare" in missing
    empty = tmp_path / "empty.tsv"
    empty.write_text(f"{tmp_path}\n")
    assert "empty.tsv" in refusal(room_prob=0.5, room=str(empty))
    soundfile.write(tmp_path / "1.wav", np.zeros(8000), 8000)
    assert "1.wav is of 8000 Hz, the training of 16000" in refusal(
        noise_prob=0.5, noise=str(noises)
    )
