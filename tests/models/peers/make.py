"""Writes values.npz and keys.json.gz: what peers' networks make of weights from recipe.py.

Run with the peers named in the arguments installed; mmsegmentation 1.2.2 needs mmengine, mmcv-lite
2.1.0 and a stub for mmcv._ext. Entries of other peers are kept.

    python tests/models/peers/make.py transformers segmentation_models_pytorch mmseg
"""

from __future__ import annotations

import gzip
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # a module name that starts with tests may be another package's

from recipe import named_image, named_state  # type: ignore[import-not-found]  # noqa: E402

Made = tuple[str, nn.Module, Callable[[nn.Module, Tensor], Tensor], tuple[int, int]]


def transformers_networks() -> list[Made]:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    peer = SegformerForSemanticSegmentation(SegformerConfig(num_labels=19))
    # in the layout of files, which is not that in memory
    return [("segformer_b0@hf", peer, lambda m, x: m(x).logits, (97, 131))]


def smp_networks() -> list[Made]:
    import segmentation_models_pytorch as smp

    def logits(network: nn.Module, x: Tensor) -> Tensor:
        part: Any = network
        decoded: Tensor = part.segmentation_head[0](part.decoder(part.encoder(x)))
        return decoded

    def deeplab(backbone: str, stride: int) -> nn.Module:
        made: nn.Module = smp.DeepLabV3Plus(
            backbone, encoder_weights=None, classes=19, encoder_output_stride=stride
        )
        return made

    return [
        (
            "segformer_b0@smp",
            smp.Segformer("mit_b0", encoder_weights=None, classes=19),
            logits,
            (64, 96),
        ),
        ("dlv3p_mbv2@smp", deeplab("tu-mobilenetv2_100", 16), logits, (64, 96)),
        ("dlv3p_r50@smp", deeplab("tu-resnet50", 16), logits, (64, 96)),
        ("dlv3p_x41@smp", deeplab("tu-xception41", 16), logits, (64, 96)),
    ]


def mmseg_networks() -> list[Made]:
    class Stub(types.ModuleType):
        __file__ = "none.py"

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args, **kwargs: None

    sys.modules["mmcv._ext"] = Stub("mmcv._ext")
    import mmseg.models  # type: ignore[import-not-found]
    from mmseg.registry import MODELS  # type: ignore[import-not-found]

    assert mmseg.models
    norm = {"type": "BN", "requires_grad": True}
    common = {
        "num_classes": 19,
        "norm_cfg": norm,
        "align_corners": False,
        "dropout_ratio": 0.1,
        "loss_decode": {"type": "CrossEntropyLoss"},
    }

    def build(backbone: dict[str, Any], head: dict[str, Any]) -> nn.Module:
        made: nn.Module = MODELS.build(
            {
                "type": "EncoderDecoder",
                "backbone": backbone,
                "decode_head": {**common, **head},
                "train_cfg": {},
                "test_cfg": {"mode": "whole"},
            }
        )
        return made

    def deeplab(channels: tuple[int, int], rates: tuple[int, ...]) -> dict[str, Any]:
        return {
            "type": "DepthwiseSeparableASPPHead",
            "in_channels": channels[1],
            "in_index": 3,
            "channels": 512,
            "dilations": rates,
            "c1_in_channels": channels[0],
            "c1_channels": 48,
        }

    def resnet(
        depth: int,
        dilations: tuple[int, ...],
        strides: tuple[int, ...],
        grid: tuple[int, ...] | None,
    ) -> dict[str, Any]:
        return {
            "type": "ResNetV1c",
            "depth": depth,
            "num_stages": 4,
            "out_indices": (0, 1, 2, 3),
            "dilations": dilations,
            "strides": strides,
            "norm_cfg": norm,
            "norm_eval": False,
            "style": "pytorch",
            "contract_dilation": True,
            "multi_grid": grid,
        }

    def logits(network: nn.Module, x: Tensor) -> Tensor:
        part: Any = network
        decoded: Tensor = part.decode_head(part.backbone(x))
        return decoded

    mit = {
        "type": "MixVisionTransformer",
        "embed_dims": 32,
        "num_layers": [2, 2, 2, 2],
        "num_heads": [1, 2, 5, 8],
        "patch_sizes": [7, 3, 3, 3],
        "sr_ratios": [8, 4, 2, 1],
        "out_indices": (0, 1, 2, 3),
        "mlp_ratio": 4,
        "qkv_bias": True,
    }
    mlp = {
        "type": "SegformerHead",
        "in_channels": [32, 64, 160, 256],
        "in_index": [0, 1, 2, 3],
        "channels": 256,
    }
    mobile = {
        "type": "MobileNetV2",
        "widen_factor": 1.0,
        "strides": (1, 2, 2, 1, 1, 1, 1),
        "dilations": (1, 1, 1, 2, 2, 4, 4),
        "out_indices": (1, 2, 4, 6),
        "norm_cfg": norm,
    }
    far = (1, 12, 24, 36)
    fine = resnet(50, (1, 1, 2, 4), (1, 2, 1, 1), None)
    coarse = resnet(101, (1, 1, 1, 2), (1, 2, 2, 1), (1, 2, 4))
    return [
        ("segformer_b0@mmseg", build(mit, mlp), logits, (97, 131)),
        ("dlv3p_r50@mmseg", build(fine, deeplab((256, 2048), far)), logits, (65, 97)),
        ("dlv3p_mbv2@mmseg", build(mobile, deeplab((24, 320), far)), logits, (65, 97)),
        (
            "dlv3p_r101_os16@mmseg",
            build(coarse, deeplab((256, 2048), (1, 6, 12, 18))),
            logits,
            (65, 97),
        ),
    ]


