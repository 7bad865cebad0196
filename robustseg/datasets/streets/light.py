"""Light of the built-in street scenes: sun, sky, haze, and what the camera makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from robustseg.datasets.sample import ImageArray
from robustseg.datasets.streets.camera import Camera, FloatArray
from robustseg.datasets.streets.texture import cloud_tile, leaf_tile

__all__ = ["Light", "draw_light", "expose", "paint_sky"]

Colour = tuple[float, float, float]

_TONE_STEPS = 4096


@dataclass(frozen=True)
class Light:
    """The weather and the camera's settings. Colours are RGB factors around 1.

    Attributes:
        sun: Unit vector to the sun (X, Y, Z).
        sunlight: Colour and strength of direct light; near zero under an overcast sky.
        skylight: Colour and strength of diffuse light.
        zenith: Colour of the upper sky.
        rim: Colour of the sky at the horizon.
        cover: Share of clouds, 0-1.
        haze: Colour of haze.
        sight: Distance in metres after which haze takes 63 %.
        exposure: Mean brightness that the camera aims at, 0-1.
        contrast: Slope of the tone curve at mid-grey.
        balance: Colour factors of a white balance that is slightly off.
        softness: Standard deviation of the lens's blur in pixels.
        noise: Standard deviation of the sensor's noise at mid-grey, 0-1.
        vignette: Loss of light in the corners, 0-1.
    """

    sun: tuple[float, float, float]
    sunlight: Colour
    skylight: Colour
    zenith: Colour
    rim: Colour
    cover: float
    haze: Colour
    sight: float
    exposure: float
    contrast: float
    balance: Colour
    softness: float
    noise: float
    vignette: float

    def shade(self, normal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the light that falls on a surface, float64 (3,).

        Args:
            normal: float64 (3,), unit vector out of the surface.
        """
        direct = max(0.0, float(normal @ np.asarray(self.sun)))
        # Horizontal surfaces see the whole sky, upright ones half of it and some lit ground.
        diffuse = 0.78 + 0.22 * float(normal[1])
        light: npt.NDArray[np.float64] = diffuse * np.asarray(self.skylight)
        return light + direct * np.asarray(self.sunlight)

    def clear(self, depth: FloatArray | float) -> FloatArray:
        """Return the share of light that haze lets through, 0-1, for depths in metres."""
        return np.asarray(np.exp(np.asarray(depth, np.float32) * np.float32(-1 / self.sight)))


def draw_light(rng: np.random.Generator) -> Light:
    """Draw a time of day, a sky and a camera setting."""
    overcast = float(rng.uniform(0.65, 1.0) if rng.random() < 0.4 else rng.uniform(0.0, 0.45))
    elevation = float(rng.uniform(0.25, 1.15))
    azimuth = float(rng.uniform(-np.pi, np.pi))
    warmth = float(np.clip(0.75 - elevation, 0, 0.5)) * (1 - overcast)
    direct = 0.72 * (1 - overcast) ** 1.5
    blue = np.array([0.36, 0.55, 0.86]) * rng.uniform(0.8, 1.05)
    grey = np.array([0.74, 0.77, 0.80]) * rng.uniform(0.8, 1.12)
    zenith = blue + (grey - blue) * overcast**0.7
    pale = np.array([0.86, 0.91, 0.97]) + warmth * np.array([0.22, 0.02, -0.28])
    rim = pale + (grey * 1.08 - pale) * overcast
    skylight = (
        np.array([0.60, 0.63, 0.68]) * (1 - overcast) + np.array([0.80, 0.81, 0.82]) * overcast
    )
    sunlight = direct * np.array([1.05 + 0.25 * warmth, 0.98, 0.86 - 0.5 * warmth])
    tint = float(rng.normal(0, 0.035))
    haze = rim * 0.94
    return Light(
        sun=_direction(elevation, azimuth),
        sunlight=_colour(sunlight),
        skylight=_colour(skylight * rng.uniform(0.9, 1.05)),
        zenith=_colour(zenith),
        rim=_colour(rim),
        cover=float(overcast if overcast > 0.6 else rng.uniform(0.1, 0.75)),
        haze=_colour(haze),
        sight=float(np.exp(rng.uniform(np.log(140), np.log(900)))),
        exposure=float(np.clip(rng.normal(0.41, 0.05), 0.30, 0.53)),
        contrast=float(rng.uniform(1.0, 1.4)),
        balance=(1 + tint, 1 + float(rng.normal(0, 0.012)), 1 - tint),
        softness=float(rng.uniform(0.35, 0.6)),
        noise=float(rng.uniform(0.006, 0.02)),
        vignette=float(rng.uniform(0.05, 0.25)),
    )


