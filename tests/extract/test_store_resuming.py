"""Features on disk: found again by content, resumed after a kill, shared between processes."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from stored import contents, drop_a_row
from tiny_checkpoints import mgf, save

from mgf_fairseq.extract import npy, writer
from mgf_fairseq.extract.folder import FeatureError, FeatureStore
from mgf_fairseq.extract.store import cache_features, write_features
from mgf_fairseq.extract.upstream import Upstream, load_upstream


def counted(upstream: Upstream) -> tuple[Upstream, list[int]]:
    """The same upstream, and a list that gets the size of each batch it encodes."""
    sizes: list[int] = []

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("sample_rate", "geometry", "hop_length", "width", "one_by_one", "pieces"):
                setattr(self, name, getattr(upstream.model, name))

        def forward(self, waveforms: list[np.ndarray], sample_rate: int | None) -> Any:
            sizes.append(len(waveforms))
            return upstream.model(waveforms, sample_rate)

    return replace(upstream, model=Counting()), sizes  # type: ignore[arg-type]


def test_a_second_call_encodes_nothing(tmp_path: Path, data: Path, upstream: Upstream) -> None:
    counting, sizes = counted(upstream)
    first = cache_features(counting, data, tmp_path / "cache")
    assert sum(sizes) == 12
    again = cache_features(counting, data, tmp_path / "cache")
    fewer = cache_features(counting, data, tmp_path / "cache", ["layer 1"])
    assert sum(sizes) == 12
    assert again.folder == first.folder == fewer.folder
    assert fewer.layer_names == ["layer 1"]
    with pytest.raises(FeatureError, match="no 'layer 2'; it holds layer 1"):
        fewer.layer("layer 2")


def replace_audio_unseen(path: Path) -> None:
    """Change samples of a file and leave its size and modification time."""
    audio = path.parent / "audio" / "3.wav"
    before = audio.stat()
    with open(audio, "r+b") as stream:
        stream.seek(2000)
        stream.write(b"\x11\x22\x33")
    os.utime(audio, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert audio.stat().st_mtime_ns == before.st_mtime_ns


def remove_a_file(path: Path) -> None:
    (path.parent / "audio" / "3.wav").unlink()


@pytest.mark.parametrize("change", [replace_audio_unseen, drop_a_row, remove_a_file])
def test_changed_audio_or_rows_are_extracted_again(
    tmp_path: Path, data: Path, upstream: Upstream, change: Callable[[Path], None]
) -> None:
    first = cache_features(upstream, data, tmp_path / "cache")
    change(data)
    counting, sizes = counted(upstream)
    second = cache_features(counting, data, tmp_path / "cache")
    assert second.folder != first.folder
    assert sum(sizes) == len(second.rows) == {replace_audio_unseen: 12}.get(change, 11)


def test_another_checkpoint_layer_or_dtype_is_extracted_again(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    model, config = mgf()
    with torch.no_grad():
        model.encoder.layers[0].fc1.weight[0, 0] += 1e-3
    other = load_upstream(save(tmp_path / "other.pt", model, config))
    folders = {
        cache_features(upstream, data, tmp_path / "cache", ["layer 1"]).folder,
        cache_features(upstream, data, tmp_path / "cache", ["layer 2"]).folder,
        cache_features(upstream, data, tmp_path / "cache", ["layer 1"], "float32").folder,
        cache_features(other, data, tmp_path / "cache", ["layer 1"]).folder,
        cache_features(load_upstream("fbank"), data, tmp_path / "cache").folder,
    }
    assert len(folders) == 5


def test_a_moved_checkpoint_and_a_moved_or_touched_corpus_are_known(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    first = cache_features(upstream, data, tmp_path / "cache")
    moved = tmp_path / "moved"
    shutil.copytree(data.parent, moved, copy_function=shutil.copy)  # with new times
    lines = data.read_text().splitlines()
    (moved / "train.tsv").write_text("\n".join([str(moved / "audio"), *lines[1:]]) + "\n")
    again = load_upstream(shutil.copy(tmp_path / "ck.pt", tmp_path / "copy.pt"))
    assert cache_features(again, moved / "train.tsv", tmp_path / "cache").folder == first.folder


class Killed(BaseException):
    """Like SIGKILL: nothing in the code expects it."""


def test_a_call_killed_at_any_moment_resumes_and_ends_the_same(
    tmp_path: Path, data: Path, upstream: Upstream, monkeypatch
) -> None:
    monkeypatch.setattr(writer, "_CHUNK_BATCHES", 2)

    def run(dest: Path) -> tuple[FeatureStore, int]:
        counting, sizes = counted(upstream)
        store = write_features(counting, data, dest, batch_seconds=2)
        return store, sum(sizes)

    whole, _ = run(tmp_path / "whole")
    places = [(npy.GrowingArray, "append"), (npy.GrowingArray, "sync")]
    places += [(writer, "replace_file"), (writer.os, "replace")]
    fatal, calls, kills = 0, 0, 0

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fatal:
                raise Killed
            return original(*args, **kwargs)

        return call

    for owner, name in places:
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    dest = tmp_path / "resumed"
    while True:  # each attempt dies two calls later than the one before did
        fatal, calls = fatal + 2, 0
        try:
            store, encoded = run(dest)
            break
        except Killed:
            kills += 1
            assert not dest.exists()
    assert kills > 10
    assert encoded < 12  # the last attempt did not begin anew
    assert contents(store.folder) == contents(whole.folder)
    assert not dest.with_name("resumed.part").exists()


def test_two_processes_that_want_the_same_share_the_work(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    counting, sizes = counted(upstream)
    found: list[Path] = []

    def work() -> None:  # a lock belongs to an open file, so threads contend as processes do
        found.append(cache_features(counting, data, tmp_path / "cache").folder)

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert sum(sizes) == 12
