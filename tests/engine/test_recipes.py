from __future__ import annotations

import json
from pathlib import Path

import pytest

from robustseg.engine.recipes import RECIPES, Recipe, default_recipe, load_recipe
from robustseg.errors import NameLookupError, SettingError
from robustseg.models.zoo import MODELS


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_loads(name: str) -> None:
    recipe = load_recipe(name)
    again = Recipe(**json.loads(recipe.to_json()))
    assert json.loads(again.to_json()) == json.loads(recipe.to_json())
    assert recipe.learning_rate(recipe.iterations) == pytest.approx(recipe.min_lr, abs=1e-15)


def test_every_network_has_a_recipe_of_its_family() -> None:
    named = {model: default_recipe(model) for model in MODELS}
    assert set(named.values()) == {"segformer", "dlv3p"}
    assert all((recipe == "segformer") == ("segformer" in model) for model, recipe in named.items())
    assert named["dlv3p_r50"] == named["dlv3p_x65"] == "dlv3p"
    assert default_recipe("dlv3p_r50@mmseg") == "dlv3p_mmseg"
    assert default_recipe("segformer_b0@mmseg") == "segformer"


def test_deeplab_recipes_have_the_constants_of_their_lineages() -> None:
    first, second = load_recipe("dlv3p"), load_recipe("dlv3p_mmseg")
    assert (first.crop, first.output_stride, first.auxiliary) == ((769, 769), 16, 0.0)
    assert (first.scale_step, first.photometric, first.loss_over) == (0.25, False, "counted")
    assert (first.weight_decay, first.decay_norms) == (4e-5, False)
    assert (second.crop, second.output_stride, second.auxiliary) == ((512, 1024), 8, 0.4)
    assert (second.min_lr, second.weight_decay, second.iterations) == (1e-4, 5e-4, 80_000)
    for recipe in (first, second):
        assert (recipe.optimizer, recipe.lr, recipe.momentum) == ("sgd", 0.01, 0.9)
        assert recipe.poly_power == 0.9


def test_segformer_recipe_has_the_papers_constants() -> None:
    recipe = load_recipe("segformer")
    # section 4.1: AdamW, 160K iterations, batch 8, initial rate 6e-5, poly with factor 1.0,
    # resize 0.5-2.0, flip, crop 1024 x 1024 for Cityscapes
    assert (recipe.optimizer, recipe.iterations, recipe.batch_size) == ("adamw", 160_000, 8)
    assert (recipe.lr, recipe.poly_power) == (6e-5, 1.0)
    assert (recipe.scale, recipe.crop, recipe.flip) == ((0.5, 2.0), (1024, 1024), True)
    # released configuration
    assert (recipe.head_lr_factor, recipe.weight_decay, recipe.decay_norms) == (10.0, 0.01, False)
    assert (recipe.warmup_iterations, recipe.warmup_ratio, recipe.min_lr) == (1500, 1e-6, 0.0)
    assert (recipe.cat_max_ratio, recipe.photometric, recipe.class_weights) == (0.75, True, False)


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [
        (0, 6e-11),  # 6e-5 x 1e-6
        (750, 6e-5 * (1 - 750 / 160_000) * 0.5000005),  # halfway of the warm-up
        (1499, 6e-5 * (158_501 / 160_000) * (1499 + 1e-6) / 1500),
        (1500, 5.94375e-5),  # 6e-5 x 158500 / 160000
        (80_000, 3e-5),
        (159_999, 3.75e-10),
        (160_000, 0.0),
        (160_001, 0.0),
    ],
)
def test_segformer_rates(iteration: int, rate: float) -> None:
    assert load_recipe("segformer").learning_rate(iteration) == pytest.approx(rate, rel=1e-6)


def test_poly_power_and_least_rate() -> None:
    recipe = load_recipe(
        "dlv3p",
        ["iterations=100", "lr=0.1", "min_lr=0.02", "poly_power=2.0", "warmup_iterations=0"],
    )
    assert recipe.learning_rate(0) == pytest.approx(0.1)
    assert recipe.learning_rate(50) == pytest.approx(0.08 * 0.25 + 0.02)
    assert recipe.learning_rate(100) == pytest.approx(0.02)


