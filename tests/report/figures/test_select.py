"""What the pictures are drawn from is right, and they follow the reader's setting."""

import re

import fabricated as fab
import numpy as np
import pytest

from mgf_fairseq.report.collect import collect
from mgf_fairseq.report.figures import arpabet, theme
from mgf_fairseq.report.figures.confusion import ordering, row_shares, sentence, top_confusions
from mgf_fairseq.report.figures.curves import PROGRESS, Run, draw_panel, spread
from mgf_fairseq.report.figures.layers import LayerScores, draw_layers
from mgf_fairseq.report.figures.reconstruction import read_clip
from mgf_fairseq.report.figures.scatter import draw_scatter, lay_out
from mgf_fairseq.report.figures.select import layer_maps
from mgf_fairseq.report.table import make_table


def test_a_picture_has_colors_for_light_and_dark_and_no_placeholder():
    made = draw_layers("Phones", "accuracy, %", [LayerScores("all", {"layer 0": 1.0})])
    assert "prefers-color-scheme: dark" in made.svg
    assert not re.search(r"#0[12]020\d", made.svg)
    used = set(re.findall(r"var\((--c\d+)\)", made.svg))
    assert used and all(f"{name}:#" in made.svg for name in used)
    assert made.data_uri().startswith("data:image/svg+xml;base64,")


def test_the_same_results_give_the_same_picture():
    rows = [LayerScores("all", {"layer 0": 1.0, "layer 1": 2.0}, "layer 1")]
    assert draw_layers("a", "b", rows) == draw_layers("a", "b", rows)


def test_a_name_is_drawn_as_it_is_even_if_it_looks_like_a_formula():
    draw_layers("$x_{", "%", [LayerScores("$\\frac$ <b>", {"layer 0": 1.0})])


def test_names_at_the_ends_of_curves_keep_their_distance_and_order():
    assert spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    places = spread([0.1, 0.11, 0.3, 0.31, 0.32, 0.9], 0.05)
    assert min(np.diff(places)) >= 0.05 - 1e-12
    assert spread([-0.5, 0.0, 1.0, 1.0], 0.1) == pytest.approx([0.0, 0.1, 0.9, 1.0])
    assert np.mean(places) == pytest.approx(np.mean([0.1, 0.11, 0.3, 0.31, 0.32, 0.9]))


def test_a_curve_that_nobody_logged_is_not_drawn():
    entries = [{"num_updates": float(u), "sample_si_sdr": float(u)} for u in range(200)]
    runs = [Run("all", entries, []), Run("other", [], [])]
    made = draw_panel(PROGRESS[0], runs)
    assert made is not None and "all" in made.alt and "other" not in made.alt
    assert draw_panel(PROGRESS[1], runs) is None


def test_confusions_are_shares_of_the_true_class_and_the_worst_is_put_into_words():
    counts = np.array([[6, 4, 0], [1, 9, 0], [0, 0, 0]])
    shares = row_shares(counts)
    assert shares[0].tolist() == [60.0, 40.0, 0.0]
    assert np.isnan(shares[2]).all()
    worst = top_confusions(["IH", "AH", "S"], counts)
    assert [(c.truth, c.taken_for, c.count) for c in worst] == [("IH", "AH", 4), ("AH", "IH", 1)]
    told = sentence(worst[0], "frames", arpabet=True)
    assert told == "IH (as in sIt) taken for AH (as in cUp): 40.0 % of its frames (4)"


def test_arpabet_is_ordered_by_manner_and_anything_else_by_frequency():
    classes = ["T", "SIL", "AA1", "N", "IY"]
    counts = np.diag([1, 5, 4, 3, 2])
    by_manner = [classes[i] for i in ordering(classes, counts, by_manner=True)]
    assert by_manner == ["IY", "AA1", "N", "T", "SIL"]
    by_count = [classes[i] for i in ordering(classes, counts, by_manner=False)]
    assert by_count == ["SIL", "AA1", "N", "IY", "T"]


def test_speakers_are_no_phones_even_where_their_names_begin_alike():
    assert arpabet.are_arpabet(["AH0", "S", "sil"])
    assert not arpabet.are_arpabet(["S1", "S2"])


def test_clouds_come_apart_under_tsne():
    found = fab.embeddings(["anger", "fear"], each=20)
    layout = lay_out(found.vectors)
    assert layout.method == "t-SNE"
    distances = np.linalg.norm(layout.points[:, None] - layout.points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    # The clouds touch: one of 40 may have its nearest neighbor in the other one.
    assert ((nearest < 20) == (np.arange(40) < 20)).mean() > 0.9
    assert "t-SNE of 40 utterances" in draw_scatter("all", layout, found.labels).alt


def test_few_embeddings_are_drawn_by_their_principal_components():
    found = fab.embeddings(["anger", "fear"], each=5)
    layout = lay_out(found.vectors)
    assert layout.method == "PCA" and "% of variance" in layout.axes[0]
    assert "PCA of 10 utterances" in draw_scatter("all", layout, found.labels).alt


def test_few_or_constant_or_broken_embeddings_do_not_break_the_picture():
    assert lay_out(np.ones((3, 1), np.float32)).method == "PCA"
    assert lay_out(np.ones((30, 4), np.float32)).points.shape == (30, 2)
    with pytest.raises(ValueError, match="not finite"):
        lay_out(np.full((3, 2), np.nan, np.float32))


def test_a_file_that_is_no_audio_is_named(tmp_path):
    (tmp_path / "original.wav").write_text("no")
    with pytest.raises(ValueError, match=r"original\.wav cannot be read as audio"):
        read_clip(tmp_path / "original.wav")


def test_the_heat_map_averages_the_members_of_a_group(tmp_path):
    for seed, score in ((1, 50.0), (2, 54.0)):
        about = fab.upstream(f"all-s{seed}", group="all", seed=seed)
        fab.write_folder(tmp_path, about, fab.probed("phone", score))
    alone = make_table(collect([tmp_path]))
    assert layer_maps(alone, alone.columns[0]) == []  # one row is no heat map
    fab.write_folder(tmp_path, fab.upstream("frame"), fab.probed("phone", 40.0))
    table = make_table(collect([tmp_path]))
    scores, weights = layer_maps(table, table.columns[0])
    assert "Best: all: layer 1" in scores.alt
    assert "weighted sum" in weights.alt


def test_what_each_fold_chose_is_no_layer_of_the_heat_map(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("all"), fab.probed("emotion", 60.0))
    fbank = fab.probed("emotion", 50.0, layers=["fbank"])
    fab.write_folder(tmp_path, fab.upstream("fbank", "fbank"), fbank)
    table = make_table(collect([tmp_path]))
    titles = [made.alt for made in layer_maps(table, table.columns[0])]
    assert len(titles) == 2  # two poolings; weights of one row alone are not drawn
    assert "pooled by mean. Best: all: layer 1, fbank: features" in titles[0]


def test_series_differ_in_color_or_dash():
    seen = {(theme.series_color(i), str(theme.series_line(i))) for i in range(24)}
    assert len(seen) == 24
