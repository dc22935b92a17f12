"""N-grams: values computed by hand, sums of 1, ARPA files read back, and faults named."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest

from mgf_fairseq.inference.arpa import load_language_model, read_arpa, write_arpa
from mgf_fairseq.inference.language_model import LanguageModelError
from mgf_fairseq.inference.ngram_estimation import estimate


def test_two_equal_sentences_give_the_values_computed_by_hand() -> None:
    found = estimate([["a"], [], ["a"]], order=2)
    assert (found.sentences, found.words, found.fallback) == (2, 2, [1, 2])
    values = {gram: 10**value for gram, value in found.model.log10.items() if gram != ("<s>",)}
    # One word before each of a, </s>: (1 - 0.5) / 2, and half of 1/3 for each. Then (2 - 1) / 2
    # for both pairs, and half of the unigram.
    expected = {("a",): 5 / 12, ("</s>",): 5 / 12, ("<unk>",): 1 / 6}
    expected |= {("<s>", "a"): 17 / 24, ("a", "</s>"): 17 / 24}
    assert values == pytest.approx(expected)
    weights = {gram: 10**value for gram, value in found.model.backoff.items()}
    assert weights == pytest.approx({("<s>",): 0.5, ("a",): 0.5})
    assert 10 ** found.model.log10_of(("<s>",), "b") == pytest.approx(0.0)
    probability, _ = found.model.score(found.model.start, "b")
    assert np.exp(probability) == pytest.approx(0.5 / 6)


def test_discounts_are_those_of_chen_and_goodman() -> None:
    words = [*"pqr", *"ss", *"tt", *"uuu", *"vvvv"]  # with </s> 4 once, 2 twice, 1 thrice, 1 more
    found = estimate([words], order=1)
    share = (4 * 0.5 + 2 * 1.25 + 1.0 + 1.0) / 15  # D = 0.5, 1.25, 1.0
    expected = {"p": 0.5, "s": 0.75, "u": 2.0, "v": 3.0, "</s>": 0.5, "<unk>": 0.0}
    for word, left in expected.items():
        assert 10 ** found.model.log10[(word,)] == pytest.approx(left / 15 + share / 9), word
    assert not found.fallback


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_probabilities_after_any_history_sum_to_one(order: int) -> None:
    rng = np.random.default_rng(0)
    words = np.array(list("abcdefgh"))
    chances = 1 / np.arange(1, 9) / (1 / np.arange(1, 9)).sum()
    sentences = [list(rng.choice(words, rng.integers(1, 9), p=chances)) for _ in range(60)]
    model = estimate(sentences, order).model
    following = [*model.words, "</s>", "<unk>"]
    histories = [("<s>",), *(("<s>", a) for a in "abz"), *itertools.product("abh", "bcz", "az")]
    for history in histories:
        total = sum(10 ** model.log10_of(history, word) for word in following)
        assert total == pytest.approx(1.0, abs=1e-9), history
    seen = [np.exp(model.score(model.start, word)[0]) for word in following]
    assert sum(seen) == pytest.approx(1.0)


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    model = estimate([["the", "cat"], ["the", "dog"], ["a", "cat"]], 3).model
    path = tmp_path / "sub" / "lm.arpa"
    assert write_arpa(model, path) == [7, 7, 6]
    found = read_arpa(path)
    assert (found.order, found.start, sorted(found.words)) == (
        *(3, ("<s>",)),
        ["a", "cat", "dog", "the"],
    )
    assert found.log10 == pytest.approx(model.log10, abs=1e-7)  # 7 digits
    kept = {gram: value for gram, value in model.backoff.items() if value}
    assert found.backoff == pytest.approx(kept, abs=1e-7)
    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_arpa(packed).log10 == found.log10


WHOLE = """\\data\\
ngram 1=3
ngram 2=1

\\1-grams:
-1 <s> -0.3
-0.5 </s>
-0.5 a -0.2

\\2-grams:
-0.1 <s> a

\\end\\
"""


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("\\data\\", "data", r"line 14: .*no line \\data"),
        ("ngram 2=1", "ngram 3=1", r"line 3: .*expected 'ngram 2=COUNT'"),
        ("ngram 1=3", "ngram 1=2", r"line 8: .*expected \\2-grams:"),
        ("ngram 1=3", "ngram 1=9", r"line 9: .*found ''"),
        ("-0.5 a", "-0.5x a", r"line 8: .*no number"),
        ("-0.5 a", "0.5 a", r"line 8: .*must not be above 0"),
        ("-0.5 a", "nan a", r"line 8: .*must not be above 0"),
        ("-0.5 a", "-0.5 </s>", r"line 8: .*'</s>' is there twice"),
        ("\n\\end\\\n", "", r"line 12: .*ends too early"),
        ("<s>", "<S>", ""),
    ],
)
def test_a_broken_arpa_file_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(WHOLE.replace(old, new))
    if not named:
        assert load_language_model(path).start == ()  # another mark of the beginning: no history
        return
    with pytest.raises(LanguageModelError, match=rf"lm\.arpa, {named}"):
        load_language_model(path)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match=r"none: no such language model; mgf lm"):
        load_language_model(tmp_path / "none")
    binary = tmp_path / "lm.bin"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")
    with pytest.raises(LanguageModelError, match=r"lm\.bin: .*kenlm"):
        load_language_model(binary)
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LanguageModelError, match="is not UTF-8 text"):
        load_language_model(binary)
    for sentences, order, named in (
        ([[]], 3, "no word"),
        ([["a", "<s>"]], 3, "<s> is a mark"),
        ([["a"]], 0, "order=0 must be 1 to 6"),
    ):
        with pytest.raises(LanguageModelError, match=named):
            estimate(sentences, order)
