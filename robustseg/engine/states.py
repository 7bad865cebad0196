"""The numbered states of a training: written as a whole, the newest sound one taken up again."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from robustseg.errors import CheckpointError, SettingError
from robustseg.files import set_aside, write_bytes
from robustseg.progress import Console

__all__ = ["Paths", "States", "check_whole", "numbered", "prune"]

BROKEN = (
    pickle.UnpicklingError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    zipfile.BadZipFile,
)
"""What torch raises for files that are cut, altered, or of something else."""


@dataclass(frozen=True)
class Paths:
    """Where a training puts its files.

    Attributes:
        weights: The checkpoint that ``evaluate`` finds, written at the end.
        folder: Recipe, tables, states and weights on the way, beside it.
    """

    weights: Path
    folder: Path

    @classmethod
    def below(cls, output: Path, model: str) -> Paths:
        """Name the files of a network's training in an output folder."""
        return cls(output / f"{model}.safetensors", output / f"{model}.train")

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.folder / "recipe.json"

    @property
    def log(self) -> Path:
        """Loss, rate and speed, by iteration."""
        return self.folder / "log.csv"

    @property
    def validation(self) -> Path:
        """Validation scores by iteration."""
        return self.folder / "validation.csv"

    @property
    def best(self) -> Path:
        """The weights of the highest validation mIoU."""
        return self.folder / "best.safetensors"

    def state(self, iteration: int) -> Path:
        """Everything needed to go on from an iteration."""
        return self.folder / f"state-{iteration}.pt"

    def weights_at(self, iteration: int) -> Path:
        """The weights at a validation."""
        return self.folder / f"weights-{iteration}.safetensors"

    def bad_batch(self, iteration: int) -> Path:
        """What is known of the batch whose loss was not finite."""
        return self.folder / f"bad-batch-{iteration}"


def numbered(folder: Path, stem: str, suffix: str) -> list[Path]:
    """List the files ``<stem>-<number><suffix>`` of a folder, the highest number first."""
    found = {
        int(number): path
        for path in folder.glob(f"{stem}-*{suffix}")
        if (number := path.name[len(stem) + 1 : -len(suffix)]).isdecimal()
    }
    return [found[number] for number in sorted(found, reverse=True)]


def prune(folder: Path, stem: str, suffix: str, keep: int) -> None:
    """Remove all numbered files of a kind but those of the ``keep`` highest numbers."""
    for path in numbered(folder, stem, suffix)[keep:]:
        path.unlink(missing_ok=True)


def check_whole(path: Path) -> None:
    """Compare the checksums that a state holds of its parts; torch does not.

    Raises:
        ValueError: A part was altered.
        zipfile.BadZipFile: The file was cut.
    """
    with zipfile.ZipFile(path) as file:
        if (altered := file.testzip()) is not None:
            raise ValueError(f"{altered} was altered")


class States:
    """The states in a training's folder.

    Args:
        paths: Where they are.
        keep: How many are kept, the newest.
        facts: Seed and fingerprint of the data, which must not change.
    """

    def __init__(self, paths: Paths, keep: int, facts: Mapping[str, int | str]) -> None:
        self.paths = paths
        self.keep = keep
        self.facts = dict(facts)
        self.damaged: list[Path] = []

    def files(self) -> list[Path]:
        """List the states, the newest first."""
        return numbered(self.paths.folder, "state", ".pt")

    def save(self, iteration: int, content: Mapping[str, Any]) -> None:
        """Write a state atomically, then remove those that are too old to be kept."""
        buffer = BytesIO()  # torch reports a full disk as no OSError
        torch.save({"iteration": iteration, **self.facts, **content}, buffer)
        write_bytes(self.paths.state(iteration), buffer.getvalue())
        prune(self.paths.folder, "state", ".pt", self.keep)

    def load(self, take_up: Callable[[dict[str, Any]], None], console: Console) -> int:
        """Take up the newest sound state.

        Args:
            take_up: Called with what was saved; may raise what torch raises for content that
                does not fit.
            console: Told of a state that was passed over.

        Returns:
            Its iteration; 0 if there is no state.

        Raises:
            SettingError: It was made with another seed or other images.
            CheckpointError: There are states, and none is sound.
        """
        files = self.files()
        for number, path in enumerate(files):
            try:
                check_whole(path)
                content = torch.load(path, map_location="cpu", weights_only=True)
                self._check(content, path)
                iteration = int(content["iteration"])
                take_up(content)
            except BROKEN as error:
                if number + 1 == len(files):
                    raise CheckpointError(
                        f"{path} is not a state of this training: move {self.paths.folder} "
                        "to start anew"
                    ) from error
                self.damaged.append(path)
                console.say(f"{path} is damaged: trying {files[number + 1].name}")
            else:
                return iteration
        return 0

    def _check(self, content: Mapping[str, Any], path: Path) -> None:
        if content["seed"] != self.facts["seed"]:
            raise SettingError(f"{path} was made with --seed {content['seed']}")
        if content["data"] != self.facts["data"]:
            raise SettingError(
                f"{path} was made with other images: repeat --root and --limit, or move it"
            )

    def sweep(self) -> None:
        """Set damaged states aside; remove the temporary files that a kill amid writing left."""
        for path in self.damaged:
            set_aside(path)  # with its high number it would push sound states out
        self.damaged = []
        for pattern in (".state-*.pt", ".weights-*.safetensors", ".best-*.safetensors"):
            for path in self.paths.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all states, of a training that has ended."""
        prune(self.paths.folder, "state", ".pt", 0)