def paint_sky(rgb: FloatArray, camera: Camera, light: Light, rng: np.random.Generator) -> None:
    """Paint gradient, clouds and the sun's glow over the whole picture.

    Args:
        rgb: float32 (H, W, 3), overwritten.
        camera: The view.
        light: The weather.
        rng: Where the clouds are; the number of draws does not depend on the size.
    """
    # Clouds are soft: a coarse picture enlarged looks the same and costs little at any size.
    rows, columns = 96, 192
    slope_y = (camera.horizon - (np.arange(rows) + 0.5) * camera.height / rows) / camera.focal
    slope_x = ((np.arange(columns) + 0.5) / columns - 0.5) * camera.width / camera.focal
    rise = np.clip(slope_y, 0.0, None)[:, None]
    share = np.clip(rise / 0.42, 0, 1) ** 0.7
    zenith, rim = np.asarray(light.zenith), np.asarray(light.rim)
    sky = rim + (zenith - rim) * share[..., None]
    away = 26.0 / (rise + 0.09)
    clouds = _clouds(slope_x[None, :] * away, np.broadcast_to(away, (rows, columns)), light, rng)
    white = np.asarray(light.rim) * (1.04 - 0.25 * light.cover * (clouds[..., None] ** 2))
    sky = sky + (white - sky) * (clouds * np.clip(rise / 0.05, 0.2, 1))[..., None]
    glow = _glow(slope_x, slope_y, light)
    sky = sky + glow[..., None] * np.asarray(light.sunlight)
    for channel in range(3):
        plane = Image.fromarray(sky[..., channel].astype(np.float32))
        size = (camera.width, camera.height)
        rgb[..., channel] = np.asarray(plane.resize(size, Image.Resampling.BILINEAR))


def expose(rgb: FloatArray, light: Light, rng: np.random.Generator) -> ImageArray:
    """Take the picture: lens softness, vignette, exposure, sensor noise, tone curve.

    Args:
        rgb: float32 (H, W, 3), light reaching the lens; overwritten.
        light: The camera's settings.
        rng: The sensor's noise.

    Returns:
        uint8 RGB (H, W, 3).
    """
    height, width = rgb.shape[:2]
    for axis in (0, 1):
        ndimage.gaussian_filter1d(rgb, light.softness, axis=axis, output=rgb, truncate=3.0)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    # Like a camera's own: most of the way to the wanted mean, so that dark places stay darker.
    gain = float(np.clip((light.exposure / max(float(rgb.mean()), 1e-3)) ** 0.8, 0.6, 2.5))
    falloff = np.float32(gain) * (1 - np.float32(light.vignette / 2) * (x * x + y * y))
    rgb *= falloff[..., None]
    # Photons: the noise grows with the square root of the light, on top of a floor.
    grain = rng.standard_normal((height, width), dtype=np.float32)
    tint = rng.standard_normal((height, width, 3), dtype=np.float32)
    tint *= np.float32(0.6)
    tint += grain[..., None]
    tint *= np.sqrt(np.maximum(rgb, 0) + np.float32(0.1)) * np.float32(light.noise)
    rgb += tint
    steps = np.clip(rgb * np.float32(_TONE_STEPS / 2), 0, _TONE_STEPS - 1).astype(np.int16)
    image = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        image[..., channel] = _tone(light, channel)[steps[..., channel]]
    return image


def _tone(light: Light, channel: int) -> npt.NDArray[np.uint8]:
    level = np.arange(_TONE_STEPS) * (2 / _TONE_STEPS) * light.balance[channel]
    # A shoulder instead of a hard clip keeps detail in clouds and white cars.
    rolled = np.where(level > 0.7, 0.7 + 0.33 * np.tanh((level - 0.7) / 0.45), level)
    # A logistic curve through black and white: steeper at mid-grey, flat at both ends.
    steep = 4 * (light.contrast - 0.98)
    ends = np.tanh(0.5 * steep)
    curve = 0.5 + 0.5 * np.tanh(steep * (np.clip(rolled, 0, 1) - 0.5)) / ends
    result: npt.NDArray[np.uint8] = np.round(np.clip(curve, 0, 1) * 250 + 3).astype(np.uint8)
    return result


def _clouds(
    x: npt.NDArray[np.float64],
    z: npt.NDArray[np.float64],
    light: Light,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    shift = rng.uniform(0, 512, 2)
    coordinates = np.stack([z * 0.55 + shift[0], x * 0.55 + shift[1]])
    puff = ndimage.map_coordinates(cloud_tile(), coordinates, order=1, mode="grid-wrap")
    coordinates = np.stack([z * 2.3 + shift[1], x * 2.3 + shift[0]])
    puff = puff + 0.25 * ndimage.map_coordinates(
        leaf_tile(), coordinates, order=1, mode="grid-wrap"
    )
    edge = 1.3 - 2.4 * light.cover
    result: npt.NDArray[np.float64] = np.clip((puff - edge) * 0.8, 0, 1)
    return result


def _glow(
    slope_x: npt.NDArray[np.float64], slope_y: npt.NDArray[np.float64], light: Light
) -> npt.NDArray[np.float64]:
    view = np.stack(np.broadcast_arrays(slope_x[None, :], slope_y[:, None], np.array(1.0)), axis=-1)
    view = view / np.linalg.norm(view, axis=-1, keepdims=True)
    facing = np.clip(view @ np.asarray(light.sun), 0, 1)
    result: npt.NDArray[np.float64] = 0.55 * facing**12 + 0.2 * facing**2
    return result


def _direction(elevation: float, azimuth: float) -> tuple[float, float, float]:
    level = float(np.cos(elevation))
    up = float(np.sin(elevation))
    return level * float(np.sin(azimuth)), up, level * float(np.cos(azimuth))


def _colour(values: npt.NDArray[np.float64]) -> Colour:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
