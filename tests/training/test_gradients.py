"""Two and four gloo processes give what one process gives on the whole batch."""

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch
import torch.distributed as dist
from fairseq.dataclass.configs import DistributedTrainingConfig
from fairseq.models import DistributedFairseqModel
from rank_processes import ROWS
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from mgf_fairseq.encoder.compilation import compile_encoder
from mgf_fairseq.host.iterators import without_weight
from mgf_fairseq.utils.distributed import all_reduce_sum

pytestmark = pytest.mark.ddp
NAMES = tuple(tiny.OBJECTIVES)


def train(
    names: Sequence[str],
    batches: Sequence[Any],
    overrides: dict[str, Any],
    *,
    steps: int = 1,
    backend: str = "c10d",
    shares: bool = False,
    compiled: bool = False,
) -> dict[str, Tensor | None]:
    """Gradients of the last update, scaled as fairseq's trainer does (Trainer.train_step).

    A batch is a list of rows, or None for a dummy batch. Several are micro-batches. In fp64, where
    what is left of a difference is not rounding. By weights, or by shares whose norms come from the
    updates before the last, with the angles measured in every update.
    """
    task, model, criterion = tiny.tiny_training(names, **overrides)
    if shares:
        criterion = tiny.shares_criterion(task, cosine_interval=1).train()
    model = model.double().train()
    if compiled:  # without inductor: what is tested is where graphs and DDP meet
        compile_encoder(model, "eager")
    world = dist.get_world_size() if dist.is_initialized() else 1
    wrapped: Any = model
    if world > 1:  # find_unused_parameters is off, as it is by default
        settings = DistributedTrainingConfig(ddp_backend=backend, device_id=0, tpu=False)
        group, device = dist.group.WORLD, torch.device("cpu")
        wrapped = DistributedFairseqModel(settings, model, group, device)
    for update in range(steps):  # masks are drawn anew for each, as in training
        model.set_num_updates(update)
        model.zero_grad()
        total = 0.0
        for number, rows in enumerate(batches):
            sample = tiny.tiny_sample([0, 1] if rows is None else rows)
            last = number == len(batches) - 1
            with contextlib.nullcontext() if last or world == 1 else wrapped.no_sync():
                loss, sample_size, _ = criterion(
                    wrapped, without_weight(sample) if rows is None else sample
                )
                loss.backward()
            total += sample_size
        if hasattr(wrapped, "all_reduce_grads"):
            wrapped.all_reduce_grads()
        if shares:
            criterion.finish_update()
        scale = world / float(all_reduce_sum(torch.tensor(total)))
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad *= scale
    gradients = {name: p.grad for name, p in model.named_parameters()}
    means = criterion.balance.state_dict() if shares else {}
    return gradients | {f"mean norm of {part}": torch.tensor(x) for part, x in means.items()}


def train_rank(rank: int, names: Any, batches: Any, *args: Any, **kwargs: Any) -> Any:
    torch.manual_seed(rank)  # what ranks draw from torch's generator differs
    return train(names, batches[rank], *args, **kwargs)


def assert_equal_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 0
    for name, gradient in expected.items():
        error = float((found[name] - gradient).abs().max())
        assert error <= 1e-6 * largest, f"{name}: {error} of {largest}"


def whole(rows: Sequence[list[int] | None]) -> list[int]:
    """The rows of all ranks, as one process has them in one batch."""
    return [row for part in rows for row in part or []]


@pytest.mark.parametrize("name", [*NAMES, "all"])
@pytest.mark.parametrize("world", [2, 4])
def test_gradients_of_many_ranks_equal_those_of_one_process_on_the_whole_batch(ranks, name, world):
    names = NAMES if name == "all" else (name,)
    rows = ROWS[world]
    expected = train(names, [whole(rows)], {})
    for found in ranks.run(train_rank, names, [[part] for part in rows], {}, world=world):
        assert_equal_gradients(found, expected)


@pytest.mark.parametrize("backend", ["legacy_ddp", "c10d"])
@pytest.mark.parametrize("world", [2, 4])
def test_micro_batches_and_layerdrop_leave_gradients_equal_under_each_back_end(
    ranks, world, backend
):
    # Two steps: DDP rebuilds its buckets after the first, and masks and skipped layers change.
    overrides = {"encoder_layerdrop": 0.5, "encoder_layers": 4}
    first = ROWS[world]
    micro = [first, [[row + 12 for row in part] for part in reversed(first)]]
    expected = train(NAMES, [whole(rows) for rows in micro], overrides, steps=2)
    batches = [[rows[rank] for rows in micro] for rank in range(world)]
    options = {"steps": 2, "backend": backend}
    for found in ranks.run(train_ranks_with, NAMES, batches, overrides, options, world=world):
        assert_equal_gradients(found, expected)


