"""Models of transformers and fairseq become checkpoints of ours that every verb takes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import exported
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from omegaconf import OmegaConf
from tiny import speech_like
from tiny_checkpoints import _plain, hubert, save, wav2vec2

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.export import export
from mgf_fairseq.export.huggingface import no_broken_torchaudio
from mgf_fairseq.export.importing import import_model
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.extract.upstream import load_upstream
from mgf_fairseq.inference.classifier import Classifier
from mgf_fairseq.inference.recognizer import Recognizer

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}


def transformers() -> Any:
    with no_broken_torchaudio():
        import transformers

        # Loaded while torchaudio is hidden, which transformers would import.
        transformers.Wav2Vec2Model, transformers.HubertModel  # noqa: B018
        transformers.Wav2Vec2FeatureExtractor, transformers.Wav2Vec2ForCTC  # noqa: B018
    return transformers


def saved(folder: Path, kind: str, **settings: Any) -> Any:
    """Save a random model of transformers and its feature extractor."""
    library = transformers()
    config_type = library.HubertConfig if "Hubert" in kind else library.Wav2Vec2Config
    config = config_type(**{**SIZES, **settings})
    model = exported.shuffled(getattr(library, kind)(config))
    model.save_pretrained(folder)
    library.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Wav2Vec2Model", {}),
        ("Wav2Vec2Model", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
        ("HubertModel", {"feat_extract_norm": "layer", "conv_bias": True}),
        ("Wav2Vec2ForCTC", {"vocab_size": 9, "mask_time_prob": 0.0}),
    ],
)
def test_a_folder_of_transformers_says_the_same_when_it_is_ours(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    model = saved(tmp_path / "theirs", kind, **settings)
    found = import_model(tmp_path / "theirs", tmp_path / "ours")
    assert found.skipped == (["lm_head"] if "CTC" in kind else [])
    assert len(found.notes) == ("mask_time_prob" in settings)
    waveform = torch.randn(1, 8000)
    with torch.no_grad():
        theirs = model(waveform, output_hidden_states=True).hidden_states
    ours = load_encoder(tmp_path / "ours")(waveform[0]).hidden_states
    for layer in (0, 1):  # in pre-norm models theirs are normed at the top
        # fp32 sums in another order; values around 3.
        torch.testing.assert_close(ours[layer], theirs[layer], rtol=0, atol=5e-5)


@pytest.mark.parametrize("shape", exported.SHAPES)
def test_there_and_back_is_the_same_encoder(tmp_path: Path, shape: str) -> None:
    checkpoint = exported.encoder(tmp_path / "ck.pt", **exported.SHAPES[shape])
    export(checkpoint, "huggingface", tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "ours")
    before, after = load_upstream(checkpoint), load_upstream(tmp_path / "ours")
    ours, theirs = before.model.state_dict(), after.model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    waveform = torch.randn(8000)
    assert torch.equal(before(waveform).hidden_states[-1], after(waveform).hidden_states[-1])
    assert after.info["num_updates"] is None and after.info["objectives"] is None


def test_checkpoints_of_fairseq_become_ours_and_are_fine_tuned_by_its_recipe(
    tmp_path: Path,
) -> None:
    made = {"w2v": save(tmp_path / "w2v.pt", *wav2vec2())}
    made["hubert"] = save(tmp_path / "hubert.pt", *hubert(tmp_path))
    for name, path in made.items():
        import_model(path, tmp_path / name)
        assert load_upstream(tmp_path / name).fingerprint == load_upstream(path).fingerprint
        assert load_upstream(tmp_path / name).kind == "mgf"
    symbols = Dictionary()
    settings = {**_plain(OmegaConf.structured(Wav2Vec2CtcConfig)), "data": str(tmp_path)}
    settings |= {"w2v_path": str(tmp_path / "hubert" / "checkpoint_last.pt"), "normalize": True}
    config = OmegaConf.create({**settings, "autoregressive": False, "ddp_backend": "legacy_ddp"})
    model = Wav2VecCtc.build_model(config, SimpleNamespace(target_dictionary=symbols))
    held = load_encoder(tmp_path / "hubert").encoder.state_dict()
    inner = model.w2v_encoder.w2v_model.state_dict()
    assert inner.keys() == held.keys() and all(torch.equal(inner[k], held[k]) for k in held)


# XLSR's way: the blank near the end, no <s> and </s> among the outputs, a delimiter of its own.
VOCABULARY = {"a": 0, "_": 1, "b": 2, "'": 3, "[UNK]": 4, "[PAD]": 5}
TOKENS = {"unk_token": {"content": "[UNK]"}, "word_delimiter_token": "_"}


def write_vocabulary(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENS))


@pytest.mark.parametrize("kind", ["Wav2Vec2ForCTC", "HubertForCTC"])
def test_a_recognizer_of_transformers_transcribes_with_its_own_symbols(
    tmp_path: Path, kind: str
) -> None:
    model = saved(tmp_path / "theirs", kind, vocab_size=6, pad_token_id=5)
    write_vocabulary(tmp_path / "theirs")
    assert import_model(tmp_path / "theirs", tmp_path / "ours", head=True).symbols == 8
    recognizer = Recognizer.load(tmp_path / "ours")
    assert recognizer.dictionary.symbols[4:] == ["a", "|", "b", "'"]
    waveform = torch.randn(1, 8000)
    with torch.no_grad():
        theirs = model(waveform).logits[0].log_softmax(-1)
        ours = recognizer.model(source=waveform, padding_mask=None)["encoder_out"][:, 0]
    ours = ours.log_softmax(-1)
    # Ours are: blank, <s>, </s>, <unk>, a, |, b, '.
    torch.testing.assert_close(
        ours[:, [0, 3, 4, 5, 6, 7]], theirs[:, [5, 4, 0, 1, 2, 3]], rtol=0, atol=5e-5
    )
    assert (ours[:, [1, 2]] < -1000).all()


def test_a_recognizer_of_ours_comes_back_from_transformers_as_it_was(tmp_path: Path) -> None:
    for name, symbols in {"ltr": exported.LETTERS, "spm": ("\u2581a", "b", "\u2581")}.items():
        checkpoint = exported.ctc(tmp_path / f"{name}.pt", symbols=symbols, labels=name)
        export(checkpoint, "huggingface", tmp_path / name)
        import_model(tmp_path / name, tmp_path / f"back-{name}", head=True)
        before, after = Recognizer.load(checkpoint), Recognizer.load(tmp_path / f"back-{name}")
        assert after.dictionary.symbols == before.dictionary.symbols
        assert after.post_process == before.post_process
        waveform = speech_like(1.0, seed=1)
        assert after.transcribe([waveform])[0].text == before.transcribe([waveform])[0].text != ""


def test_a_classifier_of_transformers_gives_the_same_probabilities(tmp_path: Path) -> None:
    names = {0: "no", 1: "yes please", 2: "maybe"}
    sizes = {"num_labels": 3, "id2label": names, "classifier_proj_size": 12}
    layered = {"feat_extract_norm": "layer"}  # where padding and pieces change nothing
    model = saved(tmp_path / "theirs", "Wav2Vec2ForSequenceClassification", **sizes, **layered)
    import_model(tmp_path / "theirs", tmp_path / "ours", head=True)
    waveform = torch.randn(8000)
    with torch.no_grad():
        theirs = model(waveform[None]).logits[0].softmax(-1)
    (ours,) = Classifier.load(tmp_path / "ours")([waveform.numpy()])
    found = torch.tensor([ours.probabilities[name] for name in names.values()])
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-5)


def test_a_head_that_cannot_be_kept_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    saved(tmp_path / "bare", "Wav2Vec2Model")
    for name in ("no vocabulary", "short", "languages", "no blank"):
        saved(tmp_path / name, "Wav2Vec2ForCTC", vocab_size=6, pad_token_id=5)
        write_vocabulary(tmp_path / name)
    (tmp_path / "no vocabulary" / "vocab.json").unlink()
    (tmp_path / "short" / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "languages" / "vocab.json").write_text('{"eng": {"a": 0}}')
    config = json.loads((tmp_path / "no blank" / "config.json").read_text())
    (tmp_path / "no blank" / "config.json").write_text(json.dumps({**config, "pad_token_id": 7}))
    weighted = {"num_labels": 2, "use_weighted_layer_sum": True}
    saved(tmp_path / "weighted", "Wav2Vec2ForSequenceClassification", **weighted)
    save(tmp_path / "fairseq.pt", *wav2vec2())
    refused = {
        "bare": "it holds an encoder alone, and no head",
        "no vocabulary": "vocab.json is missing",
        "short": "6 outputs, and vocab.json has no symbol for number 1",
        "languages": "a vocabulary per language",
        "no blank": "pad_token_id=7, CTC's blank, is no output",
        "weighted": "a weighted sum of layers",
        "fairseq.pt": "mgf transcribe and mgf classify read",
    }
    for name, words in refused.items():
        with pytest.raises(CheckpointError, match=words):
            import_model(tmp_path / name, tmp_path / "ours", head=True)
    assert not list(tmp_path.glob("*ours*"))


def test_an_encoder_of_another_form_is_refused_and_nothing_is_written(
    tmp_path: Path, encoder: Path
) -> None:
    saved(tmp_path / "adapter", "Wav2Vec2Model", add_adapter=True)
    saved(tmp_path / "square", "Wav2Vec2Model", conv_dim=[16] * 7)
    saved(tmp_path / "cut", "Wav2Vec2Model")
    whole = (tmp_path / "cut" / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "none").mkdir()
    refused = {
        "adapter": "add_adapter=True in config.json; only False fits",
        "square": "its feature projection maps 16 to 16",
        "cut": "cut short or changed",
        "bert": "a 'bert' of transformers; give wav2vec2 or hubert",
        "none": "a folder without checkpoint_last.pt",
    }
    for name, words in refused.items():
        with pytest.raises(CheckpointError, match=words) as caught:
            import_model(tmp_path / name, tmp_path / "ours")
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="a checkpoint of this package already"):
        import_model(encoder, tmp_path / "ours")
    assert not list(tmp_path.glob("*ours*"))
