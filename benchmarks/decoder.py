"""Times a training step of SegFormer's decoder beside its textbook form.

    python -m benchmarks.decoder                           # the decoder of B2 at 1024 x 1024

Both forms are the project's own, with the same weights and features: ``forward`` multiplies the
linear layers out, ``textbook`` upsamples, concatenates and fuses as equation 4 is written, and as
the peers do. Forward and backward in turns, medians. The last figure is how far the gradients lie
apart, relative to the largest of each parameter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from benchmarks.memory import peak_memory
from robustseg.models.build import create_model
from robustseg.models.mlp_decoder import MLPDecoder

Form = Callable[[list[Tensor]], Tensor]


def step(decoder: MLPDecoder, form: Form, features: list[Tensor]) -> list[Tensor]:
    """Run forward and backward; give the gradients of all weights."""
    decoder.zero_grad(set_to_none=True)
    loss = form([f.detach().requires_grad_() for f in features]).square().mean()
    torch.autograd.backward(loss)
    # what a batch norm takes away again, biases, has gradients that are rounding errors alone
    return [p.grad for p in decoder.parameters() if p.grad is not None and p.ndim > 1]


def main() -> None:
    """Print milliseconds and memory of both forms, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="segformer_b2")
    parser.add_argument("--size", nargs=2, type=int, default=[1024, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = create_model(args.model).train()
    decoder = model.get_submodule("decode_head")
    assert isinstance(decoder, MLPDecoder)
    decoder.dropout.p = 0  # two forms that drop differently cannot be compared
    with torch.no_grad():
        decoder.linear_fuse.bn.bias.fill_(6)  # no pixel at the kink of the ReLU, which may flip
        features = model.stages(torch.randn(1, 3, *args.size))
    forms: dict[str, Form] = {"composed": decoder.forward, "textbook": decoder.textbook}
    gradients = {name: step(decoder, form, features) for name, form in forms.items()}
    apart = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(*gradients.values(), strict=True)
    )
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(args.rounds):
        for name, form in forms.items():
            started = time.perf_counter()
            step(decoder, form, features)
            times[name].append(time.perf_counter() - started)
    medians = {name: median(seconds) for name, seconds in times.items()}
    for name, form in forms.items():
        memory = peak_memory(lambda form=form: step(decoder, form, features))  # type: ignore[misc]
        print(f"{name:9} {medians[name] * 1e3:9.1f} ms  +{memory:6.0f} MiB")
    ratio = medians["textbook"] / medians["composed"]
    print(f"ratio {ratio:.2f}; gradients apart by {apart:.0e}")


if __name__ == "__main__":
    main()
