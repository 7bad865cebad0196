"""Training recipes: one readable TOML file each, read into a typed record."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from robustseg.errors import SettingError
from robustseg.names import unknown_name

__all__ = ["RECIPES", "Recipe", "default_recipe", "load_recipe"]

RECIPES = ("segformer", "dlv3p", "dlv3p_mmseg", "quick")

POSITIVE = ("iterations", "batch_size", "lr", "cat_max_ratio", "accumulate")
NOT_NEGATIVE = (
    "momentum",
    "weight_decay",
    "head_lr_factor",
    "warmup_iterations",
    "warmup_ratio",
    "poly_power",
    "min_lr",
    "scale_step",
    "drop_path",
    "auxiliary",
    "validate_every",
)
BELOW_ONE = ("momentum", "drop_path")
CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "loss_over": ("all", "counted"),
    "init": ("imagenet", "none"),
    "precision": ("auto", "fp32", "bf16"),
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; ``segformer.toml`` here says what each entry means."""

    iterations: int
    batch_size: int
    crop: tuple[int, int]
    scale: tuple[float, float]
    scale_step: float
    cat_max_ratio: float
    flip: bool
    photometric: bool
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    decay_norms: bool
    head_lr_factor: float
    warmup_iterations: int
    warmup_ratio: float
    poly_power: float
    min_lr: float
    output_stride: int
    drop_path: float
    auxiliary: float
    class_weights: bool
    loss_over: str
    init: str
    precision: str
    accumulate: int
    validate_every: int

    def to_json(self) -> str:
        """Write the recipe as JSON, one entry a line."""
        return json.dumps(asdict(self), indent=1)

    def learning_rate(self, iteration: int) -> float:
        """Give the base rate at an iteration: polynomial decay with linear warm-up.

        Args:
            iteration: From 0 to ``iterations``.
        """
        left = max(1 - iteration / self.iterations, 0.0)
        rate = (self.lr - self.min_lr) * math.pow(left, self.poly_power) + self.min_lr
        if iteration >= self.warmup_iterations:
            return rate
        share = iteration / self.warmup_iterations
        return rate * (self.warmup_ratio + (1 - self.warmup_ratio) * share)


def default_recipe(model: str) -> str:
    """Name the recipe that belongs to a network's family and, for DeepLabv3+, to its lineage."""
    if model.startswith("segformer"):
        return "segformer"
    return "dlv3p_mmseg" if model.endswith("@mmseg") else "dlv3p"


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by its name, or from a TOML file, and apply ``key=value`` overrides.

    Args:
        name: One of ``RECIPES`` or a path that ends with ``.toml``.
        overrides: Such as ``["lr=1e-4", "crop=[512, 512]"]``; values are written as in TOML.

    Raises:
        SettingError: An entry is unknown, missing, of another type, or out of its range.
        NameLookupError: No recipe has this name.
    """
    content = _read(name)
    for override in overrides:
        content.update(_parse_override(override))
    recipe = _build(content, name)
    _check(recipe)
    return recipe


def _read(name: str) -> dict[str, Any]:
    if name in RECIPES:
        text = resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise SettingError(f"cannot read recipe {name}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingError(f"recipe {name} is not a text file") from error
    else:
        raise unknown_name(name, RECIPES, "recipe")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"recipe {name} is not valid TOML: {error}") from error


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, value = override.partition("=")
    if not equals:
        raise SettingError(f"override {override!r} is not of the form key=value")
    try:
        return {key.strip(): tomllib.loads(f"x = {value}")["x"]}
    except tomllib.TOMLDecodeError:
        return {key.strip(): value.strip()}


def _build(content: Mapping[str, Any], name: str) -> Recipe:
    kinds = {f.name: str(f.type) for f in fields(Recipe)}
    unknown = [k for k in content if k not in kinds]
    if unknown:
        raise unknown_name(unknown[0], list(kinds), "recipe entry")
    missing = [k for k in kinds if k not in content]
    if missing:
        raise SettingError(f"recipe {name} lacks {', '.join(missing)}")
    values: dict[str, Any] = {key: _convert(key, content[key], kinds[key]) for key in kinds}
    return Recipe(**values)


def _convert(key: str, value: object, kind: str) -> object:
    if kind.startswith("tuple"):
        item = "int" if "int" in kind else "float"
        if not isinstance(value, list) or len(value) != 2:
            raise SettingError(f"{key} must be two numbers such as [1, 2], found {value!r}")
        return tuple(_convert(key, v, item) for v in value)
    if (
        kind == "float" and isinstance(value, int) and not isinstance(value, bool)
    ):  # TOML writes 1 for 1.0; true is no number
        return float(value)
    if type(value).__name__ != kind:
        raise SettingError(f"{key} must be {kind}, found {value!r}")
    return value


def _check(recipe: Recipe) -> None:
    """Refuse values with which no training can run."""
    for key in POSITIVE:
        if not 0 < getattr(recipe, key) < math.inf:
            raise SettingError(f"{key} must be a number above 0, found {getattr(recipe, key)}")
    for key in NOT_NEGATIVE:
        if not 0 <= getattr(recipe, key) < math.inf:
            raise SettingError(f"{key} must be a number not below 0, found {getattr(recipe, key)}")
    if min(recipe.crop) < 64:
        raise SettingError(f"crop must be at least [64, 64], found {list(recipe.crop)}")
    if not 0 < recipe.scale[0] <= recipe.scale[1] < math.inf:
        raise SettingError(f"scale must rise from above 0, found {list(recipe.scale)}")
    for key in BELOW_ONE:
        if getattr(recipe, key) >= 1:
            raise SettingError(f"{key} must be below 1, found {getattr(recipe, key)}")
    _check_choices(recipe)
    if recipe.batch_size % recipe.accumulate:
        raise SettingError(
            f"accumulate must divide batch_size, found {recipe.accumulate} and {recipe.batch_size}"
        )


def _check_choices(recipe: Recipe) -> None:
    for key, allowed in CHOICES.items():
        if getattr(recipe, key) not in allowed:
            known = " or ".join((", ".join(allowed[:-1]), allowed[-1]))
            raise SettingError(f"{key} must be {known}, found {getattr(recipe, key)!r}")
