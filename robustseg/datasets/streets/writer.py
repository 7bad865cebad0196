"""Built-in street scenes: pictures with Cityscapes labels that need no download.

Each scene is a street in metres, drawn from a named layout and seen by a pinhole camera: see
``layout`` for the layouts (those for training and those for validation differ),
``scene`` for the order of painting. The scene does not depend on the size: a small picture
shows the same street as a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from robustseg.datasets.sample import ImageArray
from robustseg.datasets.streets.camera import Camera
from robustseg.datasets.streets.layout import draw_plan, layouts_of
from robustseg.datasets.streets.light import draw_light, expose
from robustseg.datasets.streets.paint import Canvas
from robustseg.datasets.streets.scene import paint_street
from robustseg.errors import DataError, SettingError
from robustseg.files import atomic_path
from robustseg.processes import run_in_processes

__all__ = ["CITIES", "SMALLEST", "render_street", "write_streets"]

SMALLEST = (64, 128)
"""Least height and width of a scene in pixels."""

CITIES: dict[str, tuple[str, ...]] = {
    "train": ("altenfurt", "brueckstadt", "lindenau"),
    "val": ("marienwerth", "seehafen"),
}
"""Split to invented city names; the scenes of a split take turns."""

_EGO, _OUT_OF_ROI = 1, 3
_SPLIT_STREAMS = {"train": 11, "val": 23}
_FINE_PIXELS = 300_000
_VERSION = 1
_MOST = 1_000_000


def render_street(
    height: int, width: int, seed: int, split: str
) -> tuple[ImageArray, npt.NDArray[np.uint8]]:
    """Render one scene.

    The same arguments give the same bytes. Scenes of the two splits come from disjoint random
    streams and disjoint layouts.

    Args:
        height: Pixels, at least 64.
        width: Pixels, at least 128.
        seed: Which scene, 0 or more.
        split: ``train`` or ``val``.

    Returns:
        uint8 RGB (H, W, 3), and uint8 Cityscapes label ids (H, W).

    Raises:
        SettingError: A size or the seed is out of its range.
        NameLookupError: The split is unknown.
    """
    _check_size(height, width)
    if seed < 0:
        raise SettingError(f"the seed of a street is 0 or more, found {seed}: choose another")
    layouts = layouts_of(split)
    streams = np.random.SeedSequence([seed, _SPLIT_STREAMS[split]]).spawn(5)
    plan_rng, light_rng, view_rng, scene_rng, lens_rng = (
        np.random.Generator(np.random.PCG64(s)) for s in streams
    )
    # Neighbouring seeds walk through the layouts, so that a small set holds all of them.
    plan = draw_plan(layouts[seed % len(layouts)], plan_rng)
    light = draw_light(light_rng)
    fine = 2 if height * width * 4 <= _FINE_PIXELS else 1
    camera = _draw_camera(height * fine, width * fine, view_rng)
    canvas = Canvas(camera, light, refine=3 - fine)
    paint_street(canvas, plan, scene_rng)
    _frame(canvas, view_rng)
    rgb, labels = canvas.rgb, canvas.labels
    if fine == 2:
        rgb = _halve(rgb)
        labels = labels[1::2, ::2]
    return expose(rgb, light, lens_rng), np.ascontiguousarray(labels)


def write_streets(
    root: Path,
    counts: Mapping[str, int],
    height: int,
    width: int,
    seed: int,
    on_done: Callable[[], None] | None = None,
    workers: int = 1,
) -> None:
    """Write scenes as a tree of the shape of Cityscapes.

    ``<root>/leftImg8bit/<split>/<city>/<city>_<scene>_000019_leftImg8bit.png`` and
    ``<root>/gtFine/<split>/<city>/<city>_<scene>_000019_gtFine_labelIds.png``. Complete scenes
    that are there are kept, so that a stopped run goes on where it was. Each file appears whole,
    the label before its image.

    Args:
        root: Folder of the tree; made where missing.
        counts: Scenes for each split, such as ``{"train": 40, "val": 20}``.
        height: Pixels, at least 64.
        width: Pixels, at least 128.
        seed: Which set of scenes, 0 or more.
        on_done: Called in this process after each scene, also for those that were there.
        workers: Processes; the files do not depend on their number.

    Raises:
        SettingError: A size, count, seed or number of workers is out of its range.
        NameLookupError: A split is unknown.
        DataError: ``root`` holds scenes of another size or seed.
    """
    _check_size(height, width)
    _check_counts(counts, seed, workers)
    notify = on_done or (lambda: None)
    missing: list[_Task] = []
    for task in _tasks(root, counts, (height, width), seed):
        if _is_complete(task):
            notify()
        else:
            missing.append(task)
    if workers == 1 or len(missing) < 2:
        for task in missing:
            _write_scene(task)
            notify()
    else:
        for _ in run_in_processes(_write_scene, missing, min(workers, len(missing))):
            notify()


@dataclass(frozen=True)
class _Task:
    image: Path
    label: Path
    height: int
    width: int
    seed: int
    split: str

    @property
    def stamp(self) -> str:
        """What the image says about its making; another stamp means another scene."""
        return f"street {_VERSION} {self.split} {self.seed} {self.height}x{self.width}"


def _tasks(
    root: Path, counts: Mapping[str, int], size: tuple[int, int], seed: int
) -> Iterator[_Task]:
    for split, count in counts.items():
        for index in range(count):
            city = CITIES[split][index % len(CITIES[split])]
            name = f"{city}_{index:06d}_000019"
            image = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
            label = root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
            yield _Task(image, label, *size, seed * _MOST + index, split)


def _is_complete(task: _Task) -> bool:
    if not (task.image.is_file() and task.label.is_file()):
        return False
    try:
        with Image.open(task.image) as image:
            found = str(image.info.get("Comment", "nothing"))
    except OSError:
        return False
    if found != task.stamp:
        raise DataError(
            f"{task.image} is not the scene asked for: it says {found!r}, wanted "
            f"{task.stamp!r}; give another folder or remove this one"
        )
    return True


def _write_scene(task: _Task) -> None:
    image, labels = render_street(task.height, task.width, task.seed, task.split)
    with atomic_path(task.label) as path:
        Image.fromarray(labels).save(path, compress_level=1)
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", task.stamp)
    with atomic_path(task.image) as path:
        Image.fromarray(image).save(path, compress_level=1, pnginfo=note)


def _check_size(height: int, width: int) -> None:
    if height < SMALLEST[0] or width < SMALLEST[1]:
        least = f"{SMALLEST[0]} x {SMALLEST[1]}"
        raise SettingError(
            f"a street of {height} x {width} pixels is too small: the least is {least}"
        )


def _check_counts(counts: Mapping[str, int], seed: int, workers: int) -> None:
    for split, count in counts.items():
        layouts_of(split)
        if not 0 <= count < _MOST:
            raise SettingError(f"{count} scenes for {split}: give a number from 0 to {_MOST - 1}")
    if seed < 0:
        raise SettingError(f"the seed of the streets is 0 or more, found {seed}: choose another")
    if workers < 1:
        raise SettingError(f"{workers} workers cannot write streets: give 1 or more")


def _draw_camera(height: int, width: int, rng: np.random.Generator) -> Camera:
    # For pictures of another shape than 1:2 the same area of the street is kept in view.
    reach = float(np.sqrt(2.0 * height * width))
    return Camera(
        height=height,
        width=width,
        focal=reach * float(rng.uniform(0.86, 1.02)),
        horizon=height * float(rng.uniform(0.40, 0.49)),
        eye=float(rng.uniform(1.25, 1.6)),
    )


def _frame(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the car's own bonnet, and mark the picture's rim as outside the region of interest."""
    height, width = canvas.labels.shape
    rise, middle = float(rng.uniform(0.03, 0.075)), float(rng.uniform(0.46, 0.54))
    tone = np.asarray(rng.uniform(0.1, 0.5) * np.array([1.0, 1.0, 1.03]), np.float32)
    if rng.random() < 0.75:
        x = (np.arange(width, dtype=np.float32) + 0.5) / width - np.float32(middle)
        top = 1 - np.float32(rise) * (1 - np.float32(2.6) * x * x)
        first = int(height * (1 - rise))
        y = ((np.arange(first, height, dtype=np.float32) + 0.5) / height)[:, None]
        inside = y > top[None, :]
        shine = 1.25 - (y - top[None, :]) * np.float32(8) + 0.1 * np.abs(x)[None, :]
        colour = shine[..., None] * tone * np.float32(canvas.light.skylight[1] * 1.3)
        canvas.lay((first, height, 0, width), colour, inside, _EGO, 0.0)
    rim = max(round(width / 256), 1)
    canvas.labels[:, :rim] = _OUT_OF_ROI
    canvas.labels[:, width - rim :] = _OUT_OF_ROI


def _halve(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rows = rgb[0::2] + rgb[1::2]
    result: npt.NDArray[np.float32] = (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)
    return result
