"""Each format says what the checkpoint says, loaded where neither fairseq nor this package is."""

import json
import re
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pytest
import soundfile
import torch
from exported import TORCHAUDIO_MODELS, WITHOUT_TORCHAUDIO, run_elsewhere
from fairseq.data import Dictionary
from tiny import speech_like
from tiny_checkpoints import waveforms

from mgf_fairseq.export import export
from mgf_fairseq.export.card import training_table
from mgf_fairseq.export.parity import EXACT
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.extract.upstream import load_upstream
from mgf_fairseq.inference.recognizer import load_recognizer
from mgf_fairseq.inference.wer import join_symbols

PAGE = (Path(__file__).parents[2] / "examples" / "export" / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)
OURS = ("fairseq", "mgf_fairseq")
# Beside the example: what must be there to run it here, and what it is compared by.
BEFORE = {"huggingface": WITHOUT_TORCHAUDIO, "torchaudio": TORCHAUDIO_MODELS}
KEPT = {
    "huggingface": "keep(rows=[torch.tensor(w) for w in waveforms], states=list(hidden_states))",
    "onnx": "keep(rows=[torch.tensor(waveform[0]), torch.tensor(waveform[1, :12000])],"
    " states=[torch.tensor(x) for x in hidden_states])",
    "s3prl": "keep(rows=waveforms, states=hidden_states)",
    "torchaudio": "keep(rows=[waveform[0]], states=[None, *features])",
}
GRAPH = "keep(rows=[waveform[0], waveform[1, :12000]], states=list(hidden_states))"


def example_of(to: str) -> str:
    """The example of a format in the README: the one whose module or file is named in it."""
    marks = {"huggingface": "AutoModel.from", "torch-export": "torch.export.load"}
    marks |= {"onnx": "onnxruntime", "torchscript": "jit.load", "s3prl": "torch.hub.load"}
    mark = {**marks, "torchaudio": "torchaudio.models", "fairseq": "load_model_ensemble"}[to]
    (found,) = (code for code in EXAMPLES if mark in code)
    return found


SLOW = [pytest.param(to, marks=pytest.mark.slow) for to in ("onnx", "torch-export")]
QUICK = ["huggingface", "torchscript", "s3prl", "torchaudio"]


@pytest.mark.parametrize("to", [*QUICK, *SLOW])
def test_the_ten_lines_of_the_readme_load_it_where_neither_fairseq_nor_we_are(
    tmp_path: Path, encoder: Path, to: str
) -> None:
    export(encoder, to, tmp_path / "exported")
    code = example_of(to)
    assert len(code.splitlines()) <= 10 and code in card(tmp_path / "exported")
    code = f"{BEFORE.get(to, '')}{code}\n{KEPT.get(to, GRAPH)}"
    kept = run_elsewhere(code, tmp_path, *OURS)
    wanted = load_encoder(encoder)(kept["rows"])
    for layer, state in enumerate(kept["states"]):
        for row, frames in enumerate(wanted.lengths.tolist()):
            if state is not None:
                expected = wanted.hidden_states[layer][row, :frames]
                # fp32 sums in another order; values around 3.
                torch.testing.assert_close(state[row, :frames], expected, rtol=0, atol=5e-5)


def card(folder: Path) -> str:
    return (folder / "README.md").read_text()


@pytest.mark.parametrize("shape", exported.SHAPES)
def test_hidden_states_are_the_checkpoints_padded_and_unpadded(tmp_path: Path, shape: str) -> None:
    checkpoint = exported.encoder(tmp_path / "ck.pt", **exported.SHAPES[shape])
    for to in ("huggingface", "torchaudio", "s3prl", "fairseq"):
        found = export(checkpoint, to, tmp_path / to).parity
        places = {(x.what, x.rows) for x in found}
        assert {("context", "padded"), ("context", "unpadded"), ("layer 1", "padded")} <= places
        assert all(x.largest <= EXACT * max(x.scale, 1.0) and x.scale > 0.5 for x in found), to


