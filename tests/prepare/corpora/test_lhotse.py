"""Lhotse manifests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from written import lines, rows, run_whole, write_audio

from mgf_fairseq.prepare.corpora.base import Search


def lhotse_recording(path: Path, name: str, **changes: object) -> dict[str, object]:
    source = {"type": "file", "channels": [0], "source": str(path)}
    return {
        "id": name,
        "sources": [source],
        "sampling_rate": 16000,
        "num_samples": 64000,
        "duration": 4.0,
        **changes,
    }


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_lhotse_manifests_are_read_plainly_and_odd_items_are_named(tmp_path, ending):
    for name in ("a", "b"):
        write_audio(tmp_path / "audio" / f"{name}.wav", 4.0)
    write_audio(tmp_path / "audio/st.wav", 4.0, 2)
    audio = tmp_path / "audio"
    both = [{"type": "file", "channels": [0, 1], "source": str(audio / "st.wav")}]
    command = [{"type": "command", "channels": [0], "source": "cat x"}]
    recordings = [
        lhotse_recording(audio / "a.wav", "a"),
        lhotse_recording(audio / "b.wav", "b"),
        lhotse_recording(audio / "st.wav", "st", sources=both),
        lhotse_recording(audio / "c.wav", "c", sources=command),
    ]

    def supervision(
        name: str, start: object, duration: object, **more: object
    ) -> dict[str, object]:
        head = {"id": name, "recording_id": name[0], "start": start, "duration": duration}
        return {
            **head,
            "channel": 0,
            "text": f"Text {name}",
            "speaker": "s",
            "language": "en",
            **more,
        }

    supervisions = [
        supervision("a1", 0, 4.0),
        supervision("b1", 1.0, 0.5),
        supervision("b2", 1.0, 0),
        supervision("b3", 1.0, None),
        supervision("c1", 0, 4.0),
        supervision("st1", 0, 4.0, recording_id="st", channel=1),
        supervision("b4", 2.0, 1.0, text="", custom={"mood": "sad"}),
    ]
    (tmp_path / "m").mkdir()
    for kind, items in (("recordings", recordings), ("supervisions", supervisions)):
        text = "".join(json.dumps(item) + "\n" for item in items).encode()
        path = tmp_path / "m" / f"x_{kind}_dev.{ending}"
        path.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    summary = run_whole(tmp_path / "m", tmp_path / "d", search=Search(labels={"lang": "language"}))
    assert summary.layout == "lhotse"
    assert rows(tmp_path / "d") == ["a.wav", "b.wav:16000:8000"]
    assert lines(tmp_path / "d/train.wrd") == ["TEXT A1", "TEXT B1"]
    assert lines(tmp_path / "d/train.lang") == ["en", "en"]
    named = [name for name, _ in summary.skipped]
    assert named == ["b.wav", "b2", "b3", "c", "c1", "st1"]
