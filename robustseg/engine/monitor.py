"""Watching a training: what is written while it runs, and the figure at its end."""

from __future__ import annotations

import csv
import importlib
import io
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor

from robustseg.datasets.labels import CLASS_NAMES
from robustseg.errors import SettingError
from robustseg.files import set_aside, write_text
from robustseg.metrics.confusion import class_iou, mean_iou
from robustseg.progress import sized

__all__ = ["Monitor"]

LOG = ("iteration", "loss", "rate", "images_per_second", "memory_mb")
VALIDATION = ("iteration", "miou", *CLASS_NAMES)


class _Board(Protocol):
    """What is used of TensorBoard's writer, which has no type information of its own."""

    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def close(self) -> None: ...


class _Table:
    """A CSV file that grows by whole rows, each written out before the next step."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self.path = path
        self.header = header

    def open(self, iteration: int) -> list[list[str]]:
        """Keep the rows up to an iteration, and give them; set those of another training aside."""
        rows = self._whole_rows()
        kept = [row for row in rows if int(row[0]) <= iteration]
        if rows and iteration == 0:
            set_aside(self.path)
            kept = []
        write_text(self.path, "".join(_line(row) for row in [self.header, *kept]))
        return kept

    def _whole_rows(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        # what follows the last line break is a row that a kill cut
        whole = text[: text.rfind("\n") + 1].splitlines()[1:]
        rows = csv.reader(line for line in whole if "\0" not in line)
        return [row for row in rows if len(row) == len(self.header) and row[0].isdecimal()]

    def add(self, row: Sequence[str]) -> None:
        # opened for each row, so that a training that fails leaves nothing open
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            stream.write(_line(row))


class Monitor:
    """Writes ``log.csv``, ``validation.csv``, and what TensorBoard reads, of one training.

    One process of a training has one; the others write nothing.

    Args:
        folder: Of the training; made if it is missing.
        total: Iterations of the whole training.
        board: Whether to write ``tensorboard/`` too.

    Raises:
        SettingError: ``board`` is asked for and the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, total: int, board: bool = False) -> None:
        self.folder = folder
        self.total = total
        self._writer_class = _board_class() if board else None
        self._board: _Board | None = None
        self._log = _Table(folder / "log.csv", LOG)
        self._validation = _Table(folder / "validation.csv", VALIDATION)
        self._best: float | None = None
        self._since = time.monotonic()
        self._last = 0

    def start(self, iteration: int) -> None:
        """Begin, or go on after an iteration: later rows are dropped, since they come again.

        Files of another training that are met at iteration 0 are set aside.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log.open(iteration)
        scores = [row[1] for row in self._validation.open(iteration)]
        self._best = max((float(s) for s in scores if s), default=None)
        if self._writer_class is not None:
            purge = iteration + 1 if iteration else None
            self._board = self._writer_class(
                log_dir=str(self.folder / "tensorboard"), purge_step=purge
            )
        self._since, self._last = time.monotonic(), iteration

    def logged(
        self, iteration: int, loss: float, rate: float, images: int, device: torch.device
    ) -> str:
        """Write a row of ``log.csv``.

        Args:
            iteration: Steps taken.
            loss: Of the last step.
            rate: Base learning rate of that step.
            images: Crops that all processes together have seen since the last call.
            device: Whose memory is of interest.

        Returns:
            The note beside the progress bar.
        """
        now = time.monotonic()
        speed = images / max(now - self._since, 1e-9)
        self._since, self._last = now, iteration
        used = _memory(device)
        megabytes = f"{used / 1e6:.0f}" if used else ""
        self._log.add([str(iteration), f"{loss:.6f}", f"{rate:.3e}", f"{speed:.2f}", megabytes])
        self._show(iteration, {"loss": loss, "rate": rate, "images_per_second": speed})
        note = f"loss {loss:.3f}, lr {rate:.1e}, {speed:.1f} images/s"
        return f"{note}, {sized(used)}" if used else note

    def validated(self, iteration: int, confusion: Tensor) -> float:
        """Write a row of ``validation.csv``: mIoU and the IoU of each class, in percent.

        Args:
            iteration: Steps taken.
            confusion: int64 (19, 19), rows true classes, columns predictions.

        Returns:
            mIoU in percent, rounded to four decimals as in the file, so that a training that was
            resumed compares the same numbers; nan if no class occurs.
        """
        counts = confusion.cpu().numpy()
        miou = round(100 * mean_iou(counts), 4)
        classes = (100 * class_iou(counts)).tolist()
        self._validation.add([str(iteration), *map(_percent, [miou, *classes])])
        if not math.isnan(miou):
            self._best = miou if self._best is None else max(self._best, miou)
            named = zip(CLASS_NAMES, classes, strict=True)
            shown = {name: iou for name, iou in named if not math.isnan(iou)}
            self._show(iteration, {"validation/miou": miou})
            self._show(iteration, {f"validation/{name}": iou for name, iou in shown.items()})
        if iteration == self._last:  # no crop was seen meanwhile: validation is no training time
            self._since = time.monotonic()
        return miou

    def best(self) -> float | None:
        """Give the highest validation mIoU so far in percent, those of earlier calls included."""
        return self._best

    def finish(self) -> None:
        """End, and draw ``curves.png`` and ``curves.pdf``."""
        self.close()
        # matplotlib is loaded only by those who get here
        from robustseg.reports.curves import draw_curves

        label = self.folder.name.removesuffix(".train")
        draw_curves({label: self.folder}, self.folder / "curves.png")

    def close(self) -> None:
        """End TensorBoard's file, of a training that stops early; the tables need nothing."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _show(self, iteration: int, values: dict[str, float]) -> None:
        if self._board is None:
            return
        for name, value in values.items():
            tag = name if "/" in name else f"training/{name}"
            self._board.add_scalar(tag, value, iteration)


def _line(row: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(row)
    return stream.getvalue()


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _memory(device: torch.device) -> int:
    """Give the peak in bytes: what torch held on a GPU, what this process held otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _board_class() -> Callable[..., _Board]:
    try:
        module = importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        raise SettingError(
            "--tensorboard needs the package tensorboard, which is not installed: "
            "pip install tensorboard, or leave the option out (log.csv holds the same numbers)"
        ) from error
    return cast(Callable[..., _Board], module.SummaryWriter)
