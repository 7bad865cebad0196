from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.folding import prepare_for_inference

Scramble = Callable[[nn.Module], None]
Draw = Callable[..., Tensor]

SIZES = [(64, 96), (97, 131), (128, 80)]


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


def build(name: str, scramble_norms: Scramble) -> SegmentationModel:
    model = create_model(name).eval()
    scramble_norms(model)
    return model


def export_any_size(model: SegmentationModel, example: Tensor) -> ExportedProgram:
    axes = {2: Dim("height", min=64, max=4096), 3: Dim("width", min=64, max=4096)}
    return export(model, (example,), dynamic_shapes={"x": axes})


@pytest.mark.parametrize("name", ["dlv3p_mbv2"])
def test_compiles_as_one_graph(name: str, scramble_norms: Scramble, random: Draw) -> None:
    model = build(name, scramble_norms)
    torch._dynamo.reset()
    # one size, and nothing generated: any size is what the exports are tested with
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    # of the layout for which the eager network takes another way through large rates
    x = random(1, 3, 97, 131).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        close(compiled(x), model(x))
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["dlv3p_mbv2@vainf"])
def test_exports_and_onnx_give_the_same_for_any_size(
    name: str, scramble_norms: Scramble, random: Draw, tmp_path: Path
) -> None:
    # folded first, as one would for deployment: the graph is smaller
    model = prepare_for_inference(build(name, scramble_norms))
    exported = export_any_size(model, random(1, 3, 97, 131))
    program: Any = torch.onnx.export(exported, dynamo=True, verbose=False)
    path = tmp_path / "network.onnx"
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    graph = exported.module()
    with torch.no_grad():
        for size in SIZES:
            x = random(1, 3, *size)
            close(graph(x), model(x))
            (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            close(torch.from_numpy(found), model(x))