def file_state(name: str, network: nn.Module) -> dict[str, Tensor]:
    """Give a network's parameters under the names that its files have."""
    if not name.endswith("@hf"):
        return network.state_dict()
    import tempfile

    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)  # type: ignore[operator]
        return load_file(f"{folder}/model.safetensors")


def load_named(name: str, network: nn.Module, shapes: dict[str, list[int]]) -> nn.Module:
    """Load the named weights into a peer."""
    state = named_state(shapes)
    if not name.endswith("@hf"):
        network.load_state_dict(state)
        return network.eval()
    import tempfile

    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        network.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
        save_file(state, f"{folder}/model.safetensors", metadata={"format": "pt"})
        loaded: nn.Module = type(network).from_pretrained(folder)  # type: ignore[attr-defined]
    return loaded.eval()


def main() -> None:
    networks = {
        "transformers": transformers_networks,
        "segmentation_models_pytorch": smp_networks,
        "mmseg": mmseg_networks,
    }
    keys_file, values_file = HERE / "keys.json.gz", HERE / "values.npz"
    keys = json.loads(gzip.decompress(keys_file.read_bytes())) if keys_file.exists() else {}
    values = dict(np.load(values_file)) if values_file.exists() else {}
    for peer in sys.argv[1:]:
        for name, network, logits_of, (height, width) in networks[peer]():
            shapes = {k: list(v.shape) for k, v in file_state(name, network).items()}
            loaded = load_named(name, network, shapes)
            with torch.no_grad():
                logits = logits_of(loaded, named_image(height, width))[0]
            labels = logits.argmax(0).to(torch.uint8).numpy()
            keys[name] = shapes
            values[f"{name} size"] = np.array([height, width])
            values[f"{name} labels"] = labels
            values[f"{name} logits"] = logits[:, ::2, ::2].numpy()
    packed = json.dumps(keys, separators=(",", ":"), sort_keys=True).encode()
    keys_file.write_bytes(gzip.compress(packed, mtime=0))
    np.savez_compressed(values_file, **values)


if __name__ == "__main__":
    main()
