"""Units of a layer: right, the same again, read by stock HuBERT; and what cannot be clustered."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.criterions.hubert_criterion import HubertCriterion
from fairseq.models.hubert import HubertConfig, HubertModel
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig, HubertPretrainingTask
from omegaconf import OmegaConf
from tiny_checkpoints import SHAPE, mgf_checkpoint

from mgf_fairseq.cli import main
from mgf_fairseq.extract.encoder import load_encoder


@pytest.fixture
def data(tmp_path: Path, corpus: Path) -> Path:
    """Manifests that a test may change."""
    shutil.copytree(corpus, tmp_path / "data")
    return tmp_path / "data"


def units(data: Path, dest: Path, *options: str, checkpoint: str = "mfcc") -> int:
    manifests = [str(data / f"{split}.tsv") for split in ("train", "valid")]
    words = ["units", "--checkpoint", checkpoint, "--classes", "8", "--device", "cpu"]
    return main([*words, "--manifest", *manifests, "--dest", str(dest), *options])


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def label(data: Path, units_of: Path) -> None:
    """Phones that are named after the units, but for the first frame of each row."""
    for split in ("train", "valid"):
        rows = [line.split() for line in lines(units_of / f"{split}.km")]
        text = "".join("- " + " ".join(f"p{unit}" for unit in row[1:]) + "\n" for row in rows)
        (data / f"{split}.phn").write_text(text)


def test_each_frame_has_the_nearest_centroid_and_a_seed_gives_the_same_bytes(
    tmp_path: Path, data: Path
) -> None:
    checkpoint = mgf_checkpoint(tmp_path / "ck.pt")
    for dest in ("a", "b"):
        assert units(data, tmp_path / dest, "--layer", "1", checkpoint=str(checkpoint)) == 0
    assert (
        units(data, tmp_path / "c", "--layer", "1", "--seed", "2", checkpoint=str(checkpoint)) == 0
    )
    names = ["centroids.npy", "train.km", "valid.km", "dict.km.txt", "train.tsv"]
    a, b, c = (
        [(tmp_path / dest / name).read_bytes() for name in names] for dest in ("a", "b", "c")
    )
    assert a == b and a[0] != c[0]
    centroids = np.load(tmp_path / "a" / "centroids.npy")
    root, *rows = lines(data / "valid.tsv")
    encoder = load_encoder(checkpoint)
    for row, line in zip(rows, lines(tmp_path / "a" / "valid.km"), strict=True):
        frames = encoder([Path(root) / row.split("\t")[0]]).hidden_states[1][0]
        distance = torch.cdist(frames, torch.from_numpy(centroids))
        given = torch.tensor([int(unit) for unit in line.split()])
        # Rounding may decide between two that are equally near.
        chosen = distance.gather(1, given[:, None])[:, 0]
        torch.testing.assert_close(chosen, distance.min(dim=1).values, rtol=1e-4, atol=1e-4)
    assert lines(tmp_path / "a" / "dict.km.txt") == [f"{unit} 1" for unit in range(8)]


def test_phones_beside_a_manifest_are_compared_where_a_frame_has_one(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert units(data, tmp_path / "a") == 0
    assert "purity" not in capsys.readouterr().out
    label(data, tmp_path / "a")
    assert units(data, tmp_path / "b", "--json") == 0
    train, valid = json.loads(capsys.readouterr().out)["splits"]
    purities = train["quality"]["phone_purity"], valid["quality"]["cluster_purity"]
    assert purities == pytest.approx((1, 1))
    assert train["quality"]["pnmi"] == pytest.approx(1)
    assert train["quality"]["frames"] == train["frames"] - train["rows"]
    (data / "valid.phn").write_text("a b c\n" * 4)
    assert units(data, tmp_path / "c") == 2
    assert "valid.phn line 1: 3 labels for" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_row_that_cannot_be_read_is_named_and_in_neither_file(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, first, *rest = lines(data / "train.tsv")
    missing = "gone.wav\t16000"
    (data / "train.tsv").write_text("\n".join([root, first, missing, *rest]) + "\n")
    assert units(data, tmp_path / "a") == 0
    assert "skipped: train line 3" in capsys.readouterr().out
    assert lines(tmp_path / "a" / "train.tsv") == [root, first, *rest]
    assert len(lines(tmp_path / "a" / "train.km")) == 1 + len(rest)


def test_what_cannot_be_clustered_is_said_and_nothing_is_written(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "a"

    def message(*options: str) -> str:
        assert units(data, dest, *options) == 2
        assert not dest.exists() and not list(tmp_path.glob(".a*"))
        return capsys.readouterr().err

    assert "--classes 5000 for" in message("--classes", "5000")
    assert "--classes 1 must be" in message("--classes", "1")
    assert "no layer '7'; there are mfcc" in message("--layer", "7")
    dest.mkdir()
    (dest / "mine.txt").write_text("mine")
    assert units(data, dest) == 2
    assert "mgf units did not write it" in capsys.readouterr().err
    (data / "valid.tsv").write_text(lines(data / "valid.tsv")[0] + "\n")
    assert units(data, tmp_path / "b") == 2 and not (tmp_path / "b").exists()
    assert "valid.tsv has a root line and no rows" in capsys.readouterr().err


def test_stock_hubert_trains_on_the_folder(tmp_path: Path, data: Path) -> None:
    assert units(data, tmp_path / "a") == 0
    config = OmegaConf.structured(
        HubertPretrainingConfig(
            data=str(tmp_path / "a"),
            label_dir=str(tmp_path / "a"),
            labels=["km"],
            label_rate=50.0,
            max_sample_size=16000,
            min_sample_size=4000,
        )
    )
    task = HubertPretrainingTask.setup_task(config)
    task.load_dataset("train")
    shape = HubertConfig(**SHAPE, label_rate=50.0, final_dim=8, mask_length=4)
    torch.manual_seed(1)
    model = HubertModel.build_model(OmegaConf.structured(shape), task)
    criterion = HubertCriterion(task, 1.0, 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches = task.get_batch_iterator(task.datasets["train"], max_sentences=6)
    losses = []
    for _ in range(5):
        for sample in batches.next_epoch_itr(shuffle=False):
            assert sample["target_list"][0].max() < 4 + 8  # special symbols, units
            loss, size, _ = criterion(model, sample)
            optimizer.zero_grad()
            (loss / size).backward()
            optimizer.step()
            losses.append(float(loss.detach() / size))
    # 10 updates; chance is log(8) = 2.08. They only have to be finite and to go down.
    assert len(losses) == 10 and np.isfinite(losses).all() and losses[-1] < losses[0]
