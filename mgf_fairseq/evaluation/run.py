"""Several representations, several tasks: everything checked first, then run, each result written.

The work behind `mgf evaluate`; a result with an equal key is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..baselines.acoustic_model import ACOUSTIC
from ..checkpoints.fresh import shape_of
from ..utils.progress import Progress
from .finetuning.recipe import Recipe
from .finetuning.side_by_side import train_side_by_side
from .options import ProbeOptions
from .probing import ProbePlan, plan_probe, protocol_of, run_probe, write_probe
from .protocols.asr import run_recognition
from .protocols.asr_plan import Plan, RecognitionOptions, plan_recognition
from .protocols.asr_training import trainings_of
from .protocols.enhancement import run_enhancement
from .protocols.enhancement_plan import EnhancementPlan, plan_enhancement
from .result_files import ResultError, ResultFolder, read_record, read_results, write_record
from .result_folders import Evaluated, EvaluationError, load_all, write_description
from .results import (
    ENHANCEMENT,
    RECOGNITION,
    EnhancementResult,
    RecognitionResult,
    TaskResult,
)
from .tasks import TASKS, USUAL_TASKS, task_named


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, on what, and how."""

    specs: tuple[str, ...]  # checkpoints, fbank, mfcc, random:CHECKPOINT
    data: Path
    dest: Path
    tasks: tuple[str, ...] = USUAL_TASKS
    emotion_data: Path | None = None  # another prepared folder for the emotion task
    names: tuple[str, ...] = ()
    group: str | None = None
    cache: Path | None = None  # features and fine-tunings; `dest`/cache if None
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    speaker_test: str | None = None  # split that the speaker task is scored on
    recipe: Recipe | None = None  # of recognition; needed where asr is among the tasks
    asr_seeds: tuple[int, ...] = (1,)
    asr_shape: Path | None = None  # checkpoint whose Transformer fbank and mfcc train
    asr_jobs: int = 1  # fine-tunings side by side

    def __post_init__(self) -> None:
        if not self.tasks:
            raise EvaluationError(f"--tasks is empty: choose from {', '.join(TASKS)}")
        if RECOGNITION in self.tasks and self.recipe is None:
            raise EvaluationError("task asr needs a fine-tuning recipe")
        if self.asr_jobs < 1:
            raise EvaluationError(f"--asr-jobs {self.asr_jobs} must be at least 1")

    def data_of(self, task: str) -> Path:
        """The prepared folder of a task."""
        return self.emotion_data if task == "emotion" and self.emotion_data else self.data

    @property
    def work(self) -> Path:
        """Where features and fine-tunings are kept."""
        return self.cache or self.dest / "cache"


@dataclass(frozen=True)
class Step:
    """One task on one representation."""

    evaluated: Evaluated
    task: str
    plan: ProbePlan | EnhancementPlan | Plan

    @property
    def path(self) -> Path:
        """The result file."""
        return self.evaluated.folder / f"{self.task}.json"

    def remark(self) -> str:
        """What a result that is there lacks, because an earlier version made it."""
        if self.read().utterances:
            return ""
        return (
            " (without counts per utterance, so no row can be compared with it in pairs: remove "
            f"{self.path} to score it again)"
        )

    def read(self) -> TaskResult | EnhancementResult | RecognitionResult:
        """The result file."""
        if isinstance(self.plan, ProbePlan):
            return read_record(self.path, TaskResult)
        if isinstance(self.plan, EnhancementPlan):
            return read_record(self.path, EnhancementResult)
        return read_record(self.path, RecognitionResult)

    def is_done(self) -> bool:
        """Whether this very result exists; a file that cannot be read does not count."""
        if not self.path.is_file():
            return False
        try:
            return self.read().key == self.plan.key
        except ResultError:
            return False


def plan_all(request: Request, progress: Progress | None = None) -> list[Step]:
    """Check everything that can be checked before anything long runs.

    Audio that is not known yet is read once for the keys, which `progress` reports.

    Raises:
        ValueError: a checkpoint, a folder or its labels do not fit; one class per kind of trouble.
    """
    for task in request.tasks:
        _check_folder_of(request, task)
    representations = load_all(request.specs, request.dest, request.names, request.group)
    return [
        Step(evaluated, task, _plan(evaluated, task, request, representations, progress))
        for evaluated in representations
        for task in request.tasks
    ]


