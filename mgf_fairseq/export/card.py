"""The model card: README.md of an export, from what the checkpoint itself says.

What it does not say is called unknown; scores are those of result files, with their commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .parity import Difference, output_names
from .scores import Score
from .source import CLASSIFIER, CTC, ENCODER, Source

TASK_TAGS = {
    ENCODER: "feature-extraction",
    CTC: "automatic-speech-recognition",
    CLASSIFIER: "audio-classification",
}
UNKNOWN = "unknown"


def facts_of(source: Source) -> dict[str, Any]:
    """What the checkpoint says of itself; None where it says nothing."""
    config, history = source.held.config, source.held.history
    return {
        "checkpoint": source.path.name,
        "model": source.model,
        "encoder": source.held.kind,
        "layers": config.encoder_layers,
        "width": config.encoder_embed_dim,
        "parameters": sum(p.numel() for p in source.encoder.parameters())
        + sum(tensor.numel() for tensor in source.head.values()),
        "sample_rate": source.held.sample_rate,
        "normalize": source.held.normalize,
        "outputs": len(source.symbols) or None,
        **history,
    }


def written(
    source: Source,
    to: str,
    name: str,
    facts: dict[str, Any],
    scores: Sequence[Score],
    differences: Sequence[Difference],
    usage: str,
) -> str:
    """The text of README.md; in `usage`, DEST and OUTPUTS are placeholders."""
    kinds = {
        ENCODER: "A speech encoder: waveform to hidden states.",
        CTC: f"Speech recognition by CTC, {len(source.symbols)} symbols ({source.labels}).",
        CLASSIFIER: f"Classification of recordings into {len(source.symbols)} classes.",
    }
    outputs = ", ".join(output_names(source))
    code = usage.replace("OUTPUTS", outputs).replace("DEST", name)
    parts = [
        _front_matter(source, to),
        f"# {name}\n\n{kinds[source.task]} Exported from `{source.path.name}` by "
        f"`mgf export --to {to}` of mgf_fairseq.",
        f"## Use\n\n```python\n{code}```",
        f"## Training\n\n{training_table(facts)}",
        f"## Scores\n\n{score_table(scores)}",
        f"## Difference from the checkpoint\n\n{parity_table(differences)}",
        f"## Limits\n\n{_limits(source, to)}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(source: Source, to: str) -> str:
    library = {"huggingface": "transformers", "onnx": "onnx", "fairseq": "fairseq"}.get(to, "torch")
    lines = ["---", f"library_name: {library}", f"pipeline_tag: {TASK_TAGS[source.task]}"]
    tags = ("audio", "speech", "wav2vec2", *(["mgf"] if source.held.kind == "mgf" else []))
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def training_table(facts: dict[str, Any]) -> str:
    """What `facts_of` says, as Markdown."""
    fine_tuned = bool(facts.get("fine_tuned"))
    hours, seconds = facts.get("audio_hours"), facts.get("train_seconds")
    run = "fine-tuning" if fine_tuned else "pre-training"
    rows = {
        "encoder": f"{facts['encoder']}, {facts['layers']} layers of {facts['width']}, "
        f"{facts['parameters']:,} parameters",
        "sample rate": f"{facts['sample_rate']} Hz",
        f"updates of {run}": _said(facts.get("num_updates")),
        f"hours of audio heard in {run}, repeats counted": UNKNOWN
        if hours is None
        else f"{hours:.1f}",
        f"hours that {run} took": UNKNOWN if seconds is None else f"{seconds / 3600:.1f}",
        "seed of pre-training": _said(facts.get("seed")),
        "objectives of pre-training": _objectives(facts),
    }
    if shares := facts.get("gradient_shares"):
        of_parts = ", ".join(f"{name} {float(share):g}" for name, share in shares.items())
        rows["shares of the gradient in pre-training"] = of_parts
    return _table(("fact", "value"), rows.items())


def _said(value: Any) -> str:
    return UNKNOWN if value is None else str(value)


def _objectives(facts: dict[str, Any]) -> str:
    objectives, weights = facts.get("objectives"), facts.get("loss_weights") or {}
    if not objectives:
        return UNKNOWN
    return ", ".join(
        f"{name} (weight {weights[name]:g})" if name in weights else str(name)
        for name in objectives
    )


def score_table(scores: Sequence[Score]) -> str:
    """Scores with their commands, as Markdown."""
    if not scores:
        return "None were given to `mgf export` (`--results`)."
    rows = ((f"{score.task}", f"{score.value} | `{score.command}`") for score in scores)
    return _table(("task", "score | command"), rows)


def parity_table(differences: Sequence[Difference]) -> str:
    """Largest absolute difference per output and kind of rows, as Markdown."""
    kinds = list(dict.fromkeys(x.rows for x in differences))
    by_place = {(x.what, x.rows): x for x in differences}
    rows = []
    for what in dict.fromkeys(x.what for x in differences):
        held = [by_place[what, kind] for kind in kinds]
        cells = [f"{x.largest:.1e}" for x in held]
        rows.append((what, " | ".join([*cells, f"{max(x.scale for x in held):.2g}"])))
    return _table(("output", " | ".join([*kinds, "largest value"])), rows)


def _table(heads: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    columns = 2 + heads[1].count("|")
    lines = [f"| {heads[0]} | {heads[1]} |", "|" + "---|" * columns]
    return "\n".join([*lines, *(f"| {first} | {rest} |" for first, rest in rows)])


def _limits(source: Source, to: str) -> str:
    lines = [
        "- Attention takes memory with the square of the length: cut recordings of more than a "
        "minute.",
        "- Data, languages and license of the training audio are not in the checkpoint; add them "
        "here before you publish.",
    ]
    if source.group_norm:
        lines.append(
            "- Group norm: padding changes valid frames, so give rows of different lengths alone."
        )
    if to in ("huggingface",) and source.held.normalize:
        lines.append(
            "- Training added 1e-5 to the variance of a waveform, transformers' feature extractor "
            "adds 1e-7: at a root mean square of 0.1 its input is larger by 0.05 %."
        )
    if source.held.history.get("fine_tuned") and source.task == ENCODER and to != "fairseq":
        lines.append(f"- The encoder alone; the head of the {source.model} is not in it.")
    return "\n".join(lines)
