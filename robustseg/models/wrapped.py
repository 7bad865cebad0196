"""A network of somebody else as one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from robustseg.errors import PluginError, SettingError
from robustseg.models.base import SegmentationModel
from robustseg.models.own import OwnSpec
from robustseg.models.specs import IMAGENET

__all__ = ["WrappedModel", "build_own"]


class WrappedModel(SegmentationModel):
    """Any module that maps a normalised input to logits.

    Its parameters keep their names, so that its own checkpoints load.

    Args:
        network: Maps float (N, 3, H, W) to logits (N, num_classes, h, w), or to a mapping that has
            them as ``out`` (torchvision) or ``logits`` (transformers).
        spec: What it was registered as.
        num_classes: Channels of the logits.
    """

    def __init__(self, network: nn.Module, spec: OwnSpec, num_classes: int) -> None:
        super().__init__(spec.normalisation, num_classes)
        self.network = network

    def logits(self, x: Tensor) -> Tensor:
        """Give the logits (N, num_classes, h, w) as the network gives them.

        Raises:
            PluginError: The network gives something else.
        """
        found = self.network(x)
        if isinstance(found, Mapping):
            found = found.get("out", found.get("logits"))
        if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[1] != self.num_classes:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise PluginError(
                f"model {self.name!r} must give logits (N, {self.num_classes}, h, w), found {what}"
            )
        return found

    def stages(self, x: Tensor) -> list[Tensor]:
        """Refuse: only a ``SegmentationModel`` has stages.

        Raises:
            SettingError: Always.
        """
        raise SettingError(f"{self.name} has no stages: return a SegmentationModel to give it some")

    def decode(self, features: list[Tensor]) -> Tensor:
        """Refuse, as ``stages`` does.

        Raises:
            SettingError: Always.
        """
        raise SettingError(f"{self.name} has no decode head of its own")

    @property
    def head_modules(self) -> list[nn.Module]:
        """None is known: every parameter is trained at the same rate."""
        return []

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # noqa: ANN401
        """Give the parameters under the network's own names."""
        state: dict[str, Any] = self.network.state_dict(*args, **kwargs)
        return state

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Load parameters under the network's own names."""
        return self.network.load_state_dict(*args, **kwargs)


def build_own(spec: OwnSpec, num_classes: int) -> SegmentationModel:
    """Build a registered network with random weights.

    Raises:
        PluginError: Its function fails, returns no module, or a ``SegmentationModel`` with another
            normalisation than it was registered with.
    """
    builder = spec.load()
    what = f"model {spec.name!r} of {spec.source}"
    try:
        network = builder(num_classes)
    except Exception as error:  # whatever a stranger's function does
        raise PluginError(f"{what} cannot be built ({type(error).__name__}: {error})") from error
    if isinstance(network, SegmentationModel):
        if spec.normalisation not in (IMAGENET, network.normalisation):
            raise PluginError(f"{what} is registered with another normalisation than it has")
        return network
    if not isinstance(network, nn.Module):
        raise PluginError(f"{what} must return a torch module, found {type(network).__name__}")
    return WrappedModel(network, spec, num_classes)
