"""Audio in memory: the same batches, read once for all processes; too much is refused."""

import logging
import pickle
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tiny
import torch
import torch.distributed as dist
from datasets import RATE, dataset, write
from test_collated import assert_equal, noisy

from mgf_fairseq.data import cache
from mgf_fairseq.data.dataset import MgfDataset

NOISE = np.random.default_rng(0).standard_normal(30000).clip(-4, 4) / 5


def batches(items: MgfDataset, epoch: int) -> list[dict]:
    items.set_epoch(epoch)
    plan = np.arange(len(items)).reshape(2, -1).tolist()
    return [items.collater([items[index] for index in rows]) for rows in plan]


def assert_same_batches(found: list[dict], expected: list[dict]) -> None:
    for batch, wanted in zip(found, expected, strict=True):
        assert_equal(batch, wanted)


@pytest.mark.parametrize("build", [dataset, noisy])
def test_workers_fill_one_cache_from_which_batches_are_the_same(tmp_path, build):
    folder = tiny.write_corpus(tmp_path / "corpus")
    plain, kept = build(folder), build(folder)
    kept.keep_audio("int16", 1)
    expected = [batches(plain, epoch) for epoch in (1, 2)]
    kept.set_epoch(1)
    loader = torch.utils.data.DataLoader(
        kept,
        collate_fn=kept.collater,
        batch_sampler=np.arange(12).reshape(2, -1).tolist(),
        num_workers=2,
    )
    assert_same_batches(list(loader), expected[0])
    for path in (tmp_path / "corpus" / "audio").iterdir():
        path.unlink()
    assert_same_batches(batches(kept, 2), expected[1])  # also in the process that read nothing


def test_what_16_bits_do_not_hold_is_read_as_without_or_kept_in_float32(tmp_path, caplog):
    # As float; the crops of the second avoid its end.
    spoiled = np.where(np.arange(60000) < 59900, 0.1, np.nan)
    folder = write(tmp_path, {"a.wav": (NOISE, RATE), "b.wav": (spoiled, RATE)})
    plain, short, whole = (dataset(folder) for _ in range(3))
    short.keep_audio("int16", 1), whole.keep_audio("float32", 1)
    expected = batches(plain, 1)
    assert [batch["net_input"]["utterance"].tolist() for batch in expected] == [[0, 0], [1, 1]]
    with caplog.at_level(logging.WARNING):
        assert_same_batches(batches(short, 1), expected)
    (message,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert "a.wav is not kept" in message and "task.cache=float32" in message
    assert_same_batches(batches(whole, 1), expected)
    (tmp_path / "a.wav").unlink()
    assert whole[0]["views"] and not short[0]["views"]


def test_loud_samples_are_not_clipped(tmp_path):
    folder = write(tmp_path, {"a.wav": (np.round(NOISE * 2**15) / 2**13, RATE)})
    kept = dataset(folder)
    kept.keep_audio("int16", 1)
    assert_equal(kept.collater([kept[0]]), dataset(folder).collater([dataset(folder)[0]]))


def test_a_corpus_that_does_not_fit_is_refused_with_its_size(corpus, monkeypatch):
    monkeypatch.setattr(cache, "available_memory", lambda: 10**6)
    dataset(corpus).keep_audio("int16", 1)  # 12 utterances, 0.6 MB
    with pytest.raises(ValueError, match=r"needs 0\.00 GiB of memory for each of 2 proc.*=none"):
        dataset(corpus).keep_audio("int16", 2)
    with pytest.raises(ValueError, match=r"task\.cache=float32 needs"):
        dataset(corpus).keep_audio("float32", 1)
    monkeypatch.setattr(cache, "available_memory", lambda: None)  # nobody knows
    dataset(corpus).keep_audio("float32", 1)


def test_processes_that_would_not_share_it_are_refused(corpus):
    items = dataset(corpus)
    items.keep_audio("int16", 1)
    with pytest.raises(ValueError, match="forked"):
        pickle.dumps(items)


def test_the_task_keeps_audio_where_it_is_told_to(corpus):
    task = tiny.tiny_task(corpus, cache="int16")
    task.load_dataset("train")
    assert task.dataset("train").cache.name == "int16"
    with pytest.raises(ValueError, match=r"task\.cache='memory' is none of none, int16, float32"):
        tiny.tiny_task(corpus, cache="memory")


def heard_in_epoch(rank: int, task: tiny.MgfPretrainingTask) -> list[torch.Tensor]:
    """The waveforms of this rank's batches of the first epoch."""
    settings = {"max_sentences": 4, "max_positions": None, "seed": 1, "num_shards": 2}
    settings |= {"shard_id": rank, "epoch": 1, "disable_iterator_cache": True}
    epoch = task.get_batch_iterator(task.dataset("train"), **settings)
    return [batch["net_input"]["source"] for batch in epoch.next_epoch_itr()]


def cached_rank(rank: int, folder: Path) -> dict:
    """Batches without a cache, while it fills and from it alone; what too little memory says."""
    plain, kept = (tiny.tiny_task(folder, cache=name) for name in ("none", "int16"))
    little = mock.patch.object(cache, "available_memory", lambda: 10**6)
    with little, pytest.raises(ValueError, match=r"task\.cache=int16 needs") as refused:
        kept.load_dataset("train")
    for task in (plain, kept):
        task.load_dataset("train")
    heard = [heard_in_epoch(rank, task) for task in (plain, kept)]
    dist.barrier()
    if rank == 0:
        for path in (folder / "audio").iterdir():
            path.unlink()
    dist.barrier()
    heard.append(heard_in_epoch(rank, kept))
    return {"heard": heard, "refused": str(refused.value)}


@pytest.mark.ddp
def test_two_ranks_train_from_a_cache_each_as_without_and_share_the_memory(ranks, tmp_path):
    first, second = ranks.run(cached_rank, tiny.write_corpus(tmp_path / "corpus"))
    for found in (first, second):
        plain, filling, kept = found["heard"]
        assert len(plain) == len(filling) == len(kept) == 2
        assert all(map(torch.equal, plain, filling)) and all(map(torch.equal, plain, kept))
        assert "each of 2 processes" in found["refused"]
    assert not torch.equal(first["heard"][0][0], second["heard"][0][0])
