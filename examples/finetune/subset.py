"""Write a small training set: minutes of a manifest, filled in a fixed shuffled order.

Run between `mgf prepare` and low-resource fine-tuning; labels of every kind are cut along.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from mgf_fairseq.data.manifest import looks_like_manifest, read_manifest
from mgf_fairseq.data.text import read_lines
from mgf_fairseq.utils.atomic import refuse_foreign, replace_file


def choose(num_samples: list[int], limit: int, seed: int) -> list[int]:
    """Draw lines in random order, each that still fits into `limit` samples; in manifest order.

    A line that does not fit is skipped and shorter ones after it are still taken, so little of the
    limit is left over.
    """
    order = list(range(len(num_samples)))
    random.Random(seed).shuffle(order)
    chosen, total = [], 0
    for index in order:
        if total + num_samples[index] <= limit:
            chosen.append(index)
            total += num_samples[index]
    return sorted(chosen)


def write_subset(data: Path, split: str, minutes: float, sample_rate: int, seed: int) -> Path:
    """Write `<split>_<amount>.tsv` and its label files beside the originals; returns the .tsv.

    Raises:
        ValueError: the manifest holds less audio, or a label file has another number of lines.
    """
    manifest = data / f"{split}.tsv"
    num_samples = read_manifest(manifest).num_samples.tolist()
    root, *rows = read_lines(manifest)
    limit = int(minutes * 60 * sample_rate)
    if sum(num_samples) < limit:
        held = sum(num_samples) / sample_rate / 60
        raise ValueError(f"{manifest} holds {held:.1f} minutes, not {minutes:g}")
    chosen = choose(num_samples, limit, seed)
    if not chosen:
        raise ValueError(f"{manifest} holds no utterance as short as {minutes:g} minutes")
    amount = f"{minutes / 60:g}h" if minutes % 60 == 0 else f"{minutes:g}min"
    name = f"{split}_{amount}"
    refuse_foreign([data / f"{name}.tsv"], looks_like_manifest, "--minutes")
    contents = {}
    for path in sorted(data.glob(f"{split}.*")):
        lines = rows if path == manifest else read_lines(path, "utf-8")
        if len(lines) != len(rows):
            raise ValueError(f"{path}: {len(lines)} labels for {len(rows)} lines; see mgf check")
        head = [root] if path == manifest else []
        contents[f"{name}{path.suffix}"] = [*head, *(lines[i] for i in chosen)]
    for file, lines in sorted(contents.items(), key=lambda item: item[0].endswith(".tsv")):
        with replace_file(data / file) as stream:  # the manifest last
            stream.writelines(f"{line}\n" for line in lines)
    return data / f"{name}.tsv"


def main() -> None:
    """Parse the options and write the subset."""
    parser = argparse.ArgumentParser(description="cut a low-resource training set from a manifest")
    parser.add_argument("data", type=Path, help="folder with the manifests")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--sample-rate", type=int, default=16000, help="Hz")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        path = write_subset(args.data, args.split, args.minutes, args.sample_rate, args.seed)
    except (ValueError, OSError) as error:
        raise SystemExit(f"subset.py: error: {error}") from None
    print(path)


if __name__ == "__main__":
    main()
