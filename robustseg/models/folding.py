"""Batch norms folded into the convolutions before them, for inference.

In evaluation a batch norm is a factor and an offset for each channel. Multiplied into the weights
of the convolution that feeds it, it costs nothing: the outputs are the same up to rounding.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from robustseg.models.base import SegmentationModel
from robustseg.models.winograd import use_winograd

__all__ = ["fold_batch_norms", "prepare_for_inference"]

Model = TypeVar("Model", bound=SegmentationModel)

PROBE_SIZE = 64


def prepare_for_inference(model: Model) -> Model:
    """Make a copy of a network that only infers, and does so faster.

    Batch norms are folded, weights are laid out channels-last (as ``normalise`` lays out the
    input) and need no gradient.

    Args:
        model: A network in any mode; it is left as it is.

    Returns:
        The copy, in evaluation mode: the same function up to rounding, with fewer parameters.
    """
    twin = fold_batch_norms(copy.deepcopy(model).eval())
    twin = twin.to(memory_format=torch.channels_last)
    if next(twin.parameters()).device.type == "cpu":
        use_winograd(twin)
    return twin.requires_grad_(False)


def fold_batch_norms(model: Model) -> Model:
    """Make a copy of a network with its batch norms multiplied into its convolutions.

    Only a batch norm that one convolution feeds, and that alone uses what this gives, is folded;
    others stay.

    Args:
        model: A network in evaluation mode; it is left as it is.

    Returns:
        The copy, in evaluation mode. Convolutions gain a bias; a folded norm leaves the activation
        it applied itself, or nothing.

    Raises:
        ValueError: The network is in training mode, where statistics of the batch count.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("batch norms can only be folded in evaluation mode: call eval() first")
    twin = copy.deepcopy(model)
    for conv_name, norm_name in find_pairs(twin):
        conv, norm = twin.get_submodule(conv_name), twin.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, _BatchNorm)
        twin.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        # timm's norms apply their activation themselves
        twin.set_submodule(norm_name, getattr(norm, "act", nn.Identity()))
    return twin.eval()


class _Trace(TorchFunctionMode):
    """Follows the outputs of convolutions while a network runs, by their identity.

    Attributes:
        made: The name of the convolution that made a tensor, and the tensor itself, which is kept
            so that no other gets its identity.
        uses: How many functions were given that tensor.
        norms: The tensor that each batch norm was given, by the norm's name.
        calls: How often each convolution and batch norm ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[str, Tensor]] = {}
        self.uses: Counter[int] = Counter()
        self.norms: dict[str, int] = {}
        self.calls: Counter[str] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        # asking for a shape is no use of the values
        if getattr(func, "__name__", "") not in ("__get__", "dim", "size"):
            given = (id(leaf) for leaf in tree_leaves((args, kwargs)))
            self.uses.update(tensor for tensor in given if tensor in self.made)
        return func(*args, **kwargs)

    def after_conv(self, name: str, output: Tensor) -> None:
        """Note that a convolution ran."""
        self.made[id(output)] = (name, output)
        self.calls[name] += 1

    def before_norm(self, name: str, given: Tensor) -> None:
        """Note that a batch norm is about to run."""
        self.norms[name] = id(given)
        self.calls[name] += 1

    def pairs(self) -> list[tuple[str, str]]:
        """List convolutions and norms that ran once, the one for the other alone."""
        return [
            (self.made[tensor][0], norm)
            for norm, tensor in self.norms.items()
            if tensor in self.made
            and self.uses[tensor] == self.calls[norm] == self.calls[self.made[tensor][0]] == 1
        ]


def find_pairs(model: SegmentationModel) -> list[tuple[str, str]]:
    """Find the names of each convolution and the batch norm that alone uses its output.

    The network runs once on a small input; a norm belongs to the convolution whose output is, as
    an object, the norm's input. So the order of execution counts, not that of definition.
    """
    trace = _Trace()
    hooks: list[RemovableHandle] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(
                module.register_forward_hook(
                    lambda _, inputs, output, name=name: trace.after_conv(name, output)
                )
            )
        elif isinstance(module, _BatchNorm):
            hooks.append(
                module.register_forward_pre_hook(
                    lambda _, inputs, name=name: trace.before_norm(name, inputs[0])
                )
            )
    weight = next(model.parameters())
    try:
        with torch.no_grad(), trace:
            model.logits(weight.new_zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    finally:
        for hook in hooks:
            hook.remove()
    return trace.pairs()
