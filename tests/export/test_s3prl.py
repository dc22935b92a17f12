"""s3prl's own code takes the exported upstream: its featurizer and one of its downstreams.

Its runner and the data sets of its other downstreams import torchaudio, which does not load beside
a torch without CUDA; so the loop over batches is the test's, as in s3prl/downstream/runner.py.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from s3prl.upstream import interfaces

from mgf_fairseq.export import export
from mgf_fairseq.extract.encoder import load_encoder


def test_a_downstream_of_s3prl_learns_on_the_upstream(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3prl.downstream.example import dataset
    from s3prl.downstream.example.expert import DownstreamExpert

    monkeypatch.setattr(dataset, "EXAMPLE_WAV_MIN_SEC", 1)
    monkeypatch.setattr(dataset, "EXAMPLE_WAV_MAX_SEC", 2)
    export(encoder, "s3prl", tmp_path / "upstream")
    upstream: Any = torch.hub.load(str(tmp_path / "upstream"), "mgf", source="local")
    before = {name: tensor.clone() for name, tensor in upstream.state_dict().items()}
    featurizer = interfaces.Featurizer(upstream, upstream_device="cpu")
    assert (featurizer.output_dim, featurizer.downsample_rate) == (16, 320)
    assert featurizer.layer_num == 3  # the Transformer's input and two layers
    sizes = {"train_batch_size": 8, "eval_batch_size": 8, "num_workers": 0}
    config = {"datarc": sizes, "modelrc": {"input_dim": 8}}
    downstream = DownstreamExpert(16, 320, config, expdir=str(tmp_path))
    learned = [*downstream.parameters(), *featurizer.parameters()]
    optimizer = torch.optim.Adam(learned, lr=0.01)
    wavs, labels = next(iter(downstream.get_dataloader("train")))
    losses, records = [], defaultdict(list)
    for _ in range(20):
        with torch.no_grad():
            features = upstream(wavs)
        loss = downstream("train", featurizer(wavs, features), labels, records)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0] and featurizer.weights.grad.abs().sum() > 0
    assert all(torch.equal(before[name], now) for name, now in upstream.state_dict().items())
    ours = load_encoder(encoder)(wavs).hidden_states
    for theirs, wanted in zip(features["hidden_states"], ours, strict=True):
        count = wanted.shape[1]
        row = max(range(len(wavs)), key=lambda row: len(wavs[row]))
        # fp32 sums in another order; values around 3.
        torch.testing.assert_close(theirs[row, :count], wanted[row], rtol=0, atol=5e-5)
