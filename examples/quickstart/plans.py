"""What the quickstart does: its steps for the synthetic corpus, and for audio of your own.

steps.py runs them; quickstart.py prints what came out.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from steps import Step

from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.data.text import read_lines
from mgf_fairseq.host.training_process import override, training_command
from mgf_fairseq.utils.package import config_dir
from mgf_fairseq.utils.processor import cores

HERE = Path(__file__).resolve().parent
FINETUNING_SAMPLES = 96_000  # of a batch: 6 s, so that there are many updates


@dataclass(frozen=True)
class Settings:
    """What the command line decides."""

    dest: Path
    minutes: float  # of sentences
    commands: float  # minutes
    pretrain_updates: int
    finetune_updates: int
    own: Path | None = None  # a folder of recordings, instead of the synthetic corpus

    @property
    def data(self) -> Path:
        """Where `mgf prepare` writes to."""
        return self.dest / "data"

    @property
    def pretrain(self) -> Path:
        """The folder of pre-training."""
        return self.dest / "pretrain"

    @property
    def results(self) -> Path:
        """The folder of all results."""
        return self.dest / "results"

    @property
    def speech(self) -> Path:
        """The prepared folder with the transcripts that recognition learns from."""
        return self.data if self.own else self.data / "commands"

    @property
    def sentences(self) -> Path:
        """The prepared folder that frozen features are probed on."""
        return self.data if self.own else self.data / "sentences"


def preparation(asked: Settings) -> list[Step]:
    """From nothing, or from a folder of audio, to manifests that are checked."""
    data = asked.data
    if asked.own is not None:
        return [
            Step(f"Write manifests and labels of {asked.own}", data / "train.tsv", (
                *("mgf", "prepare", asked.own, "--dest", data, "--convert"),
                *("--valid-percent", "0.1", "--test-percent", "0.1"),
            )),
            Step("Check them", data / "check.json", _check(data)),
        ]  # fmt: skip
    corpus, caveat = asked.dest / "corpus", "synthetic voices: they are easier than people"
    title = f"Synthesize {asked.minutes:g} minutes of sentences, {asked.commands:g} of commands"
    made = [
        Step(title, corpus / "commands" / "metadata.tsv", (
            sys.executable, HERE / "corpus.py", "--dest", corpus,
            "--sentences", str(asked.minutes), "--commands", str(asked.commands),
        ))
    ]  # fmt: skip
    for kind, labels in (("sentences", "ltr,phn,spk,emo,fold"), ("commands", "ltr,spk")):
        folder = data / kind
        made += [
            Step(f"Write manifests and labels of the {kind}", folder / "train.tsv", (
                *("mgf", "prepare", corpus / kind, "--dest", folder, "--labels", labels),
                *("--caveat", caveat),
            )),
            Step("Check them", folder / "check.json", _check(folder)),
        ]  # fmt: skip
    return made


def _check(data: Path) -> tuple[str | Path, ...]:
    return ("mgf", "check", data, "--dest", data / "check.json")


def learning(asked: Settings) -> list[Step]:
    """Pre-train, evaluate, draw; made once the data are prepared, which decide what can be done."""
    updates = asked.pretrain_updates
    corpora = [] if asked.own else ["task.corpora={sentences: null, commands: null}"]
    training = training_command(
        config_dir("pretrain") / "mgf_mini.yaml",
        ["run=cpu", override("task.data", asked.data), *corpora,
         override("checkpoint.save_dir", asked.pretrain),
         f"optimization.max_update={updates}", f"lr_scheduler.warmup_updates={updates // 10}",
         f"common.log_interval={max(1, updates // 100)}"],
    )  # fmt: skip
    checkpoint = asked.pretrain / "checkpoint_last.pt"
    pretraining = Step("Pre-train MGF", checkpoint, tuple(training), updates, {
        "SI-SDR": "sample_si_sdr", "log-mel": "frame_mel", "contrastive": "phoneme_accuracy",
        "retrieval": "utterance_accuracy", "audio s/s": "audio_s_per_s",
    })  # fmt: skip
    evaluations = [*_probes(asked, checkpoint), *_recognition(asked, checkpoint)]
    picture, report = asked.dest / "quickstart.png", asked.dest / "report"
    drawing = Step("Draw what was learned", picture, (
        sys.executable, HERE / "picture.py", asked.pretrain,
        asked.sentences / "valid.tsv", asked.results, picture,
    ))  # fmt: skip
    page = Step("Make a page of it all", report / "index.html", (
        "mgf", "report", asked.results, "--dest", report,
    ))  # fmt: skip
    return [pretraining, *evaluations, drawing, *([page] if evaluations else [])]


def _probes(asked: Settings, checkpoint: Path) -> list[Step]:
    """Frozen features beside random weights and log-mel."""
    data = asked.sentences
    tasks = "speaker" if asked.own else "phone,speaker,emotion"
    if not can_classify_speakers(data):
        return []
    title = "Speakers" if asked.own else "Phonemes, speakers, styles"
    return [
        Step(f"{title}: probe it beside random weights and log-mel",
             asked.results / "fbank" / f"{tasks.rpartition(',')[2]}.json", (
            *_evaluate(asked, data, checkpoint, f"random:{checkpoint}", "fbank"), "--tasks", tasks,
            "--segment-seconds", "0.5",
        ))
    ]  # fmt: skip


def _recognition(asked: Settings, checkpoint: Path) -> list[Step]:
    """The same fine-tuning from the pre-trained and from random weights."""
    data = asked.speech
    if not has_transcripts(data):
        return []
    splits = [read_manifest(data / f"{split}.tsv") for split in ("train", "valid", "test")]
    longest = max(int(split.num_samples.max()) for split in splits)
    return [
        Step("Speech recognition: fine-tune it with CTC, and random weights beside it",
             asked.results / "random" / "asr.json", (
            *_evaluate(asked, data, checkpoint, f"random:{checkpoint}"), "--tasks", "asr",
            "--asr-updates", str(asked.finetune_updates), "--asr-jobs", str(min(2, cores())),
            "--asr-override", f"dataset.max_tokens={max(FINETUNING_SAMPLES, longest)}",
            "--asr-override", "optimization.lr=[0.002]",
        ))
    ]  # fmt: skip


def _evaluate(asked: Settings, data: Path, *specs: str | Path) -> tuple[str | Path, ...]:
    names = ("mgf", "random", "fbank")[: len(specs)]
    where = ("--data", data, "--dest", asked.results, "--device", "cpu")
    return ("mgf", "evaluate", *where, "--checkpoint", *specs, "--name", *names)


def has_transcripts(data: Path) -> bool:
    """Whether all three splits of a prepared folder have letters."""
    return all((data / f"{split}.ltr").is_file() for split in ("train", "valid", "test"))


def can_classify_speakers(data: Path) -> bool:
    """Whether the training data have two speakers with four recordings each, to hold some out."""
    path = data / "train.spk"
    spoken = read_lines(path) if path.is_file() else []
    return len(set(spoken)) > 1 and min(map(spoken.count, set(spoken))) >= 4
