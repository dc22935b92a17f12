"""Batches between processes: the same, and little of them travels."""

import io
import pickle
from multiprocessing.reduction import ForkingPickler

import torch
from datasets import dataset

from mgf_fairseq.data.augment.augmenter import build_augmenter
from mgf_fairseq.data.augment.config import AugmentConfig


def noisy(corpus):
    """A dataset whose batches also hold clean samples."""
    shared = {"sample_rate": 16000, "normalize": True, "seed": 1}
    augmenter = build_augmenter(AugmentConfig(noise_prob=1.0), **shared)
    return dataset(corpus, augmenter=augmenter)


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_equal(found[name], value)
        elif isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype and torch.equal(found[name], value)
        else:
            assert found[name] == value


def test_a_batch_of_a_worker_is_that_of_this_process(corpus):
    items = noisy(corpus)
    expected = [items.collater([items[index] for index in rows]) for rows in ([0, 3, 5], [1, 2])]
    loader = torch.utils.data.DataLoader(
        items, collate_fn=items.collater, batch_sampler=[[0, 3, 5], [1, 2]], num_workers=1
    )
    found = list(loader)
    assert all(batch["net_input"]["source"].is_shared() for batch in found)
    for batch, wanted in zip(found, expected, strict=True):
        assert_equal(batch, wanted)


def test_only_the_samples_and_what_the_host_knows_travel(corpus):
    items = noisy(corpus)
    batch = items.collater([items[0], items[1]])
    batch["num_skipped"] = 3
    stored = pickle.dumps(batch)
    samples = 2 * batch["net_input"]["source"].nbytes
    assert len(stored) < samples + 4000  # a mask would be a quarter of the source
    assert_equal(pickle.loads(stored), batch)
    sent: list[type] = []

    class Counting(ForkingPickler):
        def reducer_override(self, item):
            sent.extend([type(item)] if isinstance(item, torch.Tensor) else [])
            return NotImplemented

    Counting(io.BytesIO(), pickle.HIGHEST_PROTOCOL).dump(batch)
    assert len(sent) == 2  # source and clean
