from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg import plugins
from robustseg.errors import NameLookupError, PluginError, SettingError
from robustseg.models import own
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.own import own_models, register_model
from robustseg.models.specs import IMAGENET, Normalisation
from robustseg.models.zoo import MODELS, find_checkpoints, get_spec, select_models


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what other tests have registered or installed, and leave nothing behind."""
    monkeypatch.setattr(own, "_registered", {})
    monkeypatch.setenv(plugins.PLUGINS, "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    own._installed.cache_clear()
    yield
    own._installed.cache_clear()


class Half(nn.Module):
    """Logits at half resolution: bare, or in a table as torchvision and transformers give them."""

    def __init__(self, num_classes: int, key: str = "") -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, 2, stride=2)
        self.key = key

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        return {self.key: self.conv(x), "aux": x} if self.key else self.conv(x)


@pytest.mark.parametrize("key", ["", "out", "logits"])
def test_a_registered_network_is_built_by_name(key: str) -> None:
    @register_model(label="Half", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    def half(num_classes: int) -> nn.Module:
        return Half(num_classes, key)

    model = create_model("half", 5).eval()
    assert isinstance(model, SegmentationModel)
    assert (model.name, model.num_classes) == ("half", 5)
    assert model.normalisation == Normalisation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert get_spec("half").label == "Half"
    x = torch.randn(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    conv = model.get_submodule("network.conv")
    with torch.no_grad():
        wanted = conv(x)
        assert torch.equal(model.logits(x), wanted)
        resized = F.interpolate(wanted, size=(9, 12), mode="bilinear", align_corners=False)
        assert torch.equal(model(x), resized)
    assert set(model.state_dict()) == {"conv.weight", "conv.bias"}
    doubled = {k: 2 * v for k, v in model.state_dict().items()}
    model.load_state_dict(doubled, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x), 2 * wanted)


def test_a_network_with_stages_is_taken_as_it_is() -> None:
    class Staged(SegmentationModel):
        def __init__(self) -> None:
            super().__init__(IMAGENET, 19)
            self.conv = nn.Conv2d(3, 19, 1)

        def stages(self, x: Tensor) -> list[Tensor]:
            return [x] * 4

        def decode(self, features: list[Tensor]) -> Tensor:
            logits: Tensor = self.conv(features[0])
            return logits

        @property
        def head_modules(self) -> list[nn.Module]:
            return [self.conv]

    register_model("staged")(lambda num_classes: Staged())
    model = create_model("staged")
    assert type(model) is Staged
    assert model.name == "staged"
    assert model(torch.zeros(1, 3, 4, 4)).shape == (1, 19, 4, 4)


def test_two_normalisations_of_one_network() -> None:
    zoo = create_model("segformer_b0")
    register_model("staged", mean=(1.0, 2.0, 3.0))(lambda num_classes: zoo)
    with pytest.raises(PluginError, match="registered with another normalisation"):
        create_model("staged")


def test_a_bare_module_has_no_stages() -> None:
    register_model("half")(Half)
    model = create_model("half")
    assert model.head_modules == []
    with pytest.raises(SettingError, match="half has no stages"):
        model.stages(torch.zeros(1, 3, 4, 4))


def test_lists_and_patterns_know_the_network(tmp_path: Path) -> None:
    register_model("my_half")(Half)
    assert select_models(["my_*"]) == ["my_half"]
    assert select_models(["my_half", "segformer_b0"]) == ["my_half", "segformer_b0"]
    assert select_models(["all"]) == [*MODELS]
    (tmp_path / "my_half.pth").touch()
    assert find_checkpoints(tmp_path) == ["my_half"]
    with pytest.raises(NameLookupError, match="did you mean my_half"):
        get_spec("my_halv")


@pytest.mark.parametrize("name", ["segformer_b0", "all", "deeplabv3plus", "My-Net", "a@b", ""])
def test_names_that_cannot_be_registered(name: str) -> None:
    with pytest.raises(PluginError, match=r"is taken by robustseg|is not allowed"):
        register_model(name or " ")(Half)
    assert own_models() == {}


def test_a_name_is_given_once() -> None:
    register_model("half")(Half)
    register_model("half")(Half)  # a module that is imported again
    with pytest.raises(PluginError, match=r"the name is taken by .*Half"):
        register_model("half")(lambda num_classes: nn.Identity())


def fails(num_classes: int) -> nn.Module:
    raise ValueError("no such layer")


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (fails, r"cannot be built \(ValueError: no such layer\)"),
        (lambda num_classes: 3, "must return a torch module, found int"),
    ],
)
def test_builders_that_do_not_build(builder: object, message: str) -> None:
    register_model("bad")(builder)  # type: ignore[type-var]
    with pytest.raises(PluginError, match=message):
        create_model("bad")


@pytest.mark.parametrize("output", [None, torch.zeros(1, 7, 4, 4), torch.zeros(1, 19), {"aux": 0}])
def test_networks_that_give_no_logits(output: object) -> None:
    class Bad(nn.Module):
        def forward(self, x: Tensor) -> object:
            return output

    register_model("bad")(lambda num_classes: Bad())
    with pytest.raises(PluginError, match=r"'bad' must give logits \(N, 19, h, w\), found"):
        create_model("bad")(torch.zeros(1, 3, 8, 8))


def test_a_package_offers_a_network(tmp_path: Path) -> None:
    (tmp_path / "seg_tools.py").write_text(
        "from torch import nn\ndef tiny(num_classes): return nn.Conv2d(3, num_classes, 1)\n"
    )
    info = tmp_path / "seg_tools-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: seg-tools\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[robustseg.models]\ntiny = seg_tools:tiny\n")
    sys.path.insert(0, str(tmp_path))
    assert own_models()["tiny"].source == "seg-tools 1.2"
    assert create_model("tiny", 4)(torch.zeros(1, 3, 5, 6)).shape == (1, 4, 5, 6)
    (info / "entry_points.txt").write_text("[robustseg.models]\ntiny = seg_tools:none\n")
    own._installed.cache_clear()
    with pytest.raises(PluginError, match=r"model 'tiny' of seg-tools 1\.2: .* cannot be imported"):
        create_model("tiny")


def test_a_broken_plugin_does_not_stand_in_the_way_of_the_zoo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(plugins.PLUGINS, "nowhere_at_all")
    assert select_models(["segformer_b0", "all", "segformer"])[0] == "segformer_b0"
    assert get_spec("segformer_b5@mmseg").label == "SegFormer-B5 @mmseg"
    with pytest.raises(PluginError, match="plugin 'nowhere_at_all' cannot be imported"):
        get_spec("mine")


def test_names_are_listed_without_torch() -> None:
    script = (
        "import sys; from robustseg.models.zoo import known_models; known_models();"
        "print([m for m in ('numpy', 'timm', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
