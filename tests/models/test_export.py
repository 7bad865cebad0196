"""Networks pass through torch.compile, torch.export and ONNX with any input size."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim

from robustseg.models.base import SegmentationModel
from robustseg.models.segformer import SegFormer
from robustseg.models.specs import SegFormerSpec

TINY = SegFormerSpec("tiny", (8, 16, 20, 16), (1, 1, 1, 1), 24)

NETWORKS: dict[str, Callable[[], SegmentationModel]] = {
    "segformer": lambda: SegFormer(TINY, 5),
    "segformer@mmseg": lambda: SegFormer(replace(TINY, head="conv"), 5),
}
"""Small networks of every form; they pass or fail as the large ones do."""

SIZES = [(64, 64), (128, 192), (97, 131)]


@pytest.fixture(params=NETWORKS, scope="module")
def model(request: pytest.FixtureRequest) -> SegmentationModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = NETWORKS[request.param]().eval()
        for name, value in built.named_buffers():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif name.endswith("running_mean"):
                value.normal_()
    return built


def picture(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height))


def agree(model: SegmentationModel, other: Callable[[Tensor], Tensor], bound: float) -> None:
    """Compare a network with what it was turned into, at three sizes, one of them odd."""
    for size in SIZES:
        x = picture(*size)
        with torch.no_grad():
            found, wanted = other(x), model(x)
        assert found.shape == wanted.shape == (1, 5, *size)
        assert float((found - wanted).abs().max() / wanted.abs().max()) < bound
        assert torch.equal(found.argmax(1), wanted.argmax(1))


def exported(model: SegmentationModel) -> torch.export.ExportedProgram:
    sides = {2: Dim("height", min=64, max=4096), 3: Dim("width", min=64, max=4096)}
    return torch.export.export(model, (picture(96, 160),), dynamic_shapes={"x": sides})


def test_compiles_as_one_graph(model: SegmentationModel) -> None:
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    agree(model, compiled, 2e-6)


def test_gradients_of_the_compiled_network(model: SegmentationModel) -> None:
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    gradients = []
    for network in (compiled, model):
        x = picture(97, 131).requires_grad_()
        network(x)[0, :, 48, 65].sum().backward()
        assert x.grad is not None
        gradients.append(x.grad)
    found, wanted = gradients
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


def test_exports_with_any_size(model: SegmentationModel) -> None:
    program = exported(model)
    agree(model, program.module(), 2e-6)
    stream = io.BytesIO()
    torch.export.save(program, stream)
    stream.seek(0)
    agree(model, torch.export.load(stream).module(), 2e-6)


@pytest.mark.filterwarnings("ignore")  # of the exporter's own making
def test_onnx_with_any_size(model: SegmentationModel) -> None:
    runtime: Any = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    program = torch.onnx.export(exported(model), dynamo=True, verbose=False)
    assert program is not None
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    (name,) = (given.name for given in session.get_inputs())
    agree(model, lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]), 1e-5)
