"""The names of the corruptions, their groups, and every constant of their severities.

Pure data: importing this module loads neither numpy nor OpenCV. The constants are those of
ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261), which ``imagecorruptions``
1.1.2 (Michaelis et al., arXiv:1907.07484) made usable at any image size, and which Kamann and
Rother (CVPR 2020, arXiv:1908.05005) applied to Cityscapes. Lengths are in pixels and do not scale
with the image; noise, thresholds and offsets are on a scale where the image is 0-1.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from robustseg.errors import SettingError

__all__ = [
    "CORRUPTIONS",
    "DEFINITION",
    "EXTRA",
    "EXTRA_TABLE",
    "GROUPS",
    "SEVERITIES",
    "TABLE",
    "ExtraTable",
    "SeverityTable",
    "check_severity",
    "level",
]

DEFINITION = "imagecorruptions-1.1.2"
"""Which definition of the corruptions the functions follow; stored with every result."""

SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)
"""The severities of a corruption, weakest first; 0 stands for the clean image elsewhere."""

GROUPS: dict[str, tuple[str, ...]] = {
    "blur": ("motion_blur", "defocus_blur", "glass_blur", "gaussian_blur"),
    "noise": ("gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise"),
    "digital": ("brightness", "contrast", "saturate", "jpeg_compression"),
    "weather": ("snow", "spatter", "fog", "frost"),
}
"""Group to its members, both in the column order of SegFormer's Table 5 (arXiv:2105.15203)."""

CORRUPTIONS: tuple[str, ...] = tuple(name for members in GROUPS.values() for name in members)
"""The sixteen names in the column order of SegFormer's Table 5."""

EXTRA: tuple[str, ...] = ("zoom_blur", "elastic_transform", "pixelate", "frost_procedural")
"""Further corruptions, asked for by name or as the group ``extra``; never part of ``all``."""


class MotionBlur(NamedTuple):
    """A line of ``2 radius + 1`` pixels, weighted by half a Gaussian of ``sigma`` pixels."""

    radius: int
    sigma: float


class DefocusBlur(NamedTuple):
    """A disk of ``radius`` pixels, its edge softened by a Gaussian of ``edge_sigma`` pixels."""

    radius: int
    edge_sigma: float


class GlassBlur(NamedTuple):
    """Gaussian ``sigma`` around ``passes`` shuffles that reach ``reach`` pixels far."""

    sigma: float
    reach: int
    passes: int


class GaussianBlur(NamedTuple):
    """A Gaussian of ``sigma`` pixels."""

    sigma: float


class GaussianNoise(NamedTuple):
    """Additive normal noise of standard deviation ``std``."""

    std: float


class ImpulseNoise(NamedTuple):
    """The share ``amount`` of the channel values becomes 0 or 255."""

    amount: float


class ShotNoise(NamedTuple):
    """Poisson noise where full intensity is ``photons`` counts."""

    photons: float


class SpeckleNoise(NamedTuple):
    """Multiplicative normal noise of standard deviation ``std``."""

    std: float


class Brightness(NamedTuple):
    """``offset`` is added to V of HSV."""

    offset: float


class Contrast(NamedTuple):
    """Distance to the mean of each channel, times ``factor``."""

    factor: float


class Saturate(NamedTuple):
    """S of HSV becomes ``factor * S + offset``."""

    factor: float
    offset: float


class JpegCompression(NamedTuple):
    """``quality`` of libjpeg, 1-100."""

    quality: int


class Snow(NamedTuple):
    """Flakes: normal noise, zoomed, cut at a threshold, drawn out by the wind.

    ``mean``, ``std``: of the noise. ``zoom``: size of a flake. ``threshold``: flakes below it
    vanish. ``radius``, ``sigma``: motion blur of the flakes. ``keep``: share of the image that is
    not whitened.
    """

    mean: float
    std: float
    zoom: float
    threshold: float
    radius: int
    sigma: float
    keep: float


class Spatter(NamedTuple):
    """Drops: normal noise, smoothed, cut at a threshold, coloured as water or mud.

    ``mean``, ``std``: of the noise. ``sigma``: of its smoothing. ``threshold``: what lies above it
    is wet. ``strength``: opacity of water, or the sigma that softens the edge of mud. ``mud``: mud
    if true, else water.
    """

    mean: float
    std: float
    sigma: float
    threshold: float
    strength: float
    mud: bool


