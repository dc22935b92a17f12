"""Reconstructions beside the numbers of TensorBoard and W&B, and no training that they can stop."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from fairseq.logging import progress_bar

from mgf_fairseq.data.crops import Crops
from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.host.recorders import ReconstructionRecorder
from mgf_fairseq.host.recording import filled_picture, picture
from mgf_fairseq.objectives.infilling import Filled

RATE = tiny.SAMPLE_RATE


@pytest.fixture
def dataset(corpus: Path) -> MgfDataset:
    return MgfDataset(
        read_manifest(corpus / "valid.tsv"),
        Crops(views=2, max_samples=16000, min_samples=8000),
        sample_rate=RATE,
        normalize=True,
        shuffle=False,
        seed=1,
        num_buckets=0,
    )


class Writer:
    """In place of SummaryWriter; keeps what it is given."""

    made: list["Writer"] = []  # noqa: RUF012 (each test begins with its own)

    def __init__(self, folder: str) -> None:
        self.logdir, self.given = folder, {}
        self.made.append(self)

    def add_audio(self, name: str, signal: np.ndarray, step: int, sample_rate: int) -> None:
        self.given[name] = signal, step, sample_rate

    def add_image(self, name: str, image: np.ndarray, step: int, dataformats: str) -> None:
        self.given[name] = image, step, dataformats

    def flush(self) -> None:
        pass


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A training that has written numbers for TensorBoard."""
    monkeypatch.setattr(Writer, "made", [])
    folder = tmp_path / "tensorboard"
    writers = {"train_inner": Writer(str(folder / "train_inner"))}
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", writers)
    return folder


def test_an_utterance_and_its_reconstruction_are_heard_and_seen(
    beside: Path, dataset: MgfDataset
) -> None:
    _, model, _ = tiny.tiny_training()
    model.train()
    state = torch.get_rng_state()
    ReconstructionRecorder().record(model, dataset, RATE, 40)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    writer = Writer.made[-1]
    assert writer.logdir == str(beside / "reconstruction")
    (original, step, rate), (decoded, _, _) = writer.given["original"], writer.given["decoded"]
    assert (step, rate) == (40, RATE) and original.shape == decoded.shape == (len(original), 1)
    view = dataset[0]["views"][0].numpy()
    # Another scale, and cut to whole frames.
    assert np.corrcoef(original[:, 0], view[40 : 40 + len(original)])[0, 1] > 0.999
    assert max(abs(original).max(), abs(decoded).max()) == pytest.approx(0.95)
    image, _, layout = writer.given["spectrograms"]
    assert image.dtype == np.uint8 and image.shape[2] == 3 and layout == "HWC"


def test_where_no_waveform_is_decoded_masked_stretches_are_filled_in(
    beside: Path, dataset: MgfDataset
) -> None:
    _, model, _ = tiny.tiny_training(("frame",))
    state = torch.get_rng_state()
    for update in (3, 6):
        ReconstructionRecorder().record(model, dataset, RATE, update)
    assert torch.equal(torch.get_rng_state(), state)
    first, second = (writer.given for writer in Writer.made[-2:])
    assert list(first) == ["filled_in"] and first["filled_in"][1:] == (3, "HWC")
    assert np.array_equal(first["filled_in"][0], second["filled_in"][0])  # the same masks


def test_filled_in_frames_are_blue_in_the_middle_and_filled_below() -> None:
    original = torch.full((5, 4), -70.0)  # 5 frames of 4 bins
    original[0] = 0.0
    masked = torch.tensor([False, False, True, False, False])
    filled = torch.where(masked[:, None], 0.0, original)
    image = filled_picture(Filled(original, filled, masked))[::3, ::3]
    assert image.shape == (3 * 4 + 2 * 4, 5, 3)
    top, middle, below = image[:4], image[8:12], image[16:]
    white, black = [255] * 3, [0] * 3
    blue = middle[0, 2].tolist()
    assert blue[2] > blue[1] > blue[0]
    assert top[0].tolist() == [white, black, black, black, black]
    assert middle[0].tolist() == [white, black, blue, black, black]
    assert below[0].tolist() == [white, black, white, black, black]


def test_a_tone_is_a_bright_line_at_its_height() -> None:
    tone = np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE).astype(np.float32)
    image = picture({"original": tone, "decoded": 0 * tone})
    bins = 257  # of a window of 512
    assert image.shape[0] == 2 * bins + 4
    assert image[bins - 1 - 64, 10, 0] == 255  # 2000 Hz is bin 64, counted from below
    assert not image[bins + 4 :].any()


def test_a_writer_that_fails_is_named_once_and_asked_no_more(
    beside: Path,
    dataset: MgfDataset,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "add_audio", full)
    _, model, _ = tiny.tiny_training()
    recorder = ReconstructionRecorder()
    for update in (1, 2):
        recorder.record(model, dataset, RATE, update)
    assert caplog.text.count("No space left on device") == 1 and model.training


def test_where_nothing_is_recorded_or_nothing_can_be_rebuilt_nothing_happens(
    beside: Path, dataset: MgfDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model, _ = tiny.tiny_training(("phoneme",))
    ReconstructionRecorder().record(model, dataset, RATE, 1)
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", {})
    _, model, _ = tiny.tiny_training()
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None))
    ReconstructionRecorder().record(model, dataset, RATE, 1)
    assert len(Writer.made) == 1


@pytest.mark.parametrize("where", ["tensorboardX", "wandb"])
def test_a_training_records_pictures_and_sound(
    where: str, tmp_path: Path, corpus: Path, user_dir: str, pretrain_configs: Path
) -> None:
    pytest.importorskip(where)
    key = {
        "tensorboardX": f"common.tensorboard_logdir={tmp_path}/tb",
        "wandb": "common.wandb_project=test",
    }[where]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    result = subprocess.run(
        [
            str(Path(sys.executable).parent / "fairseq-hydra-train"),
            *("--config-dir", str(pretrain_configs), "--config-name", "mgf_debug"),
            *(f"task.data={corpus}", f"common.user_dir={user_dir}", key),
            *("objectives=only_sample", "optimization.max_update=2", "common.log_interval=1"),
            *("dataset.validate_interval_updates=2", "dataset.num_workers=0"),
            f"checkpoint.save_dir={tmp_path}/run",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-3000:]
    assert "not recorded any more" not in output
    if where == "wandb":
        media = [path.name for path in (tmp_path / "wandb").rglob("media/**/*.*")]
        assert any(name.endswith(".wav") for name in media), media
        assert any(name.endswith(".png") for name in media), media
    else:
        events = list((tmp_path / "tb" / "reconstruction").glob("events*"))
        assert events and b"spectrograms" in events[0].read_bytes()
