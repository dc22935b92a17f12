"""Models of transformers and fairseq become checkpoints of ours that every verb takes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import exported
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from omegaconf import OmegaConf
from tiny_checkpoints import _plain, hubert, save, wav2vec2

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.export import export
from mgf_fairseq.export.huggingface import no_broken_torchaudio
from mgf_fairseq.export.importing import import_model
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.extract.upstream import load_upstream

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
