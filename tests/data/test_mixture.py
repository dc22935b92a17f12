"""Several corpora with weights: what an epoch reads, on any rank and after a resume."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch

from mgf_fairseq.data.entries import ManifestError
from mgf_fairseq.data.manifest import write_manifest
from mgf_fairseq.data.mixture import JoinedManifest, Mixture, parse_corpora

SIZES = np.array([5, 7, 9, 4, 6, 30, 20, 10], np.int64) * 1000  # five items and three


def mixture(weights, seed=1) -> Mixture:
    return Mixture(SIZES, [0, 5, 8], weights, seed)


# ---- the draw


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 20), (0.001, 1)])
def test_each_corpus_gets_its_share_of_the_audio_over_the_epochs(weights):
    mixed, epochs = mixture(weights), 50
    heard = [0, 0]
    for epoch in range(1, epochs + 1):
        items = mixed.draw(epoch).items
        for corpus, part in enumerate((items < 5, items >= 5)):
            heard[corpus] += int(SIZES[items[part]].sum())
    for corpus, weight in enumerate(weights):
        wanted = SIZES.sum() * epochs * weight / sum(weights)
        # The last item may lie over the edge, and no more: nothing is lost from epoch to epoch.
        assert abs(heard[corpus] - wanted) <= SIZES.max()


def test_no_item_comes_again_before_all_others_of_its_corpus_have_come():
    mixed, counts = mixture((1, 8)), Counter()
    for epoch in range(1, 8):
        drawn = mixed.draw(epoch)
        counts.update(drawn.items.tolist())
        for corpus in (range(5), range(5, 8)):
            seen = [counts[item] for item in corpus]
            assert max(seen) - min(seen) <= 1
        # Of those that come again within the epoch, each has a number of its own.
        assert len(set(zip(drawn.items.tolist(), drawn.repeats.tolist(), strict=True))) == len(
            drawn.items
        )
    assert counts[5] > 2 * counts[0]


def test_without_weights_each_item_is_read_once_per_epoch():
    for epoch in range(1, 5):
        drawn = mixture((None, None)).draw(epoch)
        assert sorted(drawn.items.tolist()) == list(range(8)) and not drawn.repeats.any()


def test_each_pass_of_each_corpus_has_an_order_of_its_own():
    sizes = np.full(40, 1000, np.int64)  # two corpora of 20 items
    orders = set()
    for seed in (1, 2):
        mixed = Mixture(sizes, [0, 20, 40], (None, None), seed)
        for epoch in (1, 2):  # one pass each
            items = mixed.draw(epoch).items
            for corpus in (items[:20], items[20:] - 20):
                assert sorted(corpus.tolist()) == list(range(20))
                orders.add(tuple(corpus.tolist()))
    assert len(orders) == 8 and tuple(range(20)) not in orders


def test_the_draw_is_a_function_of_seed_and_epoch_alone():
    def draws(seed):
        return [mixture((1, 1), seed).draw(epoch).items.tolist() for epoch in (3, 1, 2)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert len({tuple(items) for items in draws(1)}) == 3


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"a": 1, "b": None}, "b no weight"),
        ({"a": 0}, "weight 0,"),
        ({"a": -1.5, "b": 1}, "weight -1.5"),
        ({"a": "much"}, "weight 'much'"),
        ({"a": True}, "weight True"),
        ({"a": float("nan")}, "weight nan"),
        ({"a": float("inf")}, "weight inf"),
    ],
)
def test_an_impossible_weight_is_refused_by_name(mapping, words):
    with pytest.raises(ValueError, match=words):
        parse_corpora(mapping)


# ---- through the task


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Corpora `big` (9 utterances of 2 s) and `small` (3 of 2.5 s), each with a root of its own.

    Two crops of at most 1 s are read of each utterance.
    """
    folder = tmp_path_factory.mktemp("mixed")
    for name, count, seconds in (("big", 9, 2.0), ("small", 3, 2.5)):
        root = folder / f"audio_{name}"
        root.mkdir()
        rows = []
        for number in range(count):
            waveform = tiny.speech_like(seconds, seed=number)
            soundfile.write(root / f"{number}.wav", waveform, tiny.SAMPLE_RATE)
            rows.append((f"{number}.wav", len(waveform)))
        write_manifest(folder / name / "train.tsv", root, rows)
        write_manifest(folder / name / "valid.tsv", root, rows[:2])
    return folder


def batches(data: Path, corpora=None, epoch=1, state=None, rank=0, ranks=1, workers=0, take=None):
    """Batches of one epoch on one rank, and the iterator's state behind the last that was taken."""
    task = tiny.tiny_task(data, corpora=corpora or {"big": 1, "small": 1})
    task.load_dataset("train")
    iterator = task.get_batch_iterator(
        task.dataset("train"),
        max_tokens=70_000,
        seed=1,
        epoch=state["epoch"] if state else epoch,
        num_shards=ranks,
        shard_id=rank,
        num_workers=workers,
    )
    if state:
        iterator.load_state_dict(state)
    loader = iterator.next_epoch_itr(shuffle=True)
    found = []
    while loader.has_next() and len(found) != take:
        found.append(next(loader))
    return found, iterator.state_dict()


