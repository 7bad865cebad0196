"""Training: the loop, on one device or several, and what it leaves behind."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from robustseg.datasets.cityscapes import fingerprint
from robustseg.datasets.labels import NUM_CLASSES
from robustseg.datasets.sample import Frame
from robustseg.engine.auxiliary import Learner, build_auxiliary
from robustseg.engine.bad_batch import report_batch
from robustseg.engine.crops import Crops, Share, batches, class_weights
from robustseg.engine.device import pick_precision
from robustseg.engine.distributed import Process, agreed, joined, parallel, sum_over
from robustseg.engine.inference import Inference
from robustseg.engine.monitor import Monitor
from robustseg.engine.optimization import (
    build_optimizer,
    counted_pixels,
    seed_step,
    set_rate,
    summed_loss,
)
from robustseg.engine.pictures import DecodedSamples
from robustseg.engine.recipes import Recipe
from robustseg.engine.states import Paths, States, prune
from robustseg.engine.stopping import Signals
from robustseg.engine.validation import validate
from robustseg.errors import CheckpointError, RobustsegError, SettingError, first_line
from robustseg.files import set_aside, write_text
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.checkpoints import initialise, read_checkpoint, save_checkpoint
from robustseg.models.deeplabv3plus import DeepLabV3Plus
from robustseg.progress import Console, Task

__all__ = ["Options", "Paths", "build_optimizer", "new_model", "train"]

LOG_EVERY = 10
MEMORY = 4 << 30
"""Bytes of decoded images that all processes on a machine together may keep."""


@dataclass(frozen=True)
class Options:
    """What a training is told beside its recipe; none of it changes the numbers.

    Attributes:
        workers: Threads that make crops; 0 makes them in the loop's own.
        validation: Images to validate on, every ``validate_every`` iterations of the recipe.
        keep: States, and weights of validations, that are kept.
        save_minutes: Time between two states.
        board: Whether to write for TensorBoard too.
    """

    workers: int = 0
    validation: Sequence[Frame] = ()
    keep: int = 2
    save_minutes: float = 5.0
    board: bool = False


def new_model(
    name: str, recipe: Recipe, seed: int, init: Path | None, console: Console | None = None
) -> SegmentationModel:
    """Build a network to be trained, with random weights or those of a checkpoint.

    Args:
        name: The network's name in the zoo.
        recipe: Its output stride and stochastic depth are used.
        seed: Of the random weights.
        init: A checkpoint of the network or of its encoder, of any known code base.
        console: Told of the licence of that checkpoint's weights.

    Raises:
        CheckpointError: The checkpoint is missing or holds another network.
        SettingError: It says an output stride that is not the recipe's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name, NUM_CLASSES, recipe.output_stride, recipe.drop_path)
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
    *,
    validation: Sequence[Frame] = (),
    keep: int = 2,
    save_minutes: float = 5.0,
    board: bool = False,
    deterministic: bool = False,
) -> None:
    """Train a network and write its checkpoint.

    A training that was stopped goes on from its last state; crops, orders, rates and random
    streams are functions of the iteration, so nothing is seen twice. Processes that ``torchrun``
    started share the batch; only the first writes and speaks.

    Args:
        name: The network's name in the zoo.
        model: The network on the device to use.
        frames: Training images.
        recipe: Everything that matters.
        seed: Of crops, dropout and stochastic depth.
        paths: Where files go.
        workers: Threads that make crops; 0 makes them in the loop's own.
        console: For progress.
        validation: Images to validate on; none is validated where there are none.
        keep: States, and weights of validations, that are kept.
        save_minutes: Time between two states.
        board: Whether to write for TensorBoard too.
        deterministic: Whether torch is to use the same order of additions in every run.

    Raises:
        SettingError: The recipe cannot train this network, or a state of another recipe is there.
        CheckpointError: There are states, and none is sound.
        RobustsegError: The loss is not finite; earlier states and weights are kept. Or another
            process failed.
        DataError: An image or label cannot be read.
        KeyboardInterrupt: Ctrl-C; a state was saved.
        SystemExit: SIGTERM or SIGUSR1; a state was saved. The code is 128 + the signal's number.
    """
    device = next(model.parameters()).device
    recipe = replace(recipe, precision=pick_precision(recipe.precision, device))
    options = Options(workers, validation, keep, save_minutes, board)
    with _switches(device, deterministic), Signals() as signals, joined(device) as process:
        if process.rank:
            console = Console(quiet=True)
        _check(model, recipe, process)
        if paths.weights.exists():
            _check_done(paths, recipe, seed, frames)
            console.say(f"{name}: {paths.weights} is what this training ends in; nothing is left")
            return
        run = _Run(name, model, frames, recipe, seed, paths, options, console, process, signals)
        try:
            run.run()
        except RuntimeError as error:  # how a process learns that another has gone
            if process.world == 1 or type(error).__name__ == "OutOfMemoryError":
                raise
            raise RobustsegError(
                f"process {process.rank} cannot go on ({first_line(error)}): if another process "
                "failed before, its message says why"
            ) from error
        finally:
            run.monitor_closed()


