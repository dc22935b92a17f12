"""Where the tests of this folder compute: ``--device``; with neither it nor a GPU, skip them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def chosen(config: pytest.Config) -> str | None:
    """What ``--device`` names, or cuda where there is one."""
    given: str | None = config.getoption("--device")
    return given or ("cuda" if torch.cuda.is_available() else None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark and skip before any fixture is made, so that skipping costs nothing."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if chosen(config) is None:
                item.add_marker(pytest.mark.skip(reason="no GPU; --device cpu runs it on the CPU"))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Give cpu or cuda."""
    found = chosen(request.config)
    assert found is not None
    return found