def train_ranks_with(rank: int, names: Any, batches: Any, overrides: Any, options: Any) -> Any:
    return train_rank(rank, names, batches, overrides, **options)


@pytest.mark.parametrize(("world", "backend"), [(2, "legacy_ddp"), (2, "c10d"), (4, "c10d")])
def test_shares_of_the_gradient_leave_many_ranks_equal_to_one_process(ranks, world, backend):
    first = ROWS[world]
    micro = [first, [[row + 12 for row in part] for part in reversed(first)]]
    options = {"steps": 3, "shares": True}
    expected = train(NAMES, [whole(rows) for rows in micro], {}, **options)
    batches = [[rows[rank] for rows in micro] for rank in range(world)]
    options = {**options, "backend": backend}
    for found in ranks.run(train_ranks_with, NAMES, batches, {}, options, world=world):
        assert_equal_gradients(found, expected)


def test_shares_of_the_gradient_do_not_move_by_a_rank_without_a_batch(ranks):
    rows = [[0, 1, 2, 3], None]
    options = {"steps": 3, "shares": True}
    expected = train(NAMES, [whole(rows)], {}, **options)
    for found in ranks.run(train_ranks_with, NAMES, [[part] for part in rows], {}, options):
        assert_equal_gradients(found, expected)


def sharded_rank(rank: int, names: Any, rows: Any) -> dict[str, Tensor]:
    """Gradients of one update, with parameters sharded over the ranks by torch's own FSDP."""
    _, model, criterion = tiny.tiny_training(names)
    model = model.double().train()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for module in (*model.encoder.layers, model):
        fully_shard(module, mesh=mesh)
    loss, _, _ = criterion(model, tiny.tiny_sample(rows[rank]))
    loss.backward()
    return {name: p.grad.full_tensor() for name, p in model.named_parameters()}


def test_parameters_sharded_by_torch_leave_gradients_equal(ranks):
    # fairseq has no back end for it; this says that nothing here prevents it.
    expected = train(NAMES, [whole(ROWS[2])], {})
    for found in ranks.run(sharded_rank, NAMES, ROWS[2]):
        assert_equal_gradients(found, expected)


def test_a_rank_with_a_dummy_batch_adds_nothing_and_nobody_waits(ranks):
    rows = [[0, 1, 2, 3], None]
    options = {"steps": 3}
    expected = train(NAMES, [whole(rows)], {}, steps=3)
    for found in ranks.run(train_ranks_with, NAMES, [[part] for part in rows], {}, options):
        assert_equal_gradients(found, expected)


def test_a_rank_with_nothing_masked_and_one_utterance_equals_one_process_too(ranks):
    # 0.8 s per row, so spans of 39 frames leave rows unmasked; one utterance has no negative.
    overrides = {"mask_length": 39}
    rows = [[0, 1], [3, 4, 8, 9]]
    expected = train(NAMES, [whole(rows)], overrides, steps=2)
    options = {"steps": 2}
    for found in ranks.run(train_ranks_with, NAMES, [[part] for part in rows], overrides, options):
        assert_equal_gradients(found, expected)


def test_a_compiled_encoder_leaves_gradients_of_two_ranks_equal_to_those_of_one_as_written(ranks):
    overrides = {"encoder_layerdrop": 0.5, "encoder_layers": 4}
    expected = train(NAMES, [whole(ROWS[2])], overrides, steps=2)
    batches, options = [[part] for part in ROWS[2]], {"steps": 2, "compiled": True}
    for found in ranks.run(train_ranks_with, NAMES, batches, overrides, options):
        assert_equal_gradients(found, expected)


def test_a_rank_that_runs_out_of_batches_gets_one_that_counts_for_nothing(corpus):
    # fairseq would see an empty batch, and forget what else this rank has in the update.
    settings = {"max_sentences": 4, "max_positions": None, "seed": 1, "num_shards": 2}
    ignored = []
    for shard in range(2):
        task = tiny.tiny_task(corpus)
        task.load_dataset("train")
        iterator = task.get_batch_iterator(task.dataset("train"), shard_id=shard, **settings)
        assert len(iterator.frozen_batches) == 3
        batches = list(iterator.next_epoch_itr())
        ignored.append([batch.get("ignore", False) for batch in batches])
    assert ignored == [[False, False], [False, True]]