def test_the_class_of_transformers_for_ctc_writes_what_we_write(tmp_path: Path, ctc: Path) -> None:
    export(ctc, "huggingface", tmp_path / "exported")
    rows = [speech_like(1.0, seed=1), speech_like(0.6, seed=2)]
    soundfile.write(tmp_path / "utterance.wav", rows[0], 16000, subtype="FLOAT")
    (recognize,) = (code for code in EXAMPLES if "pipeline(" in code)
    assert recognize in card(tmp_path / "exported")
    code = f"""{WITHOUT_TORCHAUDIO}
{recognize.replace("print(", "text = (")}
from transformers import AutoModelForCTC, AutoProcessor
prepare = AutoProcessor.from_pretrained("exported")
model = AutoModelForCTC.from_pretrained("exported")
keep(text=text["text"], alone=prepare.batch_decode(model(**prepare(
    torch.load("rows.pt")[0].numpy(), sampling_rate=16000, return_tensors="pt")).logits.argmax(-1)))
inputs = prepare([row.numpy() for row in torch.load("rows.pt")],
    sampling_rate=16000, padding=True, return_tensors="pt")
frames = model._get_feat_extract_output_lengths(inputs["attention_mask"].sum(1))
heard = zip(model(**inputs).logits.argmax(-1), frames)
keep(both=[prepare.decode(row[:count]) for row, count in heard])
"""
    torch.save([torch.from_numpy(row) for row in rows], tmp_path / "rows.pt")
    kept = run_elsewhere(code, tmp_path, *OURS)
    recognizer = load_recognizer(ctc, tmp_path)
    wanted = [found.text for found in recognizer.transcribe(rows)]
    assert len(wanted[0]) > 5 and kept["both"] == wanted
    assert kept["text"] == wanted[0] and kept["alone"] == wanted[:1]


@pytest.mark.parametrize(
    ("labels", "symbols", "post_process"),
    [
        ("spm", ("\u2581the", "re", "\u2581a", "b"), "sentencepiece"),
        ("phn", ("AH", "B", "K", "SIL"), "none"),
    ],
)
def test_words_of_pieces_and_of_phones_have_their_spaces(
    tmp_path: Path, labels: str, symbols: tuple[str, ...], post_process: str
) -> None:
    checkpoint = exported.ctc(tmp_path / "ck.pt", labels, symbols, post_process)
    export(checkpoint, "huggingface", tmp_path / "exported")
    path = [4, 0, 5, 5, 0, 6, 7]  # indices behind the four special ones
    code = f"""{WITHOUT_TORCHAUDIO}
from transformers import AutoTokenizer
keep(text=AutoTokenizer.from_pretrained("exported").decode({path}))
"""
    said = " ".join(symbols[index - 4] for index in (4, 5, 6, 7))
    assert run_elsewhere(code, tmp_path, *OURS)["text"] == join_symbols(said, post_process)


