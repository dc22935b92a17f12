"""The CPC split of LibriSpeech and IEMOCAP, read from miniature copies made here."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgf_fairseq.cli import main
from mgf_fairseq.data.caveats import read_caveats
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.encoder.geometry import STANDARD_GRID
from mgf_fairseq.prepare.corpora.base import PrepareError, Search
from mgf_fairseq.prepare.corpora.registry import detect_layout
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare

UTTERANCES = [f"{speaker}-7-{number:04d}" for speaker in (19, 26) for number in range(6)]
# An evaluation file as the release has it: a turn and its agreed label, then each evaluator's.
TURN = """\
[6.2901 - 8.2357]\t{turn}\t{label}\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

"""


def write_noise(path: Path, num_samples: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(num_samples).uniform(-0.1, 0.1, num_samples)
    soundfile.write(path, noise, 16000)


def run(source: Path, dest: Path, layout: str = "auto", **options: object) -> Summary:
    return prepare(PrepareOptions(source=source, dest=dest, layout=layout, **options))  # type: ignore[arg-type]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def stems(dest: Path, split: str) -> list[str]:
    return [Path(path).stem for path in read_manifest(dest / f"{split}.tsv").paths]


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    for utt in UTTERANCES:
        speaker = utt.split("-")[0]
        write_noise(tmp_path / "train-clean-100" / speaker / "7" / f"{utt}.flac", 1600)
        (tmp_path / "train-clean-100" / speaker / "7" / f"{speaker}-7.trans.txt").write_text(
            "".join(f"{name} SO IT IS\n" for name in UTTERANCES if name.startswith(speaker))
        )
    return tmp_path / "train-clean-100"


@pytest.fixture
def cpc_labels(tmp_path: Path) -> Path:
    """1600 samples are ten numbers; the first 4 of each speaker are train, the fifth is test."""
    folder = tmp_path / "cpc"
    folder.mkdir()
    phones = [f"{utt} 0 0 0 40 40 7 7 7 7 1" for utt in [*UTTERANCES, "nobody-1-0000"]]
    (folder / "converted_aligned_phones.txt").write_text("\n".join(phones) + "\n")
    train = [utt for utt in UTTERANCES if int(utt[-1]) < 4]
    (folder / "train_split.txt").write_text("\n".join([*train, "nobody-1-0000"]) + "\n")
    (folder / "test_split.txt").write_text("\n".join(u for u in UTTERANCES if u[-1] == "4") + "\n")
    return folder


def test_the_cpc_split_keeps_its_lists_and_draws_valid_from_train_alone(
    librispeech: Path, cpc_labels: Path, tmp_path: Path
) -> None:
    search = Search(labels_from=cpc_labels)
    summary = run(librispeech, tmp_path / "o", "cpc", search=search, valid_percent=0.25)
    found = {split: set(stems(tmp_path / "o", split)) for split in ("train", "valid", "test")}
    assert found["test"] == {"19-7-0004", "26-7-0004"}
    assert found["train"] | found["valid"] == {utt for utt in UTTERANCES if int(utt[-1]) < 4}
    assert len(found["valid"]) == 2 and not found["train"] & found["valid"]
    reasons = Counter(reason for _, reason in summary.skipped)
    assert reasons["in neither split file of CPC"] == 2
    assert ("nobody-1-0000", "in a split file of CPC, but there is no such audio") in (
        summary.skipped
    )


def test_cpc_numbers_become_one_label_per_frame_and_speakers_come_from_the_names(
    librispeech: Path, cpc_labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    run(librispeech, out, "cpc", search=Search(labels_from=cpc_labels))
    # Centers at 12.5, 32.5, 52.5, 72.5 ms: the 2nd, 4th, 6th and 8th number of 10 ms each.
    assert STANDARD_GRID.num_frames(1600) == 4
    assert lines(out / "test.phn") == ["0 40 7 7"] * 2
    assert lines(out / "test.spk") == ["19", "26"]
    assert lines(out / "test.ltr") == ["S O | I T | I S |"] * 2
    assert [line.split()[0] for line in lines(out / "dict.phn.txt")] == ["7", "0", "40"]


def test_the_transductive_caveat_is_printed_and_kept_beside_the_manifests(
    librispeech: Path, cpc_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o"
    command = ["prepare", str(librispeech), "--corpus", "cpc", "--labels-from", str(cpc_labels)]
    assert main([*command, "--dest", str(out), "--caveat", "my own\nremark"]) == 0
    assert "transductive" in capsys.readouterr().out
    caveats = read_caveats(out)
    assert "transductive" in caveats[0] and caveats[-1] == "my own remark"
    run(librispeech, out, "librispeech")
    assert read_caveats(out) == []  # no earlier run's caveat stays behind


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("converted_aligned_phones.txt", None, "converted_aligned_phones.txt does not exist"),
        ("test_split.txt", None, "--labels-from"),
        ("test_split.txt", "19-7-0000\n", "is in train_split.txt as well"),
        ("converted_aligned_phones.txt", "19-7-0000 3 41\n", "line 1 .*from 0 to 40, found '41'"),
        ("converted_aligned_phones.txt", "19-7-0000 \n", "found nothing"),
        ("train_split.txt", "x\n", "nothing is left for train|too few"),
    ],
)
def test_cpc_label_files_that_do_not_fit_are_refused(
    librispeech: Path, cpc_labels: Path, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    (cpc_labels / name).unlink()
    if content is not None:
        (cpc_labels / name).write_text(content)
    with pytest.raises(PrepareError, match=words):
        run(librispeech, tmp_path / "o", "cpc", search=Search(labels_from=cpc_labels))
    assert not (tmp_path / "o").exists()


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    """Five sessions of two dialogs; in each a woman and a man, and every kind of label."""
    root = tmp_path / "IEMOCAP_full_release"
    for session in range(1, 6):
        for number, dialog in enumerate(("F_impro01", "M_script01_1b")):
            name = f"Ses0{session}{dialog}"
            text = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            for turn, label in zip(
                ("F000", "M000", "F001", "M001", "F002", "M002", "F003"),
                ("ang", "hap", "exc", "neu", "sad", "fru", "xxx"),
                strict=True,
            ):
                text += TURN.format(turn=f"{name}_{turn}", label=label)
                folder = root / f"Session{session}" / "sentences" / "wav" / name
                write_noise(folder / f"{name}_{turn}.wav", 1600 + number)
            evaluations = root / f"Session{session}" / "dialog" / "EmoEvaluation"
            (evaluations / "Categorical").mkdir(parents=True, exist_ok=True)
            (evaluations / f"{name}.txt").write_text(text)
            (evaluations / f"._{name}.txt").write_bytes(b"\xff\x00macOS")
            (evaluations / "Categorical" / f"{name}_e1.txt").write_text(f"{name}_F000 :x; ()\n")
        write_noise(root / f"Session{session}" / "dialog" / "wav" / f"{name}.wav", 3200)
    return root


def test_iemocap_gives_four_classes_ten_speakers_and_its_sessions_as_folds(
    iemocap: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    assert detect_layout(iemocap, Search()) == "iemocap"
    summary = run(iemocap, out, valid_percent=0.2)
    assert summary.labels == ["spk", "emo", "fold"]
    assert sum(item.utterances for item in summary.splits) == 5 * 2 * 5
    rows = [
        row
        for split in ("train", "valid")
        for row in zip(
            stems(out, split), *(lines(out / f"{split}.{k}") for k in summary.labels), strict=True
        )
    ]
    assert Counter(row[2] for row in rows) == {"angry": 10, "happy": 20, "neutral": 10, "sad": 10}
    assert Counter(row[3] for row in rows) == {f"Session{n}": 10 for n in range(1, 6)}
    assert len({row[1] for row in rows}) == 10
    for utt, speaker, _, session in rows:
        # The speaker is the turn's, not the one whose camera the dialog is named after.
        assert speaker == f"{utt[:5]}{utt.rsplit('_', 1)[1][0]}"
        assert session == f"Session{utt[4]}"
    reasons = Counter(reason for _, reason in summary.skipped)
    assert reasons["its label 'fru' is none of the four classes"] == 10
    assert "5 folds" in read_caveats(out)[0]
    assert not (out / "dict.fold.txt").exists()


def test_an_iemocap_turn_without_audio_is_listed_and_one_without_label_too(
    iemocap: Path, tmp_path: Path
) -> None:
    wavs = iemocap / "Session2" / "sentences" / "wav" / "Ses02F_impro01"
    (wavs / "Ses02F_impro01_F000.wav").rename(wavs / "Ses02F_impro01_F009.wav")
    skipped = dict(run(iemocap, tmp_path / "o").skipped)
    assert "no such audio" in skipped["Ses02F_impro01_F000"]
    assert "no label" in skipped["Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F009.wav"]


def test_iemocap_labels_may_lie_elsewhere_and_a_missing_session_is_named(
    iemocap: Path, tmp_path: Path
) -> None:
    for session in range(1, 6):
        target = tmp_path / "labels" / f"Session{session}" / "dialog"
        target.mkdir(parents=True)
        (iemocap / f"Session{session}/dialog/EmoEvaluation").rename(target / "EmoEvaluation")
    with pytest.raises(PrepareError, match=r"Session1.*--labels-from"):
        run(iemocap, tmp_path / "o", "iemocap")
    search = Search(labels_from=tmp_path / "labels")
    assert run(iemocap, tmp_path / "o", "iemocap", search=search).labels == ["spk", "emo", "fold"]
    with pytest.raises(PrepareError, match="belongs to --corpus cpc"):
        run(iemocap, tmp_path / "p", "folder", search=search)


@pytest.mark.parametrize("column", ["fold", "session"])
def test_a_fold_or_session_column_of_a_table_becomes_labels(tmp_path: Path, column: str) -> None:
    rows = [f"utt\tpath\t{column}"]
    for number in range(4):
        write_noise(tmp_path / "t" / f"u{number}.wav", 1600)
        rows.append(f"u{number}\tu{number}.wav\tday {number % 2}")
    (tmp_path / "t" / "metadata.tsv").write_text("\n".join(rows) + "\n")
    assert run(tmp_path / "t", tmp_path / "o", valid_percent=0.0).labels == ["fold"]
    assert lines(tmp_path / "o" / "train.fold") == ["day_0", "day_1", "day_0", "day_1"]
