"""The three probed tasks from a prepared folder to their result files, and what they refuse."""

import json
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import prepared
import pytest

from mgf_fairseq.cli import main
from mgf_fairseq.encoder.geometry import ConvGeometry
from mgf_fairseq.evaluation.labeled import ProbeError, read_labeled
from mgf_fairseq.evaluation.options import ProbeOptions
from mgf_fairseq.evaluation.probes.trainer import ProbeConfig
from mgf_fairseq.evaluation.probing import plan_probe, run_probe, write_probe
from mgf_fairseq.evaluation.protocols import base as outcome_module
from mgf_fairseq.evaluation.protocols.base import VERSIONS
from mgf_fairseq.evaluation.protocols.speaker import hold_out
from mgf_fairseq.evaluation.result_files import ResultError, read_embeddings, read_results
from mgf_fairseq.evaluation.result_folders import check_folder, result_name
from mgf_fairseq.evaluation.results import CHOSEN_PER_FOLD, WEIGHTED_SUM
from mgf_fairseq.extract.folder import layer_file
from mgf_fairseq.extract.upstream import load_upstream

PHONES = ["AA", "B", "SIL"]
OPTIONS = ProbeOptions(seeds=(1, 2), max_epochs=2)
ONE = ProbeOptions(seeds=(1,), layers=("1",))


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    """Enough for planted labels."""
    config = ProbeConfig(batch_size=64, epoch_items=6000)
    for task in ("phone", "speaker"):
        name = f"mgf_fairseq.evaluation.protocols.{task}._{task.upper()}"
        monkeypatch.setattr(name, config)


def phone_lines(count, frames, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice([*PHONES, "SPN", "-"], frames)) for _ in range(count)]


@pytest.fixture
def phones(tmp_path):
    """Train of two speakers, valid and test of one other each."""
    data = tmp_path / "data"
    for seed, (name, speakers) in enumerate(
        {"train": "aabb", "valid": "cc", "test": "ddd"}.items()
    ):
        labels = {"phn": phone_lines(len(speakers), 60, seed), "spk": list(speakers)}
        prepared.write_split(data, name, [60] * len(speakers), labels)
    return data


@pytest.fixture
def speakers(tmp_path):
    """24 recordings of each of two speakers, and speaker_test."""
    data = tmp_path / "data"
    prepared.write_split(data, "train", [120] * 48, {"spk": ["a", "b"] * 24})
    prepared.write_split(data, "speaker_test", [120] * 8, {"spk": ["a", "b"] * 4})
    return data


@pytest.fixture
def emotions(tmp_path):
    """Four speakers with six utterances each, in two splits."""
    data = tmp_path / "data"
    for name, who in {"train": "abc", "valid": "d"}.items():
        labels = {
            "emo": ["anger", "joy"] * 3 * len(who),
            "spk": [s for s in who for _ in range(6)],
        }
        prepared.write_split(data, name, [40] * 6 * len(who), labels)
    return data


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """`probe(task, data, ending, ...)` runs a task on features with that label planted."""

    def run(task, data, ending, options=OPTIONS, layer=1, change=None):
        stores = prepared.PlantedStores(tmp_path / f"features-{len(list(tmp_path.iterdir()))}",
                                        ending, layer)  # fmt: skip
        if change:
            change(stores)
        monkeypatch.setattr("mgf_fairseq.evaluation.probing.cache_features", stores)
        plan = plan_probe(task, prepared.upstream(), data, tmp_path / "cache", options)
        return plan, run_probe(plan)

    return run


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


def test_emotion_leaves_one_speaker_out_and_chooses_in_each_fold(emotions, probe):
    plan, run = probe("emotion", emotions, "emo")
    result = run.result
    assert "leave one speaker out (4 folds)" in plan.task.protocol["splits"]
    names = [item.name for item in result.representations]
    assert names[:2] == ["layer 0, mean", "layer 0, mean+std"] and names[-1] == CHOSEN_PER_FOLD
    assert result.chosen == len(names) - 1 and result.metric == "uar"
    assert result.representations[2].test["uar"] == [100.0, 100.0]
    assert result.representations[-1].test["uar"] == [100.0, 100.0]
    assert result.data.test.utterances == 24 and result.chance["uar"] == 50.0
    assert run.embeddings.vectors.shape[0] == 24 and set(run.embeddings.labels) == {"anger", "joy"}


