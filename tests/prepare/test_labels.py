"""Label lines and dictionaries: the exact forms that fairseq reads."""

from pathlib import Path

import pytest
from written import lines, make_audio, run

from mgf_fairseq.data.label_format import UNLABELED
from mgf_fairseq.prepare.corpora.base import Segment
from mgf_fairseq.prepare.labels import (
    LabelError,
    SubwordModel,
    class_label,
    count_symbols,
    frame_labels,
    normalize_text,
    to_letters,
    write_dictionary,
)

TEXTS = ["THE CAT SAT ON THE MAT", "A DOG RAN TO THE CAT", "THE MAT IS RED"] * 5


def test_letters_are_those_of_fairseqs_libri_labels():
    # examples/wav2vec/libri_labels.py: " ".join(list(text.replace(" ", "|"))) + " |"
    assert to_letters("HI YOU") == "H I | Y O U |"


@pytest.mark.parametrize(
    ("case", "expected"), [("upper", "ÄH IT'S"), ("lower", "äh it's"), ("keep", "äh It's")]
)
def test_text_gets_single_spaces_and_one_case(case, expected):
    assert normalize_text("  äh \t It's\n", case) == expected


def test_text_with_the_word_mark_is_refused():
    with pytest.raises(LabelError, match="word mark"):
        normalize_text("A|B", "upper")


def test_a_frame_takes_the_label_at_its_center():
    # Centers lie at 12.5, 32.5, 52.5, 72.5 ms.
    segments = [Segment(0.0, 0.0325, "A"), Segment(0.0325, 0.06, "B")]
    assert frame_labels(segments, 1360, 16000) == ["A", "B", "B", UNLABELED]


def test_gaps_and_short_audio_are_unlabeled():
    segments = [Segment(0.03, 0.04, "A")]
    assert frame_labels(segments, 1360, 16000) == [UNLABELED, "A", UNLABELED, UNLABELED]
    assert frame_labels(segments, 399, 16000) == []
    assert frame_labels([], 400, 16000) == [UNLABELED]


def test_a_segment_of_a_recording_takes_labels_from_its_own_start():
    segments = [Segment(i * 0.02, (i + 1) * 0.02, f"P{i}") for i in range(100)]
    whole = frame_labels(segments, 16000, 16000)
    assert frame_labels(segments, 6400, 16000, offset=0.4) == whole[20:39]


def test_a_dictionary_is_sorted_by_count_and_read_by_fairseq(tmp_path):
    from fairseq.data import Dictionary

    path = tmp_path / "dict.ltr.txt"
    write_dictionary(path, count_symbols(["B A | C A |", "A | Ü |"]))
    assert path.read_text() == "| 4\nA 3\nB 1\nC 1\nÜ 1\n"
    dictionary = Dictionary.load(str(path))
    assert dictionary.symbols[dictionary.nspecial :] == ["|", "A", "B", "C", "Ü"]


def test_class_dictionaries_load_without_special_symbols(tmp_path):
    # As fairseq/tasks/audio_classification.py load_target_dictionary and LabelEncoder do.
    from fairseq.data import Dictionary

    path = tmp_path / "dict.spk.txt"
    labels = [class_label(name) for name in ("Anna B", "17", "Anna B", "x")]
    write_dictionary(path, count_symbols(labels))
    dictionary = Dictionary.load(str(path), add_special_symbols=False)
    assert len(dictionary) == 3
    encoded = [
        dictionary.encode_line(f"{label}\n", append_eos=False, add_if_not_exist=False).tolist()
        for label in labels
    ]
    assert encoded == [[0], [1], [0], [2]]


def test_an_empty_dictionary_is_refused(tmp_path):
    with pytest.raises(LabelError, match="would be empty"):
        write_dictionary(tmp_path / "dict.ltr.txt", count_symbols([]))


def test_subwords_join_back_to_the_text_and_training_repeats():
    model = SubwordModel(TEXTS, 21)
    encoded = model.encode("THE DOG SAT")
    assert encoded.replace(" ", "").replace("\u2581", " ").strip() == "THE DOG SAT"
    assert set(encoded.split()) <= set(model.pieces())
    assert SubwordModel(TEXTS, 21).model == model.model


@pytest.mark.parametrize(
    ("size", "words"), [(5000, "give at most [0-9]+$"), (5, "give at least [0-9]+$")]
)
def test_a_vocabulary_that_does_not_fit_names_one_that_does(size, words):
    with pytest.raises(LabelError, match=words) as caught:
        SubwordModel(TEXTS, size)
    suggested = int(str(caught.value).split()[-1])
    if size == 5000:
        assert len(SubwordModel(TEXTS, suggested).pieces()) > 0


def test_subwords_need_text():
    with pytest.raises(LabelError, match="there are none"):
        SubwordModel([], 30)


@pytest.mark.parametrize("column", ["fold", "session"])
def test_a_fold_or_session_column_of_a_table_becomes_labels(tmp_path: Path, column: str) -> None:
    rows = [f"utt\tpath\t{column}"]
    for number in range(4):
        make_audio(tmp_path / "t" / f"u{number}.wav", 1600)
        rows.append(f"u{number}\tu{number}.wav\tday {number % 2}")
    (tmp_path / "t" / "metadata.tsv").write_text("\n".join(rows) + "\n")
    assert run(tmp_path / "t", tmp_path / "o", valid_percent=0.0).labels == ["fold"]
    assert lines(tmp_path / "o" / "train.fold") == ["day_0", "day_1", "day_0", "day_1"]
