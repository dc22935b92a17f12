"""The Transformer: which layers a step skips, and activations that are computed again."""

import torch
from tiny_encoder import padded, tiny

from mgf_fairseq.encoder.speech_encoder import SpeechEncoder


def test_layerdrop_of_one_skips_every_layer_and_still_gives_every_parameter_a_gradient() -> None:
    encoder = tiny(encoder_layerdrop=1.0).train()
    output, _ = encoder.encode(*padded(4000, 3000))
    assert torch.equal(output.context, output.hidden_states[0])
    output.context.square().sum().backward()
    assert all(p.grad is not None for p in encoder.encoder.layers.parameters())
    encoder.eval()
    output, _ = encoder.encode(*padded(4000, 3000))
    assert not torch.equal(output.context, output.hidden_states[0])


def skipped_layers(encoder: SpeechEncoder, update: int, rows: list[int]) -> tuple[bool, ...]:
    """Which layers a training step leaves out."""
    waveform, padding_mask = padded(*[2000] * len(rows))
    encoder.mask_update = update
    output, _ = encoder.encode(waveform, padding_mask, row_id=torch.tensor(rows))
    states = output.hidden_states
    return tuple(map(torch.equal, states, states[1:]))


def test_the_layers_to_skip_are_drawn_anew_for_each_update_and_are_the_same_for_all_rows() -> None:
    encoder = tiny(encoder_layerdrop=0.5).train()
    drawn = [skipped_layers(encoder, update, [1]) for update in range(24)]
    assert drawn == [skipped_layers(encoder, update, [7, 8]) for update in range(24)]
    # Two layers: of 24 draws one of the four patterns is missed with probability 0.004.
    assert len(set(drawn)) == 4
    # Half of 48 layers: beyond 9 of these once in 170 seeds.
    assert 15 <= sum(map(sum, drawn)) <= 33
    encoder.mask_seed = 1
    assert drawn != [skipped_layers(encoder, update, [1]) for update in range(24)]


def test_checkpointed_activations_give_the_same_gradients() -> None:
    gradients = []
    for flag in (False, True):
        encoder = tiny(checkpoint_activations=flag).train()
        encoder.encode(*padded(4000, 3000))[0].context.square().sum().backward()
        gradients.append([p.grad for p in encoder.encoder.layers.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)