def test_the_class_of_transformers_for_sequences_gives_our_probabilities(
    tmp_path: Path, classifier: Path
) -> None:
    export(classifier, "huggingface", tmp_path / "exported")
    export(classifier, "torchscript", tmp_path / "script")
    code = f"""{WITHOUT_TORCHAUDIO}
from transformers import AutoModelForAudioClassification
model = AutoModelForAudioClassification.from_pretrained("exported")
rows = torch.nn.functional.layer_norm(torch.load("rows.pt"), (9000,))
mask = torch.zeros(2, 9000, dtype=torch.bool)
keep(logits=model(rows).logits, labels=[model.config.id2label[n] for n in range(3)])
keep(script=torch.jit.load("script/model.ts")(torch.load("rows.pt"), mask))
"""
    rows = torch.from_numpy(np.stack(waveforms(9000, 9000)))
    torch.save(rows, tmp_path / "rows.pt")
    kept = run_elsewhere(code, tmp_path, *OURS)
    assert kept["labels"] == ["ann", "bob", "eve"]
    model = exported.classifier_model(classifier)
    heard = torch.nn.functional.layer_norm(rows, (9000,))
    with torch.no_grad():
        wanted = model(source=heard, padding_mask=torch.zeros(2, 9000, dtype=torch.bool))
    # fp32 sums in another order; logits around 1.
    torch.testing.assert_close(kept["logits"], wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(kept["script"], wanted, rtol=0, atol=1e-5)


def test_transformers_hears_the_last_norm_of_a_pre_norm_encoder_below_a_head(
    tmp_path: Path,
) -> None:
    checkpoint = exported.classifier(tmp_path / "ck.pt", shape="pre-norm")
    found = export(checkpoint, "huggingface", tmp_path / "exported").parity
    assert {x.what for x in found} == {"layer 0", "layer 1", "context", "logits"}
    assert all(x.largest <= EXACT * max(x.scale, 1.0) for x in found)


@pytest.mark.parametrize("kind", ["encoder", "ctc", "classifier", "seq2seq"])
def test_stock_fairseq_loads_its_export_without_us(tmp_path: Path, kind: str) -> None:
    checkpoint = getattr(exported, kind)(tmp_path / "ck.pt")
    export(checkpoint, "fairseq", tmp_path / "exported")
    code = f"""{example_of("fairseq")}
model = models[0].eval()
inner = model if hasattr(model, "feature_extractor") else (
    model.w2v_encoder if hasattr(model, "w2v_encoder") else model.encoder).w2v_model
source = torch.randn(2, 9000)
mask = torch.zeros(2, 9000, dtype=torch.bool)
mask[1, 7000:] = True
with torch.no_grad():
    found = inner.extract_features(source, mask)
keep(kind=type(inner).__name__, x=found["x"], source=source, mask=mask)
"""
    kept = run_elsewhere(code, tmp_path, "mgf_fairseq")
    assert kept["kind"] == "Wav2Vec2Model"
    with torch.no_grad():
        encoded, _ = load_encoder(checkpoint).encoder.encode(kept["source"], kept["mask"])
    for row, frames in enumerate(encoded.num_frames.tolist()):
        # fp32 sums in another order; values around 3.
        torch.testing.assert_close(
            kept["x"][row, :frames], encoded.context[row, :frames], rtol=0, atol=5e-5
        )
    written = list((tmp_path / "exported").glob("dict.*.txt"))
    assert len(written) == (kind != "encoder")
    for symbols in written:
        held = torch.load(checkpoint, weights_only=True)["task_state"]["target_dictionary"]
        special = hasattr(held, "nspecial")
        assert Dictionary.load(str(symbols), add_special_symbols=special) == held
    assert load_upstream(tmp_path / "exported").fingerprint == load_upstream(checkpoint).fingerprint


def test_the_card_has_the_facts_of_the_checkpoint_and_the_scores_with_their_commands(
    tmp_path: Path, encoder: Path, ctc: Path
) -> None:
    corpus: dict[str, Any] = {"wer": 12.34, "wer_low": 10.0, "wer_high": 15.0, "cer": 4.5}
    (tmp_path / "score.json").write_text(json.dumps({"corpus": {**corpus, "utterances": 9}}))
    for path, dest in ((encoder, "a"), (ctc, "b")):
        export(path, "torchscript", tmp_path / dest, results=[tmp_path / "score.json"])
    for words in ("updates of pre-training | 40 |", "repeats counted | 2.5 |", "took | 2.0 |"):
        assert words in card(tmp_path / "a")
    assert "objectives of pre-training | frame (weight 0.5) |" in card(tmp_path / "a")
    assert "WER 12.34 % (10.00 to 15.00)" in card(tmp_path / "a")
    assert "updates of fine-tuning | 30 |" in card(tmp_path / "b")
    assert "hours of audio heard in fine-tuning, repeats counted | unknown |" in card(
        tmp_path / "b"
    )
    shares = {"frame": 0.3, "frame_masked": 0.2}
    facts = json.loads((tmp_path / "a" / "mgf_export.json").read_text())
    by_shares = training_table({**facts, "loss_weights": None, "gradient_shares": shares})
    assert "shares of the gradient in pre-training | frame 0.3, frame_masked 0.2 |" in by_shares
    marker = json.loads((tmp_path / "b" / "mgf_export.json").read_text())
    assert marker["format"] == "torchscript" and marker["parity"][0]["what"] == "logits"


def test_two_upstreams_in_one_process_are_two_and_can_be_fine_tuned(
    tmp_path: Path, encoder: Path
) -> None:
    other = exported.encoder(tmp_path / "ck.pt", layer_norm_first=True)
    wavs = [torch.randn(8000), torch.randn(5000)]
    for name, checkpoint in (("a", encoder), ("b", other)):
        export(checkpoint, "s3prl", tmp_path / name)
        upstream: Any = torch.hub.load(str(tmp_path / name), "mgf", source="local")
        states = upstream(wavs)["hidden_states"]
        wanted = load_encoder(checkpoint)(wavs[0]).hidden_states[-1][0]
        # fp32 sums in another order; values around 3.
        torch.testing.assert_close(states[-1][0], wanted, rtol=0, atol=5e-5)
    states[-1].square().sum().backward()
    reached = {name for name, p in upstream.named_parameters() if p.grad is not None}
    assert "model.feature_extractor.conv_layers.0.0.weight" in reached