class Fog(NamedTuple):
    """A plasma fractal of height ``amplitude`` whose roughness falls by ``decay`` each octave."""

    amplitude: float
    decay: float


class Frost(NamedTuple):
    """``image_weight`` times the image plus ``frost_weight`` times a photograph of frost."""

    image_weight: float
    frost_weight: float


class ZoomBlur(NamedTuple):
    """The mean of the image and its enlargements by 1, 1 + ``step``, ... below ``below``."""

    below: float
    step: float


class ElasticTransform(NamedTuple):
    """Random shifts, smoothed, times ``strength``."""

    strength: float


class Pixelate(NamedTuple):
    """Sides shrunk to the share ``scale`` of their length, and enlarged again."""

    scale: float


class SeverityTable(NamedTuple):
    """For each corruption its five levels, severity 1 first."""

    motion_blur: tuple[MotionBlur, ...]
    defocus_blur: tuple[DefocusBlur, ...]
    glass_blur: tuple[GlassBlur, ...]
    gaussian_blur: tuple[GaussianBlur, ...]
    gaussian_noise: tuple[GaussianNoise, ...]
    impulse_noise: tuple[ImpulseNoise, ...]
    shot_noise: tuple[ShotNoise, ...]
    speckle_noise: tuple[SpeckleNoise, ...]
    brightness: tuple[Brightness, ...]
    contrast: tuple[Contrast, ...]
    saturate: tuple[Saturate, ...]
    jpeg_compression: tuple[JpegCompression, ...]
    snow: tuple[Snow, ...]
    spatter: tuple[Spatter, ...]
    fog: tuple[Fog, ...]
    frost: tuple[Frost, ...]


TABLE = SeverityTable(
    motion_blur=(
        MotionBlur(radius=10, sigma=3),
        MotionBlur(radius=15, sigma=5),
        MotionBlur(radius=15, sigma=8),
        MotionBlur(radius=15, sigma=12),
        MotionBlur(radius=20, sigma=15),
    ),
    defocus_blur=(
        DefocusBlur(radius=3, edge_sigma=0.1),
        DefocusBlur(radius=4, edge_sigma=0.5),
        DefocusBlur(radius=6, edge_sigma=0.5),
        DefocusBlur(radius=8, edge_sigma=0.5),
        DefocusBlur(radius=10, edge_sigma=0.5),
    ),
    glass_blur=(
        GlassBlur(sigma=0.7, reach=1, passes=2),
        GlassBlur(sigma=0.9, reach=2, passes=1),
        GlassBlur(sigma=1.0, reach=2, passes=3),
        GlassBlur(sigma=1.1, reach=3, passes=2),
        GlassBlur(sigma=1.5, reach=4, passes=2),
    ),
    gaussian_blur=tuple(GaussianBlur(sigma) for sigma in (1, 2, 3, 4, 6)),
    gaussian_noise=tuple(GaussianNoise(std) for std in (0.08, 0.12, 0.18, 0.26, 0.38)),
    impulse_noise=tuple(ImpulseNoise(amount) for amount in (0.03, 0.06, 0.09, 0.17, 0.27)),
    shot_noise=tuple(ShotNoise(photons) for photons in (60, 25, 12, 5, 3)),
    speckle_noise=tuple(SpeckleNoise(std) for std in (0.15, 0.20, 0.35, 0.45, 0.60)),
    brightness=tuple(Brightness(offset) for offset in (0.1, 0.2, 0.3, 0.4, 0.5)),
    contrast=tuple(Contrast(factor) for factor in (0.40, 0.30, 0.20, 0.10, 0.05)),
    saturate=(
        Saturate(factor=0.3, offset=0.0),
        Saturate(factor=0.1, offset=0.0),
        Saturate(factor=2.0, offset=0.0),
        Saturate(factor=5.0, offset=0.1),
        Saturate(factor=20.0, offset=0.2),
    ),
    jpeg_compression=tuple(JpegCompression(quality) for quality in (25, 18, 15, 10, 7)),
    snow=(
        Snow(mean=0.10, std=0.3, zoom=3.0, threshold=0.50, radius=10, sigma=4, keep=0.80),
        Snow(mean=0.20, std=0.3, zoom=2.0, threshold=0.50, radius=12, sigma=4, keep=0.70),
        Snow(mean=0.55, std=0.3, zoom=4.0, threshold=0.90, radius=12, sigma=8, keep=0.70),
        Snow(mean=0.55, std=0.3, zoom=4.5, threshold=0.85, radius=12, sigma=8, keep=0.65),
        Snow(mean=0.55, std=0.3, zoom=2.5, threshold=0.85, radius=12, sigma=12, keep=0.55),
    ),
    spatter=(
        Spatter(mean=0.65, std=0.3, sigma=4, threshold=0.69, strength=0.6, mud=False),
        Spatter(mean=0.65, std=0.3, sigma=3, threshold=0.68, strength=0.6, mud=False),
        Spatter(mean=0.65, std=0.3, sigma=2, threshold=0.68, strength=0.5, mud=False),
        Spatter(mean=0.65, std=0.3, sigma=1, threshold=0.65, strength=1.5, mud=True),
        Spatter(mean=0.67, std=0.4, sigma=1, threshold=0.65, strength=1.5, mud=True),
    ),
    fog=(
        Fog(amplitude=1.5, decay=2.0),
        Fog(amplitude=2.0, decay=2.0),
        Fog(amplitude=2.5, decay=1.7),
        Fog(amplitude=2.5, decay=1.5),
        Fog(amplitude=3.0, decay=1.4),
    ),
    frost=(
        Frost(image_weight=1.00, frost_weight=0.40),
        Frost(image_weight=0.80, frost_weight=0.60),
        Frost(image_weight=0.70, frost_weight=0.70),
        Frost(image_weight=0.65, frost_weight=0.70),
        Frost(image_weight=0.60, frost_weight=0.75),
    ),
)
"""All constants of the sixteen; the published definition, not a setting."""


