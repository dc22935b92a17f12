"""The phone task: what is learned, chosen, scored and refused."""

import numpy as np
import prepared
import pytest
from planted import ONE, PHONES, spoil_features

from mgf_fairseq.encoder.geometry import ConvGeometry
from mgf_fairseq.evaluation.labeled import ProbeError
from mgf_fairseq.evaluation.probing import plan_probe
from mgf_fairseq.evaluation.results import WEIGHTED_SUM

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_phone_finds_the_planted_layer_and_skips_spn_and_unlabeled_frames(phones, probe):
    _, run = probe("phone", phones, "phn")
    result = run.result
    assert result.data.classes == PHONES
    chosen = result.representations[result.chosen]
    assert chosen.layer in ("layer 1", WEIGHTED_SUM)
    assert result.representations[1].test["accuracy"] == [100.0, 100.0]
    lines = (phones / "test.phn").read_text().split()
    assert result.data.test.items == sum(word in PHONES for word in lines)
    assert sum(map(sum, result.confusion)) == 2 * result.data.test.items  # two seeds
    assert [item.count for item in result.per_class] == [lines.count(p) for p in PHONES]
    assert max(result.representations[0].test["accuracy"]) < 50  # noise, three classes
    assert result.low <= 100.0 <= result.high + 1e-9
    most = max(PHONES, key=(phones / "train.phn").read_text().split().count)
    share = 100 * lines.count(most) / result.data.test.items
    assert result.chance["accuracy"] == pytest.approx(share)


@pytest.mark.parametrize("task", ["phone", "speaker"])
def test_the_choice_of_layer_never_looks_at_test(task, phones, tmp_path, probe, monkeypatch):
    ending = "phn" if task == "phone" else "spk"
    if task == "speaker":
        prepared.write_split(phones, "train", [60] * 60, {"spk": ["a", "b"] * 30})
        prepared.write_split(phones, "speaker_test", [60] * 8, {"spk": ["a", "b"] * 4})
    _, before = probe(task, phones, ending)
    # Test's features now carry their labels in the other layer.
    test = "test" if task == "phone" else "speaker_test"

    def swapped(stores):
        planted = prepared.PlantedStores(stores.folder / "swapped", ending, layer=0)
        own = prepared.PlantedStores.__call__
        monkeypatch.setattr(
            prepared.PlantedStores,
            "__call__",
            lambda self, up, path, *rest, **more: own(
                planted if path.stem == test else self, up, path, *rest, **more
            ),
        )

    _, after = probe(task, phones, ending, change=swapped)
    first, second = before.result, after.result
    assert first.chosen == second.chosen and first.layer_weights == second.layer_weights
    assert [r.valid for r in first.representations] == [r.valid for r in second.representations]
    assert np.mean(second.representations[second.chosen].test["accuracy"]) < 90
    assert np.mean(first.representations[first.chosen].test["accuracy"]) > 99


def test_a_nan_in_frames_is_an_error_instead_of_a_score_of_untrained_probes(
    phones, probe, monkeypatch
):
    spoil_features(monkeypatch)
    with pytest.raises(ProbeError, match=r"phone: the probes of layer 1 never had a finite loss"):
        probe("phone", phones, "phn", ONE)


def test_a_row_too_short_for_a_frame_of_this_upstream_needs_no_phones(phones, tmp_path):
    upstream = prepared.upstream()
    upstream.geometry = ConvGeometry((25000,), (320,))
    (phones / "test.phn").write_text("\n" * 3)
    plan_probe("phone", upstream, phones, tmp_path / "cache", ONE)
    with pytest.raises(ProbeError, match="line 1 is empty"):
        plan_probe("phone", prepared.upstream(), phones, tmp_path / "cache", ONE)


def test_labels_and_frames_that_differ_by_rounding_are_cut_and_said_so(phones, probe):
    _, run = probe("phone", phones, "phn", change=lambda stores: setattr(stores, "shift", 2))
    assert "4 row(s) of train cut to the shorter" in run.result.data.note
    assert run.result.representations[1].test["accuracy"] == [100.0, 100.0]
    with pytest.raises(ProbeError, match="60 labels for 63 feature frames"):
        probe("phone", phones, "phn", change=lambda stores: setattr(stores, "shift", 3))


def test_labels_of_another_rate_are_refused_naming_both(phones, probe):
    for name in ("train", "valid", "test"):
        path = phones / f"{name}.phn"
        path.write_text("".join(f"{line} {line}\n" for line in path.read_text().splitlines()))
    with pytest.raises(
        ProbeError, match=r"120 labels for 60 feature frames.*100 labels per second"
    ):
        probe("phone", phones, "phn")
