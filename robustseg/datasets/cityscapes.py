"""Find and read a Cityscapes tree, of any resolution, as it is unpacked from the official zips.

The tree that is read::

    ROOT/leftImg8bit/<split>/<city>/<name>_leftImg8bit.png
    ROOT/gtFine/<split>/<city>/<name>_gtFine_labelIds.png

Labels with train ids (``*_gtFine_labelTrainIds.png``) are read where they exist alone.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from robustseg.datasets.labels import IGNORE, LABEL_TO_TRAIN, NUM_CLASSES, foreign_id, occurring
from robustseg.datasets.layout import (
    IMAGE_SUFFIX,
    IMAGES,
    LABEL_SUFFIX,
    LABELS,
    START,
    TRAIN_SUFFIX,
)
from robustseg.datasets.sample import Frame, ImageArray, LabelArray, Sample
from robustseg.errors import DataError, SettingError

__all__ = [
    "MAX_PIXELS",
    "RENAME",
    "BadFileError",
    "TrainIdError",
    "check_sizes",
    "fingerprint",
    "list_frames",
    "load_ids",
    "load_image",
    "load_label",
    "load_sample",
    "scan",
]

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded; a header that promises more is an attack or damage."""

_EDGE = 4096  # bytes at each end of a file that go into the fingerprint

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_DEPTH_AT = 24  # offset of the bit depth in a PNG: magic 8, chunk head 8, width 4, height 4
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)

_MODES = {"L": "grey", "P": "palette", "RGB": "RGB", "RGBA": "RGBA"}

RENAME = f"rename these files to *{TRAIN_SUFFIX}, or use the *{LABEL_SUFFIX} files of gtFine"
"""What to do about train ids under the name of label ids."""

_COPY_AGAIN = "copy this file again, or unpack it again from the zip"
_RGB_WANTED = "use the 8-bit RGB PNG files of leftImg8bit"
_GREY_WANTED = "use 8-bit grey PNG files such as *_gtFine_labelIds.png"
_IDS_WANTED = "use the files of gtFine unchanged: label ids are 0-33, train ids 0-18 and 255"


class BadFileError(DataError):
    """One file of a data set cannot be used.

    Attributes:
        problem: What is wrong with the file.
        path: The file.
        remedy: What the user can do.
    """

    def __init__(self, problem: str, path: Path | None = None, remedy: str = "") -> None:
        # All three stay in `args`, so that the error survives pickling; the defaults let
        # a loader process rebuild it from its text alone.
        super().__init__(problem, path, remedy)
        self.problem, self.path, self.remedy = problem, path, remedy

    def __str__(self) -> str:
        head = f"{self.path}: " if self.path else ""
        tail = f"; {self.remedy}" if self.remedy else ""
        return f"{head}{self.problem}{tail}"


class TrainIdError(BadFileError):
    """A file that should hold label ids holds train ids."""


