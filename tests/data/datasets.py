"""The dataset of a folder, and its rows."""

from pathlib import Path

import numpy as np
import soundfile
import tiny

from mgf_fairseq.data.crops import Crops
from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.data.manifest import read_manifest

RATE = tiny.SAMPLE_RATE


def dataset(path: Path, split: str = "train", **overrides) -> MgfDataset:
    values = {
        "sample_rate": RATE,
        "normalize": True,
        "shuffle": True,
        "seed": 1,
        "num_buckets": 4,
        "crops": Crops(views=2, max_samples=16000, min_samples=8000),
    }
    return MgfDataset(read_manifest(path / f"{split}.tsv"), **{**values, **overrides})


def write(root: Path, files: dict[str, tuple[np.ndarray, int]]) -> Path:
    """Write the named waveforms at their rates and a train.tsv that counts at 16 kHz."""
    lines = [f"{root}\n"]
    for name, (waveform, rate) in files.items():
        soundfile.write(root / name, waveform, rate, subtype="FLOAT")
        lines.append(f"{name}\t{round(len(waveform) * RATE / rate)}\n")
    (root / "train.tsv").write_text("".join(lines))
    return root