def spoil_features(monkeypatch):
    """Let one vector of the planted layer be NaN in every split."""
    own = prepared.PlantedStores.__call__

    def call(self, *arguments, **more):
        store = own(self, *arguments, **more)
        path = store.folder / layer_file("layer 1")
        values = np.load(path)
        values[3] = np.nan
        np.save(path, values)
        return store

    monkeypatch.setattr(prepared.PlantedStores, "__call__", call)


def test_a_nan_in_features_is_an_error_that_names_task_layer_and_fold(emotions, probe, monkeypatch):
    spoil_features(monkeypatch)
    where = r"emotion: layer 1, mean, with speaker a left out: the features of 2 of 24 utterances"
    with pytest.raises(ProbeError, match=where):
        probe("emotion", emotions, "emo", ONE)


def test_a_nan_in_frames_is_an_error_instead_of_a_score_of_untrained_probes(
    phones, probe, monkeypatch
):
    spoil_features(monkeypatch)
    with pytest.raises(ProbeError, match=r"phone: the probes of layer 1 never had a finite loss"):
        probe("phone", phones, "phn", ONE)


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


def test_hours_are_counted_at_the_rate_of_the_upstream(phones, tmp_path, monkeypatch):
    stores = prepared.PlantedStores(tmp_path / "features", "phn")
    monkeypatch.setattr("mgf_fairseq.evaluation.probing.cache_features", stores)
    upstream = prepared.upstream()
    upstream.sample_rate = 8000
    result = run_probe(plan_probe("phone", upstream, phones, tmp_path / "cache", ONE)).result
    assert result.data.train.hours == round(4 * (320 * 60 + 80) / 8000 / 3600, 4)


def test_a_row_too_short_for_a_frame_of_this_upstream_needs_no_phones(phones, tmp_path):
    upstream = prepared.upstream()
    upstream.geometry = ConvGeometry((25000,), (320,))
    (phones / "test.phn").write_text("\n" * 3)
    plan_probe("phone", upstream, phones, tmp_path / "cache", ONE)
    with pytest.raises(ProbeError, match="line 1 is empty"):
        plan_probe("phone", prepared.upstream(), phones, tmp_path / "cache", ONE)


@pytest.fixture
def languages(tmp_path):
    """Three languages by two speakers each in train, one each in valid and test."""
    data = tmp_path / "data"
    for name, rounds in {"train": "ab", "valid": "c", "test": "d"}.items():
        lang = ["de", "fa", "ku"] * 4 * len(rounds)
        spk = [f"{name}-{r}{k % 3}" for r in rounds for k in range(12)]
        prepared.write_split(data, name, [40] * len(lang), {"lang": lang, "spk": spk})
    return data


def test_a_label_of_the_corpus_is_learned_on_train_and_scored_on_test(languages, probe):
    plan, run = probe("lang", languages, "lang")
    result = run.result
    assert result.data.classes == ["de", "fa", "ku"]
    assert result.representations[1].test == {"accuracy": [100.0] * 2, "uar": [100.0] * 2}
    assert result.chance["uar"] == pytest.approx(100 / 3)
    assert sum(map(sum, result.confusion)) == 24 and result.data.test.items == 12
    assert plan.task.protocol["disjoint"] == "no recording and no speaker in two splits"
    assert result.interval_over == "3 speakers"


def test_speakers_that_splits_of_a_label_share_are_said_in_the_result(languages, probe):
    (languages / "test.spk").write_text("train-a0\n" * 12)
    _, run = probe("lang", languages, "lang", ONE)
    assert "1 of 1 speakers of test are in train or valid too" in run.result.data.note
    for path in languages.glob("*.spk"):
        path.unlink()
    _, run = probe("lang", languages, "lang", ONE)
    assert "speakers are not known" in run.result.data.note


def test_a_label_is_cross_validated_by_fold_or_by_speaker_where_splits_do_not_do(languages, probe):
    (languages / "test.lang").unlink()
    plan, run = probe("lang", languages, "lang", ONE)
    assert "leave one speaker out (9 folds), over train, valid" in plan.task.protocol["splits"]
    assert run.result.metric == "accuracy"
    for name, count in (("train", 24), ("valid", 12)):
        (languages / f"{name}.fold").write_text("".join(f"{k // 3 % 4}\n" for k in range(count)))
        (languages / f"{name}.spk").unlink()  # folds alone are enough
    plan, _ = probe("lang", languages, "lang", ONE)
    assert "leave one fold out (4 folds)" in plan.task.protocol["splits"]
    assert "speakers are not known" in plan.task.protocol["disjoint"]