def rows(found) -> list[tuple[int, str]]:
    return [
        (row, entry)
        for batch in found
        for row, entry in zip(batch["net_input"]["row_id"].tolist(), batch["entries"], strict=True)
    ]


def test_a_small_corpus_comes_as_often_as_its_weight_says_with_other_crops_each_time(data):
    found, _ = batches(data)
    every = rows(found)
    small = [row for row, entry in every if "audio_small" in entry]
    assert len(small) == 2 * 3 * 2  # half of 12 utterances: two passes of 3, with two crops each
    assert len({row for row, _ in every}) == len(every)
    crops: dict[int, set[bytes]] = {}
    for batch in found:
        inputs = batch["net_input"]
        for utterance, source in zip(inputs["utterance"], inputs["source"], strict=True):
            crops.setdefault(int(utterance), set()).add(source.numpy().tobytes())
    assert [len(crops[utterance]) for utterance in (9, 10, 11)] == [4, 4, 4]


def test_ranks_share_an_epoch_of_the_mixture_without_overlap(data):
    whole = sorted(rows(batches(data, epoch=2)[0]))
    parts = [rows(batches(data, epoch=2, rank=rank, ranks=2)[0]) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == whole
    assert parts[0] and parts[1] and not set(parts[0]) & set(parts[1])
    assert whole != sorted(rows(batches(data, epoch=3)[0]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resume_in_the_middle_of_an_epoch_reads_what_is_left(data, workers):
    whole, _ = batches(data, epoch=2)
    first, state = batches(data, epoch=2, take=2)
    assert state["iterations_in_epoch"] == 2
    rest, _ = batches(data, state=state, workers=workers)
    assert rows(first) + rows(rest) == rows(whole)
    for left, right in zip(rest, whole[2:], strict=True):
        assert torch.equal(left["net_input"]["source"], right["net_input"]["source"])


def test_the_log_says_what_each_corpus_has_and_gets(data, caplog):
    task = tiny.tiny_task(data, corpora={"big": 1, "small": 3})
    with caplog.at_level(logging.INFO):
        task.load_dataset("train")
    big, small = (message for message in caplog.messages if message.startswith("corpus "))
    assert "big: 0.01 h, 70.6 % of all" in big and "25.0 % of what is trained" in big
    assert "small: 0.00 h, 29.4 % of all" in small and "75.0 % of what is trained" in small
    assert "3.00 passes per epoch" in small  # 3/4 of 24 s of crops, over 6 s


def test_validation_reads_all_corpora_once_or_the_one_that_is_named(data):
    task = tiny.tiny_task(data, corpora={"big": 1, "small": 9})
    for split, count in (("valid", 4), ("small/valid", 2)):
        task.load_dataset(split)
        items = task.dataset(split)
        assert sorted(items.ordered_indices().tolist()) == list(range(count))
        assert items.mixture is None and not items.shuffle
    assert "audio_small" in task.dataset("valid").manifest.entry(3)


def test_a_corpus_without_the_split_or_without_long_utterances_is_named(data):
    with pytest.raises(ManifestError, match=r"gone/train\.tsv does not exist.*each of them needs"):
        tiny.tiny_task(data, corpora={"big": 1, "gone": 1}).load_dataset("train")
    with pytest.raises(ManifestError, match=r"big/train\.tsv: all 9 utterances are shorter"):
        tiny.tiny_task(
            data, corpora={"big": 1, "small": 1}, min_sample_size=32001, max_sample_size=40000
        ).load_dataset("train")
    with pytest.raises(ValueError, match="rebuild_batches"):
        tiny.tiny_task(data, corpora={"big": 1}, rebuild_batches=False)


def test_what_is_trained_is_mixed_and_shuffled_whatever_its_name(data, tmp_path):
    for name in ("big", "small"):
        manifest = (data / name / "train.tsv").read_text()
        for split in ("unlab", "train"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{split}.tsv").write_text(manifest)
    task = tiny.tiny_task(tmp_path, corpora={"big": 1, "small": 9}, train_subset="unlab")
    for split in ("unlab", "train"):
        task.load_dataset(split)
    assert task.dataset("unlab").shuffle and task.dataset("unlab").mixture is not None
    assert not task.dataset("train").shuffle and task.dataset("train").mixture is None


def test_the_recipes_call_the_set_that_is_trained_by_its_name(pretrain_configs):
    words = ["task.data=none", "common.user_dir=/mgf", "dataset.train_subset=unlab"]
    assert tiny.compose_recipe(pretrain_configs, "mgf_debug", words).task.train_subset == "unlab"


def test_a_recipe_takes_corpora_from_the_command_line(data, pretrain_configs):
    words = [f"task.data={data}", "common.user_dir=/mgf", "task.corpora={big:1,small:2.5}"]
    config = tiny.compose_recipe(pretrain_configs, "mgf_debug", words)
    assert dict(config.task.corpora) == {"big": 1, "small": 2.5}


def test_joined_manifests_keep_their_roots_and_order(data):
    from mgf_fairseq.data.manifest import read_manifest

    parts = [read_manifest(data / name / "train.tsv") for name in ("small", "big")]
    joined = JoinedManifest(parts)
    assert len(joined) == 12 and joined.num_samples.tolist() == [40000] * 3 + [32000] * 9
    expected = [part.entry(row) for part in parts for row in range(len(part))]
    assert [joined.entry(row) for row in range(12)] == expected
