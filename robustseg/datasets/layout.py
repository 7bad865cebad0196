"""Where the parts of a Cityscapes tree lie, and where users put them instead.

The tree::

    ROOT/leftImg8bit/<split>/<city>/<name>_leftImg8bit.png
    ROOT/gtFine/<split>/<city>/<name>_gtFine_labelIds.png
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from robustseg.errors import DataError

__all__ = [
    "IMAGES",
    "IMAGE_SUFFIX",
    "LABELS",
    "LABEL_SUFFIX",
    "START",
    "TRAIN_SUFFIX",
    "find_root",
    "layout_problems",
]

IMAGES = "leftImg8bit"
LABELS = "gtFine"
IMAGE_SUFFIX = "_leftImg8bit.png"
LABEL_SUFFIX = "_gtFine_labelIds.png"
TRAIN_SUFFIX = "_gtFine_labelTrainIds.png"

START = (
    "give --root DIR, set CITYSCAPES_DATASET, or run 'robustseg demo' which makes its own scenes"
)
"""What to do when there is no data set; part of several errors."""


def find_root(root: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """Find the folder that holds ``leftImg8bit`` and ``gtFine``.

    Args:
        root: What the user gave; wins over everything else.
        environ: Environment, looked at for ``CITYSCAPES_DATASET`` (empty = not set).
        cwd: Folder that relative paths start from; its ``cityscapes`` is the last resort.

    Returns:
        The data set's folder; it holds a folder ``leftImg8bit``.

    Raises:
        DataError: There is no data set, or it is unpacked in a wrong way.
    """
    variable = environ.get("CITYSCAPES_DATASET", "")
    if root is not None:
        place, shown = root, str(root)
    elif variable:
        place, shown = Path(variable), f"{variable} (from CITYSCAPES_DATASET)"
    else:
        place, shown = Path("cityscapes"), "./cityscapes"
    found = cwd / place.expanduser()
    for problem, remedy in layout_problems(found):
        raise DataError(f"no data set at {shown}: {problem}; {remedy}")
    return found


def layout_problems(root: Path) -> list[tuple[str, str]]:
    """Recognise the usual ways to unpack Cityscapes wrongly.

    Args:
        root: Folder that should hold ``leftImg8bit``.

    Returns:
        Pairs of what is wrong and what to do; empty where ``leftImg8bit`` is in its place.
    """
    try:
        if not root.is_dir():
            return [("this is no folder" if root.exists() else "no such folder", START)]
    except PermissionError:
        return [("no permission to read it", START)]
    problems = [
        (
            f"{part} was unpacked one level too deep, as {part}/{part}",
            f"move the content of {root / part / part} one level up",
        )
        for part in (IMAGES, LABELS)
        if (root / part / part).is_dir()
    ]
    if not (root / IMAGES).is_dir():
        problems.append(_displaced(root))
    return problems


def _displaced(root: Path) -> tuple[str, str]:
    if root.name in (IMAGES, LABELS) and (root.parent / IMAGES).is_dir():
        return f"this is the {root.name} folder of a data set", f"give --root {root.parent}"
    for deeper in sorted(root.glob(f"*/{IMAGES}")):
        whole = (deeper.parent / LABELS).is_dir()
        remedy = f"give --root {deeper.parent}" if whole else f"move {deeper} into {root}"
        return f"{IMAGES} lies one level deeper, at {deeper}", remedy
    if any(root.glob(f"*/[1-5]/{IMAGES}")):
        return "this is a set of corrupted images", f"give it as --root-c {root}"
    for archive in sorted(root.glob(f"{IMAGES}*.zip")):
        return f"{archive.name} is not unpacked", f"unpack it in {root}"
    zips = "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip"
    only = "labels only: " if (root / LABELS).is_dir() else ""
    return f"it has {only}no folder {IMAGES}", f"unpack {zips} in {root}, or {START}"
