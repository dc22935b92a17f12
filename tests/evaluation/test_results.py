"""Result files come back as they were written, and files of another kind are refused."""

import dataclasses
import json

import numpy as np
import pytest

from mgf_fairseq.evaluation.result_files import (
    ResultError,
    read_embeddings,
    read_record,
    read_results,
    write_embeddings,
    write_record,
)
from mgf_fairseq.evaluation.results import (
    ClassScore,
    Embeddings,
    Example,
    RecognitionResult,
    Representation,
    SplitSize,
    TaskData,
    TaskResult,
    UpstreamResult,
    UtteranceCounts,
)

SIZE = SplitSize(utterances=3, hours=0.5, items=70)
DATA = TaskData(folder="ls", classes=["AA", "SIL"], train=SIZE, valid=SIZE, test=SIZE)
ORIGIN = {
    "command": "mgf probe",
    "commit": "abc",
    "hardware": "2 cores",
    "date": "2026-01-01T00:00:00+00:00",
    "seconds": 3.5,
}
UPSTREAM = UpstreamResult(
    name="mgf-1",
    group="mgf",
    kind="mgf",
    layer_names=["layer 0"],
    fingerprint="f" * 8,
    path="ck.pt",
    seed=1,
    config={"objectives": ["frame"]},
)
SCORES = {"accuracy": [50.0, 51.0]}
PHONE = TaskResult(
    **ORIGIN,
    task="phone",
    metric="accuracy",
    data=DATA,
    protocol={"epochs": 3, "batch": {"size": 2}},
    key="k",
    seeds=[1, 2],
    representations=[Representation(name="layer 0", layer="layer 0", valid=SCORES, test=SCORES)],
    chosen=0,
    low=40.0,
    high=60.0,
    chance={"accuracy": 10.0},
    layer_weights=[1.0],
    confusion=[[3, 1], [0, 2]],
    per_class=[ClassScore(label="AA", precision=100.0, recall=75.0, f1=85.7, count=4)],
)
RECOGNITION = RecognitionResult(
    **ORIGIN,
    data=DATA,
    protocol={},
    key="k",
    seeds=[1],
    valid={"cer": [30.0]},
    test={"cer": [31.0], "wer": [80.0]},
    low=29.0,
    high=33.0,
    examples=[Example(reference="A B", hypothesis="A")],
)


def test_a_result_folder_comes_back_as_it_was_written(tmp_path):
    write_record(tmp_path / "upstream.json", UPSTREAM)
    write_record(tmp_path / "phone.json", PHONE)
    write_record(tmp_path / "asr.json", RECOGNITION)
    found = read_results(tmp_path)
    assert found.upstream == UPSTREAM
    assert found.tasks == {"phone": PHONE}
    assert found.recognition == RECOGNITION
    assert {path.name for path in tmp_path.iterdir()} == {
        "upstream.json",
        "phone.json",
        "asr.json",
    }


def test_the_class_of_a_class_score_is_called_class_in_the_file(tmp_path):
    write_record(tmp_path / "phone.json", PHONE)
    content = json.loads((tmp_path / "phone.json").read_text())
    assert content["per_class"][0]["class"] == "AA" and content["format"] == 1


def test_a_folder_without_upstream_names_the_command_that_writes_it(tmp_path):
    with pytest.raises(ResultError, match="mgf evaluate"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": 2}, "is of format 2"),
        ({"chosen": None}, "'None' is where"),
        ({"seeds": "1"}, "'1' is where"),
        ({"spare": 1}, r"does not know \['spare'\]"),
    ],
)
def test_a_file_of_another_format_is_refused_by_name(tmp_path, change, named):
    path = tmp_path / "phone.json"
    write_record(path, PHONE)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ResultError, match=named) as caught:
        read_record(path, TaskResult)
    assert str(path) in str(caught.value)


def test_a_missing_field_is_named(tmp_path):
    path = tmp_path / "phone.json"
    write_record(path, PHONE)
    content = json.loads(path.read_text())
    del content["confusion"]
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match="confusion"):
        read_record(path, TaskResult)


def test_a_list_of_numbers_is_on_one_line_and_other_tools_read_the_file(tmp_path):
    counted = UtteranceCounts(entry="a/ü.wav", speaker="s", counts=[0, 3, 2, 5, 1, 1])
    record = dataclasses.replace(PHONE, utterances=[counted], interval_over="4 speakers")
    write_record(tmp_path / "phone.json", record)
    text = (tmp_path / "phone.json").read_text(encoding="utf-8")
    assert '"counts": [0, 3, 2, 5, 1, 1]\n' in text and "  [3, 1],\n" in text
    assert json.loads(text)["utterances"][0]["entry"] == "a/ü.wav"
    assert read_record(tmp_path / "phone.json", TaskResult) == record


def test_a_file_of_an_earlier_version_lacks_only_what_was_added(tmp_path):
    path = tmp_path / "phone.json"
    write_record(path, PHONE)
    content = json.loads(path.read_text())
    for name in ("utterances", "interval_over", "overlap"):
        del content[name]
    path.write_text(json.dumps(content))
    assert read_record(path, TaskResult) == PHONE and PHONE.interval_over == "utterances"


def test_a_torn_file_is_refused(tmp_path):
    (tmp_path / "phone.json").write_text('{"format": 1, "ta')
    with pytest.raises(ResultError, match="remove it"):
        read_record(tmp_path / "phone.json", TaskResult)


def test_a_number_that_json_cannot_hold_leaves_no_file_behind(tmp_path):
    with pytest.raises(ValueError):
        write_record(tmp_path / "phone.json", dataclasses.replace(PHONE, low=float("nan")))
    assert not list(tmp_path.iterdir())


def test_embeddings_come_back_without_executing_anything(tmp_path):
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_embeddings(
        tmp_path / "s" / "speaker.npz", Embeddings(vectors, ["a", "b", "a"], ["x"] * 3)
    )
    found = read_embeddings(tmp_path / "s" / "speaker.npz")
    assert np.array_equal(found.vectors, vectors)
    assert found.labels == ["a", "b", "a"] and found.speakers == ["x"] * 3
    (tmp_path / "bad.npz").write_bytes(b"no")
    with pytest.raises(ResultError, match="probe again"):
        read_embeddings(tmp_path / "bad.npz")
