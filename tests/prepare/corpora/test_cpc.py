"""The CPC split of LibriSpeech and its phone labels."""

from collections import Counter
from pathlib import Path

import pytest
from written import lines, make_audio, names, run

from mgf_fairseq.cli import main
from mgf_fairseq.data.caveats import read_caveats
from mgf_fairseq.encoder.geometry import STANDARD_GRID
from mgf_fairseq.prepare.corpora.base import PrepareError, Search

UTTERANCES = [f"{speaker}-7-{number:04d}" for speaker in (19, 26) for number in range(6)]


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    for utt in UTTERANCES:
        speaker = utt.split("-")[0]
        make_audio(tmp_path / "train-clean-100" / speaker / "7" / f"{utt}.flac", 1600)
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
    found = {split: set(names(tmp_path / "o", split)) for split in ("train", "valid", "test")}
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
