"""The dictionary of a fine-tuned model: one reader for recognizers, classifiers and exports."""

from collections import Counter
from pathlib import Path

import pytest
from fairseq.data import Dictionary

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.checkpoints.symbols import symbols_of
from mgf_fairseq.prepare.labels import write_dictionary

LINES = Counter({"A": 5, "\u2028": 4, "\x85": 3, "<unk>": 2, "b c": 1})


@pytest.mark.parametrize("special", [True, False])
def test_a_file_gives_the_symbols_that_training_read_from_it(tmp_path: Path, special: bool) -> None:
    file, path = tmp_path / "dict.ltr.txt", tmp_path / "ck.pt"
    write_dictionary(file, LINES)
    trained = Dictionary.load(str(file), add_special_symbols=special)
    for given in (None, file, tmp_path):
        found = symbols_of({}, path, "ltr", given, tmp_path, len(trained), special)
        assert found.symbols == trained.symbols and found.symbols[-5:] == list(LINES)


def test_a_dictionary_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file, path = tmp_path / "dict.ltr.txt", tmp_path / "ck.pt"

    def found(given: Path | None = file, outputs: int | None = None) -> Dictionary:
        return symbols_of({}, path, "ltr", given, tmp_path, outputs)

    with pytest.raises(CheckpointError, match=r"ck\.pt: holds no .* there is no .*dict\.ltr\.txt"):
        found(None)
    with pytest.raises(CheckpointError, match=r"dict\.ltr\.txt: no such dictionary"):
        found()
    for broken in (b"A\n", b"A 1\nA 1\n", b"\xff 1\n"):
        file.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"dict\.ltr\.txt: cannot be read as a dict"):
            found()
    file.write_text("A 1\n")
    with pytest.raises(CheckpointError, match=r"has 7 outputs but the .*dict\.ltr\.txt 5 symbols"):
        found(outputs=7)
