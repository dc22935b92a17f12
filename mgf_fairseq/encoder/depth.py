"""How far below the output each parameter of an encoder lies, for rates that fall with depth.

model.py marks the parameters when a fine-tuning model takes the encoder; host/layer_decay.py reads
the marks.
"""

from __future__ import annotations

from torch.nn import Parameter

from .speech_encoder import SpeechEncoder

MARK = "layers_below_output"  # attribute of a parameter


def mark_depths(encoder: SpeechEncoder) -> None:
    """Mark every parameter with the number of steps from the output of the encoder down to it.

    The last of L Transformer layers is 1 below the output, the first L, and all before them
    (convolutions, projection, positions, the embedding of masked frames) L + 1. The final norm
    is 0, as the output layer of the fine-tuning model, which nobody marks.
    """
    layers = encoder.encoder.layers
    for parameter in encoder.parameters():
        setattr(parameter, MARK, len(layers) + 1)
    for parameter in encoder.encoder.layer_norm.parameters():
        setattr(parameter, MARK, 0)
    for number, layer in enumerate(layers):
        for parameter in layer.parameters():
            setattr(parameter, MARK, len(layers) - number)


def depth_of(parameter: Parameter) -> int | None:
    """The mark of a parameter; None without one."""
    depth: int | None = getattr(parameter, MARK, None)
    return depth