def scan(folder: Path) -> list[Path]:
    """List a folder in the order of names.

    Args:
        folder: Folder to list; links to folders are followed.

    Returns:
        Its entries without hidden ones (such as the ``._*.png`` files that macOS leaves).

    Raises:
        BadFileError: The folder cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        problem = f"cannot be listed ({error.strerror})"
        raise BadFileError(problem, folder, "check the path and its permissions") from error


def list_frames(root: Path, split: str = "val", limit: int | None = None) -> list[Frame]:
    """List the image and label pairs of a split, sorted by city and name.

    Labels without an image are passed over: a stored corruption of a few images shares the
    ``gtFine`` of the whole set.

    Args:
        root: Folder with ``leftImg8bit`` and ``gtFine``.
        split: Name of the split's folder.
        limit: Keep only this many frames, the first of the sorted list.

    Returns:
        One frame per image; at least one. No file is opened.

    Raises:
        SettingError: ``limit`` is below 1.
        DataError: The split is missing or empty, an image has no label, or two images of
            different cities share a name.
    """
    if limit is not None and limit < 1:
        raise SettingError(f"--limit {limit} leaves no image: give a number of at least 1")
    folder = root / IMAGES / split
    if not folder.is_dir():
        raise DataError(_no_split(root, split))
    frames: list[Frame] = []
    unlabelled: list[Path] = []
    for city in _cities(folder):
        _pair(city, root / LABELS / split / city.name, frames, unlabelled)
    _require(root, folder, frames, unlabelled)
    return frames[:limit]


def _no_split(root: Path, split: str) -> str:
    if not (root / IMAGES).is_dir():
        return f"no folder {IMAGES} in {root}: {START}"
    there = [path.name for path in scan(root / IMAGES) if path.is_dir()]
    return f"no split {split!r} in {root / IMAGES}: found {', '.join(there) or 'nothing'}"


def _cities(folder: Path) -> list[Path]:
    entries = scan(folder)
    for path in entries:
        if not path.exists():
            # Passing over it would score a smaller data set without a word.
            raise BadFileError("link that leads nowhere", path, "mend or remove it")
    return [path for path in entries if path.is_dir()]


def _pair(city: Path, labels: Path, frames: list[Frame], unlabelled: list[Path]) -> None:
    known = {path.name for path in scan(labels)} if labels.is_dir() else set()
    for path in scan(city):
        if not path.name.endswith(IMAGE_SUFFIX):
            continue
        name = path.name.removesuffix(IMAGE_SUFFIX)
        suffix = next((s for s in (LABEL_SUFFIX, TRAIN_SUFFIX) if name + s in known), None)
        if suffix is None:
            unlabelled.append(path)
        else:
            frames.append(Frame(name, path, labels / f"{name}{suffix}"))


def _require(root: Path, folder: Path, frames: list[Frame], unlabelled: list[Path]) -> None:
    check = f"run 'robustseg check --root {root}'"
    if unlabelled:
        ratio = f"{len(unlabelled)} of {len(frames) + len(unlabelled)}"
        first = unlabelled[0].name
        raise DataError(f"{ratio} images in {folder} have no label, the first is {first}; {check}")
    if not frames:
        raise DataError(f"no */*{IMAGE_SUFFIX} in {folder}; {check}")
    seen: dict[str, Path] = {}
    for frame in frames:
        # The name seeds the corruptions and keys the results.
        if seen.setdefault(frame.id, frame.image) is not frame.image:
            both = f"{seen[frame.id]} and {frame.image}"
            raise DataError(f"{both} share a name: rename one of them; {check}")


def load_image(path: Path) -> ImageArray:
    """Read an image.

    Args:
        path: PNG or JPEG file with 8-bit RGB.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        BadFileError: The file is missing, damaged, larger than ``MAX_PIXELS``, or not 8-bit RGB.
    """
    return np.array(_decode(path, "RGB", _RGB_WANTED))


def load_label(path: Path) -> LabelArray:
    """Read a label as train ids.

    Args:
        path: 8-bit grey PNG file. ``*_labelTrainIds.png`` is taken as it is; any other name
            is taken as label ids and mapped (255, an 8-bit -1, is ignored like the void ids).

    Returns:
        uint8 train ids (H, W): 0-18, 255 = ignored.

    Raises:
        BadFileError: The file is missing, damaged, not 8-bit grey, holds values that are no
            ids, or holds train ids where its name says label ids.
    """
    ids = load_ids(path)
    return ids if path.name.endswith(TRAIN_SUFFIX) else LABEL_TO_TRAIN[ids]


def load_ids(path: Path) -> npt.NDArray[np.uint8]:
    """Read a label as it is stored.

    Args:
        path: 8-bit grey PNG file; its name says which kind of ids it holds.

    Returns:
        uint8 (H, W), label ids (0-33, 255) or train ids (0-18, 255).

    Raises:
        TrainIdError: The file holds train ids under the name of label ids.
        BadFileError: The file is unusable in another way, as for ``load_label``.
    """
    ids = np.array(_decode(path, "L", _GREY_WANTED))
    present = occurring(ids)
    trains = path.name.endswith(TRAIN_SUFFIX)
    alien = foreign_id(present, trains)
    if alien is not None:
        kind = "train id (0-18, 255)" if trains else "label id (0-33)"
        raise BadFileError(f"holds {alien}, which is no {kind}", path, _IDS_WANTED)
    if not trains and present[IGNORE] and not present[NUM_CLASSES:IGNORE].any():
        raise TrainIdError("holds train ids, its name says label ids", path, RENAME)
    return ids


def load_sample(frame: Frame) -> Sample:
    """Read a frame's image and label.

    Args:
        frame: Where the files are.

    Returns:
        The decoded pair, of one size.

    Raises:
        DataError: A file cannot be used, or the sizes of image and label differ.
    """
    image, label = load_image(frame.image), load_label(frame.label)
    check_sizes(frame.label, image, label)
    return Sample(frame, image, label)


def check_sizes(path: Path, image: ImageArray, label: npt.NDArray[np.uint8]) -> None:
    """Refuse a label that is not as large as its image.

    Args:
        path: File of the label.
        image: uint8 RGB (H, W, 3).
        label: uint8 ids (H, W).

    Raises:
        BadFileError: Heights or widths differ.
    """
    (h, w), (label_h, label_w) = image.shape[:2], label.shape
    if (h, w) != (label_h, label_w):
        problem = f"label is {label_w} x {label_h} but its image {w} x {h}"
        raise BadFileError(problem, path, "use images and labels of one size")


def fingerprint(frames: Sequence[Frame]) -> str:
    """Hash what identifies a data set, without reading all of it.

    Covers, in order, each frame's id and, for its image and its label, the file's name, size in
    bytes, and first and last 4 KiB. An edit that keeps the size and both ends goes unseen.

    Args:
        frames: Frames in the order of the run.

    Returns:
        SHA-256, 64 hexadecimal digits; independent of where the data set lies.

    Raises:
        BadFileError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for frame in frames:
        for path in (frame.image, frame.label):
            size, edges = _edges(path)
            # The sizes stand before what they measure, so that no two lists give one stream.
            digest.update(f"{frame.id}\0{path.name}\0{size}\0{len(edges)}\0".encode())
            digest.update(edges)
    return digest.hexdigest()


