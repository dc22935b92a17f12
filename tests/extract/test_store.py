"""Features on disk: right, named where they cannot be, never half there."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch
from stored import contents, drop_a_row
from tiny_checkpoints import mgf, save, wav2vec2

from mgf_fairseq.data.audio import AudioReader
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.extract import writer
from mgf_fairseq.extract.folder import FeatureError, FeatureStore, open_features
from mgf_fairseq.extract.store import cache_features, write_features
from mgf_fairseq.extract.upstream import Upstream, load_upstream


def assert_features(store: FeatureStore, upstream: Upstream, path: Path, atol: float) -> None:
    """Each utterance has what the upstream says of it alone."""
    rows = read_manifest(path)
    assert store.offsets[-1] == store.lengths.sum() == len(store.layer(store.layer_names[0]))
    for number, row in enumerate(store.rows):
        with AudioReader(rows.entry(int(row)), upstream.sample_rate) as reader:
            alone = upstream([reader.read()])
        assert store.lengths[number] == alone.lengths[0]
        for name in store.layer_names:
            expected = alone.hidden_states[upstream.layer_names.index(name)][0].numpy()
            frames = store.layer(name)[store.offsets[number] : store.offsets[number + 1]]
            np.testing.assert_allclose(frames, expected, atol=atol, rtol=0)


def test_the_store_holds_what_the_upstream_says_of_each_utterance_alone(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    store = cache_features(upstream, data, tmp_path / "cache", dtype="float32", batch_seconds=4)
    assert store.layer_names == ["layer 0", "layer 1", "layer 2"]
    assert store.rows.tolist() == list(range(12))
    assert store.skipped == {} and store.frame_rate == 50.0
    assert_features(store, upstream, data, atol=1e-5)  # fp32 rounding of other batch shapes


@pytest.mark.parametrize("spec", ["checkpoint", "fbank"])
def test_the_store_of_segments_holds_one_vector_for_each(
    tmp_path: Path, data: Path, upstream: Upstream, spec: str
) -> None:
    whole = upstream if spec == "checkpoint" else load_upstream(spec)
    pieces = whole.of_segments(0.1)
    store = cache_features(pieces, data, tmp_path / "cache", dtype="float32", batch_seconds=4)
    counts = read_manifest(data).num_samples
    assert store.lengths.tolist() == np.maximum(counts // 1600, 1).tolist()
    assert store.lengths.max() > store.lengths.min() >= 1
    assert store.frame_rate == pieces.frame_rate == 10.0
    assert store.summary["hop_length"] == store.summary["upstream"]["segment_samples"] == 1600
    assert_features(store, pieces, data, atol=1e-4)
    assert store.folder != cache_features(whole, data, tmp_path / "cache", dtype="float32").folder


def test_group_norm_and_half_precision_are_stored_right_too(tmp_path: Path, data: Path) -> None:
    path = save(tmp_path / "ck.pt", *wav2vec2(extractor_mode="default"))
    upstream = load_upstream(path)
    store = cache_features(upstream, data, tmp_path / "cache", ["last"])
    assert store.layer_names == ["layer 2"] and store.layer("layer 2").dtype == np.float16
    assert_features(store, upstream, data, atol=4e-3)  # fp16 has 11 bits; values are below 8


def test_files_that_cannot_be_used_are_named_and_skipped(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    audio = data.parent / "audio"
    (audio / "1.wav").unlink()
    (audio / "2.wav").write_text("no audio")
    soundfile.write(audio / "4.wav", tiny.speech_like(3.0, seed=4), 16000)
    soundfile.write(audio / "short.wav", np.zeros(399), 16000)
    with open(data, "a") as stream:
        stream.write("short.wav\t399\n../away.wav\t8000\n")
    store = cache_features(upstream, data, tmp_path / "cache", dtype="float32")
    assert store.rows.tolist() == [0, 3, *range(5, 12)]
    assert_features(store, upstream, data, atol=1e-5)
    words = {1: "no such file", 2: "not an audio file", 4: "the manifest says", 12: "399 samples"}
    words[13] = "leaves the root"
    assert set(store.skipped) == set(words)
    for row, word in words.items():
        assert word in store.skipped[row]


def test_a_manifest_of_which_nothing_can_be_read_leaves_nothing(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    for path in (data.parent / "audio").iterdir():
        path.unlink()
    with pytest.raises(FeatureError, match=r"nothing can be read: .*no such file"):
        write_features(upstream, data, tmp_path / "out" / "train")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."] == []


@pytest.mark.parametrize("rate", [8000, 22050])
def test_a_manifest_for_another_rate_is_refused(tmp_path: Path, data: Path, rate: int) -> None:
    model, config = mgf()
    config["task"]["sample_rate"] = rate
    upstream = load_upstream(save(tmp_path / "ck.pt", model, config))
    with pytest.raises(FeatureError, match=rf"prepared for 16000 Hz, but ck.pt takes {rate} Hz"):
        cache_features(upstream, data, tmp_path / "cache")


def test_one_file_of_another_length_is_no_other_rate(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    soundfile.write(data.parent / "audio" / "0.wav", tiny.speech_like(1.6, seed=4), 16000)
    assert list(cache_features(upstream, data, tmp_path / "cache").skipped) == [0]


def test_an_unknown_layer_or_dtype_is_refused_with_those_there_are(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    with pytest.raises(FeatureError, match=r"ck\.pt: no layer '3'; there are layer 0, layer 1, l"):
        cache_features(upstream, data, tmp_path, ["3"])
    with pytest.raises(FeatureError, match="mfcc: no layer 'fbank'; there are mfcc"):
        cache_features(load_upstream("mfcc"), data, tmp_path, ["fbank"])
    with pytest.raises(FeatureError, match="no layer is chosen"):
        cache_features(upstream, data, tmp_path, [])
    with pytest.raises(FeatureError, match="'int8' is none of float16, float32"):
        cache_features(upstream, data, tmp_path, dtype="int8")


def test_values_beyond_float16_are_refused_and_nothing_looks_whole(
    tmp_path: Path, data: Path
) -> None:
    model, config = mgf()
    with torch.no_grad():
        model.encoder.layers[1].final_layer_norm.bias[0] = 1e5
    upstream = load_upstream(save(tmp_path / "ck.pt", model, config))
    with pytest.raises(
        FeatureError, match=r"ck\.pt layer 2: values are beyond float16; use float32"
    ):
        write_features(upstream, data, tmp_path / "train", dtype="float16")
    assert not (tmp_path / "train").exists()
    store = write_features(upstream, data, tmp_path / "train32", dtype="float32")
    assert float(store.layer("layer 2")[:, 0].mean()) > 9e4


def test_other_features_are_not_overwritten_unless_asked(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    dest = tmp_path / "out" / "train"
    first = contents(write_features(upstream, data, dest, ["0"]).folder)
    for layers, other, named in ((["1"], upstream, "layers"), (["0"], data, "upstream")):
        asked = other if isinstance(other, Upstream) else load_upstream(f"random:{tmp_path}/ck.pt")
        with pytest.raises(FeatureError, match=f"holds features of another {named};"):
            write_features(asked, data, dest, layers)
    assert contents(dest) == first
    drop_a_row(data)
    with pytest.raises(FeatureError, match="another audio;"):
        write_features(upstream, data, dest, ["0"])
    assert len(write_features(upstream, data, dest, ["0"], overwrite=True).rows) == 11


def test_a_beginning_of_other_features_is_not_continued(
    tmp_path: Path, data: Path, upstream: Upstream
) -> None:
    part = tmp_path / "out.part"
    part.mkdir()
    (part / "progress.json").write_text('{"identity": {"upstream": "another"}}')
    with pytest.raises(FeatureError, match=r"out\.part: holds the beginning of other features"):
        write_features(upstream, data, tmp_path / "out")
    write_features(upstream, data, tmp_path / "out", overwrite=True)
    assert not part.exists()


@pytest.mark.parametrize("name", ["layer_1.npy", "features.json", "lengths.npy"])
def test_a_damaged_folder_is_named(
    tmp_path: Path, data: Path, upstream: Upstream, name: str
) -> None:
    folder = write_features(upstream, data, tmp_path / "train").folder
    (folder / name).write_bytes((folder / name).read_bytes()[:-200])
    with pytest.raises(FeatureError, match=r"train: .*remove it and extract again"):
        open_features(folder)


def test_memory_holds_a_chunk_not_the_corpus(
    tmp_path: Path, data: Path, upstream: Upstream, monkeypatch
) -> None:
    monkeypatch.setattr(writer, "_CHUNK_BYTES", 2 * 50 * 3 * 16 * 4)  # two seconds
    chunks: list[int] = []
    append = writer._Writer.append
    monkeypatch.setattr(writer._Writer, "append", lambda *a: (chunks.append(len(a[1])), append(*a)))
    store = write_features(upstream, data, tmp_path / "train")
    assert sum(chunks) == 12 and max(chunks) <= 2
    assert_features(store, upstream, data, atol=1e-5)
