"""IEMOCAP: classes, speakers, sessions as folds."""

from collections import Counter
from pathlib import Path

import pytest
from written import lines, make_audio, names, run

from mgf_fairseq.data.caveats import read_caveats
from mgf_fairseq.prepare.corpora.base import PrepareError, Search
from mgf_fairseq.prepare.corpora.registry import detect_layout

# An evaluation file as the release has it: a turn and its agreed label, then each evaluator's.
TURN = """\
[6.2901 - 8.2357]\t{turn}\t{label}\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

"""


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
                make_audio(folder / f"{name}_{turn}.wav", 1600 + number)
            evaluations = root / f"Session{session}" / "dialog" / "EmoEvaluation"
            (evaluations / "Categorical").mkdir(parents=True, exist_ok=True)
            (evaluations / f"{name}.txt").write_text(text)
            (evaluations / f"._{name}.txt").write_bytes(b"\xff\x00macOS")
            (evaluations / "Categorical" / f"{name}_e1.txt").write_text(f"{name}_F000 :x; ()\n")
        make_audio(root / f"Session{session}" / "dialog" / "wav" / f"{name}.wav", 3200)
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
            names(out, split), *(lines(out / f"{split}.{k}") for k in summary.labels), strict=True
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
