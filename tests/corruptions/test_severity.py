from __future__ import annotations

import pytest

from robustseg.corruptions.severity import (
    CORRUPTIONS,
    DEFINITION,
    EXTRA,
    EXTRA_TABLE,
    GROUPS,
    SEVERITIES,
    TABLE,
    check_severity,
    level,
)
from robustseg.errors import SettingError

# Typed in from the published functions, independently of the table.
PUBLISHED: dict[str, list[object]] = {
    "motion_blur": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    "defocus_blur": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    "glass_blur": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    "gaussian_blur": [(1,), (2,), (3,), (4,), (6,)],
    "gaussian_noise": [(0.08,), (0.12,), (0.18,), (0.26,), (0.38,)],
    "impulse_noise": [(0.03,), (0.06,), (0.09,), (0.17,), (0.27,)],
    "shot_noise": [(60,), (25,), (12,), (5,), (3,)],
    "speckle_noise": [(0.15,), (0.2,), (0.35,), (0.45,), (0.6,)],
    "brightness": [(0.1,), (0.2,), (0.3,), (0.4,), (0.5,)],
    "contrast": [(0.4,), (0.3,), (0.2,), (0.1,), (0.05,)],
    "saturate": [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    "jpeg_compression": [(25,), (18,), (15,), (10,), (7,)],
    "snow": [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ],
    "spatter": [
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ],
    "fog": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    "frost": [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
}


PUBLISHED_EXTRA: dict[str, list[object]] = {
    "zoom_blur": [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    "elastic_transform": [(12.5,), (16.25,), (21.25,), (25,), (30,)],
    "pixelate": [(0.6,), (0.5,), (0.4,), (0.3,), (0.25,)],
    "frost_procedural": PUBLISHED["frost"],
}


def test_table_beyond_the_sixteen() -> None:
    found = {name: [tuple(r) for r in getattr(EXTRA_TABLE, name)] for name in EXTRA}
    assert found == PUBLISHED_EXTRA
    assert EXTRA_TABLE._fields == EXTRA
    assert not {*EXTRA} & {*CORRUPTIONS, *GROUPS}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_table_holds_the_published_constants(name: str) -> None:
    assert [tuple(row) for row in getattr(TABLE, name)] == PUBLISHED[name]


def test_table_covers_the_corruptions_in_order() -> None:
    assert TABLE._fields == CORRUPTIONS


def test_names_are_the_columns_of_table_5() -> None:
    columns = (
        "Motion Defoc Glass Gauss | Gauss Impul Shot Speck | Bright Contr Satur JPEG "
        "| Snow Spatt Fog Frost"
    )
    groups = [part.split() for part in columns.split("|")]
    assert [len(members) for members in GROUPS.values()] == [len(group) for group in groups]
    for members, group in zip(GROUPS.values(), groups, strict=True):
        for name, column in zip(members, group, strict=True):
            assert name.startswith(column.lower())
    assert list(GROUPS) == ["blur", "noise", "digital", "weather"]
    assert len(set(CORRUPTIONS)) == 16


def test_constants_of_the_definition() -> None:
    assert SEVERITIES == (1, 2, 3, 4, 5)
    assert DEFINITION == "imagecorruptions-1.1.2"


def test_level_counts_from_one() -> None:
    assert level(TABLE.jpeg_compression, 1).quality == 25
    assert level(TABLE.jpeg_compression, 5).quality == 7


@pytest.mark.parametrize("severity", [0, 6, 1.0, True, "1", [1]])
def test_check_severity_names_what_was_given(severity: int) -> None:
    with pytest.raises(SettingError) as caught:
        check_severity(severity)
    assert repr(severity) in str(caught.value)
