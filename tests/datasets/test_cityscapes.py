from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from cityscapesscripts.helpers.labels import id2label
from PIL import Image

from robustseg.datasets.cityscapes import (
    BadFileError,
    fingerprint,
    list_frames,
    load_image,
    load_label,
    load_sample,
)
from robustseg.datasets.layout import find_root
from robustseg.datasets.sample import Frame
from robustseg.errors import DataError, SettingError

H, W = 6, 8


def save(path: Path, pixels: npt.NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def image_path(root: Path, city: str, name: str, split: str = "val") -> Path:
    return root / "leftImg8bit" / split / city / f"{city}_{name}_leftImg8bit.png"


def label_path(root: Path, city: str, name: str, split: str = "val", kind: str = "label") -> Path:
    return root / "gtFine" / split / city / f"{city}_{name}_gtFine_{kind}Ids.png"


def picture(seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def label_ids(seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 34, (H, W), dtype=np.uint8)


def add_pair(root: Path, city: str, name: str, split: str = "val") -> None:
    save(image_path(root, city, name, split), picture())
    save(label_path(root, city, name, split), label_ids())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "cityscapes"
    for city, name in [("munster", "000001"), ("frankfurt", "000009"), ("frankfurt", "000002")]:
        add_pair(root, city, name)
    add_pair(root, "jena", "000000", split="train")
    return root


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


class TestFindRoot:
    def test_explicit_wins_over_environment_and_folder(self, root: Path, tmp_path: Path) -> None:
        environ = {"CITYSCAPES_DATASET": str(tmp_path / "other")}
        assert find_root(root, environ, tmp_path) == root

    def test_environment_wins_over_folder(self, root: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        add_pair(other, "ulm", "000000")
        assert find_root(None, {"CITYSCAPES_DATASET": str(other)}, tmp_path) == other

    @pytest.mark.parametrize("environ", [{}, {"CITYSCAPES_DATASET": ""}])
    def test_falls_back_to_the_folder(
        self, root: Path, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        assert find_root(None, environ, tmp_path) == root

    def test_relative_paths_start_at_cwd(self, root: Path, tmp_path: Path) -> None:
        assert find_root(Path("cityscapes"), {}, tmp_path) == root

    def test_nothing_there_names_every_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            find_root(None, {}, tmp_path)
        for part in ("./cityscapes", "--root DIR", "CITYSCAPES_DATASET", "robustseg demo"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_says_that_the_environment_led_there(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"/gone \(from CITYSCAPES_DATASET"):
            find_root(None, {"CITYSCAPES_DATASET": "/gone"}, tmp_path)

    def test_a_file_is_no_root(self, tmp_path: Path) -> None:
        (tmp_path / "a.zip").touch()
        with pytest.raises(DataError, match="no folder"):
            find_root(tmp_path / "a.zip", {}, tmp_path)

    @pytest.mark.parametrize("part", ["leftImg8bit", "gtFine"])
    def test_unpacked_one_level_too_deep(self, root: Path, part: str) -> None:
        inner = root / part / part
        (root / part).rename(root / "moved")
        (root / part).mkdir()
        (root / "moved").rename(inner)
        with pytest.raises(DataError, match="one level too deep") as caught:
            find_root(root, {}, root)
        assert f"move the content of {inner}" in str(caught.value)

    def test_the_parent_of_the_root(self, root: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=f"give --root {root}"):
            find_root(tmp_path, {}, tmp_path)

    def test_a_folder_inside_the_root(self, root: Path) -> None:
        with pytest.raises(DataError, match=f"give --root {root}$"):
            find_root(root / "leftImg8bit", {}, root)


class TestListFrames:
    def test_sorted_by_city_and_name(self, root: Path) -> None:
        frames = list_frames(root)
        ids = ["frankfurt_000002", "frankfurt_000009", "munster_000001"]
        assert [frame.id for frame in frames] == ids
        assert frames[0].image == image_path(root, "frankfurt", "000002")
        assert frames[0].label == label_path(root, "frankfurt", "000002")

    def test_split_and_limit(self, root: Path) -> None:
        assert [frame.id for frame in list_frames(root, "train")] == ["jena_000000"]
        ids = ["frankfurt_000002", "frankfurt_000009"]
        assert [frame.id for frame in list_frames(root, limit=2)] == ids
        assert len(list_frames(root, limit=99)) == 3

    @pytest.mark.parametrize("limit", [0, -1])
    def test_limit_below_one(self, root: Path, limit: int) -> None:
        with pytest.raises(SettingError, match=f"--limit {limit} "):
            list_frames(root, limit=limit)

    def test_train_ids_only_where_they_exist_alone(self, root: Path) -> None:
        save(label_path(root, "munster", "000001", kind="labelTrain"), label_ids())
        assert list_frames(root)[2].label == label_path(root, "munster", "000001")
        label_path(root, "munster", "000001").unlink()
        alone = label_path(root, "munster", "000001", kind="labelTrain")
        assert list_frames(root)[2].label == alone

    def test_missing_labels_are_counted_and_the_first_is_named(self, root: Path) -> None:
        label_path(root, "frankfurt", "000009").unlink()
        label_path(root, "munster", "000001").unlink()
        with pytest.raises(DataError) as caught:
            list_frames(root, limit=1)
        for part in ("2 of 3", "frankfurt_000009_left", f"robustseg check --root {root}"):
            assert part in str(caught.value)

    def test_labels_without_image_are_passed_over(self, root: Path) -> None:
        image_path(root, "frankfurt", "000002").unlink()
        assert [frame.id for frame in list_frames(root)] == ["frankfurt_000009", "munster_000001"]

    def test_unknown_split_names_the_known(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"'valid'.*found train, val"):
            list_frames(root, "valid")

    def test_no_images_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no folder leftImg8bit"):
            list_frames(tmp_path)

    def test_empty_split(self, root: Path) -> None:
        (root / "leftImg8bit" / "test").mkdir()
        with pytest.raises(DataError, match="robustseg check"):
            list_frames(root, "test")

    def test_hidden_files_are_no_images(self, root: Path) -> None:
        source = image_path(root, "munster", "000001")
        (source.parent / f"._{source.name}").write_bytes(b"resource fork")
        assert len(list_frames(root)) == 3

    def test_one_name_in_two_cities(self, root: Path) -> None:
        for folder, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            there = root / folder / "val"
            for city in ("ulm", "bonn"):
                save(there / city / f"000000_{suffix}.png", picture()[..., 0])
        with pytest.raises(DataError, match="share a name"):
            list_frames(root)

    def test_linked_folders_are_followed(self, root: Path, tmp_path: Path) -> None:
        cell = tmp_path / "cityscapes_c" / "fog" / "1"
        cell.mkdir(parents=True)
        (cell / "leftImg8bit").symlink_to(root / "leftImg8bit")
        (cell / "gtFine").symlink_to(os.path.relpath(root / "gtFine", cell))
        assert len(list_frames(cell)) == 3
        assert load_sample(list_frames(cell)[0]).image.shape == (H, W, 3)

    def test_a_dangling_city_is_not_passed_over(self, root: Path) -> None:
        (root / "leftImg8bit" / "val" / "ulm").symlink_to("ulm")
        with pytest.raises(DataError, match="link that leads nowhere"):
            list_frames(root)


class TestLoadImage:
    def test_exact_pixels_that_may_be_written(self, tmp_path: Path) -> None:
        pixels = load_image(save(tmp_path / "a.png", picture()))
        np.testing.assert_array_equal(pixels, picture())
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous

    def test_jpeg(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", picture())
        with Image.open(path) as other:
            np.testing.assert_array_equal(load_image(path), np.asarray(other))

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "LA", "I;16"])
    def test_other_modes_are_refused(self, tmp_path: Path, mode: str) -> None:
        grey = Image.fromarray(picture()[..., 0])
        (grey if mode == "I;16" else Image.fromarray(picture())).convert(mode).save(
            tmp_path / "a.png"
        )
        with pytest.raises(DataError, match="not 8-bit RGB") as caught:
            load_image(tmp_path / "a.png")
        assert str(tmp_path / "a.png") in str(caught.value)

    def test_16_bit_colour_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(png(2, 2, 16, 2, (b"\0" + b"\1\2" * 6) * 2))
        with Image.open(path) as other:
            assert other.mode == "RGB"  # why the mode alone does not tell
        with pytest.raises(DataError, match="16-bit RGB pixels"):
            load_image(path)

    def test_missing_empty_and_foreign(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        with pytest.raises(DataError, match=r"a\.png: cannot be read"):
            load_image(path)
        path.touch()
        with pytest.raises(DataError, match=r"a\.png: is empty"):
            load_image(path)
        path.write_text("<html>login</html>")
        with pytest.raises(DataError, match=r"a\.png: is no PNG"):
            load_image(path)

    @pytest.mark.parametrize("keep", [9, 20, 40, 100, -30])
    @pytest.mark.parametrize("suffix", ["png", "jpg"])
    def test_truncated(self, tmp_path: Path, keep: int, suffix: str) -> None:
        path = save(tmp_path / f"a.{suffix}", picture())
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match="truncated or damaged"):
            load_image(path)

    def test_flipped_bytes(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", picture())
        content = bytearray(path.read_bytes())
        content[content.index(b"IDAT") + 40] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(DataError, match="truncated or damaged"):
            load_image(path)

    def test_decompression_bomb(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(png(50_000, 50_000, 8, 2, b"\0"))
        with pytest.raises(DataError, match="50000 x 50000 pixels"):
            load_image(path)

    def test_just_below_the_limit_warns_of_nothing(self, tmp_path: Path) -> None:
        # 98 million pixels: Pillow's own opener warns from 89 million on.
        path = tmp_path / "a.png"
        path.write_bytes(png(14_000, 7_000, 8, 0, bytes(14_001 * 7_000)))
        assert load_label(path).shape == (7_000, 14_000)

    def test_error_survives_a_process_boundary(self, tmp_path: Path) -> None:
        with pytest.raises(BadFileError) as caught:
            load_image(tmp_path / "a.png")
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.path) == (str(caught.value), tmp_path / "a.png")
        # A loader process rebuilds errors from one string.
        assert str(BadFileError("Caught in worker 0")) == "Caught in worker 0"


class TestLoadLabel:
    def test_label_ids_become_train_ids(self, tmp_path: Path) -> None:
        ids = label_ids()
        ids.flat[:34] = range(34)
        label = load_label(save(tmp_path / "a_gtFine_labelIds.png", ids))
        expected = [[id2label[i].trainId for i in row] for row in ids.tolist()]
        assert label.tolist() == expected
        assert label.dtype == np.uint8

    def test_train_ids_are_taken_as_they_are(self, tmp_path: Path) -> None:
        ids = np.array([[0, 18, 255, 7]], dtype=np.uint8)
        label = load_label(save(tmp_path / "a_gtFine_labelTrainIds.png", ids))
        np.testing.assert_array_equal(label, ids)

    @pytest.mark.parametrize("value", [34, 254])
    def test_label_ids_out_of_range(self, tmp_path: Path, value: int) -> None:
        path = save(tmp_path / "a_gtFine_labelIds.png", np.array([[26, value]], dtype=np.uint8))
        with pytest.raises(DataError, match=f"holds {value}, which is no label id"):
            load_label(path)

    def test_train_ids_out_of_range(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a_gtFine_labelTrainIds.png", np.array([[0, 19]], dtype=np.uint8))
        with pytest.raises(DataError, match="holds 19, which is no train id"):
            load_label(path)

    def test_train_ids_under_the_name_of_label_ids(self, tmp_path: Path) -> None:
        ids = np.array([[0, 13, 18, 255]], dtype=np.uint8)
        with pytest.raises(DataError, match="holds train ids") as caught:
            load_label(save(tmp_path / "a_gtFine_labelIds.png", ids))
        assert "_gtFine_labelTrainIds.png" in str(caught.value)

    def test_minus_one_in_label_ids_is_ignored(self, tmp_path: Path) -> None:
        ids = np.array([[26, 255]], dtype=np.uint8)
        path = save(tmp_path / "a_gtFine_labelIds.png", ids)
        assert load_label(path).tolist() == [[13, 255]]

    @pytest.mark.parametrize("mode", ["RGB", "P", "I;16"])
    def test_other_modes_are_refused(self, tmp_path: Path, mode: str) -> None:
        Image.fromarray(label_ids()).convert(mode).save(tmp_path / "a_gtFine_labelIds.png")
        with pytest.raises(DataError, match="not 8-bit grey"):
            load_label(tmp_path / "a_gtFine_labelIds.png")

    def test_4_bit_grey_is_refused_not_stretched(self, tmp_path: Path) -> None:
        path = tmp_path / "a_gtFine_labelIds.png"
        path.write_bytes(png(2, 1, 4, 0, b"\0\x78"))  # 7 and 8; Pillow would give 119 and 136
        with pytest.raises(DataError, match="4-bit grey pixels"):
            load_label(path)


def test_sample_holds_image_and_train_ids(root: Path) -> None:
    frame = list_frames(root)[0]
    sample = load_sample(frame)
    assert sample.frame is frame
    np.testing.assert_array_equal(sample.image, picture())
    np.testing.assert_array_equal(sample.label, load_label(frame.label))


def test_sample_of_two_sizes_is_refused(root: Path) -> None:
    frame = list_frames(root)[0]
    save(frame.label, label_ids()[:, :4])
    with pytest.raises(DataError, match="label is 4 x 6 but its image 8 x 6"):
        load_sample(frame)


class TestFingerprint:
    def test_does_not_depend_on_the_place(self, root: Path) -> None:
        before = fingerprint(list_frames(root))
        assert fingerprint(list_frames(root.rename(root.parent / "moved"))) == before
        assert len(before) == 64

    def test_changes_with_content_order_and_choice(self, root: Path) -> None:
        frames = list_frames(root)
        before = fingerprint(frames)
        prints = {before, fingerprint(frames[::-1]), fingerprint(frames[:2])}
        renamed = Frame("other", frames[0].image, frames[0].label)
        prints.add(fingerprint([renamed, *frames[1:]]))
        save(frames[2].label, label_ids(1))
        prints.add(fingerprint(frames))
        save(frames[2].image, picture(1))
        prints.add(fingerprint(frames))
        assert len(prints) == 6

    @pytest.mark.parametrize("size", [1, 4096, 4097, 8192, 20_000])
    def test_sees_the_last_byte_and_the_size(self, tmp_path: Path, size: int) -> None:
        path = tmp_path / "a"
        frames = [Frame("a", path, path)]
        prints = set()
        for content in (bytes(size), bytes(size - 1) + b"x", bytes(size + 1)):
            path.write_bytes(content)
            prints.add(fingerprint(frames))
        assert len(prints) == 3

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot be read"):
            fingerprint([Frame("a", tmp_path / "a", tmp_path / "b")])


def test_sample_module_brings_neither_pillow_nor_torch() -> None:
    code = (
        "import sys, robustseg.datasets.sample, robustseg.datasets as d;"
        "light = {'PIL', 'torch', 'cv2'} & set(sys.modules);"
        "d.load_image, d.CLASS_NAMES, d.Frame; heavy = {'torch', 'cv2'} & set(sys.modules);"
        "missing = [name for name in d.__all__ if not hasattr(d, name)];"
        "sys.exit(f'{light} {heavy} {missing}' if light or heavy or missing else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
