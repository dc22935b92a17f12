"""What a result holds, whatever its task, and the key of all that decides it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import prepared
import pytest
from planted import ONE, OPTIONS, phone_lines

from mgf_fairseq.evaluation.probing import plan_probe, run_probe
from mgf_fairseq.evaluation.protocols import base as outcome_module
from mgf_fairseq.evaluation.tasks import TASKS

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_each_test_utterance_leaves_its_counts_with_its_speaker(speakers, probe):
    _, run = probe("speaker", speakers, "spk")
    first = run.result.utterances[0]
    assert (first.entry, first.speaker) == ("speaker_test0.wav", "a")
    assert first.counts == [0, 2, 4]  # class a, two segments, found by both seeds
    assert run.result.interval_over == "2 speakers"


def test_the_interval_is_drawn_by_speaker_where_speakers_are_known(phones, probe):
    _, run = probe("phone", phones, "phn")
    assert run.result.interval_over == "3 utterances of one speaker"
    counted = np.sum([np.reshape(u.counts, (-1, 3))[:, 1].sum() for u in run.result.utterances])
    assert counted == run.result.data.test.items
    for path in phones.glob("*.spk"):
        path.unlink()
    _, run = probe("phone", phones, "phn", replace(OPTIONS, disjoint="utterances"))
    assert run.result.interval_over == "3 utterances (speakers unknown)"


def test_hours_are_at_the_rate_of_the_upstream_and_the_working_folder_is_named(
    phones, tmp_path, monkeypatch
):
    stores = prepared.PlantedStores(tmp_path / "features", "phn")
    monkeypatch.setattr("mgf_fairseq.evaluation.probing.cache_features", stores)
    upstream = prepared.upstream()
    upstream.sample_rate = 8000
    monkeypatch.chdir(phones)
    data = run_probe(plan_probe("phone", upstream, Path(), tmp_path / "cache", ONE)).result.data
    assert data.train.hours == round(4 * (320 * 60 + 80) / 8000 / 3600, 4)
    assert data.folder == phones.name


def test_the_key_is_of_all_that_decides_the_result(phones, tmp_path):
    def key(options=OPTIONS, fingerprint="f"):
        upstream = prepared.upstream()
        upstream.fingerprint = fingerprint
        return plan_probe("phone", upstream, phones, tmp_path / "cache", options).key

    first = key()
    assert key() == first
    assert key(replace(OPTIONS, device="cuda")) == first
    others = [replace(OPTIONS, seeds=(1, 3)), replace(OPTIONS, hidden=4)]
    keys = [key(fingerprint="g"), *map(key, others)]
    line = phone_lines(1, 60, 99)[0]
    (phones / "valid.phn").write_text(f"{line}\n{line}\n")
    keys.append(key())
    (phones / "train0.wav").write_bytes(b"some audio")
    keys.append(key())
    (phones / "train0.wav").write_bytes(b"same audio")
    keys.append(key())
    (phones / "train0.wav").rename(phones / "moved.wav")
    manifest = phones / "train.tsv"
    manifest.write_text(manifest.read_text().replace("train0.wav", "moved.wav"))
    assert key() == keys[-1]  # contents count, not names
    assert len({first, *keys}) == 7


@pytest.mark.parametrize(
    ("task", "data"), [("phone", "phones"), ("speaker", "speakers"), ("emotion", "emotions")]
)
def test_a_raised_version_is_another_key_and_version_1_goes_unsaid(
    task, data, tmp_path, monkeypatch, request
):
    folder = request.getfixturevalue(data)

    def plan(version):
        monkeypatch.setitem(TASKS, task, replace(TASKS[task], version=version))
        return plan_probe(task, prepared.upstream(), folder, tmp_path / "cache", OPTIONS)

    plans = [plan(version) for version in (1, 2, 3)]
    assert len({found.key for found in plans}) == 3
    assert [found.task.protocol.get("version") for found in plans] == [None, 2, 3]


def test_the_choice_is_by_the_mean_over_seeds_on_valid():
    candidates = [
        outcome_module.Candidate(str(k), None, {"accuracy": valid}, np.zeros((2, 1), int))
        for k, valid in enumerate([[50.0, 60.0], [56.0, 57.0], [40.0, 64.0]])
    ]
    assert outcome_module.choose(candidates, "accuracy") == 1
