"""Error rates equal editdistance, batches equal singles, and other checkpoints are named."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import editdistance
import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig
from omegaconf import OmegaConf
from scipy.stats import binom

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.cli.score import advice
from mgf_fairseq.data.batching import plan_batches
from mgf_fairseq.inference.decoding import collapse, decode_batch
from mgf_fairseq.inference.recognizer import load_recognizer
from mgf_fairseq.inference.wer import (
    count_edits,
    join_symbols,
    rate_interval,
    score_corpus,
    score_utterance,
    worst,
)

CPU = torch.device("cpu")
PAIRS = [("the cat sat", "the cat sat"), ("a b c d", "a x c"), ("one two", ""), ("a", "b a c")]


def _checkpoint(path: Path, normalize: bool = True) -> Path:
    """Save a random, tiny, stock wav2vec_ctc as fairseq's trainer would."""
    dictionary = Dictionary()
    for symbol in "|AB":
        dictionary.add_symbol(symbol)
    encoder = OmegaConf.structured(Wav2Vec2Config)
    encoder.extractor_mode = "layer_norm"
    encoder.conv_feature_layers = "[(8,10,5)]+[(8,3,2)]*4+[(8,2,2)]*2"
    encoder.encoder_layers, encoder.encoder_embed_dim, encoder.encoder_ffn_embed_dim = 2, 16, 32
    encoder.encoder_attention_heads, encoder.conv_pos, encoder.conv_pos_groups = 2, 8, 2
    model = {**_plain(encoder), "_name": "wav2vec2"}
    task = {**_plain(OmegaConf.structured(AudioPretrainingConfig)), "_name": "audio_pretraining"}
    task.update(data="/nowhere", normalize=normalize, tpu=False, seed=1)
    ctc = {**_plain(OmegaConf.structured(Wav2Vec2CtcConfig)), "_name": "wav2vec_ctc"}
    ctc.update(w2v_path="/nowhere/ck.pt", data="/nowhere", normalize=normalize)
    ctc.update(ddp_backend="legacy_ddp", w2v_args={"model": model, "task": task})
    config = OmegaConf.create(ctc, flags={"allow_objects": True})
    torch.manual_seed(0)
    weights = Wav2VecCtc.build_model(config, SimpleNamespace(target_dictionary=dictionary))
    finetune = {"_name": "audio_finetuning", "labels": "ltr", "sample_rate": 16000}
    finetune.update(normalize=normalize, data="/nowhere")  # type: ignore[call-overload]
    state = {
        "cfg": {"model": ctc, "task": finetune, "criterion": {"post_process": "letter"}},
        "model": weights.state_dict(),
        "task_state": {"target_dictionary": dictionary},
        "optimizer_history": [{"num_updates": 7}],
    }
    torch.save(state, path)
    return path


def _plain(config: Any) -> dict[str, Any]:
    content = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(content, dict)
    return {k: v for k, v in content.items() if v != "???" and not str(v).startswith("${")}


def test_error_rates_are_sums_of_editdistance_over_sums_of_units() -> None:
    corpus = score_corpus(
        [score_utterance(str(i), *pair, frames=8, blank_frames=i) for i, pair in enumerate(PAIRS)]
    )
    words = sum(editdistance.eval(r.split(), h.split()) for r, h in PAIRS)
    letters = sum(editdistance.eval(r, h) for r, h in PAIRS)
    assert corpus.wer == pytest.approx(100 * words / sum(len(r.split()) for r, _ in PAIRS))
    assert corpus.cer == pytest.approx(100 * letters / sum(len(r) for r, _ in PAIRS))
    assert corpus.wer_low <= corpus.wer <= corpus.wer_high
    assert corpus.blank_ratio == pytest.approx(sum(range(len(PAIRS))) / (8 * len(PAIRS)))


def test_the_worst_utterances_have_the_most_wrong_words_then_letters_and_none_is_right() -> None:
    pairs = {
        "right": ("A B C", "A B C"),
        "letters": ("A B C", "A B XYZUVW"),  # one word, six letters
        "letter": ("A B C", "A B X"),
        "words": ("A B C", "X Y C"),  # two words, two letters
        "also two": ("A B C", "X Y C"),
    }
    scores = [score_utterance(name, *pair) for name, pair in pairs.items()]
    found = [score.entry for score in worst(scores, 10)]
    assert found == ["also two", "words", "letters", "letter"]
    assert [score.entry for score in worst(scores, 2)] == found[:2]


