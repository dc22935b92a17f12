"""A task from a prepared folder to its result file."""

import json
from dataclasses import replace

import numpy as np
import prepared
import pytest
from planted import ONE, OPTIONS

from mgf_fairseq.evaluation.labeled import ProbeError
from mgf_fairseq.evaluation.probing import plan_probe, run_probe, write_probe
from mgf_fairseq.evaluation.result_files import read_embeddings, read_results
from mgf_fairseq.evaluation.results import WEIGHTED_SUM

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_a_name_that_is_no_task_and_no_label_is_refused_with_those_that_are(languages, tmp_path):
    for name in ("langs", "spk", "../x", "tsv"):
        with pytest.raises(ProbeError, match=rf"no task '{name}'.* a label of .* \(lang\)"):
            plan_probe(name, prepared.upstream(), languages, tmp_path / "cache", ONE)


def test_layers_that_were_not_chosen_have_no_part_in_the_sum(phones, tmp_path, monkeypatch):
    stores = prepared.PlantedStores(tmp_path / "features", "phn")
    monkeypatch.setattr("mgf_fairseq.evaluation.probing.cache_features", stores)
    upstream = prepared.upstream(["layer 0", "layer 1", "layer 2"])
    options = replace(OPTIONS, layers=("1", "last"))
    plan = plan_probe("phone", upstream, phones, tmp_path / "cache", options)
    result = run_probe(plan).result
    assert [r.layer for r in result.representations] == ["layer 1", "layer 2", WEIGHTED_SUM]
    assert result.layer_weights[0] == 0.0 and sum(result.layer_weights) == pytest.approx(1)


def test_features_are_kept_as_asked_and_only_another_choice_than_the_usual_is_in_the_protocol(
    phones, probe
):
    held = []
    usual, _ = probe("phone", phones, "phn", change=held.append)
    precise, _ = probe(
        "phone", phones, "phn", replace(OPTIONS, dtype="float32"), change=held.append
    )
    kept = [np.load(next(stores.folder.rglob("*.npy"))).dtype.name for stores in held]
    assert kept == ["float16", "float32"]
    assert "float32" in precise.task.protocol.pop("stored")
    assert precise.task.protocol == usual.task.protocol and precise.key != usual.key


def test_a_result_is_written_whole_and_read_back(emotions, tmp_path, probe):
    plan, run = probe("emotion", emotions, "emo", ONE)
    folder = tmp_path / "results" / "mine"
    path = write_probe(folder, plan, run, "mgf")
    assert {p.name for p in folder.iterdir()} == {"upstream.json", "emotion.json", "emotion.npz"}
    found = read_results(folder)
    assert found.tasks["emotion"] == run.result
    assert (found.upstream.name, found.upstream.group) == ("mine", "mgf")
    assert found.upstream.config == {"width": 6} and found.upstream.seed == 1
    assert len(read_embeddings(folder / "emotion.npz").labels) == 24
    assert json.loads(path.read_text())["key"] == plan.key