def test_a_name_that_is_no_task_and_no_label_is_refused_with_those_that_are(languages, tmp_path):
    for name in ("langs", "spk", "../x", "tsv"):
        with pytest.raises(ProbeError, match=rf"no task '{name}'.* a label of .* \(lang\)"):
            plan_probe(name, prepared.upstream(), languages, tmp_path / "cache", ONE)


def test_a_class_that_train_lacks_is_refused_by_name(languages, tmp_path):
    (languages / "valid.lang").write_text("sv\n" * 12)
    with pytest.raises(ProbeError, match="'sv' for one"):
        plan_probe("lang", prepared.upstream(), languages, tmp_path / "cache", ONE)


def test_emotion_takes_the_folds_that_the_corpus_has(emotions, probe):
    for name, who in {"train": "112", "valid": "3"}.items():
        (emotions / f"{name}.fold").write_text("".join(f"{s}\n" * 6 for s in who))
    plan, _ = probe("emotion", emotions, "emo", ONE)
    assert "leave one fold out (3 folds)" in plan.task.protocol["splits"]


def test_layers_that_were_not_chosen_have_no_part_in_the_sum(phones, tmp_path, monkeypatch):
    stores = prepared.PlantedStores(tmp_path / "features", "phn")
    monkeypatch.setattr("mgf_fairseq.evaluation.probing.cache_features", stores)
    upstream = prepared.upstream(["layer 0", "layer 1", "layer 2"])
    options = replace(OPTIONS, layers=("1", "last"))
    plan = plan_probe("phone", upstream, phones, tmp_path / "cache", options)
    result = run_probe(plan).result
    assert [r.layer for r in result.representations] == ["layer 1", "layer 2", WEIGHTED_SUM]
    assert result.layer_weights[0] == 0.0 and sum(result.layer_weights) == pytest.approx(1)


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


def test_a_file_that_could_not_be_read_is_skipped_and_counted(phones, probe):
    _, run = probe(
        "phone", phones, "phn", change=lambda stores: stores.rows.update(train=[0, 1, 3])
    )
    assert run.result.data.train.utterances == 3
    assert "1 file(s) could not be read" in run.result.data.note
    assert run.result.representations[1].test["accuracy"] == [100.0, 100.0]


def drop(path, lines=1):
    rows = path.read_text().splitlines()
    path.write_text("".join(f"{row}\n" for row in rows[:-lines]))


@pytest.mark.parametrize(
    ("task", "spoil", "named"),
    [
        ("phone", lambda d: (d / "valid.tsv").unlink(), "no split 'valid'.*mgf prepare"),
        ("phone", lambda d: (d / "test.phn").unlink(), "test.phn does not exist: mgf prepare"),
        ("phone", lambda d: drop(d / "train.phn"), "3 labels for 4 utterances"),
        ("phone", lambda d: (d / "test.spk").unlink(), "test.spk does not exist.*--labels spk"),
        ("phone", lambda d: (d / "test.spk").write_text("d\na\nd\n"), "share 1 speaker.*a for one"),
        ("phone", lambda d: (d / "test.phn").write_text(("ZH " * 60 + "\n") * 3), "'ZH' for one"),
        ("phone", lambda d: (d / "train.phn").write_text(("B " * 60 + "\n") * 4), "train lacks"),
        ("phone", lambda d: (d / "train.phn").write_text("\n" * 4), "line 1 is empty"),
        ("phone", lambda d: (d / "train.phn").write_text(("- " * 60 + "\n") * 4), "has a label"),
        ("speaker", lambda d: (d / "train.spk").write_text("a\n" * 4), "one speaker"),
        ("speaker", lambda d: None, "too few recordings"),
        ("emotion", lambda d: None, "no .emo labels"),
    ],
)
def test_bad_data_is_refused_with_a_fix_and_leaves_nothing(
    task, spoil, named, phones, tmp_path, monkeypatch, capsys
):
    spoil(phones)
    before = {path: path.read_bytes() for path in phones.iterdir()}
    ending = {"phone": "phn", "speaker": "spk", "emotion": "emo"}[task]
    stores = prepared.PlantedStores(tmp_path / "features", ending)
    monkeypatch.setattr("mgf_fairseq.evaluation.probing.cache_features", stores)
    dest = tmp_path / "results"
    words = ["probe", "--tasks", task, "--checkpoint", "fbank", "--data", str(phones)]
    assert main([*words, "--dest", str(dest), "--device", "cpu"]) == 2
    assert re.search(named, capsys.readouterr().err)
    assert {path: path.read_bytes() for path in phones.iterdir()} == before
    assert not list(dest.rglob(f"{task}.*"))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda d: (d / "valid.tsv").unlink(), None),
        (
            lambda d: (d / "valid.emo").write_text("fear\n" * 6),
            "'fear' comes from speaker 'd' alone",
        ),
        (lambda d: (d / "train.spk").write_text("a\n" * 18), "2 speaker.*at least 3"),
        (lambda d: (d / "valid.fold").write_text("1\n" * 6), "some splits have .fold"),
        (lambda d: (d / "train.emo").write_text("\n" * 18), "line 1 is empty"),
    ],
)
def test_emotion_data_that_cannot_be_scored_fairly_is_refused(emotions, probe, spoil, named):
    spoil(emotions)
    if named is None:  # three speakers are enough
        probe("emotion", emotions, "emo", ONE)
        return
    with pytest.raises(ProbeError, match=named):
        probe("emotion", emotions, "emo")


