"""The compiled encoder: one graph for each part, and the values of the encoder as it is written.

The backends here run without inductor, and so without a C++ compiler; what they get is what
inductor would get.
"""

import copy
import logging

import pytest
import torch
from tiny_encoder import padded, tiny

from mgf_fairseq.encoder.compilation import (
    Compilation,
    as_written,
    compile_encoder,
    compiled_parts,
    require_compiler,
)
from mgf_fairseq.encoder.speech_encoder import SpeechEncoder

ROWS = [3, 4]


@pytest.fixture(autouse=True)
def _nothing_compiled_before():
    changed = torch._dynamo.config.optimize_ddp, torch._functorch.config.donated_buffer
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    torch._dynamo.config.optimize_ddp, torch._functorch.config.donated_buffer = changed


class Graphs:
    """A backend that counts what it gets."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph, inputs):
        self.count += 1
        return graph.forward


def step(encoder: SpeechEncoder, *lengths: int, update: int = 0) -> dict[str, torch.Tensor]:
    """The context and all gradients of a training step."""
    encoder.zero_grad()
    waveform, padding_mask = padded(*lengths)
    output, _ = encoder.encode(waveform, padding_mask, mask=True, row_id=ROWS, update=update)
    (output.context.square().sum() + output.latents.float().square().sum()).backward()
    found = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return {"context": output.context.detach()} | found


def test_conv_stack_positions_and_all_layers_are_one_graph_each_per_shape():
    encoder, graphs = tiny(encoder_layers=3).train(), Graphs()
    compile_encoder(encoder, graphs)
    for update in range(3):
        step(encoder, 4000, 4000, update=update)
    assert graphs.count == 3
    step(encoder, 4000, 3000)  # the layers again, with a mask
    assert graphs.count == 4
    for lengths in ((4000, 2500), (4000, 4000)):
        step(encoder, *lengths)
    assert graphs.count == 4
    step(encoder, 3500, 3500)
    assert graphs.count == 7


def test_between_masks_and_context_is_no_graph_break_either():
    encoder = tiny().train()
    waveform, padding_mask = padded(4000, 3000)
    frames = encoder.encode(waveform, padding_mask, mask=True, row_id=ROWS)[0]

    def tensors_alone(waveform: torch.Tensor) -> torch.Tensor:
        x = encoder._project(encoder._latents(waveform, []))
        x = encoder._apply_masks(x, frames.mask_indices, None)
        return encoder.encoder(x, frames.padding_mask)[0]

    found = torch._dynamo.explain(tensors_alone)(waveform)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


@pytest.mark.parametrize(
    "settings",
    [
        {
            "layer_norm_first": True,
            "feature_grad_mult": 0.1,
            "encoder_layerdrop": 0.5,
            "dropout": 0.1,
            "attention_dropout": 0.1,
        },
        {"checkpoint_activations": True, "extractor_mode": "default", "dropout": 0.1},
    ],
    ids=["pre-norm, layerdrop", "group norm, checkpointed"],
)
def test_values_and_gradients_are_those_of_the_encoder_as_it_is_written(settings):
    plain = tiny(**settings).train()
    compiled = copy.deepcopy(plain)
    compile_encoder(compiled, "aot_eager")
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for update in range(2):
        torch.manual_seed(update)
        expected = step(plain, 4000, 3000, update=update)
        torch.manual_seed(update)
        found = step(compiled, 4000, 3000, update=update)
        # The same operations in fp32, cut into others: rounding, added up over two norms a layer.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_bf16_autocast_is_compiled_with_it():
    plain = tiny().train()
    compiled, graphs = copy.deepcopy(plain), Graphs()
    compile_encoder(compiled, graphs)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = step(plain, 4000, 3000), step(compiled, 4000, 3000)
    assert graphs.count == 3
    # bf16 has 8 bits: of sums over 4,000 samples and two layers little more than two digits.
    scale = {name: value.abs().max().clamp(min=1.0) for name, value in expected.items()}
    for name, value in expected.items():
        assert (found[name] - value).abs().max() < 0.05 * scale[name], name


def test_the_graph_is_kept_where_a_gradient_is_asked_for_twice():
    encoder = tiny().train()
    compile_encoder(encoder, "aot_eager")
    output, _ = encoder.encode(*padded(4000, 3000), row_id=ROWS)
    loss = output.context.square().sum()
    first = torch.autograd.grad(loss, output.latents, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, output.latents)[0])


def test_validation_and_copies_run_as_written():
    encoder, graphs = tiny().train(), Graphs()
    compile_encoder(encoder, graphs)
    with as_written():
        encoder.eval().encode(*padded(4000, 3000))
    copy.deepcopy(encoder).encode(*padded(3000, 2000))
    assert graphs.count == 0
    assert all(part._compiled_call_impl is not None for part in compiled_parts(encoder))


def test_each_new_shape_is_in_the_log_and_a_missing_compiler_is_named(caplog, monkeypatch):
    monkeypatch.setattr(Compilation, "backend", "eager")
    compilation, encoder = Compilation(), tiny()
    with caplog.at_level(logging.INFO):
        for lengths in ([4000, 4000], [4000, 3000], [4000, 3500], [4000, 4000]):
            compilation.prepare(encoder, lengths, 4000)
    assert [record.args for record in caplog.records] == [
        (2, 4000, "without", 1),
        (2, 4000, "with", 2),
    ]
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler.*task.compile=none"):
        require_compiler("cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package triton"):
        require_compiler("cuda")