def test_overrides_are_written_as_in_toml() -> None:
    recipe = load_recipe(
        "segformer",
        ["lr=1e-4", "crop = [512, 768]", "scale=[1, 2]", "flip=false", "optimizer=sgd"],
    )
    assert recipe.lr == 1e-4
    assert recipe.crop == (512, 768)
    assert recipe.scale == (1.0, 2.0)
    assert all(isinstance(s, float) for s in recipe.scale)
    assert recipe.flip is False
    assert recipe.optimizer == "sgd"
    assert recipe.batch_size == load_recipe("segformer").batch_size


def test_last_override_wins() -> None:
    assert load_recipe("segformer", ["lr=1", "lr=2"]).lr == 2.0


def test_recipe_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    entries = json.loads(load_recipe("segformer").to_json()) | {"iterations": 7}
    lines = [f"{key} = {json.dumps(value)}" for key, value in entries.items()]
    path.write_text("\n".join(lines))
    assert load_recipe(str(path)) == load_recipe("segformer", ["iterations=7"])


def test_unknown_entry_is_answered_with_a_suggestion() -> None:
    with pytest.raises(NameLookupError, match="did you mean weight_decay") as caught:
        load_recipe("segformer", ["weigth_decay=0.1"])
    assert "\n" not in str(caught.value)


def test_unknown_recipe_is_answered_with_a_suggestion() -> None:
    with pytest.raises(NameLookupError, match="did you mean segformer"):
        load_recipe("segfromer")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr", "not of the form key=value"),
        ("lr=fast", "lr must be float, found 'fast'"),
        ("lr=true", "lr must be float, found True"),
        ("iterations=1.5", "iterations must be int, found 1.5"),
        ("iterations=true", "iterations must be int"),
        ("flip=1", "flip must be bool, found 1"),
        ("optimizer=3", "optimizer must be str"),
        ("crop=512", r"crop must be two numbers such as \[1, 2\], found 512"),
        ("crop=[512]", "two numbers"),
        ("crop=[512, 512, 3]", "two numbers"),
        ("crop=[512.5, 512]", "crop must be int"),
        ("scale=[true, 2]", "scale must be float"),
    ],
)
def test_wrong_types_are_named(override: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_recipe("segformer", [override])


@pytest.mark.parametrize(
    "override",
    [
        "iterations=0",
        "iterations=-5",
        "batch_size=0",
        "lr=0",
        "lr=-1e-3",
        "lr=nan",
        "lr=inf",
        "cat_max_ratio=0",
        "cat_max_ratio=nan",
        "crop=[63, 512]",
        "crop=[512, -1]",
        "scale=[0, 1]",
        "scale=[2, 1]",
        "scale=[nan, 1]",
        "scale=[1, inf]",
        "momentum=1.0",
        "momentum=-0.1",
        "weight_decay=-0.01",
        "weight_decay=nan",
        "head_lr_factor=-1",
        "warmup_iterations=-1",
        "warmup_ratio=-1.0",
        "poly_power=-1",
        "min_lr=-1e-6",
        "optimizer=adam",
        "loss_over=some",
        "init=weights.pth",
        "precision=fp16",
        "accumulate=0",
        "accumulate=3",
        "accumulate=-1",
        "drop_path=1.0",
        "drop_path=-0.1",
        "drop_path=nan",
        "auxiliary=-0.4",
        "auxiliary=inf",
        "scale_step=-0.25",
        "validate_every=-1",
    ],
)
def test_values_out_of_range_are_named(override: str) -> None:
    with pytest.raises(SettingError, match=override.partition("=")[0]) as caught:
        load_recipe("segformer", [override])
    assert "\n" not in str(caught.value)


def test_choices_are_listed_in_the_refusal() -> None:
    with pytest.raises(SettingError, match="precision must be auto, fp32 or bf16, found 'fp16'"):
        load_recipe("segformer", ["precision=fp16"])
    assert load_recipe("segformer", ["accumulate=4", "precision=bf16"]).accumulate == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"iterations = ", "not valid TOML"),
        (b"iterations = 5\n", "lacks batch_size, crop"),
        (b"\xff\xfe\x00", "not a text file"),
        (None, "cannot read recipe"),
    ],
)
def test_unreadable_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=message) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value)
