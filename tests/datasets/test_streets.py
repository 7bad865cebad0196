from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage

from robustseg.datasets.streets import CITIES, LAYOUTS, render_street, write_streets
from robustseg.datasets.streets import writer as streets
from robustseg.datasets.streets.camera import Camera
from robustseg.datasets.streets.layout import draw_plan, layouts_of
from robustseg.datasets.streets.things import place_things
from robustseg.errors import DataError, NameLookupError, SettingError

Scene = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
SPLITS = ("train", "val")
# The label ids of the 19 evaluated classes, from the data set's public label table.
CLASSES = {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}
VOID = {0, 1, 3, 4, 5}


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {split: [render_street(96, 192, seed, split) for seed in range(30)] for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_occurs_often(scenes: dict[str, list[Scene]], split: str) -> None:
    seen: Counter[int] = Counter()
    for _, labels in scenes[split]:
        ids, pixels = np.unique(labels, return_counts=True)
        seen.update(int(i) for i, n in zip(ids, pixels, strict=True) if n >= 15)
    share = {label: seen[label] / len(scenes[split]) for label in CLASSES}
    assert min(share.values()) >= 0.25, share
    assert all(share[label] >= 0.9 for label in (7, 8, 11, 17, 21, 22, 26))


@pytest.mark.parametrize("split", SPLITS)
def test_labels_hold_only_known_ids(scenes: dict[str, list[Scene]], split: str) -> None:
    found = set(np.unique([labels for _, labels in scenes[split]]).tolist())
    assert found <= CLASSES | VOID
    assert {1, 3} <= found


def test_things_are_where_they_belong(scenes: dict[str, list[Scene]]) -> None:
    rows: dict[int, list[float]] = {label: [] for label in (7, 11, 23, 26)}
    for _, labels in scenes["train"]:
        for label in rows:
            where = np.nonzero(labels == label)[0]
            if where.size:
                rows[label].append(float(where.mean()) / labels.shape[0])
    sky, building, car, road = (float(np.mean(rows[k])) for k in (23, 11, 26, 7))
    assert sky < building < car < road


@pytest.mark.parametrize("split", SPLITS)
def test_pictures_have_the_statistics_of_photographs(
    scenes: dict[str, list[Scene]], split: str
) -> None:
    means, contrasts, fine, lost = [], [], [], []
    for image, _ in scenes[split]:
        grey = image.astype(np.float64).mean(axis=2)
        detail = grey - ndimage.gaussian_filter(grey, 1.0)
        blurred = ndimage.gaussian_filter(grey, 2.0)
        means.append(grey.mean())
        contrasts.append(grey.std())
        fine.append(detail.std())
        lost.append((blurred - ndimage.gaussian_filter(blurred, 1.0)).std() / detail.std())
    assert 70 < np.mean(means) < 150
    assert min(means) > 45
    assert max(means) < 180
    assert np.mean(contrasts) > 35
    assert min(fine) > 3.0
    # A blur takes most of the detail: there is something for the corruptions to destroy.
    assert max(lost) < 0.5


def test_no_surface_is_flat(scenes: dict[str, list[Scene]]) -> None:
    for label in (7, 8, 11, 21, 22, 26):
        spreads = [
            float(image[labels == label].astype(np.float64).std(axis=0).mean())
            for image, labels in scenes["train"]
            if (labels == label).sum() > 200
        ]
        assert min(spreads) > 4.0, label


def test_colour_alone_does_not_give_the_class_away(scenes: dict[str, list[Scene]]) -> None:
    def bins(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        levels = (image // 32).astype(np.int64)
        return levels[..., 0] * 64 + levels[..., 1] * 8 + levels[..., 2]

    counts = np.zeros((512, 34), np.int64)
    for image, labels in scenes["train"]:
        np.add.at(counts, (bins(image).ravel(), labels.ravel()), 1)
    guess = counts.argmax(axis=1)
    right = [float((guess[bins(i)] == labels).mean()) for i, labels in scenes["val"]]
    assert 0.2 < np.mean(right) < 0.75


@pytest.mark.parametrize("split", SPLITS)
def test_same_arguments_give_the_same_bytes(scenes: dict[str, list[Scene]], split: str) -> None:
    image, labels = render_street(96, 192, 3, split)
    assert np.array_equal(image, scenes[split][3][0])
    assert np.array_equal(labels, scenes[split][3][1])


def test_global_random_state_is_left_alone() -> None:
    state = np.random.get_state(legacy=False)["state"]["key"].copy()
    render_street(64, 128, 1, "val")
    assert np.array_equal(state, np.random.get_state(legacy=False)["state"]["key"])


def test_seeds_and_splits_differ(scenes: dict[str, list[Scene]]) -> None:
    pictures = {image.tobytes() for split in SPLITS for image, _ in scenes[split]}
    assert len(pictures) == 60


def test_splits_have_disjoint_layouts() -> None:
    names = {split: {layout.name for layout in layouts_of(split)} for split in SPLITS}
    assert not names["train"] & names["val"]
    assert names["train"] | names["val"] == set(LAYOUTS)
    assert min(len(found) for found in names.values()) >= 4


@pytest.mark.parametrize("split", SPLITS)
def test_each_split_renders_only_its_own_layouts(
    split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def spy(layout: object, rng: np.random.Generator) -> object:
        drawn.append(layout.name)  # type: ignore[attr-defined]
        return draw_plan(layout, rng)  # type: ignore[arg-type]

    monkeypatch.setattr(streets, "draw_plan", spy)
    for seed in range(8):
        render_street(64, 128, seed, split)
    assert set(drawn) == {layout.name for layout in layouts_of(split)}


@pytest.mark.parametrize("size", [(64, 128), (65, 131), (200, 128), (150, 333), (96, 512)])
def test_any_size_is_rendered(size: tuple[int, int]) -> None:
    image, labels = render_street(*size, 5, "val")
    assert image.shape == (*size, 3)
    assert labels.shape == size
    assert image.dtype == labels.dtype == np.uint8
    assert {7, 11} <= set(np.unique(labels).tolist())


@pytest.mark.parametrize(("seed", "split"), [(0, "train"), (2, "val")])
def test_scene_does_not_depend_on_resolution(seed: int, split: str) -> None:
    small_image, small = render_street(128, 256, seed, split)
    large_image, large = render_street(384, 768, seed, split)
    assert (large[1::3, 1::3] == small).mean() > 0.93
    reduced = np.asarray(Image.fromarray(large_image).reduce(3), np.float64)
    assert np.abs(reduced - small_image).mean() < 9


def test_full_size_scene_is_whole() -> None:
    image, labels = render_street(1024, 2048, 7, "train")
    assert image.shape == (1024, 2048, 3)
    assert len(set(np.unique(labels).tolist()) & CLASSES) >= 12


@pytest.mark.parametrize("split", SPLITS)
def test_things_stand_on_their_side_of_the_kerb(split: str) -> None:
    for layout in layouts_of(split):
        rng = np.random.default_rng(4)
        plan = draw_plan(layout, rng)
        assert -plan.left.kerb < plan.eye_at < plan.right.kerb
        for thing in place_things(plan, rng):
            on_road = -plan.left.kerb < thing.s < plan.right.kerb
            if thing.kind in ("bus", "truck", "tram"):
                assert on_road, thing
            elif thing.kind in ("lamp", "sign", "traffic_light", "bin"):
                assert not on_road, thing
            assert thing.z > 5


def test_camera_projection_agrees_with_its_rays() -> None:
    camera = Camera(height=100, width=200, focal=180.0, horizon=45.0, eye=1.4)
    first, depth = camera.ground_rows()
    z = float(depth[20])
    x, y = camera.project(np.array([[z * float(camera.slopes()[150]), 0.0, z]]))[0]
    assert (x, y) == pytest.approx((150.5, first + 20.5), abs=1e-3)
    columns = camera.wall_columns((3.0, 6.0), (3.0, 40.0))
    assert columns is not None
    seen = columns.left + np.arange(columns.along.size)
    expected = 200 / 2 + 3.0 * 180.0 / columns.depth
    assert np.abs(seen + 0.5 - expected).max() < 1e-2
    assert np.abs(columns.along + 6.0 - columns.depth).max() < 1e-3
    assert camera.wall_columns((3.0, -9.0), (3.0, -2.0)) is None


def _files(root: Path) -> dict[str, bytes]:
    paths = sorted(p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths}


def test_tree_has_the_shape_of_cityscapes(tmp_path: Path) -> None:
    calls: list[int] = []
    write_streets(tmp_path, {"train": 4, "val": 2}, 64, 128, 0, lambda: calls.append(1))
    images = sorted(tmp_path.glob("leftImg8bit/*/*/*_leftImg8bit.png"))
    labels = sorted(tmp_path.glob("gtFine/*/*/*_gtFine_labelIds.png"))
    assert len(images) == len(labels) == len(calls) == 6
    assert len(_files(tmp_path)) == 12
    for image, label in zip(images, labels, strict=True):
        split, city = image.parts[-3:-1]
        assert city in CITIES[split]
        stem = image.name.removesuffix("_leftImg8bit.png")
        assert label.name == f"{stem}_gtFine_labelIds.png"
        assert label.parts[-3:-1] == (split, city)
        name, scene, frame = stem.split("_")
        assert (name, len(scene), len(frame)) == (city, 6, 6)
        with Image.open(image) as opened:
            assert (opened.mode, opened.size) == ("RGB", (128, 64))
        with Image.open(label) as opened:
            assert (opened.mode, opened.size) == ("L", (128, 64))
            assert set(np.unique(np.asarray(opened)).tolist()) <= CLASSES | VOID


def test_cities_of_the_splits_differ() -> None:
    assert not set(CITIES["train"]) & set(CITIES["val"])


def test_written_scene_is_the_rendered_one(tmp_path: Path) -> None:
    write_streets(tmp_path, {"val": 1}, 64, 128, 0)
    (path,) = tmp_path.glob("leftImg8bit/val/*/*.png")
    (label,) = tmp_path.glob("gtFine/val/*/*.png")
    image, labels = render_street(64, 128, 0, "val")
    assert np.array_equal(np.asarray(Image.open(path)), image)
    assert np.array_equal(np.asarray(Image.open(label)), labels)


def test_resuming_keeps_whole_scenes_and_mends_the_rest(tmp_path: Path) -> None:
    write_streets(tmp_path, {"train": 3}, 64, 128, 0)
    before = _files(tmp_path)
    images = sorted(tmp_path.glob("leftImg8bit/train/*/*.png"))
    labels = sorted(tmp_path.glob("gtFine/train/*/*.png"))
    images[0].unlink()
    labels[1].unlink()
    stamps = {p: p.stat().st_mtime_ns for p in (images[2], labels[2])}
    calls: list[int] = []
    write_streets(tmp_path, {"train": 3}, 64, 128, 0, lambda: calls.append(1))
    assert _files(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    assert len(calls) == 3


def test_kill_between_label_and_image_leaves_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Image.Image.save

    def stop(self: Image.Image, *args: object, **kwargs: object) -> None:
        if self.mode == "RGB":
            raise KeyboardInterrupt
        real(self, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            write_streets(tmp_path, {"val": 1}, 64, 128, 0)
    assert [name.split("/")[0] for name in _files(tmp_path)] == ["gtFine"]
    write_streets(tmp_path, {"val": 1}, 64, 128, 0)
    assert len(_files(tmp_path)) == 2


def test_files_do_not_depend_on_workers_or_counts(tmp_path: Path) -> None:
    write_streets(tmp_path / "one", {"train": 3, "val": 2}, 64, 128, 1)
    write_streets(tmp_path / "two", {"val": 2, "train": 3}, 64, 128, 1, workers=2)
    write_streets(tmp_path / "few", {"train": 2}, 64, 128, 1)
    one = _files(tmp_path / "one")
    assert one == _files(tmp_path / "two")
    assert _files(tmp_path / "few").items() <= one.items()


@pytest.mark.parametrize(("size", "seed"), [((96, 192), 0), ((64, 128), 1)])
def test_folder_with_other_scenes_is_refused(
    tmp_path: Path, size: tuple[int, int], seed: int
) -> None:
    write_streets(tmp_path, {"val": 1}, 64, 128, 0)
    before = _files(tmp_path)
    with pytest.raises(DataError, match="another folder"):
        write_streets(tmp_path, {"val": 1}, *size, seed)
    assert _files(tmp_path) == before


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="63 x 128"):
        render_street(63, 128, 0, "train")
    with pytest.raises(SettingError, match="-1"):
        render_street(64, 128, -1, "train")
    with pytest.raises(NameLookupError, match="train"):
        render_street(64, 128, 0, "trian")
    with pytest.raises(NameLookupError, match="test"):
        write_streets(tmp_path, {"test": 1}, 64, 128, 0)
    with pytest.raises(SettingError, match="-2 scenes"):
        write_streets(tmp_path, {"val": -2}, 64, 128, 0)
    with pytest.raises(SettingError, match="0 workers"):
        write_streets(tmp_path, {"val": 1}, 64, 128, 0, workers=0)
    assert not _files(tmp_path)
