"""The dataset: what a row is, that it depends on nothing but itself, and every kind of bad file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch
from datasets import RATE, dataset, write
from fairseq import utils

from mgf_fairseq.data.crops import Crops
from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.utils.transfer import from_bits


def read_all(items: MgfDataset) -> list[torch.Tensor]:
    return [view for index in range(len(items)) for view in items[index]["views"]]


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def test_each_utterance_becomes_two_views_of_one_length_that_lie_in_the_file(corpus):
    items = dataset(corpus, normalize=False)
    for index in range(len(items)):
        whole, _ = soundfile.read(items.manifest.entry(index), dtype="float32")
        views = items[index]["views"]
        assert len(views) == 2 and len(views[0]) == len(views[1]) == items.view_sizes[index]
        assert items.size(index) == 2 * len(views[0])
        for view in views:
            windows = np.lib.stride_tricks.sliding_window_view(whole, len(view))
            assert (windows[:, :4] == view.numpy()[:4]).all(1).any()


@pytest.mark.parametrize("num_samples", [8000, 8001, 15999, 16000, 16001, 31999, 32000, 50000])
def test_views_do_not_overlap_where_the_utterance_has_room_for_both(num_samples):
    crops = Crops(views=2, max_samples=16000, min_samples=8000)
    length = int(crops.length(np.array([num_samples]))[0])
    assert min(num_samples, 8000) <= length <= 16000
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = sorted(crops.starts(num_samples, length, rng))
        assert starts[0] >= 0 and starts[1] + length <= num_samples
        if num_samples >= 2 * 8000:
            assert starts[1] - starts[0] >= length


def test_views_begin_anywhere_that_leaves_room_and_either_may_be_the_first():
    crops = Crops(views=2, max_samples=10, min_samples=5)
    drawn = [crops.starts(13, 5, np.random.default_rng(seed)) for seed in range(200)]
    # 3 samples to spare; each first and last place is missed with probability below 1e-8.
    assert {min(starts) for starts in drawn} == {0, 1, 2, 3}
    assert {max(starts) for starts in drawn} == {5, 6, 7, 8}
    # Half of 200: beyond 65 to 135 once in 2e6.
    assert 65 <= sum(first < second for first, second in drawn) <= 135


def test_buckets_hold_equal_numbers_of_utterances_and_mix_their_lengths(tmp_path):
    lengths = [8000 + 97 * number for number in range(64)]
    rows = "".join(f"{number}.wav\t{length}\n" for number, length in enumerate(lengths))
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{rows}")
    crops = Crops(views=1, max_samples=16000, min_samples=8000)
    items = dataset(tmp_path, crops=crops, num_buckets=4)
    edges, counts = np.unique(items.order_sizes, return_counts=True)
    assert len(edges) == 4 and set(counts.tolist()) <= {15, 16, 17}
    assert (items.order_sizes >= items.view_sizes).all()
    orders = [items.ordered_indices() for _ in range(2)]
    for order in orders:
        assert (np.diff(items.order_sizes[order]) <= 0).all()
        assert sorted(order.tolist()) == list(range(64)) != order.tolist()[::-1]
    assert orders[0].tolist() != orders[1].tolist()
    exact = dataset(tmp_path, crops=crops, num_buckets=0)
    assert exact.ordered_indices().tolist() == list(range(63, -1, -1))


def test_a_batch_is_padded_to_its_longest_row_and_no_row_is_cropped(corpus):
    items = dataset(corpus)
    samples = [items[index] for index in range(len(items))]
    net_input = items.collater(samples)["net_input"]
    views = [view for sample in samples for view in sample["views"]]
    assert len({len(view) for view in views}) > 2
    source, padding_mask = net_input["source"], net_input["padding_mask"]
    source = from_bits(source)
    assert net_input["rows"].num_samples == tuple(len(view) for view in views)
    assert source.shape == padding_mask.shape == (24, max(len(view) for view in views))
    for row, view in enumerate(views):
        assert torch.equal(source[row, : len(view)], view)
        assert not source[row, len(view) :].any()
        assert padding_mask[row].sum() == source.shape[1] - len(view)
        assert not padding_mask[row, : len(view)].any()
    assert net_input["utterance"].tolist() == [row // 2 for row in range(24)]
    assert net_input["row_id"].tolist() == list(range(24))


def test_shapes_repeat_where_rows_are_padded_to_the_longest_of_their_bucket(corpus):
    items = dataset(corpus, num_buckets=2, repeat_shapes=True)
    limit = 2 * items.num_tokens_vec(np.arange(len(items))).max()
    widths = set()
    for batch in items.batch_by_size(items.ordered_indices(), max_tokens=limit):
        net_input = items.collater([items[index] for index in batch])["net_input"]
        source = net_input["source"]
        assert source.numel() <= limit and source.shape == net_input["padding_mask"].shape
        assert source.shape[1] == items.order_sizes[batch].max()
        counted = (~net_input["padding_mask"]).sum(1).tolist()
        assert tuple(counted) == net_input["rows"].num_samples
        widths.add(source.shape[1])
    assert widths == set(items.order_sizes.tolist()) and len(widths) == 2
    assert len(set(items.view_sizes.tolist())) > 2
    with pytest.raises(ValueError, match=r"task.compile=encoder with task.num_buckets=0"):
        tiny.tiny_task(compile="encoder", num_buckets=0)
    with pytest.raises(ValueError, match=r"task.compile='model' is none of none, encoder"):
        tiny.tiny_task(compile="model")


def test_views_are_normalized_one_by_one_as_stock_fairseq_does_for_fine_tuning(corpus):
    raw = read_all(dataset(corpus, normalize=False))
    for view, waveform in zip(read_all(dataset(corpus)), raw, strict=True):
        # FileAudioDataset.postprocess; its epsilon leaves very quiet recordings below 1.
        expected = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(view, expected, rtol=0, atol=1e-5)  # fp32 means over 8000


def test_the_whole_precision_survives_what_fairseq_does_to_floats_in_half_precision(corpus):
    items = dataset(corpus)
    sample = items.collater([items[0]])
    converted = utils.apply_to_sample(
        # fairseq.trainer.Trainer._fp_convert_sample
        lambda x: x.half() if x.dtype is torch.float32 else x,
        sample,
    )
    source = converted["net_input"]["source"]
    assert torch.equal(from_bits(source)[0], items[0]["views"][0])


def test_crops_change_with_epoch_and_seed_and_with_nothing_else(corpus):
    first = read_all(dataset(corpus))
    assert equal(first, read_all(dataset(corpus)))
    torch.rand(3), np.random.rand(3)
    items = dataset(corpus)
    backwards = [items[index]["views"] for index in reversed(range(len(items)))]
    assert equal(first, [view for views in reversed(backwards) for view in views])
    items.set_epoch(2)
    assert not equal(first, read_all(items))
    items.set_epoch(1)
    assert equal(first, read_all(items))
    assert not equal(first, read_all(dataset(corpus, seed=2)))


def epochs(corpus: Path, num_workers: int) -> list[list[tuple[int, torch.Tensor]]]:
    """Rows of three epochs, by row id, through fairseq's own iterators."""
    task = tiny.tiny_task(corpus)
    task.load_dataset("train")
    iterator = task.get_batch_iterator(
        task.dataset("train"), max_tokens=100_000, num_workers=num_workers, seed=1, epoch=1
    )
    found = []
    for _ in range(3):
        rows = []
        for batch in iterator.next_epoch_itr(shuffle=True):
            inputs = batch["net_input"]
            rows += zip(inputs["row_id"].tolist(), inputs["source"], strict=True)
        found.append(rows)
    return found


