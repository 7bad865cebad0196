from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from robustseg.erf.figures import display, draw_fields
from robustseg.erf.gradients import FieldMap

MODELS = [("segformer_b0", "SegFormer-B0"), ("dlv3p_r50", "DLv3+ (R50)")]
TAPS = ["stage1", "stage4", "head"]


def fields() -> dict[tuple[str, str], FieldMap]:
    rng = np.random.default_rng(0)
    return {(name, tap): rng.random((24, 24), np.float32) for name, _ in MODELS for tap in TAPS}


def test_display_is_the_fourth_root_of_the_share() -> None:
    found = display(np.array([[16.0, 1.0], [0.0, 81.0]], np.float32))
    np.testing.assert_allclose(found, np.array([[2 / 3, 1 / 3], [0.0, 1.0]]), rtol=1e-6)


def test_display_of_an_empty_field_is_black() -> None:
    found = display(np.zeros((3, 3), np.float32))
    assert found.shape == (3, 3)
    assert not found.any()


def test_figure_has_a_panel_for_each_model_and_tap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    real = Figure.savefig

    def spy(self: Figure, *args: object, **kwargs: object) -> None:
        drawn.append(self)
        real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", spy)
    maps = fields()
    draw_fields(maps, MODELS, TAPS, 1, tmp_path / "deep" / "erf.png")
    (figure,) = drawn
    panels = [axis for axis in figure.axes if axis.get_images() and not axis.get_yticks().size]
    assert len(panels) == 6
    assert [a.get_title() for a in panels[:3]] == ["Stage-1", "Stage-4", "Head"]
    assert [a.get_ylabel() for a in panels[::3]] == ["SegFormer-B0", "DLv3+ (R50)"]
    for axis, (name, tap) in zip(panels, [(n, t) for n, _ in MODELS for t in TAPS], strict=True):
        (shown,) = axis.get_images()
        np.testing.assert_allclose(np.asarray(shown.get_array()), display(maps[name, tap]))
    caption = figure.get_supxlabel()
    assert "over 1 image, 24 x 24 centre crop" in caption
    with Image.open(tmp_path / "deep" / "erf.png") as opened:
        opened.load()
        assert opened.width > opened.height


def test_figure_of_one_panel(tmp_path: Path) -> None:
    maps = {("segformer_b0", "head"): np.zeros((8, 8), np.float32)}
    draw_fields(maps, MODELS[:1], ["head"], 100, tmp_path / "erf.pdf")
    assert (tmp_path / "erf.pdf").read_bytes().startswith(b"%PDF")
    assert [p.name for p in tmp_path.iterdir()] == ["erf.pdf"]
