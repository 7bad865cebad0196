from __future__ import annotations

import pytest

from robustseg.errors import NameLookupError, RobustsegError
from robustseg.names import select, unknown_name

FRUIT = ("apple", "apricot", "banana", "cherry", "damson")
GROUPS = {"stone": ("damson", "cherry", "apricot")}


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (["cherry"], ["cherry"]),
        (["damson", "apple"], ["damson", "apple"]),
        (["all"], list(FRUIT)),
        (["ap*"], ["apple", "apricot"]),
        (["*an*"], ["banana"]),
        (["?????"], ["apple"]),
        (["[bd]*"], ["banana", "damson"]),
        # members come in the order of the list, not of the group
        (["stone"], ["apricot", "cherry", "damson"]),
        (["cherry", "stone", "all"], ["cherry", "apricot", "damson", "apple", "banana"]),
        (["apple", "apple", "ap*"], ["apple", "apricot"]),
        ([], []),
    ],
)
def test_select(wanted: list[str], chosen: list[str]) -> None:
    assert select(wanted, FRUIT, "fruit", GROUPS) == chosen


def test_select_without_groups() -> None:
    assert select(["apple"], FRUIT, "fruit") == ["apple"]
    with pytest.raises(NameLookupError):
        select(["stone"], FRUIT, "fruit")


@pytest.mark.parametrize("name", ["Apple", "APPLE", "aple", "appel"])
def test_a_typo_is_answered_with_the_nearest_name(name: str) -> None:
    with pytest.raises(NameLookupError) as caught:
        select([name], FRUIT, "fruit")
    assert str(caught.value).startswith(f"unknown fruit {name!r}: did you mean apple")


def test_a_misspelt_group_is_answered_with_the_group() -> None:
    with pytest.raises(NameLookupError, match="did you mean stone"):
        select(["stones"], FRUIT, "fruit", GROUPS)


@pytest.mark.parametrize("name", ["xyz", "", "z*"])
def test_a_name_far_from_all_is_answered_with_the_list(name: str) -> None:
    with pytest.raises(NameLookupError) as caught:
        select([name], FRUIT, "fruit")
    assert all(known in str(caught.value) for known in FRUIT)


def test_one_wrong_name_among_right_ones_is_an_error() -> None:
    with pytest.raises(NameLookupError, match="'kiwi'"):
        select(["apple", "kiwi", "all"], FRUIT, "fruit")


def test_the_error_is_one_line_that_a_user_can_mend() -> None:
    error = unknown_name("bananna", FRUIT, "fruit")
    assert isinstance(error, RobustsegError)
    assert str(error) == "unknown fruit 'bananna': did you mean banana?"
