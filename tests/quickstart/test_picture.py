"""The quickstart's picture shows an utterance as the run's objectives can, and is always drawn."""

import dataclasses

import pytest
import tiny
from tiny_checkpoints import TASK, save

pytest.importorskip("matplotlib", reason="the quickstart's picture is drawn with extra [demo]")


@pytest.mark.parametrize(
    ("objectives", "panels"),
    [
        (["frame"], ["An utterance that", "What the encoder heard of it", "Filled in: "]),
        (["sample", "frame"], ["An utterance that", "What the encoder heard", "Filled in: "]),
        (["sample"], ["An utterance that", "The same, decoded (SI-SDR"]),
        (["phoneme"], []),
    ],
)
def test_a_run_is_drawn_whatever_its_objectives(
    objectives, panels, corpus, tmp_path, monkeypatch, capsys
):
    import picture

    _, model, _ = tiny.tiny_training(objectives)
    settings = {**dataclasses.asdict(tiny.tiny_model_config(objectives)), "_name": "mgf"}
    save(tmp_path / "checkpoint_last.pt", model, {"model": settings, "task": TASK})
    (tmp_path / "hydra_train.log").write_text(
        "".join(
            f'[x][train_inner][INFO] - {{"loss_{objectives[0]}": "2.5", "num_updates": "{n}"}}\n'
            for n in (1, 2)
        )
    )
    drawn = []
    write = picture.Figure.savefig

    def savefig(figure, *arguments, **options):
        drawn.extend(axes.get_title() for axes in figure.axes)
        write(figure, *arguments, **options)

    monkeypatch.setattr(picture.Figure, "savefig", savefig)
    picture.draw(tmp_path, corpus / "valid.tsv", tmp_path / "none", tmp_path / "made.png")
    assert (tmp_path / "made.png").read_bytes().startswith(b"\x89PNG")
    losses, *shown = drawn
    assert "the loss of each scale" in losses and len(shown) == len(panels)
    assert all(title.startswith(panel) for title, panel in zip(shown, panels, strict=True))
    assert ("the picture shows no utterance" in capsys.readouterr().out) == (not panels)


def test_a_sample_loss_below_zero_is_drawn_as_the_share_of_error():
    import picture
    from matplotlib.figure import Figure

    entries = [
        {"num_updates": n, "loss_sample": 0.1 - n, "sample_si_sdr": ratio}
        for n, ratio in enumerate((-40.0, -10.0, 0.0))
    ]
    axes = Figure().add_subplot()
    picture.draw_losses(axes, entries)
    (curve,) = axes.lines
    assert curve.get_label() == "sample: 1.00 to 0.50"
    assert (curve.get_ydata() > 0).all()