def _edges(path: Path) -> tuple[int, bytes]:
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(_EDGE)
            stream.seek(max(_EDGE, size - _EDGE))
            return size, head + stream.read(_EDGE)
    except OSError as error:
        raise BadFileError(f"cannot be read ({error.strerror})", path, _COPY_AGAIN) from error


def _decode(path: Path, mode: str, wanted: str) -> Image.Image:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadFileError(f"cannot be read ({error.strerror})", path, _COPY_AGAIN) from error
    if not content:
        raise BadFileError("is empty (0 bytes)", path, _COPY_AGAIN)
    # Pillow's own opener would warn of large pictures through the global warning filters,
    # which no thread can change for itself alone; the readers themselves do not.
    reader: type[PngImageFile | JpegImageFile]
    if content.startswith(_PNG_MAGIC):
        reader = PngImageFile
    elif content.startswith(_JPEG_MAGIC) and mode == "RGB":
        reader = JpegImageFile
    else:
        raise BadFileError("is no PNG file", path, wanted)
    try:
        picture = reader(BytesIO(content))
        _check_header(picture, content, path, mode, wanted)
        picture.load()
    except _DECODE_ERRORS as error:
        raise BadFileError("is truncated or damaged", path, _COPY_AGAIN) from error
    return picture


def _check_header(picture: Image.Image, content: bytes, path: Path, mode: str, wanted: str) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        problem = f"claims {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million"
        raise BadFileError(problem, path, "remove this file, or scale it down")
    # Pillow reads 16-bit colour as 8-bit and stretches 4-bit grey, both without a word.
    bits = content[_PNG_DEPTH_AT] if content.startswith(_PNG_MAGIC) else 8
    if picture.mode != mode or bits != 8:
        kind = "grey" if picture.mode.startswith("I") else _MODES.get(picture.mode, picture.mode)
        problem = f"holds {bits}-bit {kind} pixels, not 8-bit {_MODES[mode]}"
        raise BadFileError(problem, path, wanted)
