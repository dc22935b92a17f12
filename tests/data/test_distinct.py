"""Batches of distinct utterances or speakers: no two alike, nothing lost, nothing too large."""

import logging
from collections import Counter

import numpy as np
import pytest
import tiny

from mgf_fairseq.data.distinct import plan_distinct, read_speakers
from mgf_fairseq.data.entries import ManifestError


def plan(sizes, labels, max_tokens=None, max_sentences=None, buckets=None):
    sizes, labels = np.array(sizes), np.array(labels)
    buckets = sizes if buckets is None else np.array(buckets)
    return plan_distinct(sizes, labels, buckets, max_tokens, max_sentences)


@pytest.mark.parametrize("num_labels", [2, 7, 40])
@pytest.mark.parametrize(("max_tokens", "max_sentences"), [(6000, None), (None, 5), (4000, 5)])
def test_a_batch_holds_each_label_once_and_every_item_comes_once(
    num_labels, max_tokens, max_sentences
):
    rng = np.random.default_rng(3)
    sizes = np.sort(rng.choice([1000, 1000, 1000, 800, 500, 450], 200))[::-1]
    labels = rng.integers(0, num_labels, 200)
    batches = plan(sizes, labels, max_tokens, max_sentences)
    assert Counter(int(i) for batch in batches for i in batch) == Counter(range(200))
    for batch in batches:
        assert len(set(labels[batch])) == len(batch)
        assert not max_tokens or sizes[batch].max() * len(batch) <= max_tokens
        assert not max_sentences or len(batch) <= max_sentences


def test_batches_are_as_full_as_the_labels_allow():
    # One label has a quarter of the items, as a batch of four can take.
    labels = [0] * 25 + list(range(1, 26)) * 3
    assert [len(batch) for batch in plan([1000] * 100, labels, 4000)] == [4] * 25
    # One has more than that: what is left of it comes alone.
    labels = [0] * 30 + list(range(1, 11)) * 3
    sizes = sorted(len(batch) for batch in plan([1000] * 60, labels, 4000))
    assert sum(size for size in sizes if size > 1) + sizes.count(1) == 60
    assert len(sizes) == 30  # as many as the label has, and no more


def test_items_of_different_lengths_share_a_batch_only_where_a_bucket_runs_out():
    sizes = [1000] * 9 + [500] * 8
    batches = plan(sizes, list(range(17)), 4000)
    lengths = [{sizes[i] for i in batch} for batch in batches]
    assert lengths.count({1000, 500}) == 1


def test_the_plan_follows_the_order_of_the_items_and_nothing_else():
    sizes, labels = [1000] * 30, np.arange(30) % 10
    first, again = (plan(sizes, labels, 5000) for _ in range(2))
    assert all(map(np.array_equal, first, again))
    order = np.random.default_rng(1).permutation(30)
    other = plan(sizes, labels[order], 5000)
    assert {tuple(sorted(order[batch])) for batch in other} != {tuple(sorted(b)) for b in first}


# ---- in training


def batches_of(task, seed=1, epoch=1):
    dataset = task.dataset("train")
    iterator = task.get_batch_iterator(
        dataset, max_tokens=100_000, seed=seed, epoch=epoch, disable_iterator_cache=True
    )
    return [[int(index) for index in batch] for batch in iterator.frozen_batches]


@pytest.fixture
def speakers(tmp_path):
    """Twelve utterances of four speakers."""
    data = tiny.write_corpus(tmp_path / "data")
    (data / "train.spk").write_text("".join(f"s{number % 4}\n" for number in range(12)))
    return data


def test_speakers_of_a_batch_are_distinct_where_that_is_asked(speakers, caplog):
    task = tiny.tiny_task(speakers, distinct="speaker")
    with caplog.at_level(logging.INFO):
        task.load_dataset("train")
    assert "4 speakers; a batch holds each of them once" in caplog.text
    lines = task.dataset("train").lines
    drawn = [batches_of(task, epoch=epoch) for epoch in (1, 2)]
    for batches in drawn:
        assert sorted(index for batch in batches for index in batch) == list(range(len(lines)))
        for batch in batches:
            assert len({lines[index] % 4 for index in batch}) == len(batch)
    assert drawn[0] != drawn[1]
    # Without it some batch holds a speaker twice, or this test could not fail.
    task = tiny.tiny_task(speakers)
    task.load_dataset("train")
    batches = [b for epoch in range(1, 4) for b in batches_of(task, epoch=epoch)]
    assert any(len({lines[index] % 4 for index in batch}) < len(batch) for batch in batches)


def test_an_utterance_that_fits_no_batch_is_named_with_the_key_to_turn(speakers):
    task = tiny.tiny_task(speakers, distinct="speaker")
    task.load_dataset("train")
    dataset = task.dataset("train")
    with pytest.raises(ValueError, match=r"max_tokens=900 is below .* lower task\.max_sample_size"):
        dataset.batch_by_size(dataset.ordered_indices(), max_tokens=900)


@pytest.mark.parametrize(("distinct", "twice"), [("utterance", False), ("none", True)])
def test_a_mixture_that_reads_an_utterance_again_puts_it_into_another_batch(
    tmp_path, distinct, twice
):
    for name, number in (("large", 12), ("small", 2)):
        tiny.write_corpus(tmp_path / name, num_train=number)
    task = tiny.tiny_task(
        tmp_path, corpora={"large": 1, "small": 1}, distinct=distinct, num_buckets=1
    )
    task.load_dataset("train")
    size = len(task.dataset("train"))
    batches = [batch for epoch in range(1, 5) for batch in batches_of(task, epoch=epoch)]
    found = any(len({index % size for index in batch}) < len(batch) for batch in batches)
    assert found == twice


def test_speakers_of_two_corpora_are_two(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.spk").write_text("one\ntwo\none\n")
    found = read_speakers([str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")], [3, 3])
    assert found.tolist() == [0, 1, 0, 2, 3, 2]


def test_labels_that_are_missing_or_of_other_utterances_are_named_with_the_fix(speakers):
    task = tiny.tiny_task(speakers, distinct="speaker")
    (speakers / "train.spk").write_text("a\nb\n")
    with pytest.raises(ManifestError, match=r"train\.spk: 2 lines for 12 .*prepare again"):
        task.load_dataset("train")
    (speakers / "train.spk").unlink()
    with pytest.raises(ManifestError, match=r"train\.spk; 'mgf prepare.*task\.distinct=utterance"):
        task.load_dataset("train")
    task.load_dataset("valid")  # only training asks
    with pytest.raises(ValueError, match=r"task\.distinct='speakers' is none of utterance"):
        tiny.tiny_task(speakers, distinct="speakers")
