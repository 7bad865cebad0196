from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from robustseg.errors import SettingError
from robustseg.models.build import create_encoder, create_model
from robustseg.models.checkpoints import save_checkpoint


@pytest.mark.parametrize("name", ["segformer_b0@mmseg", "dlv3p_mbv2@mmseg", "dlv3p_x41@smp"])
def test_an_encoder_alone_gives_the_stages_of_its_network(name: str) -> None:
    model = create_model(name).eval()
    encoder = create_encoder(name).eval()
    encoder.load_state_dict(model.get_submodule("backbone").state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = encoder(x), model.stages(x)
    assert [f.shape[1] for f in found] == encoder.channels
    assert found[0].shape[2] == 16
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_the_output_stride_of_an_encoder() -> None:
    with torch.device("meta"):
        x = torch.empty(1, 3, 64, 64)
        assert create_encoder("dlv3p_r50@mmseg").eval()(x)[-1].shape == (1, 2048, 8, 8)
        assert create_encoder("dlv3p_r50@mmseg", 16).eval()(x)[-1].shape == (1, 2048, 4, 4)
        with pytest.raises(SettingError, match="output stride must be 16 or 8, found 4"):
            create_encoder("dlv3p_r50", 4)


def test_senseless_settings() -> None:
    with pytest.raises(SettingError, match="1 class or more, found 0"):
        create_model("segformer_b0", 0)
    with pytest.raises(SettingError, match="output stride must be 16 or 8, found 7"):
        create_model("segformer_b0", output_stride=7)


def test_the_python_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Path("w.safetensors"), "segformer_b0", create_model("segformer_b0"), {})
    text = (Path(__file__).parents[2] / "docs/models.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert '"segformer_b0.pth"' in code
    names: dict[str, object] = {}
    exec(code.replace("segformer_b0.pth", "w.safetensors"), names)
    x, model = names["x"], names["model"]
    assert isinstance(x, torch.Tensor)
    assert isinstance(model, torch.nn.Module)
    with torch.no_grad():
        assert model.eval()(x).shape == (1, 19, 256, 512)