def test_the_interval_of_an_error_rate_holds_95_percent_of_the_resamples() -> None:
    found = rate_interval([0, 5] * 200, [5] * 400)
    exact = [100 * binom.ppf(p, 400, 0.5) / 400 for p in (0.025, 0.975)]
    # Steps of 0.25; an interval of 90 percent lies 0.75 within it.
    assert found == pytest.approx(exact, abs=0.3)


def test_edits_sum_to_the_distance_on_random_strings() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        one, other = ("".join(rng.choice(list("abc"), rng.integers(0, 9))) for _ in range(2))
        edits = count_edits(one, other)
        assert edits.total == editdistance.eval(one, other)
        assert len(one) - edits.deletions + edits.insertions == len(other)


def test_letters_and_pieces_become_words() -> None:
    assert join_symbols("T H E | C A T |", "letter") == "THE CAT"
    assert join_symbols("▁the ▁c at", "sentencepiece") == "the cat"
    with pytest.raises(ValueError, match="wordpieces"):
        join_symbols("a", "wordpieces")


def test_a_ctc_path_collapses_repeats_before_blanks() -> None:
    assert collapse([0, 5, 5, 0, 5, 6, 6, 0], blank=0) == [5, 5, 6]


def test_batches_cover_each_line_once_within_the_limit() -> None:
    lengths = [5, 9, 2, 7, 30]
    batches = list(plan_batches(lengths, 18))
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3, 4]
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 18 for b in batches)


def test_a_batch_decodes_as_its_utterances_alone(tmp_path: Path) -> None:
    recognizer = load_recognizer(_checkpoint(tmp_path / "ck.pt"), tmp_path)
    assert (recognizer.num_updates, recognizer.padding_invariant) == (7, True)
    waveforms = [torch.randn(n) for n in (16000, 4000, 400, 12345)]
    alone = [decode_batch(recognizer, [waveform], CPU)[0] for waveform in waveforms]
    assert decode_batch(recognizer, waveforms, CPU) == alone


def test_a_recognizer_takes_paths_as_text_and_waveforms_as_people_have_them(tmp_path: Path) -> None:
    recognizer = load_recognizer(str(_checkpoint(tmp_path / "ck.pt")), str(tmp_path))
    waveform = np.random.default_rng(0).normal(size=8000)
    expected = decode_batch(recognizer, [torch.from_numpy(waveform).float()], CPU)
    assert decode_batch(recognizer, waveform.astype(">f8")[::-1][::-1], CPU) == expected
    with pytest.raises(ValueError, match="waveform 1 has 399 samples, fewer than the 400"):
        decode_batch(recognizer, [waveform, waveform[:399]], CPU)


def test_normalization_is_taken_from_the_checkpoint(tmp_path: Path) -> None:
    recognizer = load_recognizer(_checkpoint(tmp_path / "ck.pt"), tmp_path)
    waveform = torch.randn(16000)
    quiet = decode_batch(recognizer, [0.1 * waveform + 0.5], CPU)
    assert recognizer.normalize and quiet == decode_batch(recognizer, [waveform], CPU)


def test_a_dictionary_of_another_size_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "dict.ltr.txt"
    other.write_text("A 1\n")
    with pytest.raises(CheckpointError, match=r"7 outputs.*5 symbols"):
        load_recognizer(_checkpoint(tmp_path / "ck.pt"), tmp_path, other)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ck.pt"
    torch.save({"model": {}, "cfg": {"model": {"_name": "mgf"}}}, path)
    with pytest.raises(CheckpointError, match="'mgf' checkpoint, not one fine-tuned"):
        load_recognizer(path, tmp_path)
    torch.save({"model": {}, "cfg": SimpleNamespace(a=1)}, path)
    with pytest.raises(CheckpointError, match=r"ck\.pt: refused.*SimpleNamespace"):
        load_recognizer(path, tmp_path)
    path.write_bytes(pickle.dumps([1])[:4])
    with pytest.raises(CheckpointError, match="refused"):
        load_recognizer(path, tmp_path)


def test_advice_names_the_frozen_encoder_and_is_silent_where_the_model_learns() -> None:
    nothing = score_corpus([score_utterance("a", "a b", "")])
    assert "still frozen" in "\n".join(advice(nothing, 10, 100))
    assert not advice(score_corpus([score_utterance("a", "a b", "a c")]), 10, 100)
