"""The speaker task: segments, and what is held out for test."""

from collections import Counter

import prepared
import pytest

from mgf_fairseq.evaluation.labeled import ProbeError, read_labeled
from mgf_fairseq.evaluation.options import ProbeOptions
from mgf_fairseq.evaluation.probing import plan_probe
from mgf_fairseq.evaluation.protocols.speaker import hold_out
from mgf_fairseq.extract.upstream import load_upstream

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_speaker_is_scored_on_speaker_test_from_one_second_segments(speakers, probe):
    plan, run = probe("speaker", speakers, "spk")
    assert run.result.data.test.items == 16  # two whole seconds in 120 frames
    assert run.result.representations[1].test["accuracy"] == [100.0, 100.0]
    assert "report on speaker_test" in plan.task.protocol["splits"]
    assert run.embeddings.vectors.shape[0] == 8
    assert list(run.embeddings.speakers) == ["a", "b"] * 4


def test_segments_too_short_for_a_frame_are_refused_before_anything_runs(speakers, tmp_path):
    options = ProbeOptions(segment_seconds=0.02)
    with pytest.raises(
        ProbeError, match=r"segment_seconds=0.02: .*320 samples, fewer than the 400"
    ):
        plan_probe("speaker", load_upstream("fbank"), speakers, tmp_path / "cache", options)


def test_without_speaker_test_a_part_of_each_speakers_recordings_is_held_out(speakers, probe):
    (speakers / "speaker_test.tsv").unlink()
    plan, run = probe("speaker", speakers, "spk")
    sizes = run.result.data
    assert (sizes.train.utterances, sizes.valid.utterances, sizes.test.utterances) == (32, 6, 10)
    assert "held out" in plan.task.protocol["splits"]
    assert run.result.representations[1].test["accuracy"] == [100.0, 100.0]
    assert len(run.embeddings.labels) == 10


@pytest.mark.parametrize(
    ("separate", "parts"),
    [(True, {"train": 36, "valid": 4}), (False, {"train": 28, "valid": 4, "test": 8})],
)
def test_a_part_of_train_is_held_out_for_test_only_where_there_is_no_speaker_test(
    speakers, separate, parts
):
    prepared.write_split(speakers, "train", [120] * 40, {"spk": ["a", "b"] * 20})
    found = hold_out(read_labeled(speakers, "train", ["spk"]), separate_test=separate)
    assert Counter(found) == parts
    assert Counter(found[::2]) == Counter(found[1::2])  # as much of the one as of the other


def test_stretches_of_one_recording_stay_on_one_side(speakers, probe):
    (speakers / "speaker_test.tsv").unlink()
    rows = [f"rec{k // 4}.wav:{k % 4 * 38400}:38400\t38480" for k in range(48)]
    (speakers / "train.tsv").write_text("\n".join([str(speakers), *rows]) + "\n")
    (speakers / "train.spk").write_text("".join(f"{'ab'[k // 24]}\n" for k in range(48)))
    _, run = probe("speaker", speakers, "spk")
    for size in (run.result.data.valid, run.result.data.test):
        assert size.utterances % 4 == 0 and size.utterances > 0