def test_rows_and_their_order_do_not_depend_on_the_number_of_workers(corpus):
    # Workers persist from epoch to epoch, so a set_epoch in the parent has to reach them.
    alone, served = epochs(corpus, 0), epochs(corpus, 2)
    for left, right in zip(alone, served, strict=True):
        assert [row for row, _ in left] == [row for row, _ in right]
        assert equal([x for _, x in left], [x for _, x in right])
    rows = [dict(epoch) for epoch in alone]
    assert all(sorted(epoch) == list(range(24)) for epoch in rows)
    assert any(
        len(rows[0][r]) != len(rows[1][r]) or not torch.equal(rows[0][r], rows[1][r])
        for r in range(24)
    )
    assert [row for row, _ in alone[0]] != [row for row, _ in alone[1]]


def test_validation_has_the_same_order_every_time(corpus):
    items = dataset(corpus, "valid", shuffle=False)
    orders = [items.ordered_indices().tolist() for _ in range(3)]
    assert orders[0] == orders[1] == orders[2]
    sizes = items.order_sizes[orders[0]]
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("max_tokens", [60_000, 100_000, 10_000_000])
def test_batches_hold_every_utterance_even_if_there_are_fewer_than_eight(corpus, max_tokens):
    items = dataset(corpus, "valid", shuffle=False)
    # 8 is fairseq's default; its own batch_by_size drops a last batch that is no multiple.
    batches = items.batch_by_size(items.ordered_indices(), max_tokens, None, 8)
    assert sorted(int(index) for batch in batches for index in batch) == [0, 1, 2, 3]
    assert all(sum(items.size(index) for index in batch) <= max_tokens for batch in batches)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 2), (8000, 1), (44100, 1), (44100, 2)])
def test_other_rates_and_channels_become_16_khz_mono_of_the_same_duration(tmp_path, rate, channels):
    time = np.arange(rate) / rate
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)
    waveform = np.stack([tone] * channels, axis=1)
    crops = Crops(views=1, max_samples=16000, min_samples=8000)
    items = dataset(write(tmp_path, {"a.wav": (waveform, rate)}), crops=crops, normalize=False)
    (view,) = items[0]["views"]
    assert view.shape == (16000,) and view.dtype == torch.float32
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    # Inside, away from the resampler's edges; its pass band is flat to 1e-3.
    np.testing.assert_allclose(view.numpy()[500:-500], expected[500:-500], atol=1e-3)


def test_digital_silence_gives_finite_rows(tmp_path):
    items = dataset(write(tmp_path, {"a.wav": (np.zeros(20000), RATE)}))
    views = items[0]["views"]
    assert len(views) == 2 and all(torch.equal(v, torch.zeros_like(v)) for v in views)
