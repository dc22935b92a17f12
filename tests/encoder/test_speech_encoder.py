"""The encoder: equal to fairseq's wav2vec2 on the same weights, and blind to padding."""

import dataclasses

import pytest
import torch
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
from tiny_encoder import TINY, padded, tiny


@pytest.mark.parametrize("mode", ["layer_norm", "default"])
@pytest.mark.parametrize("layer_norm_first", [False, True])
def test_hidden_states_equal_fairseqs_wav2vec2_on_its_own_weights(
    mode: str, layer_norm_first: bool
) -> None:
    changes = {"extractor_mode": mode, "layer_norm_first": layer_norm_first, "conv_bias": True}
    shared = {**vars(TINY), **changes}
    known = {f.name for f in dataclasses.fields(Wav2Vec2Config)}
    reference = Wav2Vec2Model(
        Wav2Vec2Config(**{k: v for k, v in shared.items() if k in known})
    ).eval()
    reference.remove_pretraining_modules()
    encoder = tiny(**changes).eval()
    encoder.load_state_dict(reference.state_dict(), strict=True)
    waveform, padding_mask = padded(4000, 3100)
    waveform = waveform.masked_fill(padding_mask, 0.0)
    with torch.no_grad():
        expected = reference.extract_features(waveform, padding_mask)
        actual, ffn = encoder.encode(waveform, padding_mask)
    valid = ~actual.padding_mask
    assert torch.equal(valid, ~expected["padding_mask"])
    # fp32 sums in another order (channels last, fused attention): a few ulp of values near 3.
    close = {"rtol": 1e-4, "atol": 2e-5}
    torch.testing.assert_close(actual.context[valid], expected["x"][valid], **close)
    for x, z, layer in zip(actual.hidden_states[1:], ffn, expected["layer_results"], strict=True):
        torch.testing.assert_close(x[valid], layer[0].transpose(0, 1)[valid], **close)
        torch.testing.assert_close(z[valid], layer[1][1].transpose(0, 1)[valid], **close) if (
            isinstance(layer[1], tuple)
        ) else torch.testing.assert_close(z[valid], layer[2].transpose(0, 1)[valid], **close)


def test_valid_frames_do_not_change_when_noise_is_appended_as_padding() -> None:
    encoder = tiny().eval()
    waveform, padding_mask = padded(4000, 2500, 401)
    with torch.no_grad():
        batch, _ = encoder.encode(waveform, padding_mask)
        for row, length in enumerate((4000, 2500, 401)):
            alone, _ = encoder.encode(waveform[row : row + 1, :length])
            frames = alone.context.shape[1]
            assert int(batch.num_frames[row]) == frames
            for many, one in zip(batch.hidden_states, alone.hidden_states, strict=True):
                # fp32 rounding: kernels block differently for other batch shapes.
                torch.testing.assert_close(many[row, :frames], one[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["dropout", "attention_dropout", "activation_dropout", "dropout_input"]
)
def test_each_dropout_acts_in_training_alone(name: str) -> None:
    encoder = tiny(**{name: 0.5})
    encoder.train()
    waveform, padding_mask = padded(4000, 3000)
    first, second = (encoder.encode(waveform, padding_mask)[0].context for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-3)
    encoder.eval()
    first, second = (encoder.encode(waveform, padding_mask)[0].context for _ in range(2))
    assert torch.equal(first, second)


def test_masked_frames_hold_mask_emb_and_padding_is_never_masked() -> None:
    encoder = tiny(mask_prob=0.9, mask_length=2).train()
    waveform, padding_mask = padded(8000, 4000)
    output, _ = encoder.encode(waveform, padding_mask, mask=True, row_id=torch.tensor([3, 4]))
    assert output.mask_indices.any(dim=1).all()
    assert not (output.mask_indices & output.padding_mask).any()
    unmasked, _ = encoder.encode(waveform, padding_mask)
    assert torch.equal(output.latents, unmasked.latents)
    assert not torch.allclose(output.context, unmasked.context)


@pytest.mark.parametrize("before", [False, True])
def test_channel_masks_zero_whole_channels_under_or_over_the_masked_frames(before: bool) -> None:
    encoder = tiny(
        mask_channel_prob=0.5, mask_channel_length=2, mask_length=4, mask_channel_before=before
    )
    frame, channel = encoder._draw_masks([20, 20], 20, torch.tensor([1, 2]), 0)
    assert frame.any(dim=1).all() and channel.any(dim=1).all()
    x = encoder._apply_masks(torch.full((2, 20, 16), 5.0), frame, channel)
    for row in range(2):
        kept = (~channel[row]).float()
        assert torch.equal(x[row][~frame[row]], (5 * kept).expand(int((~frame[row]).sum()), 16))
        masked = encoder.mask_emb.detach() * (torch.ones(16) if before else kept)
        assert torch.equal(x[row][frame[row]], masked.expand(int(frame[row].sum()), 16))


def test_too_short_audio_is_refused_with_row_and_fix() -> None:
    with pytest.raises(ValueError, match=r"row 1 .* 399 samples.*min_sample_size"):
        tiny().encode(*padded(800, 399))


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0])
def test_feature_grad_mult_scales_the_conv_stack_alone(scale: float) -> None:
    gradients = {}
    for mult in (scale, 1.0):
        encoder = tiny(feature_grad_mult=mult)
        encoder.encode(*padded(4000, 3000))[0].context.square().sum().backward()
        conv = encoder.feature_extractor.conv_layers[0][0].weight.grad
        gradients[mult] = torch.zeros(1) if conv is None else conv
        assert encoder.layer_norm.weight.grad.abs().sum() > 0
    torch.testing.assert_close(
        gradients[scale], gradients[1.0] * scale if scale else torch.zeros(1), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"extractor_mode": "batch"}, "extractor_mode"),
        ({"encoder_attention_heads": 3}, "encoder_attention_heads"),
        ({"mask_selection": "gauss"}, "mask_selection"),
    ],
)
def test_bad_values_are_named(changes: dict, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        tiny(**changes)