def _check(model: SegmentationModel, recipe: Recipe, process: Process) -> None:
    Share(process.rank, process.world, recipe.accumulate).size(recipe.batch_size)
    if isinstance(model, DeepLabV3Plus) and recipe.batch_size // recipe.accumulate < 2:
        raise SettingError(
            "DeepLabv3+ needs batch_size of 2 or more in each accumulated part: it norms pooled "
            "images"
        )


def _check_done(paths: Paths, recipe: Recipe, seed: int, frames: Sequence[Frame]) -> None:
    """Refuse to overwrite weights that are not the outcome of this very training.

    Those that are may be met again when a job is repeated that ended just before it was killed.
    """
    with suppress(CheckpointError):
        card = read_checkpoint(paths.weights).card
        facts = [recipe.to_json(), recipe.iterations, seed, fingerprint(frames)]
        keys = ("recipe", "iterations", "seed", "data")
        if [card.get(key) for key in keys] == [str(fact) for fact in facts]:
            return
    raise SettingError(
        f"{paths.weights} exists and is not overwritten: move it, or give another --output"
    )


@contextmanager
def _switches(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Set torch's switches for one training, and leave its random streams alone."""
    strict = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    try:
        cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
        if deterministic:
            torch.use_deterministic_algorithms(True)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(strict, warn_only=warn)


class _Run:
    """One training: its parts, one step at a time, and what happens between two steps."""

    def __init__(
        self,
        name: str,
        model: SegmentationModel,
        frames: Sequence[Frame],
        recipe: Recipe,
        seed: int,
        paths: Paths,
        options: Options,
        console: Console,
        process: Process,
        signals: Signals,
    ) -> None:
        self.name, self.model, self.recipe, self.seed = name, model, recipe, seed
        self.paths, self.options, self.console = paths, options, console
        self.process, self.signals = process, signals
        self.device = next(model.parameters()).device
        if self.device.type == "cuda":
            model.to(memory_format=torch.channels_last)
        self.learner = Learner(model, build_auxiliary(model, recipe, seed))
        self.wrapped: torch.nn.Module = self.learner
        self.optimizer = build_optimizer(model, recipe, self.learner.auxiliary)
        self.facts: dict[str, int | str] = {"seed": seed, "data": fingerprint(frames)}
        self.states = States(paths, options.keep, self.facts)
        self.decoded = DecodedSamples(MEMORY // process.local_world)
        self.crops = Crops(frames, recipe, seed, self.decoded)
        self.weights: Tensor | None = None
        self.monitor: Monitor | None = None
        self.iteration = self.logged = 0
        self.saved_at = time.monotonic()
        self.between_steps = True
        self.pending: list[Tensor] = []
        self.note = ""

    def run(self) -> None:
        """Train from the last state to the end."""
        if not self.process.rank:
            self.monitor = Monitor(self.paths.folder, self.recipe.iterations, self.options.board)
        self._resume()
        if self.recipe.class_weights:
            self.weights = class_weights(self.crops.frames, self.decoded).to(self.device)
        if self.process.world > 1:
            self.wrapped = parallel(self.learner, self.device)
        self.learner.train()
        self.saved_at = time.monotonic()
        label = f"training {self.name}"
        with self.console.task(label, self.recipe.iterations, self.iteration) as task:
            try:
                self._steps(task)
            except KeyboardInterrupt:
                if self.between_steps and self.process.world == 1:
                    self._save()
                raise
        self._finish()

    def _steps(self, task: Task) -> None:
        share = Share(self.process.rank, self.process.world, self.recipe.accumulate)
        pin = self.device.type == "cuda"
        loader = batches(self.crops, self.iteration, self.options.workers, share, pin)
        with closing(cast("Generator[tuple[Tensor, Tensor]]", loader)):
            while self.iteration < self.recipe.iterations:
                parts = [self._moved(*next(loader)) for _ in range(share.parts)]
                self.between_steps = False
                self._step(parts)
                self._between()
                self.between_steps = True
                task.advance(note=self.note)

    def _moved(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.device.type == "cpu":
            return images, labels
        return images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def _step(self, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take one step on the batch of which these are this process's parts."""
        recipe, process = self.recipe, self.process
        set_rate(self.optimizer, recipe.learning_rate(self.iteration))
        self.optimizer.zero_grad(set_to_none=True)
        counts = [counted_pixels(labels, self.weights, recipe.loss_over) for _, labels in parts]
        total = sum_over(torch.stack(counts).sum(), process)
        total = torch.where(total > 0, total, 1.0)  # nothing but ignored pixels: a loss of 0
        losses = []
        for part, (images, labels) in enumerate(parts):
            seed_step(self.seed, self.iteration, part, process.rank)
            # gradients of all parts but the last stay here
            with nullcontext() if part + 1 == len(parts) else self._unsynchronised():
                share = self._loss(images, labels.long()) / total
                # gradients are averaged over processes, and their sum is wanted
                torch.autograd.backward(share * process.world)
            losses.append(share.detach())
        found = torch.stack(losses).sum()
        # a look costs nothing here; a GPU would have to be waited for
        if self.device.type == "cpu":
            loss = float(sum_over(found.clone(), process))  # which adds in place
            if not math.isfinite(loss):
                raise self._bad_batch(self.iteration + 1, loss)
        self.optimizer.step()
        self.iteration += 1
        self.pending.append(found)

    def _unsynchronised(self) -> Any:  # noqa: ANN401
        wrapped = self.wrapped
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        half = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            logits, *auxiliary = self.wrapped(images)
        loss = summed_loss(logits, labels, self.weights)
        for extra in auxiliary:
            loss = loss + self.recipe.auxiliary * summed_loss(extra, labels, self.weights)
        return loss

    def _between(self) -> None:
        """Log, validate, save and stop, where it is time to."""
        last = self.iteration == self.recipe.iterations
        if self.iteration % LOG_EVERY == 0 or last:
            self._log()
        every = self.recipe.validate_every
        validating = bool(every and self.options.validation)
        validating = validating and (last or self.iteration % every == 0)
        stop, due = self._wishes()
        if validating:
            self._validate()
        if (validating or due or stop) and not last:
            self._save()
        if stop and not last:
            Signals.leave(stop, self.iteration, self.console)

    def _wishes(self) -> tuple[int, int]:
        """Give the signal that asks for an end, and whether a state is due, for all processes."""
        late = time.monotonic() - self.saved_at > 60 * self.options.save_minutes
        # asking the others costs a GPU the steps that it could have prepared meanwhile
        costly = self.process.world > 1 and self.device.type == "cuda"
        if costly and self.iteration % LOG_EVERY:
            return 0, 0
        stop, due = agreed([self.signals.caught, int(late)], self.process, self.device)
        return stop, due

    def _log(self) -> None:
        losses = self._checked_losses()
        images = (self.iteration - self.logged) * self.recipe.batch_size
        self.logged = self.iteration
        if self.monitor is None or not losses:
            return
        rate = self.recipe.learning_rate(self.iteration - 1)
        self.note = self.monitor.logged(self.iteration, losses[-1], rate, images, self.device)

    def _checked_losses(self) -> list[float]:
        """Read the losses of the steps since the last call.

        Raises:
            RobustsegError: One is not finite.
        """
        if not self.pending:
            return []
        losses: list[float] = sum_over(torch.stack(self.pending), self.process).tolist()
        first = self.iteration - len(losses) + 1
        self.pending = []
        for iteration, loss in enumerate(losses, first):
            if not math.isfinite(loss):
                raise self._bad_batch(iteration, loss)
        return losses

    def _bad_batch(self, iteration: int, loss: float) -> RobustsegError:
        folder = self.paths.bad_batch(iteration)
        if not self.process.rank:
            report_batch(folder, self.crops, iteration, loss)
        kept = "; the last good state is kept" if self.states.files() else ""
        return RobustsegError(
            f"the loss is {loss} at iteration {iteration}: look at the batch in {folder}, or lower "
            f"the rate with --set lr={self.recipe.lr / 2:g}{kept}"
        )

    def _validate(self) -> None:
        self._check_weights()
        confusion = validate(
            self.model,
            self.options.validation,
            DecodedSamples(0),  # a training's own memory is better used for what it sees often
            Inference(),
            Share(self.process.rank, self.process.world),
        )
        if self.monitor is None:
            return
        before = self.monitor.best()
        miou = self.monitor.validated(self.iteration, confusion)
        card = {**self._card(), "validation_miou": f"{miou:.4f}"}
        save_checkpoint(self.paths.weights_at(self.iteration), self.name, self.model, card)
        prune(self.paths.folder, "weights", ".safetensors", self.options.keep)
        if miou > (-1.0 if before is None else before):
            save_checkpoint(self.paths.best, self.name, self.model, card)
        self.console.say(f"{self.name}: validation mIoU {miou:.2f} % at iteration {self.iteration}")

    def _card(self) -> dict[str, str]:
        card = {
            "recipe": self.recipe.to_json(),
            "iterations": str(self.iteration),
            "seed": str(self.seed),
            "data": str(self.facts["data"]),
        }
        return card | ({"licence": self.model.licence} if self.model.licence else {})

    def _save(self) -> None:
        """Write everything that a later call needs to go on."""
        self._check_weights()
        self.saved_at = time.monotonic()
        if self.process.rank:
            return
        content = {"learner": self.learner.state_dict(), "optimizer": self.optimizer.state_dict()}
        self.states.save(self.iteration, content)

    def _check_weights(self) -> None:
        """Refuse to write weights that are spoilt, over sound ones or at all.

        Raises:
            RobustsegError: A loss, a parameter or a statistic is not finite.
        """
        self._checked_losses()
        state = self.learner.state_dict().values()
        if not all(value.isfinite().all() for value in state if value.is_floating_point()):
            kept = "the last good state is kept" if self.states.files() else "nothing was written"
            raise RobustsegError(
                f"weights are not finite at iteration {self.iteration}, though the loss was: lower "
                f"the rate with --set lr={self.recipe.lr / 2:g}; {kept}"
            )

    def _resume(self) -> None:
        """Take up a state if there is one; start the tables."""
        recipe = self.paths.recipe
        if self.states.files():
            earlier = recipe.read_text(encoding="utf-8") if recipe.exists() else ""
            if earlier != self.recipe.to_json():
                raise SettingError(
                    f"{self.paths.folder} holds a stopped training with another recipe: repeat its "
                    "options to go on, or move the folder to start anew"
                )
            self.iteration = self.logged = self.states.load(self._take_up, self.console)
            self.console.say(f"{self.name}: going on from iteration {self.iteration}")
        found = agreed([self.iteration, -self.iteration], self.process, self.device)
        if found[0] != -found[1]:
            raise RobustsegError(
                f"processes found states of different iterations in {self.paths.folder}: it must "
                "be on a file system that all of them see"
            )
        if self.monitor is not None:
            self.states.sweep()
            if not self.iteration:
                self._keep_earlier()
                write_text(recipe, self.recipe.to_json())
            self.monitor.start(self.iteration)

    def _keep_earlier(self) -> None:
        """Set the folder of an earlier training aside, whose weights were moved or never came."""
        folder = self.paths.folder
        if any(folder.glob("*.safetensors")) or any(folder.glob("bad-batch-*")):
            self.console.say(f"files of an earlier training are now in {set_aside(folder)}")
            folder.mkdir()

    def _take_up(self, content: dict[str, Any]) -> None:
        self.learner.load_state_dict(content["learner"])
        self.optimizer.load_state_dict(content["optimizer"])

    def _finish(self) -> None:
        self._check_weights()
        if self.monitor is None:
            return
        self.monitor.finish()
        # from here on the training is done, also if what follows is not
        save_checkpoint(self.paths.weights, self.name, self.model.eval(), self._card())
        self.states.remove()  # the weights are safe, the optimizer's moments are spent

    def monitor_closed(self) -> None:
        """Close the tables, however the training ended."""
        if self.monitor is not None:
            self.monitor.close()