def _plan(
    evaluated: Evaluated,
    task: str,
    request: Request,
    representations: list[Evaluated],
    progress: Progress | None,
) -> ProbePlan | EnhancementPlan | Plan:
    """Check one task on one representation."""
    upstream, data = evaluated.upstream, request.data_of(task)
    features, probe = request.work / "features", request.probe
    if task == RECOGNITION:
        options = _recognition_options(request, representations)
        return plan_recognition(upstream, data, features, options, progress)
    if task == ENHANCEMENT:
        return plan_enhancement(upstream, data, features, probe, progress)
    if task == "speaker" and request.speaker_test:
        probe = replace(probe, test_split=request.speaker_test)
    return plan_probe(task, upstream, data, features, probe, progress)


def _check_folder_of(request: Request, task: str) -> None:
    """Say which labels a task lacks, before a checkpoint is even read."""
    data = request.data_of(task)
    if not data.is_dir() or not any(data.glob("*.tsv")):
        raise EvaluationError(
            f"{data} holds no manifest: mgf prepare SOURCE --dest {data} writes one"
        )
    known = task_named(task)
    if task not in TASKS or known.probed:
        protocol_of(task, data)
    ending = known.labels
    if ending is None or any(data.glob(f"*.{ending}")):
        return
    elsewhere = ", or name a folder that has them with --emotion-data" if task == "emotion" else ""
    raise EvaluationError(
        f"task {task}: {data} holds no .{ending} labels: mgf prepare SOURCE --dest {data} "
        f"--labels {ending} writes them{elsewhere}, or leave {task} out of --tasks"
    )


def _recognition_options(request: Request, found: list[Evaluated]) -> RecognitionOptions:
    """The first checkpoint gives fbank and mfcc their Transformer, unless one is named."""
    assert request.recipe is not None
    shape = request.asr_shape
    if shape is None:
        learned = (item.upstream for item in found if item.upstream.kind not in ACOUSTIC)
        path = next((str(upstream.info["path"]) for upstream in learned), None)
        if path is not None:
            shape = shape_of(path)
    return RecognitionOptions(request.recipe, request.asr_seeds, shape, request.probe.device)


def evaluate(
    request: Request,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> list[ResultFolder]:
    """Run what is not done yet, and read everything back.

    Args:
        progress: called as (what, done, of how much).
        say: called with a sentence when a task begins, is skipped, or lacks something.

    Raises:
        ValueError: as ``plan_all``, before anything is written; or a task failed, after which the
            results before it are kept, and the same call resumes.
    """
    steps = plan_all(request, progress)
    if request.asr_jobs > 1:
        plans = [step.plan for step in steps if isinstance(step.plan, Plan) and not step.is_done()]
        trainings = [one for plan in plans for one in trainings_of(plan, request.work / "asr")]
        train_side_by_side(trainings, request.asr_jobs, say)
    folders: dict[Path, None] = {}
    for step in steps:
        evaluated = step.evaluated
        if evaluated.folder not in folders:
            remark = write_description(evaluated, _listened_to(request))
            folders[evaluated.folder] = None
            if remark:
                say(f"note: {remark}")
        if step.is_done():
            say(f"{evaluated.name}: {step.task} is done, skipped{step.remark()}")
            continue
        say(f"{evaluated.name}: {step.task}")
        _run(step, request, progress)
    return [read_results(folder) for folder in folders]


def _run(step: Step, request: Request, progress: Progress | None) -> None:
    """Run one task and write its files, the JSON last."""
    evaluated = step.evaluated
    if isinstance(step.plan, Plan):
        write_record(step.path, run_recognition(step.plan, request.work / "asr", progress))
        return
    evaluated.upstream.to(request.probe.device)
    try:
        if isinstance(step.plan, EnhancementPlan):
            write_record(step.path, run_enhancement(step.plan, progress))
            return
        run = run_probe(step.plan, progress)
    finally:
        evaluated.upstream.to("cpu")
    write_probe(evaluated.folder, step.plan, run, evaluated.group)


def _listened_to(request: Request) -> Path:
    """The manifest whose longest utterance is rebuilt: of speech not learned from, if any."""
    for split in ("valid", "test", "train"):
        if (path := request.data / f"{split}.tsv").is_file():
            return path
    return min(request.data.glob("*.tsv"))
