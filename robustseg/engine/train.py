"""Training on one device: the loop, its log, its state and the checkpoint it ends in."""

from __future__ import annotations

import csv
import math
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.datasets.cityscapes import fingerprint
from robustseg.datasets.labels import IGNORE, NUM_CLASSES
from robustseg.datasets.sample import Frame
from robustseg.engine.crops import Crops, batches, class_weights
from robustseg.engine.pictures import DecodedSamples
from robustseg.engine.recipes import Recipe
from robustseg.errors import CheckpointError, RobustsegError, SettingError
from robustseg.files import set_aside, write_bytes, write_text
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.checkpoints import initialise, read_checkpoint, save_checkpoint
from robustseg.progress import Console

__all__ = ["Paths", "build_optimizer", "new_model", "train"]

SAVE_EVERY = 200
LOG_EVERY = 10
MEMORY = 4 << 30
"""Bytes of decoded images that all workers together may keep."""


@dataclass(frozen=True)
class Paths:
    """Where a training puts its files.

    Attributes:
        weights: The checkpoint that ``evaluate`` finds, written at the end.
        folder: Recipe, log and the state to resume from, beside it.
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
        """Iteration, loss and rate."""
        return self.folder / "log.csv"

    @property
    def state(self) -> Path:
        """Everything needed to go on."""
        return self.folder / "state.pt"


def build_optimizer(model: SegmentationModel, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimizer with the recipe's parameter groups.

    The head's rate is multiplied by ``head_lr_factor``; norms of the encoder are not decayed
    unless the recipe says so (the head's are: the released configuration names the whole head).
    """
    head = {id(p) for module in model.head_modules for p in module.parameters()}
    norms = {
        id(p)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm | nn.modules.batchnorm._BatchNorm)
        for p in module.parameters()
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        in_head = id(parameter) in head
        factor = recipe.head_lr_factor if in_head else 1.0
        free = id(parameter) in norms and not in_head and not recipe.decay_norms
        groups.setdefault((factor, 0.0 if free else recipe.weight_decay), []).append(parameter)
    described = [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (factor, decay), parameters in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(described, lr=recipe.lr, momentum=recipe.momentum)
    return torch.optim.AdamW(described, lr=recipe.lr, betas=(recipe.momentum, 0.999))


def new_model(
    name: str, recipe: Recipe, seed: int, init: Path | None, console: Console | None = None
) -> SegmentationModel:
    """Build a network to be trained, with random weights or those of a checkpoint.

    Args:
        name: The network's name in the zoo.
        recipe: Its output stride is used.
        seed: Of the random weights.
        init: A checkpoint of the network or of its encoder, of any known code base.
        console: Told of the licence of that checkpoint's weights.

    Raises:
        CheckpointError: The checkpoint is missing or holds another network.
        SettingError: It says an output stride that is not the recipe's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name, NUM_CLASSES, recipe.output_stride)
    if init is not None:
        checkpoint = read_checkpoint(init)
        stride = checkpoint.card.get("output_stride", str(recipe.output_stride))
        if stride != str(recipe.output_stride):
            raise SettingError(
                f"{init} has output stride {stride}, the recipe {recipe.output_stride}: "
                f"give --set output_stride={stride}"
            )
        model.licence = initialise(model, checkpoint)
        if model.licence and console is not None:
            console.say(f"licence of the weights: {model.licence}")
    return model


def train(
    name: str,
    model: SegmentationModel,
    frames: Sequence[Frame],
    recipe: Recipe,
    seed: int,
    paths: Paths,
    workers: int,
    console: Console,
) -> None:
    """Train a network and write its checkpoint.

    A training that was stopped goes on from its last saved state; crops, orders and rates are
    functions of the iteration, so nothing is seen twice.

    Args:
        name: The network's name in the zoo.
        model: The network on the device to use.
        frames: Training images.
        recipe: Everything that matters.
        seed: Of crops, dropout and stochastic depth.
        paths: Where files go.
        workers: Processes that make crops; 0 makes them in this one.
        console: For progress.

    Raises:
        SettingError: The recipe cannot train this network, or a state of another recipe is there.
        RobustsegError: The loss is no longer finite; the last saved state is kept.
        DataError: An image or label cannot be read.
    """
    if recipe.batch_size < 2 and not name.startswith("segformer"):
        raise SettingError("DeepLabv3+ needs batch_size of 2 or more: it norms pooled images")
    device = next(model.parameters()).device
    optimizer = build_optimizer(model, recipe)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        facts: dict[str, int | str] = {"seed": seed, "data": fingerprint(frames)}
        start = _resume(paths, model, optimizer, recipe, facts)
        if start:
            console.say(f"{name}: going on from iteration {start}")
        crops = Crops(frames, recipe, seed, DecodedSamples(MEMORY // max(workers, 1)))
        model.train()
        weights = class_weights(frames, crops.decoded).to(device) if recipe.class_weights else None
        state = _Loop(model, optimizer, recipe, facts, paths, start, weights)
        try:
            with console.task(f"training {name}", recipe.iterations, start) as task:
                for images, labels in batches(crops, start, recipe.batch_size, workers):
                    with interrupts_held():
                        loss = state.step(images.to(device), labels.to(device))
                    task.advance(note=f"loss {loss:.3f}" if loss is not None else "")
        except KeyboardInterrupt:
            with interrupts_held():  # a second one must not cost the state
                state.save()
            raise
    card = {"recipe": recipe.to_json(), "iterations": str(recipe.iterations), "seed": str(seed)}
    if model.licence:
        card["licence"] = model.licence
    save_checkpoint(paths.weights, name, model.eval(), card)
    paths.state.unlink(missing_ok=True)  # the weights are safe, the optimizer's moments are spent


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends: a state saved amid a step does not go on exactly."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt


class _Loop:
    """The moving parts of a training: one optimisation step at a time, saved now and then."""

    def __init__(
        self,
        model: SegmentationModel,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        facts: dict[str, int | str],
        paths: Paths,
        iteration: int,
        weights: Tensor | None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.recipe = recipe
        self.facts = facts
        self.paths = paths
        self.iteration = iteration
        self.weights = weights
        self.last_loss: float | None = None

    def step(self, images: Tensor, labels: Tensor) -> float | None:
        """Take one step; give the loss where it was read, every ``LOG_EVERY`` iterations."""
        rate = self.recipe.learning_rate(self.iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        logits = self.model(self.model.normalise(images))
        loss = F.cross_entropy(logits, labels, self.weights, ignore_index=IGNORE)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.iteration += 1
        if self.iteration % LOG_EVERY == 0 or self.iteration == self.recipe.iterations:
            # the mean over no pixel is nan, though nothing is wrong
            self._log(loss.item() if (labels != IGNORE).any() else 0.0, rate)
        if self.iteration % SAVE_EVERY == 0 and self.iteration < self.recipe.iterations:
            self.save()
        return self.last_loss

    def _log(self, loss: float, rate: float) -> None:
        if not math.isfinite(loss):
            kept = "the last good state is" if self.paths.state.exists() else "the log is"
            raise RobustsegError(
                f"the loss is {loss} at iteration {self.iteration}: lower the rate with "
                f"--set lr={self.recipe.lr / 2:g}; {kept} in {self.paths.folder}"
            )
        self.last_loss = loss
        with self.paths.log.open("a", newline="") as stream:
            csv.writer(stream).writerow([self.iteration, f"{loss:.6f}", f"{rate:.3e}"])

    def save(self) -> None:
        """Write everything that a later call needs to go on, unless the weights are spoilt."""
        if not all(p.isfinite().all() for p in self.model.parameters()):
            return  # the last good state stays
        content = {
            "iteration": self.iteration,
            **self.facts,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        device = next(self.model.parameters()).device
        if device.type == "cuda":
            content["random_cuda"] = torch.cuda.get_rng_state(device)
        # torch reports a full disk as no OSError
        buffer = BytesIO()
        torch.save(content, buffer)
        write_bytes(self.paths.state, buffer.getvalue())


def _resume(
    paths: Paths,
    model: SegmentationModel,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    facts: dict[str, int | str],
) -> int:
    """Take up a saved state if there is one; start the log otherwise."""
    if paths.weights.exists():
        raise SettingError(
            f"{paths.weights} exists and is not overwritten: move it, or give another --output"
        )
    if paths.state.exists():
        earlier = paths.recipe.read_text(encoding="utf-8") if paths.recipe.exists() else ""
        if earlier != recipe.to_json():
            raise SettingError(
                f"{paths.folder} holds a stopped training with another recipe: repeat its options "
                "to go on, or move the folder to start anew"
            )
        start = _load_state(paths.state, model, optimizer, facts)
        _trim_log(paths.log, start)
        return start
    if paths.log.exists():
        set_aside(paths.log)
    write_text(paths.recipe, recipe.to_json())
    write_text(paths.log, "iteration,loss,rate\n")
    return 0


def _trim_log(log: Path, iteration: int) -> None:
    """Drop the lines that were written after the state was saved; they will come again."""
    header, *rows = log.read_text(encoding="utf-8").splitlines()
    numbers = [row.partition(",")[0] for row in rows]  # of the last row perhaps only a part
    kept = [r for r, n in zip(rows, numbers, strict=True) if n.isdigit() and int(n) <= iteration]
    write_text(log, "\n".join([header, *kept]) + "\n")


def _load_state(
    path: Path,
    model: SegmentationModel,
    optimizer: torch.optim.Optimizer,
    facts: dict[str, int | str],
) -> int:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if content["seed"] != facts["seed"]:
            raise SettingError(f"{path} was made with --seed {content['seed']}")
        if content["data"] != facts["data"]:
            raise SettingError(
                f"{path} was made with other images: repeat --root and --limit, or move it"
            )
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"])
        device = next(model.parameters()).device
        if device.type == "cuda" and "random_cuda" in content:
            torch.cuda.set_rng_state(content["random_cuda"], device)
        return int(content["iteration"])
    except (pickle.UnpicklingError, RuntimeError, KeyError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"{path} is not a state of this training: move it to start anew"
        ) from error
