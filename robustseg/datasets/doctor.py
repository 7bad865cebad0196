"""Find everything that is wrong with a Cityscapes tree, for ``robustseg check``."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from robustseg.datasets import cityscapes as tree
from robustseg.datasets.cityscapes import BadFileError
from robustseg.datasets.labels import CLASS_NAMES, IGNORE, LABEL_TO_TRAIN, NUM_CLASSES, occurring
from robustseg.datasets.layout import (
    IMAGE_SUFFIX,
    IMAGES,
    LABEL_SUFFIX,
    LABELS,
    START,
    TRAIN_SUFFIX,
    layout_problems,
)
from robustseg.progress import counted

__all__ = [
    "Diagnosis",
    "Finding",
    "count_pairs",
    "diagnose",
    "examine",
    "overview",
    "summarise",
]

_UNPACK_IMAGES = "unpack leftImg8bit_trainvaltest.zip again"
_UNPACK_LABELS = "unpack gtFine_trainvaltest.zip again"
_MEND_LINK = "remove the link, or point it at the right place"

_Key = tuple[str, str]  # city, name without suffix
_Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: ``error`` = results would fail or be wrong; ``warning`` = worth knowing.
        path: The file or folder; None where it is the whole tree.
        message: What is wrong.
        remedy: What to do.
    """

    severity: _Severity
    path: Path | None
    message: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and what the tree holds.

    Attributes:
        findings: Tree first, then files, split by split.
        overview: One line per split: images, labels, cities, sizes, and a warning that names
            the classes that no readable label holds.
    """

    findings: list[Finding]
    overview: str


class _Split(NamedTuple):
    name: str
    images: dict[_Key, Path]
    labels: dict[_Key, Path]

    @property
    def keys(self) -> list[_Key]:
        return sorted(self.images.keys() | self.labels.keys())


@dataclass(frozen=True)
class _Report:
    findings: list[Finding]
    size: tuple[int, int] | None = None
    present: npt.NDArray[np.bool_] | None = None  # (256,), values in the label as stored
    label_ids: bool = False  # whether the name promises label ids, not train ids
    train_ids: bool = False  # whether the label holds train ids all the same


def examine(
    root: Path,
    on_done: Callable[[], None] | None = None,
    splits: Sequence[str] | None = None,
    workers: int = 1,
) -> list[Finding]:
    """List everything that is wrong with a tree; arguments and result as in ``diagnose``."""
    return diagnose(root, on_done, splits, workers).findings


def overview(root: Path, splits: Sequence[str] | None = None, workers: int = 1) -> str:
    """Describe a tree in one line per split; every file is read, as in ``diagnose``."""
    return diagnose(root, None, splits, workers).overview


def diagnose(
    root: Path,
    on_done: Callable[[], None] | None = None,
    splits: Sequence[str] | None = None,
    workers: int = 1,
) -> Diagnosis:
    """Examine a tree and each of its files.

    Args:
        root: Folder with ``leftImg8bit`` and ``gtFine``; may be missing or wrong.
        on_done: Called after each pair of image and label, ``count_pairs`` times in all.
        splits: Names of the splits to examine; None = all that there are.
        workers: Number of threads that decode.

    Returns:
        Findings (none = the tree is sound) and overview; what is wrong is never raised.
    """
    findings = [Finding("error", root, *problem) for problem in layout_problems(root)]
    if findings and findings[0].remedy == START:
        return Diagnosis(findings, "")  # no folder to look into
    _check_parts(root, findings)
    lines = []
    with ThreadPoolExecutor(workers) as pool:
        for split in _list_splits(root, splits, findings):
            _check_pairs(root, split, findings)
            _check_names(split, findings)
            reports = []
            for report in pool.map(partial(_examine_pair, split), split.keys):
                reports.append(report)
                if on_done:
                    on_done()
            _check_train_ids(root / LABELS / split.name, reports, findings)
            findings.extend(finding for report in reports for finding in report.findings)
            lines.append(_describe(split, reports))
    if not lines and not findings:
        findings.append(Finding("error", root, "holds no split", _UNPACK_IMAGES))
    return Diagnosis(findings, "\n".join(lines))


def count_pairs(root: Path, splits: Sequence[str] | None = None) -> int:
    """Count, without opening a file, how often ``diagnose`` will call ``on_done``."""
    return sum(len(split.keys) for split in _list_splits(root, splits, []))


def _check_parts(root: Path, findings: list[Finding]) -> None:
    for part in (IMAGES, LABELS):
        trouble = _link_trouble(root / part)
        if trouble:
            findings.append(Finding("error", root / part, trouble, _MEND_LINK))
    if (root / LABELS).is_dir():
        return
    message = f"it has images only: no folder {LABELS}"
    if (root / "gtCoarse").is_dir():
        message = f"it has gtCoarse instead of {LABELS}"
    findings.append(Finding("error", root, message, _UNPACK_LABELS))


def _link_trouble(path: Path) -> str | None:
    if not path.is_symlink():
        return None
    try:
        path.stat()
    except OSError as error:
        circle = error.errno == errno.ELOOP
        return "symbolic link that runs in a circle" if circle else "link that leads nowhere"
    home = path.parent.resolve()
    if path.resolve() in (home, *home.parents):
        return "symbolic link that leads back to a folder above it"
    return None


def _entries(folder: Path, findings: list[Finding]) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        entries = tree.scan(folder)
    except BadFileError as error:
        findings.append(_finding(error))
        return []
    sound = []
    for path in entries:
        trouble = _link_trouble(path)
        if trouble:
            findings.append(Finding("error", path, trouble, _MEND_LINK))
        else:
            sound.append(path)
    return sound


def _finding(error: BadFileError) -> Finding:
    return Finding("error", error.path, error.problem, error.remedy)


def _list_splits(
    root: Path, wanted: Sequence[str] | None, findings: list[Finding]
) -> Iterator[_Split]:
    there = {
        path.name
        for part in (IMAGES, LABELS)
        for path in _entries(root / part, findings)
        if path.is_dir() and path.name not in (IMAGES, LABELS)
    }
    for name in sorted(set(wanted or ()) - there):
        known = ", ".join(sorted(there)) or "no split at all"
        findings.append(Finding("error", root, f"no split {name!r}", f"choose from: {known}"))
    for name in sorted(there if wanted is None else there & set(wanted)):
        images = _files(root / IMAGES / name, (IMAGE_SUFFIX,), findings)
        suffixes = (LABEL_SUFFIX, TRAIN_SUFFIX)
        yield _Split(name, images, _files(root / LABELS / name, suffixes, findings))


def _files(folder: Path, suffixes: Sequence[str], findings: list[Finding]) -> dict[_Key, Path]:
    found: dict[_Key, Path] = {}
    for city in _entries(folder, findings):
        if not city.is_dir():
            if city.name.endswith(tuple(suffixes)):
                remedy = f"move it to a folder of its city, such as {folder / 'frankfurt'}"
                findings.append(Finding("error", city, "lies outside a city folder", remedy))
            continue
        before, entries = len(found), _entries(city, findings)
        for suffix in suffixes:
            for path in entries:
                if path.name.endswith(suffix):
                    found.setdefault((city.name, path.name.removesuffix(suffix)), path)
        if len(found) == before:
            example = f", but {entries[0].name}" if entries else ": the folder is empty"
            message = f"holds no *{suffixes[0]}{example}"
            findings.append(Finding("warning", city, message, "remove it, or unpack it again"))
    return found


def _check_pairs(root: Path, split: _Split, findings: list[Finding]) -> None:
    name, images, labels = split
    severity: _Severity
    # What the whole tree lacks is told once, not for each split.
    if not images and (root / IMAGES).is_dir():
        home = root / IMAGES / name
        # A stored corruption shares the labels of splits that it has no images of.
        severity = "error" if home.is_dir() else "warning"
        findings.append(Finding(severity, home, "split without images", _UNPACK_IMAGES))
    elif not labels and (root / LABELS).is_dir():
        home = root / LABELS / name
        # The official test labels are withheld, so that nobody can score there.
        severity = "warning" if name == "test" else "error"
        findings.append(Finding(severity, home, "split without labels", _UNPACK_LABELS))
    elif images and labels:
        for key in sorted(images.keys() - labels.keys()):
            findings.append(Finding("error", images[key], "image without label", _UNPACK_LABELS))
        for key in sorted(labels.keys() - images.keys()):
            findings.append(Finding("warning", labels[key], "label without image", _UNPACK_IMAGES))


def _check_names(split: _Split, findings: list[Finding]) -> None:
    names = Counter(name for _, name in split.images)
    for (_, name), path in sorted(split.images.items()):
        if names[name] > 1:
            message = "has the name of an image of another city"
            findings.append(Finding("error", path, message, "rename one of the pairs"))


def _examine_pair(split: _Split, key: _Key) -> _Report:
    image_path, label_path = split.images.get(key), split.labels.get(key)
    findings: list[Finding] = []
    image, ids, train_ids = None, None, False
    try:
        if image_path:
            image = tree.load_image(image_path)
            _check_format(image_path, findings)
    except BadFileError as error:
        findings.append(_finding(error))
    try:
        if label_path:
            ids = tree.load_ids(label_path)
            if image is not None:
                tree.check_sizes(label_path, image, ids)
    except BadFileError as error:
        findings.append(_finding(error))
        train_ids = isinstance(error, tree.TrainIdError)
    size = None if image is None else (image.shape[1], image.shape[0])
    present = None if ids is None else occurring(ids)
    named = str(label_path).endswith(LABEL_SUFFIX)
    return _Report(findings, size, present, named, train_ids)


def _check_format(path: Path, findings: list[Finding]) -> None:
    with path.open("rb") as stream:
        if stream.read(2) == b"\xff\xd8":
            remedy = "use the PNG files of leftImg8bit: JPEG is a corruption of its own"
            findings.append(Finding("warning", path, "holds JPEG data", remedy))


def _check_train_ids(folder: Path, reports: list[_Report], findings: list[Finding]) -> None:
    named = [report for report in reports if report.label_ids]
    valid = [report.present for report in named if report.present is not None]
    unknown = any(r.present is None and not r.train_ids for r in named)
    if unknown or any(present[NUM_CLASSES:IGNORE].any() for present in valid):
        return
    # Ids up to 6 are void in both readings: the withheld test labels hold nothing else.
    if any(present[7:NUM_CLASSES].any() for present in valid) or any(r.train_ids for r in named):
        message = f"no label holds an id above {NUM_CLASSES - 1}: these seem to be train ids"
        findings.append(Finding("error", folder, message, tree.RENAME))


def _describe(split: _Split, reports: list[_Report]) -> str:
    name, images, labels = split
    cities = len({city for city, _ in images})
    sizes = Counter(report.size for report in reports if report.size).most_common()
    shown = [f"{w} x {h}" + (f" ({n})" if len(sizes) > 1 else "") for (w, h), n in sizes]
    absent = _absent_classes(reports)
    classes = f"warning: no pixel of {', '.join(absent)}" if absent else "all classes"
    head = f"{name}: {counted(len(images), 'image')}, {counted(len(labels), 'label')}"
    return ", ".join([head, f"{cities} {'city' if cities == 1 else 'cities'}", *shown, classes])


def _absent_classes(reports: list[_Report]) -> list[str]:
    seen = np.zeros(256, dtype=bool)
    for report in reports:
        if report.present is not None:
            ids = np.flatnonzero(report.present)
            seen[LABEL_TO_TRAIN[ids] if report.label_ids else ids] = True
    return [name for i, name in enumerate(CLASS_NAMES) if not seen[i]]


def summarise(findings: Sequence[Finding], examples: int = 3) -> list[str]:
    """Write findings as lines, those of one kind together.

    Args:
        findings: What ``examine`` found.
        examples: Most paths to name per kind.

    Returns:
        Lines of text, errors first; empty where there is no finding.
    """
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda f: f.severity):
        # Messages of one kind differ in sizes and ids only.
        kind = re.sub(r"\d+", "#", finding.message)
        groups.setdefault((finding.severity, kind, finding.remedy), []).append(finding)
    return [line for group in groups.values() for line in _lines(group, examples)]


def _lines(group: list[Finding], examples: int) -> Iterator[str]:
    first = group[0]
    alike = len({finding.message for finding in group}) == 1
    count = f"{len(group)} times: " if len(group) > 1 else ""
    yield f"{first.severity}: {count}{first.message}{'' if alike else ', and the like'}"
    for finding in group[:examples]:
        if finding.path:
            yield f"    {finding.path}{'' if alike else ': ' + finding.message}"
    if len(group) > examples:
        yield f"    and {len(group) - examples} more"
    yield f"    -> {first.remedy}"
