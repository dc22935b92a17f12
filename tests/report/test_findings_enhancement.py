"""Speech enhancement in the report: dB instead of percent, pairs, layers, and no confusions."""

import json

import fabricated as fab
import pytest
from tables import cell_of

from mgf_fairseq.evaluation.results import EnhancementResult, Representation, UtteranceGain
from mgf_fairseq.export.scores import read_scores
from mgf_fairseq.report.build import build_report
from mgf_fairseq.report.findings import findings


def enhanced(*gains: float, layers: list[str] = fab.LAYERS, each: int = 3) -> EnhancementResult:
    """A result of two seeds whose test speakers have these gains; the top layer is chosen."""
    mean = sum(gains) / len(gains)
    names = [*layers, "weighted sum"] if len(layers) > 1 else layers
    chosen = len(layers) - 1
    return EnhancementResult(
        **fab.PROVENANCE,
        data=fab.data("enhancement"),
        protocol={"probe": "exactly one Linear", "mixtures": {"max_snr": 15.0}},
        key=f"enhancement {mean}",
        seeds=[1, 2],
        representations=[
            Representation(
                name=name,
                layer=name,
                valid={"si_sdr_gain": [mean - abs(k - chosen)] * 2},
                test={"si_sdr_gain": [mean - abs(k - chosen)] * 2},
            )
            for k, name in enumerate(names)
        ],
        chosen=chosen,
        low=mean - 1.5,
        high=mean + 1.5,
        chance={"si_sdr_gain": 1.1},
        ideal={"si_sdr_gain": 14.0},
        layer_weights=[1 / len(layers)] * len(layers) if len(layers) > 1 else [],
        interval_over=f"{len(gains)} speakers",
        utterances=[
            UtteranceGain(
                entry=f"{number}-{take}.wav",
                speaker=f"speaker {number}",
                noise="brown",
                snr_db=5.0,
                gain=gain,
            )
            for number, gain in enumerate(gains)
            for take in range(each)
        ],
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A page of an MGF row that gains 2 dB more than log-mel on each speaker."""
    results = tmp_path_factory.mktemp("results")
    theirs = (-1.0, 2.0, 5.0)
    ours = enhanced(*(gain + 2 for gain in theirs))
    fab.write_folder(results, fab.upstream("all", "mgf"), ours, fab.probed("phone", 50.0))
    fbank = enhanced(*theirs, layers=["fbank"])
    fab.write_folder(results, fab.upstream("fbank", "fbank"), fbank)
    dest = results / "report"
    return build_report([results / "all", results / "fbank"], dest), dest


def test_gains_are_paired_by_speaker_and_told_in_decibels(built):
    table, _ = built
    cell = cell_of(table, "all", "enhancement", "si_sdr_gain")
    assert (cell.mean, cell.difference) == pytest.approx((4.0, 2.0))
    assert (cell.difference_low, cell.difference_high) == pytest.approx((2.0, 2.0))
    (found,) = (text for text in findings(table) if "enhancement" in text)
    assert "all leads with 4.0 dB, 2.0 dB ahead of fbank" in found and "%, " not in found
    assert "the lead is 2.0 to 2.0 dB (95 %)." in found


def test_page_and_tables_show_units_layers_and_what_needs_no_features(built):
    _, dest = built
    page, text = ((dest / name).read_text() for name in ("index.html", "results.md"))
    for shown in (page, text):
        assert "gain in SI-SDR, dB" in shown and "enhancement: one mask for all frames" in shown
        assert "percent (gain in SI-SDR, dB)" in shown
    assert "Speech enhancement by layer" in page
    layers = text.split("speech enhancement, gain in SI-SDR, dB, layer by layer")[1]
    assert layers.lstrip().splitlines()[2].split("|")[2:4] == [" 2.0 ", " 3.0 "]
    columns = json.loads((dest / "results.json").read_text())["columns"]
    assert [c["chance"] for c in columns if c["task"] == "enhancement"] == [1.1]


def test_a_model_card_gives_the_gain_in_decibels_too(built):
    _, dest = built
    values = [score.value for score in read_scores([dest.parent / "all"])]
    assert [value.split(" (")[0] for value in values] == ["accuracy 50.0 %", "si_sdr_gain 4.0 dB"]
