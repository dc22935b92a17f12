"""Features, a fine-tuning step, scores and transcripts on the device, equal to the CPU's."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from tiny_checkpoints import finetuned, mgf_checkpoint, waveforms

from mgf_fairseq.evaluation.finetuning.score import score_manifest
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.inference.recognizer import Recognizer, log_probs

# fp32 on both sides; sums of a few hundred terms in another order, after layer norm, of size 1.
TOLERANCE = 1e-4
# cuDNN may take TF32 for convolutions, 10 bits of mantissa: a step of training allows it.
TRAINING_TOLERANCE = 1e-2


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetuned(tmp_path_factory.mktemp("ctc") / "ck.pt", symbols="|ABCDEF")


def test_features_are_those_of_the_cpu(device: str, tmp_path: Path) -> None:
    encoder = load_encoder(mgf_checkpoint(tmp_path / "ck.pt"))
    there, here = encoder.to(device)(waveforms()), encoder.to("cpu")(waveforms())
    assert here.lengths.tolist() == there.lengths.tolist()
    for ours, theirs in zip(here.hidden_states, there.hidden_states, strict=True):
        for row, length in enumerate(here.lengths):
            found, expected = theirs[row, :length].cpu(), ours[row, :length]
            torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_fine_tuning_step_has_the_loss_and_the_gradients_of_the_cpu(
    device: str, recognizer: Path
) -> None:
    def step(where: str) -> tuple[float, torch.Tensor]:
        model = Recognizer.load(recognizer, device=where).model.eval()  # without dropout
        source = torch.stack([torch.from_numpy(x) for x in waveforms(8000, 8000)]).to(where)
        frames = log_probs(model, source, torch.zeros_like(source, dtype=torch.bool))
        targets, lengths = torch.tensor([[5, 6], [7, 8]]).to(where), torch.tensor([2, 2])
        valid = torch.full((2,), frames.shape[1])
        loss = torch.nn.functional.ctc_loss(frames.transpose(0, 1), targets, valid, lengths)
        loss.backward()
        found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return float(loss.detach()), torch.cat(found).cpu()

    (loss, gradient), (expected, reference) = step(device), step("cpu")
    assert loss == pytest.approx(expected, rel=TRAINING_TOLERANCE)
    assert (gradient - reference).norm() <= TRAINING_TOLERANCE * reference.norm()
    assert reference.any()


def test_scores_are_those_of_the_cpu(
    device: str, recognizer: Path, corpus: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "valid.tsv"
    manifest.write_text((corpus / "valid.tsv").read_text())
    (tmp_path / "valid.ltr").write_text("A B | C D |\n" * 4)
    there, here = (
        score_manifest(Recognizer.load(recognizer, device=d), manifest, device=torch.device(d))
        for d in (device, "cpu")
    )
    assert there.corpus == here.corpus and there.utterances == here.utterances


def test_transcripts_are_those_of_the_cpu(device: str, recognizer: Path) -> None:
    speech = [tiny.speech_like(seconds, seed=7) for seconds in (0.6, 1.4)]
    there, here = (
        [transcript.text for transcript in Recognizer.load(recognizer, device=d).transcribe(speech)]
        for d in (device, "cpu")
    )
    assert there == here and all(here)
