from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from robustseg.datasets.doctor import (
    Finding,
    count_pairs,
    diagnose,
    examine,
    overview,
    summarise,
)

SCENE = np.array([[7, 8, 11, 17], [23, 26, 33, 0]], dtype=np.uint8)  # sky, car, bicycle, void


def save(path: Path, pixels: npt.NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def image_path(root: Path, name: str, split: str = "val") -> Path:
    return root / "leftImg8bit" / split / "ulm" / f"ulm_{name}_leftImg8bit.png"


def label_path(root: Path, name: str, split: str = "val") -> Path:
    return root / "gtFine" / split / "ulm" / f"ulm_{name}_gtFine_labelIds.png"


def add_split(root: Path, split: str, ids: npt.NDArray[np.uint8] = SCENE) -> None:
    for name in "012":
        save(image_path(root, name, split), np.full((2, 4, 3), int(name), dtype=np.uint8))
        save(label_path(root, name, split), ids)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "cityscapes"
    add_split(root, "train")
    add_split(root, "val")
    return root


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, summarise(findings)
    return findings[0]


def messages(findings: list[Finding]) -> str:
    return "\n".join(finding.message for finding in findings)


class TestSoundTrees:
    def test_nothing_is_found(self, root: Path) -> None:
        assert examine(root) == []

    def test_train_ids_alone_are_fine(self, root: Path) -> None:
        ids = np.array([[0, 8, 13, 255]] * 2, dtype=np.uint8)
        for name in "012":
            path = label_path(root, name)
            save(path.with_name(path.name.replace("label", "labelTrain")), ids)
            path.unlink()
        assert examine(root) == []
        line = overview(root, ["val"])
        assert "vegetation" not in line  # 8 as train id; as label id it would be sidewalk
        assert "sidewalk" in line

    def test_withheld_test_labels_are_not_taken_for_train_ids(self, root: Path) -> None:
        add_split(root, "test", SCENE % 4)
        assert examine(root) == []

    def test_stored_corruption_of_a_few_images(self, root: Path) -> None:
        cell = root.parent / "cityscapes_c" / "fog" / "1"
        city = cell / "leftImg8bit" / "val" / "ulm"
        city.mkdir(parents=True)
        shutil.copy(image_path(root, "1"), city)
        (cell / "gtFine").symlink_to(os.path.relpath(root / "gtFine", cell))
        assert {finding.severity for finding in examine(cell)} == {"warning"}
        assert "error" not in {finding.severity for finding in examine(cell, splits=["val"])}

    @pytest.mark.parametrize("workers", [1, 3])
    def test_calls_back_once_per_pair(self, root: Path, workers: int) -> None:
        image_path(root, "0").unlink()
        label_path(root, "1").unlink()
        calls: list[None] = []
        found = examine(root, lambda: calls.append(None), workers=workers)
        assert len(calls) == count_pairs(root) == 6
        assert found == examine(root)
        calls.clear()
        examine(root, lambda: calls.append(None), splits=["val"])
        assert len(calls) == count_pairs(root, ["val"]) == 3


class TestWrongTrees:
    def test_missing_root(self, tmp_path: Path) -> None:
        finding = only(examine(tmp_path / "gone"))
        assert (finding.severity, finding.path) == ("error", tmp_path / "gone")
        assert "no such folder" in finding.message
        assert count_pairs(tmp_path / "gone") == 0

    def test_empty_root(self, tmp_path: Path) -> None:
        text = messages(examine(tmp_path))
        assert "no folder leftImg8bit" in text
        assert "no folder gtFine" in text

    def test_zip_not_unpacked(self, tmp_path: Path) -> None:
        (tmp_path / "leftImg8bit_trainvaltest.zip").touch()
        assert "leftImg8bit_trainvaltest.zip is not unpacked" in messages(examine(tmp_path))

    def test_both_unpacked_one_level_too_deep(self, root: Path) -> None:
        for part in ("leftImg8bit", "gtFine"):
            (root / part).rename(root / "moved")
            (root / part).mkdir()
            (root / "moved").rename(root / part / part)
        findings = examine(root)
        assert [f.message.split()[0] for f in findings] == ["leftImg8bit", "gtFine"]
        assert all("one level too deep" in f.message for f in findings)

    def test_unpacked_into_folders_named_like_the_zips(self, root: Path) -> None:
        for part in ("leftImg8bit", "gtFine"):
            (root / f"{part}_trainvaltest").mkdir()
            (root / part).rename(root / f"{part}_trainvaltest" / part)
        first = examine(root)[0]
        assert f"move {root / 'leftImg8bit_trainvaltest' / 'leftImg8bit'}" in first.remedy

    def test_root_of_corrupted_images(self, root: Path) -> None:
        cell = root.parent / "cityscapes_c" / "fog" / "3"
        shutil.copytree(root / "leftImg8bit", cell / "leftImg8bit")
        first = examine(root.parent / "cityscapes_c")[0]
        assert "--root-c" in first.remedy

    def test_only_images(self, root: Path) -> None:
        shutil.rmtree(root / "gtFine")
        finding = only(examine(root))
        assert "images only" in finding.message
        assert "gtFine_trainvaltest.zip" in finding.remedy

    def test_only_labels(self, root: Path) -> None:
        shutil.rmtree(root / "leftImg8bit")
        finding = only(examine(root))
        assert "labels only" in finding.message
        assert "leftImg8bit_trainvaltest.zip" in finding.remedy

    def test_coarse_labels(self, root: Path) -> None:
        (root / "gtFine").rename(root / "gtCoarse")
        assert "gtCoarse instead of gtFine" in only(examine(root)).message

    def test_no_split(self, tmp_path: Path) -> None:
        (tmp_path / "leftImg8bit").mkdir()
        (tmp_path / "gtFine").mkdir()
        assert "no split" in only(examine(tmp_path)).message

    def test_unknown_split(self, root: Path) -> None:
        finding = only(examine(root, splits=["vall"]))
        assert "'vall'" in finding.message
        assert "train, val" in finding.remedy

    @pytest.mark.parametrize(
        ("part", "split", "severity"),
        [
            ("gtFine", "val", "error"),
            ("gtFine", "test", "warning"),
            ("leftImg8bit", "val", "warning"),
        ],
    )
    def test_split_of_one_half(self, root: Path, part: str, split: str, severity: str) -> None:
        if split == "test":
            add_split(root, "test")
        shutil.rmtree(root / part / split)
        finding = only(examine(root))
        assert (finding.severity, finding.path) == (severity, root / part / split)

    def test_empty_split(self, root: Path) -> None:
        (root / "leftImg8bit" / "test").mkdir()
        finding = only(examine(root))
        assert (finding.severity, finding.message) == ("error", "split without images")

    def test_images_outside_a_city(self, root: Path) -> None:
        stray = root / "leftImg8bit" / "val" / "ulm_9_leftImg8bit.png"
        shutil.copy(image_path(root, "0"), stray)
        finding = only(examine(root))
        assert (finding.severity, finding.path) == ("error", stray)

    def test_city_without_what_is_read(self, root: Path) -> None:
        other = root / "leftImg8bit" / "val" / "bonn" / "bonn_0.jpg"
        save(other, np.zeros((2, 4, 3), dtype=np.uint8))
        finding = only(examine(root))
        assert (finding.severity, finding.path) == ("warning", other.parent)
        assert "bonn_0.jpg" in finding.message

    def test_name_shared_by_two_cities(self, root: Path) -> None:
        for part in ("leftImg8bit", "gtFine"):
            shutil.copytree(root / part / "val" / "ulm", root / part / "val" / "bonn")
        findings = examine(root)
        assert len(findings) == 6
        assert "name of an image of another city" in findings[0].message


class TestWrongFiles:
    def test_missing_pairs_in_both_directions(self, root: Path) -> None:
        label_path(root, "1").unlink()
        image_path(root, "2").unlink()
        findings = examine(root)
        assert [(f.severity, f.path) for f in findings] == [
            ("error", image_path(root, "1")),
            ("warning", label_path(root, "2")),
        ]

    def test_everything_is_listed_not_only_the_first(self, root: Path) -> None:
        image_path(root, "0").write_bytes(b"")
        whole = image_path(root, "1").read_bytes()
        image_path(root, "1").write_bytes(whole[:-30])
        save(image_path(root, "2"), SCENE)
        save(label_path(root, "0"), SCENE[:1])
        save(label_path(root, "1"), SCENE + 20)
        label_path(root, "2").write_bytes(b"")
        found = {(f.path, f.message) for f in examine(root, splits=["val"])}
        assert found == {
            (image_path(root, "0"), "is empty (0 bytes)"),
            (image_path(root, "1"), "is truncated or damaged"),
            (image_path(root, "2"), "holds 8-bit grey pixels, not 8-bit RGB"),
            (label_path(root, "1"), "holds 53, which is no label id (0-33)"),
            (label_path(root, "2"), "is empty (0 bytes)"),
        }

    def test_sizes_that_differ(self, root: Path) -> None:
        save(label_path(root, "0"), SCENE[:1])
        finding = only(examine(root))
        assert finding.message == "label is 4 x 1 but its image 4 x 2"
        assert (finding.severity, finding.path) == ("error", label_path(root, "0"))

    def test_16_bit_label(self, root: Path) -> None:
        save(label_path(root, "0"), SCENE.astype(np.uint16) * 1000)
        assert "16-bit grey" in only(examine(root)).message

    def test_jpeg_under_the_name_of_png(self, root: Path) -> None:
        Image.new("RGB", (4, 2)).save(image_path(root, "0"), format="JPEG")
        finding = only(examine(root))
        assert (finding.severity, finding.path) == ("warning", image_path(root, "0"))
        assert "JPEG" in finding.message

    def test_one_file_of_train_ids(self, root: Path) -> None:
        save(label_path(root, "0"), np.array([[0, 2, 13, 255]] * 2, dtype=np.uint8))
        finding = only(examine(root))
        assert finding.path == label_path(root, "0")
        assert "train ids" in finding.message
        assert "_gtFine_labelTrainIds.png" in finding.remedy

    def test_whole_split_of_train_ids_without_a_void_pixel(self, root: Path) -> None:
        for name in "012":
            save(label_path(root, name), np.array([[0, 8, 13, 18]] * 2, dtype=np.uint8))
        finding = only(examine(root))
        assert finding.path == root / "gtFine" / "val"
        assert "train ids" in finding.message

    def test_whole_split_of_train_ids(self, root: Path) -> None:
        for name in "012":
            save(label_path(root, name), np.array([[0, 2, 13, 255]] * 2, dtype=np.uint8))
        paths = [finding.path for finding in examine(root)]
        assert paths == [root / "gtFine" / "val", *(label_path(root, name) for name in "012")]


class TestLinks:
    def test_circle_of_a_city(self, root: Path) -> None:
        link = root / "leftImg8bit" / "val" / "bonn"
        link.symlink_to("bonn")
        finding = only(examine(root))
        assert finding.path == link
        assert "circle" in finding.message

    def test_link_to_a_folder_above(self, root: Path) -> None:
        link = root / "gtFine" / "val" / "bonn"
        link.symlink_to(root / "gtFine")
        finding = only(examine(root))
        assert finding.path == link
        assert "folder above" in finding.message

    def test_dangling_image(self, root: Path) -> None:
        image_path(root, "1").unlink()
        image_path(root, "1").symlink_to(root / "gone.png")
        findings = [f for f in examine(root) if f.severity == "error"]
        assert only(findings).path == image_path(root, "1")
        assert "leads nowhere" in only(findings).message

    @pytest.mark.parametrize("part", ["leftImg8bit", "gtFine"])
    def test_dangling_half(self, root: Path, part: str) -> None:
        (root / part).rename(root / "moved")
        (root / part).symlink_to("gone")
        assert (root / part, "link that leads nowhere") in [
            (f.path, f.message) for f in examine(root)
        ]


class TestTexts:
    def test_kinds_are_grouped_errors_first(self) -> None:
        paths = [Path(f"{i}.png") for i in range(5)]
        findings = [Finding("warning", None, "odd", "look")]
        findings += [Finding("error", p, f"holds {i}, no id", "mend") for i, p in enumerate(paths)]
        assert summarise(findings, examples=2) == [
            "error: 5 times: holds 0, no id, and the like",
            "    0.png: holds 0, no id",
            "    1.png: holds 1, no id",
            "    and 3 more",
            "    -> mend",
            "warning: odd",
            "    -> look",
        ]

    def test_equal_messages_are_told_once(self) -> None:
        findings = [Finding("error", Path(name), "is empty", "copy") for name in "ab"]
        assert summarise(findings) == ["error: 2 times: is empty", "    a", "    b", "    -> copy"]
        assert summarise([]) == []

    def test_overview(self, root: Path) -> None:
        save(image_path(root, "0"), np.zeros((3, 5, 3), dtype=np.uint8))
        train, val = overview(root).splitlines()
        head = "train: 3 images, 3 labels, 1 city, 4 x 2, warning: no pixel of wall, fence, "
        assert train.startswith(head)
        assert "sky" not in train
        assert val.startswith("val: 3 images, 3 labels, 1 city, 4 x 2 (2), 5 x 3 (1), ")
        every = np.arange(34, dtype=np.uint8).reshape(2, 17)
        for name in "012":
            save(label_path(root, name), every)
        assert overview(root, ["val"]).endswith("all classes")

    def test_overview_of_nothing(self, tmp_path: Path) -> None:
        assert overview(tmp_path / "gone") == ""


REAL = os.environ.get("ROBUSTSEG_REAL_DATA", "")


@pytest.mark.skipif(not REAL, reason="ROBUSTSEG_REAL_DATA is not set")
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cityscapes_full", "val: 5 images, 5 labels, 1 city, 2048 x 1024"),
        ("cityscapes_quarter", "val: 44 images, 44 labels, 1 city, 512 x 256"),
    ],
)
def test_real_trees_are_sound(name: str, line: str) -> None:
    diagnosis = diagnose(Path(REAL) / name)
    assert diagnosis.findings == []
    assert diagnosis.overview.splitlines()[1].startswith(line)