class ExtraTable(NamedTuple):
    """For each corruption of ``EXTRA`` its five levels, severity 1 first."""

    zoom_blur: tuple[ZoomBlur, ...]
    elastic_transform: tuple[ElasticTransform, ...]
    pixelate: tuple[Pixelate, ...]
    frost_procedural: tuple[Frost, ...]


EXTRA_TABLE = ExtraTable(
    zoom_blur=(
        ZoomBlur(below=1.11, step=0.01),
        ZoomBlur(below=1.16, step=0.01),
        ZoomBlur(below=1.21, step=0.02),
        ZoomBlur(below=1.26, step=0.02),
        ZoomBlur(below=1.31, step=0.03),
    ),
    elastic_transform=tuple(
        ElasticTransform(250 * share) for share in (0.05, 0.065, 0.085, 0.1, 0.12)
    ),
    pixelate=tuple(Pixelate(scale) for scale in (0.6, 0.5, 0.4, 0.3, 0.25)),
    frost_procedural=TABLE.frost,
)
"""Constants of the further corruptions; the first three are those of the definition."""

Level = TypeVar("Level")


def check_severity(severity: int) -> None:
    """Reject anything but the integers 1-5.

    Args:
        severity: What the user asked for.

    Raises:
        SettingError: It is no integer, or outside 1-5.
    """
    # True == 1 and 3.0 == 3, so membership alone would let both through.
    whole = hasattr(severity, "__index__") and not isinstance(severity, bool)
    if not whole or severity not in SEVERITIES:
        raise SettingError(f"severity must be an integer from 1 to 5, got {severity!r}")


def level(levels: tuple[Level, ...], severity: int) -> Level:
    """Pick the constants of one severity.

    Args:
        levels: One field of ``TABLE`` or ``EXTRA_TABLE``.
        severity: 1-5.

    Returns:
        The constants.

    Raises:
        SettingError: The severity is not an integer from 1 to 5.

    Examples:
        >>> level(TABLE.motion_blur, 5)
        MotionBlur(radius=20, sigma=15)
    """
    check_severity(severity)
    return levels[severity - 1]