def test_a_speaker_in_two_folds_is_refused(emotions, probe):
    for name, folds in {"train": "112", "valid": "3"}.items():
        (emotions / f"{name}.fold").write_text("".join(f"{f}\n" * 6 for f in folds))
    (emotions / "train.spk").write_text("a\n" * 18)
    with pytest.raises(ProbeError, match="speaker a is in the folds 1 and 2"):
        probe("emotion", emotions, "emo")


def test_shared_speakers_pass_where_the_corpus_is_split_by_utterance(phones, probe):
    (phones / "test.spk").write_text("a\na\nb\n")
    options = replace(OPTIONS, disjoint="utterances")
    plan, _ = probe("phone", phones, "phn", options)
    assert plan.task.protocol["disjoint"] == "no recording in two splits"
    (phones / "test.spk").unlink()  # who speaks is no part of that claim
    probe("phone", phones, "phn", options)


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


def test_a_recording_in_two_splits_is_refused_whatever_the_claim(phones, probe):
    rows = (phones / "train.tsv").read_text().splitlines()[1]
    with (phones / "test.tsv").open("a") as stream:
        stream.write(f"./{rows}\n")  # by another name
    for ending in ("phn", "spk"):
        with (phones / f"test.{ending}").open("a") as stream:
            stream.write("AA\n")
    options = ProbeOptions(disjoint="utterances")
    with pytest.raises(ProbeError, match=r"train and test share 1 recording\(s\)"):
        probe("phone", phones, "phn", options)


@pytest.mark.parametrize(
    "bad",
    [
        *({"seeds": ()}, {"seeds": (1, 1)}, {"hidden": -2}, {"disjoint": "x"}),
        *({"segment_seconds": seconds} for seconds in (0, math.inf, math.nan)),
        {"dtype": "float64"},
    ],
)
def test_a_bad_option_is_named(bad):
    with pytest.raises(ProbeError, match=next(iter(bad))):
        ProbeOptions(**bad)


# ---- keys and files


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
        monkeypatch.setitem(VERSIONS, task, version)
        return plan_probe(task, prepared.upstream(), folder, tmp_path / "cache", OPTIONS)

    plans = [plan(version) for version in (1, 2, 3)]
    assert len({found.key for found in plans}) == 3
    assert [found.task.protocol.get("version") for found in plans] == [None, 2, 3]


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


def test_a_folder_of_another_representation_is_refused(emotions, tmp_path, probe):
    plan, run = probe("emotion", emotions, "emo", ONE)
    write_probe(tmp_path / "r", plan, run)
    other = prepared.upstream()
    other.fingerprint = "0"
    with pytest.raises(ResultError, match=r"another representation.*--name"):
        check_folder(tmp_path / "r", other)


def test_results_are_named_after_the_folder_of_the_checkpoint():
    assert result_name(prepared.upstream()) == "fake"


def test_the_choice_is_by_the_mean_over_seeds_on_valid():
    candidates = [
        outcome_module.Candidate(str(k), None, {"accuracy": valid}, np.zeros((2, 1), int))
        for k, valid in enumerate([[50.0, 60.0], [56.0, 57.0], [40.0, 64.0]])
    ]
    assert outcome_module.choose(candidates, "accuracy") == 1
