"""What an update asks of a device: how often the host waits, how many kernels, how many bytes.

No GPU is needed (counting.py). ``step_counts.json`` holds the numbers that a change may not exceed;
``python tests/test_criterion_counts.py`` writes it anew.
"""

import json
import warnings
from pathlib import Path

import counting
import pytest
import tiny
import torch
from torch.utils._pytree import tree_map_only

from mgf_fairseq.utils.transfer import as_bits

COMMITTED = Path(__file__).with_name("step_counts.json")
WINDOWS = {"target": "mfcc", "offsets": [-3, 0, 3], "frames": "all", "num_negatives": 0}
RECIPES = {"windows": WINDOWS | {"final_dim": 16}, "negatives": tiny.OBJECTIVES["phoneme"]}


class Optimizer:
    """Its norm alone, by kernels that a GPU has too."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.parameters = list(model.parameters())

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: object = None) -> torch.Tensor:
        return torch.nn.utils.get_total_norm(
            [p.grad for p in self.parameters if p.grad is not None]
        )


def batch() -> dict:
    sample = tiny.tiny_sample(range(6))
    sample["net_input"]["source"] = as_bits(sample["net_input"]["source"].float())
    return sample


def training(recipe: str) -> tuple:
    task = tiny.tiny_task()
    torch.manual_seed(3)
    objectives = {**tiny.OBJECTIVES, "phoneme": RECIPES[recipe]}
    model = tiny.build_model(task, tiny.tiny_model_config(objectives=objectives))
    return task, model, tiny.shares_criterion(task)


def run_update(task, model, criterion, optimizer: Optimizer, sample: dict, update: int) -> dict:
    """An update as the task and fairseq's trainer make it, but for the optimizer's step."""
    model.set_num_updates(update)
    criterion.begin_update(update + 1)
    task.guard.install(optimizer, pytest.fail, criterion.balance)
    loss, _, log = criterion(model, sample)
    loss.backward()
    optimizer.clip_grad_norm(0.0)
    assert not task.guard.skips_step()
    criterion.finish_update()
    criterion.balance.numbers()
    criterion.reduce_metrics([log])
    model.zero_grad()
    return log


def second_update(recipe: str, monkeypatch: pytest.MonkeyPatch) -> tuple[counting.Counts, dict]:
    """The counts and the log of an update after the first."""
    task, model, criterion = training(recipe)
    for update in range(2):
        with counting.counted(monkeypatch) as counts:
            if update == 0:
                optimizer = Optimizer(model.to(counting.DEVICE))
            log = run_update(task, model, criterion, optimizer, counting.send(batch()), update)
    return counts, log


def version() -> str:
    """Torch's, without what it was built for."""
    return torch.__version__.partition("+")[0]


def numbers_of(counts: counting.Counts) -> dict[str, int]:
    return {
        "waits": sum(counts.waits.values()),
        "blocking_transfers": counts.blocking,
        "sent_bytes": counts.sent_bytes,
        "kernels": sum(counts.kernels.values()),
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_update_waits_twice_and_makes_no_more_of_anything_than_before(recipe, monkeypatch):
    counts, log = second_update(recipe, monkeypatch)
    assert log["count:loss_phoneme"] > 0 and log["num_nonfinite"] == 0
    found = numbers_of(counts)
    assert found["waits"] <= 2, counts.waits
    assert found["blocking_transfers"] == 0
    counted = json.loads(COMMITTED.read_text())
    committed = counted[recipe]
    if counted["torch"] != version():  # another cuts some operations into other kernels
        committed["kernels"] = round(1.1 * committed["kernels"])
    more = {name: (count, committed[name]) for name, count in found.items()}
    assert all(count <= most for count, most in more.values()), more


def test_the_counter_sees_each_way_to_wait(monkeypatch):
    with counting.counted(monkeypatch) as counts:
        x = torch.arange(4.0).to(counting.DEVICE)
        assert counts.blocking == 1 and counts.sent_bytes == 16
        waits = (
            lambda: float(x.sum()),
            lambda: bool((x > 1).any()),
            lambda: x.tolist(),
            lambda: x.cpu(),
            lambda: x[x > 1],
            lambda: (x > 1).nonzero(),
        )
        for number, wait in enumerate(waits, 1):
            wait()
            assert sum(counts.waits.values()) == number
        y = x.clone().requires_grad_()
        y[torch.ones(4, dtype=torch.bool).to(counting.DEVICE)].sum().backward()
        assert sum(counts.waits.values()) > len(waits) + 1  # and in the backward pass


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_gpu_is_waited_for_twice_in_an_update(recipe):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    task, model, criterion = training(recipe)
    optimizer = Optimizer(model.cuda())
    waits: list[str] = []
    try:
        for update in range(3):
            # From pinned memory, as the loader's batches are.
            pinned = tree_map_only(torch.Tensor, lambda x: x.pin_memory(), batch())
            sample = tree_map_only(torch.Tensor, lambda x: x.cuda(non_blocking=True), pinned)
            torch.cuda.synchronize()
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                run_update(task, model, criterion, optimizer, sample, update)
                torch.cuda.set_sync_debug_mode("default")
            waits = [
                str(warning.message) for warning in found if "synchroniz" in str(warning.message)
            ]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(waits) <= 2, waits


def write() -> None:
    """Write the counts of now."""
    found: dict[str, object] = {"torch": version()}
    for recipe in RECIPES:
        with pytest.MonkeyPatch.context() as monkeypatch:
            found[recipe] = numbers_of(second_update(recipe, monkeypatch)[0])
    COMMITTED.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    write()
