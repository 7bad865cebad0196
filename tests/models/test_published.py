from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from robustseg.errors import NameLookupError
from robustseg.models.cache import cache_folder, hub_folder
from robustseg.models.fetch import access_from
from robustseg.models.licences import LICENCES
from robustseg.models.published import (
    default_variant,
    imagenet_source,
    implied,
    published_networks,
    published_weights,
)
from robustseg.models.specs import DeepLabSpec
from robustseg.models.zoo import DEEPLAB_SPECS, MODELS, VARIANTS, get_spec


def test_every_row_is_a_variant_of_the_zoo() -> None:
    rows = published_networks()
    assert len(rows) == 18
    for row in rows:
        assert row.name in VARIANTS
        assert row.licence in LICENCES
        assert row.miou is not None
        assert 70 < row.miou < 85
        # SegFormer's authors and mmsegmentation test it in windows, DeepLabv3+ whole
        slides = row.name.startswith("segformer")
        expected = ("slide", 1024, 768) if slides else ("whole", 0, 0)
        assert (row.inference, row.window, row.stride) == expected


def test_addresses_carry_the_hash_that_is_checked() -> None:
    rows = [row for row in published_networks() if row.origin == "url"]
    assert len(rows) == 10
    for row in rows:
        assert re.fullmatch(r"https://download\.openmmlab\.com/\S+-[0-9a-f]{8}\.pth", row.address)
        assert row.address.endswith(f"-{row.sha256}.pth")
        assert re.search(r"_r50-|_r101-|_m-v2-|_mit-b\d_", row.address)
        size = re.search(r"b\d|r50|r101", row.name)
        assert size is None or f"{size[0]}_" in row.address or f"{size[0]}-" in row.address


def test_what_a_bare_name_stands_for() -> None:
    found = {name: default_variant(name) for name in MODELS}
    assert found == {
        **{f"segformer_b{n}": f"segformer_b{n}@hf" for n in range(6)},
        **{n: f"{n}@mmseg" for n in ("dlv3p_mbv2", "dlv3p_r50", "dlv3p_r101")},
        **dict.fromkeys(("dlv3p_x41", "dlv3p_x65", "dlv3p_x71")),
    }
    assert default_variant("segformer_b5@mmseg") == "segformer_b5@mmseg"
    assert default_variant("dlv3p_r101_os16@mmseg") == "dlv3p_r101_os16@mmseg"
    assert default_variant("segformer_b5@smp") is None
    assert default_variant("dlv3p_r50b@mmseg") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("segformer_b5@hf", "the paper's head, ImageNet normalisation"),
        ("segformer_b5@mmseg", "mmsegmentation's head, ImageNet normalisation"),
        ("dlv3p_r101_os16@mmseg", "mmsegmentation's head, output stride 16, ImageNet norm"),
        ("dlv3p_mbv2@vainf", "VainF's head, output stride 16, ImageNet normalisation"),
        ("dlv3p_x65", "official TensorFlow head, output stride 16, input in -1..1"),
    ],
)
def test_what_a_name_implies(name: str, text: str) -> None:
    assert implied(name).startswith(text)


def test_every_network_has_an_encoder() -> None:
    assert imagenet_source("segformer_b3").address == "nvidia/mit-b3"
    for name in (*DEEPLAB_SPECS, "dlv3p_r101@mmseg"):
        spec = get_spec(name)
        assert isinstance(spec, DeepLabSpec)
        assert imagenet_source(name).address.startswith(f"timm/{spec.backbone}.")
    with pytest.raises(NameLookupError, match="segformer_b9"):
        imagenet_source("segformer_b9")
    with pytest.raises(NameLookupError, match="no published weights are known for segformer_b5"):
        published_weights("segformer_b5")


def test_encoders_of_deeplab_are_timm_s_and_normalised_alike() -> None:
    models = pytest.importorskip("timm.models")
    for name in (*DEEPLAB_SPECS, "dlv3p_r50@mmseg", "dlv3p_r101@mmseg"):
        row, spec = imagenet_source(name), get_spec(name)
        config = models.get_pretrained_cfg(row.address.removeprefix("timm/"))
        assert config.hf_hub_id == row.address
        assert config.license == row.licence
        assert [255 * m for m in config.mean] == pytest.approx(spec.normalisation.mean)
        assert [255 * s for s in config.std] == pytest.approx(spec.normalisation.std)


def test_where_the_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    default = Path("/home/someone/.cache")
    assert cache_folder({}) == default / "robustseg"
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/robustseg")
    assert cache_folder({"XDG_CACHE_HOME": "/x", "ROBUSTSEG_CACHE": "~/y"}) == Path(
        "/home/someone/y"
    )
    assert hub_folder({}) == default / "huggingface/hub"
    assert hub_folder({"HF_HOME": "/h"}) == Path("/h/hub")
    assert hub_folder({"HF_HOME": "/h", "HF_HUB_CACHE": "/c"}) == Path("/c")


@pytest.mark.parametrize(
    ("environ", "offline", "reason"),
    [
        ({}, False, ""),
        ({}, True, "--offline forbids fetching"),
        ({"ROBUSTSEG_OFFLINE": "1"}, False, "ROBUSTSEG_OFFLINE forbids fetching"),
        ({"ROBUSTSEG_OFFLINE": "0"}, False, ""),
        ({"HF_HUB_OFFLINE": "TRUE"}, False, "HF_HUB_OFFLINE forbids fetching"),
    ],
)
def test_what_keeps_from_the_network(environ: dict[str, str], offline: bool, reason: str) -> None:
    assert access_from(environ, offline=offline).offline == reason


def test_names_are_resolved_without_heavy_libraries(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from robustseg.errors import CheckpointError\n"
        "from robustseg.models.fetch import access_from\n"
        "from robustseg.models.locate import find_all\n"
        "try:\n"
        "    find_all(['segformer_b0', 'dlv3p_r50'], {}, Path('checkpoints'), access_from())\n"
        "except CheckpointError:\n"
        "    print([m for m in ('torch', 'numpy', 'timm', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "[]\n"
