"""Times the networks beside those of transformers and segmentation_models_pytorch.

    pip install ".[bench]"
    python -m benchmarks.networks                          # each model at 512 x 1024
    python -m benchmarks.networks --models segformer_b0 --size 1024 2048
    python -m benchmarks.networks --compile                # the peers compiled too, minutes each
    python -m benchmarks.networks --device cuda --precision bf16 --compile --batch 3

All run in one process on the same input with the same weights, which ours takes from each peer
through the reader of its checkpoints; contenders take turns, and ratios are of medians. A peer runs
as shipped (transformers with scaled-dot-product attention) and at its best: channels-last, and with
``--compile`` compiled as well. Further columns are how far the logits lie apart, relative to the
largest, and by how much a call raises the memory in use.

The last column is the share of the machine's matrix rate, which is measured in the same run on
square matrices of the same precision, of 8192 on a GPU and of 2048 on a CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from benchmarks.memory import peak_memory
from benchmarks.peers import PEERS, build_peer, logits_of, with_weights_of
from robustseg.engine.profiling import count_macs
from robustseg.models.base import SegmentationModel
from robustseg.models.folding import prepare_for_inference

MODELS = ("segformer_b0", "segformer_b2", "segformer_b5", "dlv3p_mbv2", "dlv3p_r50", "dlv3p_x65")
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Setting:
    """What is run: device, input and precision."""

    device: torch.device
    size: tuple[int, int]
    batch: int
    precision: str

    def input(self) -> Tensor:
        """Make a normalised input."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.batch, 3, *self.size, generator=generator)
        return x.to(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Give the context that a network runs in."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def memory(self, run: Run) -> float:
        """Give by how many MiB a run raises the memory in use."""
        if self.device.type != "cuda":
            return peak_memory(run)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        run()
        self.wait()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 2**20


def interleaved(runs: dict[str, Run], rounds: int, setting: Setting) -> dict[str, float]:
    """Give the median seconds of each, in turns, after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            setting.wait()
            started = time.perf_counter()
            run()
            setting.wait()
            if round_:
                times[name].append(time.perf_counter() - started)
    return {name: median(seconds) for name, seconds in times.items()}


def contenders(
    library: str, name: str, stride: int, setting: Setting, compiled: bool
) -> tuple[SegmentationModel, dict[str, Run]]:
    """Build ours and the ways to run a peer; each gives logits of the peer's size."""
    peer = build_peer(library, name, stride)
    ours = prepare_for_inference(with_weights_of(peer, name, stride)).to(setting.device)
    peer = peer.to(setting.device)
    x = setting.input()
    # transformers leaves the upsampling to the caller
    whole: Callable[[Tensor], Tensor] = ours if library == "smp" else ours.logits

    def run(function: Callable[[Tensor], Tensor]) -> Run:
        def call() -> Tensor:
            with torch.inference_mode(), setting.autocast():
                return function(x)

        return call

    def last(network: Callable[..., object]) -> Callable[[Tensor], Tensor]:
        return lambda x: logits_of(network, x.contiguous(memory_format=torch.channels_last))

    runs = {"ours": run(whole), library: run(lambda x: logits_of(peer, x))}
    if compiled:
        runs["ours, compiled"] = run(torch.compile(whole))
    best = build_peer(library, name, stride).to(setting.device)
    best = best.to(memory_format=torch.channels_last)
    runs[f"{library}, channels-last"] = run(last(best))
    if compiled:
        runs[f"{library}, compiled"] = run(last(torch.compile(best)))
    return ours, runs


def matrix_rate(setting: Setting) -> float:
    """Measure multiply-accumulates a second of square matrices."""
    side = 8192 if setting.device.type == "cuda" else 2048
    kind = torch.float32 if setting.precision == "fp32" else torch.bfloat16
    a, b = (torch.randn(side, side, device=setting.device, dtype=kind) for _ in range(2))
    seconds = interleaved({"matrix": lambda: a @ b}, 10, setting)["matrix"]
    return float(side) ** 3 / seconds


def compare(
    library: str, name: str, stride: int, setting: Setting, args: argparse.Namespace
) -> None:
    """Print one line a contender."""
    ours, runs = contenders(library, name, stride, setting, args.compile)
    with torch.inference_mode():
        wanted = runs[library]().float()
        apart = {
            key: float((run().float() - wanted).abs().max() / wanted.abs().max())
            for key, run in runs.items()
        }
        memory = {key: setting.memory(run) for key, run in runs.items()}
    seconds = interleaved(runs, args.rounds, setting)
    # what the textbook form would take at the matrix rate
    least = count_macs(ours, *setting.size) * setting.batch / matrix_rate(setting)
    label = f"{name}{f' OS{stride}' if name.startswith('dlv3p') else ''}"
    for key, spent in seconds.items():
        print(
            f"{label:16} {key:28} {spent * 1e3:9.1f} ms {setting.batch / spent:8.2f}/s "
            f"ratio {spent / seconds['ours']:5.2f}  apart {apart[key]:.0e}  "
            f"+{memory[key]:6.0f} MiB  {least / spent:5.1%} of matrix rate",
            flush=True,
        )


def main() -> None:
    """Print the lines of all models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--size", nargs=2, type=int, default=[512, 1024])
    parser.add_argument("--output-stride", type=int, default=16)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = (args.size[0], args.size[1])
    setting = Setting(torch.device(args.device), size, args.batch, args.precision)
    for name in args.models:
        for library in args.peers:
            if library == "transformers" and not name.startswith("segformer"):
                continue
            compare(library, name, args.output_stride, setting, args)


if __name__ == "__main__":
    main()
