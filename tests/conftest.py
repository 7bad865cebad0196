from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from robustseg.corruptions.severity import CORRUPTIONS, SEVERITIES
from robustseg.models.zoo import get_spec
from robustseg.results import Cell, CellResult, ModelInfo, Protocol

# networks as small as those of the tests lose more by waiting for a second thread than they gain,
# the more so where tests run side by side
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def _no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test, and what it starts, from the network and from the user's own caches."""
    place = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTSEG_OFFLINE", "1")
        patch.setenv("ROBUSTSEG_CACHE", str(place / "robustseg"))
        patch.setenv("HF_HOME", str(place / "huggingface"))
        for name in ("HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "ROBUSTSEG_ACCEPT_LICENCE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    return Protocol(
        data="cityscapes",
        split="val",
        images=500,
        limited=False,
        fingerprint="f" * 64,
        inference="slide",
        window=1024,
        stride=768,
        precision="fp32",
        seed=0,
        definition="imagecorruptions-1.1.2",
        source="computed",
    )


@pytest.fixture(scope="session")
def make_result(protocol: Protocol) -> Callable[..., CellResult]:
    """Make a result whose mIoU is ``percent``, given to at most three decimals."""

    def make(
        percent: str | Decimal = "50",
        cell: Cell = Cell("clean", 0),  # noqa: B008
        model: str = "segformer_b0",
        settings: Protocol = protocol,
        **facts: str,
    ) -> CellResult:
        # two classes of 100,000 pixels with as many confused each way have IoU a / (a + 2 b)
        right = int(Decimal(percent) * 2000)
        wrong = 100_000 - right // 2
        matrix = np.array([[right, wrong], [wrong, right]], np.int64)
        info = ModelInfo(
            model, get_spec(model).label, "c" * 64, f"checkpoints/{model}.pth", 3719027
        )
        return CellResult(
            settings,
            replace(info, **facts),  # type: ignore[arg-type]
            cell,
            matrix,
            {"robustseg": "0.1.0", "torch": "2.15.0"},
            {"device": "cpu", "seconds": 1.5},
        )

    return make


@pytest.fixture(scope="session")
def make_row(make_result: Callable[..., CellResult]) -> Callable[..., list[CellResult]]:
    """Make all 81 cells of a network; each severity has its corruption's percentage."""

    def make(
        clean: str | Decimal, columns: Mapping[str, str | Decimal] | str, **facts: object
    ) -> list[CellResult]:
        if isinstance(columns, str):
            columns = dict.fromkeys(CORRUPTIONS, columns)
        cells = [Cell(name, severity) for name in columns for severity in SEVERITIES]
        return [
            make_result(clean, **facts),
            *[make_result(columns[c.corruption], c, **facts) for c in cells],
        ]

    return make
