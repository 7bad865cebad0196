from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustseg.errors import DataError
from robustseg.results import (
    Cell,
    CellResult,
    Protocol,
    ResultStore,
    load_results,
    read_result,
)

MakeResult = Callable[..., CellResult]
FOG = Cell("fog", 2)


@pytest.fixture
def result(make_result: MakeResult) -> CellResult:
    return make_result("61.25", FOG)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "runs")


def path_of(store: ResultStore, result: CellResult) -> Path:
    return store.path(result.protocol, result.model.name, result.cell)


def assert_equal(found: CellResult | None, wanted: CellResult) -> None:
    assert found is not None
    assert found.confusion.dtype == np.int64
    assert np.array_equal(found.confusion, wanted.confusion)
    for entry in fields(CellResult):
        if entry.name != "confusion":
            assert getattr(found, entry.name) == getattr(wanted, entry.name)


def test_round_trip(store: ResultStore, result: CellResult) -> None:
    large = replace(result, confusion=np.array([[2**40, 7], [0, 3]], np.int64))
    store.write(large)
    assert_equal(read_result(path_of(store, large)), large)
    results, damaged = load_results(store.root)
    assert damaged == []
    assert len(results) == 1
    assert_equal(results[0], large)


def test_path_and_content_are_as_documented(store: ResultStore, result: CellResult) -> None:
    store.write(result)
    path = store.root / result.protocol.slug / "segformer_b0" / "fog-2.json"
    assert [p for p in store.root.rglob("*") if p.is_file()] == [path]
    content = json.loads(path.read_text())
    assert content["miou"] == 0.6125
    assert content["confusion"] == result.confusion.tolist()
    assert content["protocol"]["window"] == 1024


def test_a_matrix_without_pixels_has_no_miou(store: ResultStore, result: CellResult) -> None:
    empty = replace(result, confusion=np.zeros((19, 19), np.int64))
    store.write(empty)
    assert json.loads(path_of(store, empty).read_text())["miou"] is None
    assert np.isnan(read_result(path_of(store, empty)).miou)


def test_slug_differs_for_every_single_setting(protocol: Protocol) -> None:
    changed: dict[str, Callable[[Any], object]] = {
        "str": lambda value: value + "x",
        "int": lambda value: value + 1,
        "bool": lambda value: not value,
    }
    slugs = {protocol.slug}
    settings = [entry for entry in fields(Protocol) if entry.name != "data"]
    for entry in settings:
        value: Any = changed[str(entry.type)](getattr(protocol, entry.name))
        slugs.add(replace(protocol, **{entry.name: value}).slug)
    assert len(slugs) == len(settings) + 1
    # a folder may be renamed, the files' fingerprint stays
    assert replace(protocol, data="elsewhere").slug == protocol.slug


def test_results_from_before_there_was_a_channel_order(
    store: ResultStore, result: CellResult, protocol: Protocol
) -> None:
    # the name that the folder had then
    assert protocol.slug == "val-slide-c7d244ad"
    store.write(result)
    path = path_of(store, result)
    content = json.loads(path.read_text())
    assert content["protocol"].pop("channel_order") == "rgb"
    path.write_text(json.dumps(content))
    assert read_result(path).protocol == protocol
    assert store.usable(result)[0] is not None


def test_slug_is_one_readable_folder_name(protocol: Protocol) -> None:
    assert protocol.slug.startswith("val-slide-")
    assert protocol.slug == replace(protocol).slug
    odd = replace(protocol, split="../my data/:*?")
    assert not set("/\\ :*?") & set(odd.slug)


def test_title_says_what_matters_to_a_reader(protocol: Protocol) -> None:
    assert protocol.title == (
        "cityscapes val, 500 images, sliding window 1024 x 1024, stride 768, single scale, fp32; "
        "corruptions imagecorruptions-1.1.2, seed 0, computed"
    )
    sample = replace(protocol, images=5, limited=True, inference="whole", window=0, stride=0)
    assert "5 images (a sample), whole image, single" in sample.title


def test_title_tells_of_reversed_channels(protocol: Protocol) -> None:
    assert "seed 0, given BGR, computed" in replace(protocol, channel_order="bgr").title
    unknown = replace(protocol, definition="unknown", channel_order="unknown", source="stored")
    assert unknown.title.endswith("corruptions of unknown making, stored")


@pytest.mark.parametrize("severity", [1, 5])
def test_a_result_outlives_the_package_of_its_corruption(
    store: ResultStore, result: CellResult, severity: int
) -> None:
    versions = {**result.versions, "corruption dense_haze_2": "haze-tools 1"}
    haze = replace(result, cell=Cell("dense_haze_2", severity), versions=versions)
    store.write(haze)
    (found,), damaged = load_results(store.root)
    assert not damaged
    assert (found.cell, found.versions) == (haze.cell, versions)
    newer = replace(haze, versions={**versions, "corruption dense_haze_2": "haze-tools 2"})
    assert newer.same_settings(haze) == "version of corruption dense_haze_2"
    assert haze.same_settings(replace(haze, versions=result.versions))


def test_cell_reads_as_people_write_it() -> None:
    assert (str(Cell("clean", 0)), str(FOG)) == ("clean", "fog 2")


TEXTS = {
    "empty": b"",
    "no JSON": b"mIoU 0.5",
    "no UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "a text": b'"schema"',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"schema":' * 100_000,
    "only a schema": b'{"schema": 1}',
    "endless digits": b'{"schema": ' + b"9" * 100_000 + b"}",
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=list(TEXTS))
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fog-2.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_refused(store: ResultStore, result: CellResult, share: float) -> None:
    store.write(result)
    path = path_of(store, result)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="is not a whole result file"):
        read_result(path)


MISSING = object()
HOSTILE: list[tuple[str, Any]] = [
    ("schema", 2),
    ("schema", None),
    ("schema", "1"),
    ("schema", MISSING),
    ("confusion", MISSING),
    ("confusion", None),
    ("confusion", 5),
    ("confusion", []),
    ("confusion", [[]]),
    ("confusion", [1, 2]),
    ("confusion", [[1, 2]]),
    ("confusion", [[1, 2], [3]]),
    ("confusion", [[[1]]]),
    ("confusion", [[1, 2], [3, -1]]),
    ("confusion", [[1, 2], [3, 4.5]]),
    ("confusion", [[1, 2], [3, "4"]]),
    ("confusion", [[True, False], [False, True]]),
    ("confusion", [[1, 2], [3, None]]),
    ("confusion", [[1, 2], [3, float("nan")]]),
    ("confusion", [[1, 2], [3, float("inf")]]),
    ("confusion", [[1, 2], [3, 10**30]]),
    ("confusion", [[1, 2], [3, 2**63]]),
    # sums of these would pass the range of int64 and come back negative
    ("confusion", [[2**62, 2**62], [2**62, 2**62]]),
    ("confusion", {"0": [1]}),
    ("cell", MISSING),
    ("cell", "fog 2"),
    ("cell", {"corruption": "fog", "severity": 0}),
    ("cell", {"corruption": "fog", "severity": 6}),
    ("cell", {"corruption": "fog", "severity": -1}),
    ("cell", {"corruption": "fog", "severity": 2.0}),
    ("cell", {"corruption": "fog", "severity": True}),
    ("cell", {"corruption": "fog", "severity": "2"}),
    ("cell", {"corruption": "clean", "severity": 3}),
    ("cell", {"corruption": "../../etc/passwd", "severity": 1}),
    ("cell", {"corruption": "Haze", "severity": 1}),
    ("cell", {"corruption": "haze\n", "severity": 1}),
    ("cell", {"corruption": "", "severity": 1}),
    ("cell", {"corruption": "all", "severity": 1}),
    ("cell", {"corruption": "haze", "severity": 0}),
    ("protocol.channel_order", 3),
    ("cell", {"corruption": "fog"}),
    ("cell", {"corruption": "fog", "severity": 2, "extra": 1}),
    ("cell", ["corruption", "severity"]),
    ("model", MISSING),
    ("model", None),
    ("model.name", 7),
    ("model.parameters", "3719027"),
    ("model.parameters", MISSING),
    ("protocol", []),
    ("protocol.images", "500"),
    ("protocol.images", True),
    ("protocol.images", 1e400),
    ("protocol.limited", 0),
    ("protocol.seed", 0.0),
    ("protocol.fingerprint", None),
    ("protocol.window", MISSING),
    ("protocol.flip", True),
    ("versions", MISSING),
    ("versions", ["torch"]),
    ("versions", None),
    ("provenance", 5),
    ("provenance", None),
]


@pytest.mark.parametrize(
    ("where", "value"), HOSTILE, ids=lambda v: "missing" if v is MISSING else str(v)[:40]
)
def test_a_hostile_file_is_refused_and_set_aside(
    store: ResultStore, result: CellResult, where: str, value: object
) -> None:
    store.write(result)
    path = path_of(store, result)
    content = json.loads(path.read_text())
    *parents, key = where.split(".")
    inner = content[parents[0]] if parents else content
    if value is MISSING:
        del inner[key]
    else:
        inner[key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read_result(path)
    assert str(path) in str(caught.value)

    results, damaged = load_results(store.root)
    assert (results, damaged) == ([], [str(caught.value)])

    written = path.read_bytes()
    found, reason = store.usable(result)
    assert found is None
    assert str(caught.value) in reason
    assert reason.endswith("kept as *.old")
    assert path.with_name("fog-2.json.old1").read_bytes() == written
    assert not path.exists()


def test_another_schema_says_what_to_do(store: ResultStore, result: CellResult) -> None:
    store.write(result)
    path = path_of(store, result)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 7'))
    with pytest.raises(DataError, match="schema 7, this version reads 1: read it with"):
        read_result(path)


def test_a_missing_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_result(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot read"):
        read_result(tmp_path)


def test_a_result_of_the_same_settings_is_used_again(
    store: ResultStore, result: CellResult
) -> None:
    wanted = replace(result, confusion=np.zeros((2, 2), np.int64), provenance={})
    assert store.usable(wanted) == (None, "")
    store.write(result)
    before = path_of(store, result).read_bytes()
    found, reason = store.usable(wanted)
    assert reason == ""
    assert_equal(found, result)
    assert path_of(store, result).read_bytes() == before


def test_where_and_on_what_it_was_computed_does_not_matter(
    store: ResultStore, result: CellResult
) -> None:
    store.write(result)
    moved = replace(result.model, origin="/elsewhere/b0.pth")
    wanted = replace(result, model=moved, provenance={"device": "cuda:0"})
    assert_equal(store.usable(wanted)[0], result)


@pytest.mark.parametrize(
    ("versions", "checkpoint", "word"),
    [
        ({"robustseg": "0.1.0", "torch": "2.16.0"}, "c" * 64, "version of torch"),
        ({"robustseg": "0.1.0"}, "c" * 64, "version of torch"),
        ({"robustseg": "0.1.0", "torch": "2.15.0", "timm": "1"}, "c" * 64, "version of timm"),
        ({"robustseg": "0.1.0", "torch": "2.15.0"}, "d" * 64, "checkpoint"),
    ],
)
def test_a_result_of_other_weights_or_versions_is_set_aside(
    store: ResultStore, result: CellResult, versions: dict[str, str], checkpoint: str, word: str
) -> None:
    store.write(result)
    path = path_of(store, result)
    written = path.read_bytes()
    wanted = replace(result, versions=versions, model=replace(result.model, checkpoint=checkpoint))
    found, reason = store.usable(wanted)
    assert found is None
    assert f"other {word}; kept as *.old" in reason
    assert path.with_name("fog-2.json.old1").read_bytes() == written
    store.write(wanted)
    assert store.usable(result)[0] is None
    assert path.with_name("fog-2.json.old1").read_bytes() == written
    assert path.with_name("fog-2.json.old2").exists()
    # what was set aside is no result any more
    assert load_results(store.root) == ([], [])


@pytest.mark.parametrize(
    ("cell", "model"), [(Cell("snow", 2), "segformer_b0"), (Cell("clean", 0), "segformer_b0"),
                        (FOG, "segformer_b1")]
)  # fmt: skip
def test_the_file_of_another_cell_or_network_is_not_taken(
    store: ResultStore, make_result: MakeResult, cell: Cell, model: str
) -> None:
    store.write(make_result("61.25", FOG))
    wanted = make_result("61.25", cell, model)
    misplaced = path_of(store, wanted)
    misplaced.parent.mkdir(parents=True, exist_ok=True)
    path_of(store, make_result("61.25", FOG)).rename(misplaced)
    found, reason = store.usable(wanted)
    assert found is None
    assert "other cell" in reason or "other model" in reason


def test_a_result_of_another_protocol_lies_elsewhere(
    store: ResultStore, result: CellResult
) -> None:
    store.write(result)
    wanted = replace(result, protocol=replace(result.protocol, seed=1))
    assert store.usable(wanted) == (None, "")
    store.write(wanted)
    assert len(load_results(store.root)[0]) == 2


def test_load_results_is_sorted_and_names_what_it_cannot_read(
    store: ResultStore, make_result: MakeResult
) -> None:
    cells = [Cell("snow", 3), Cell("clean", 0), Cell("fog", 1)]
    for cell in cells:
        store.write(make_result("40", cell))
    folder = path_of(store, make_result("40", cells[0])).parent
    (folder / "fog-5.json").write_text("{")
    (folder / "notes.txt").write_text("mine")
    (folder / ".fog-2-0123456789ab.json").write_text("{")
    results, damaged = load_results(store.root)
    assert [r.cell for r in results] == [Cell("clean", 0), Cell("fog", 1), Cell("snow", 3)]
    assert len(damaged) == 1
    assert "fog-5.json" in damaged[0]


def test_load_results_of_no_folder(tmp_path: Path) -> None:
    assert load_results(tmp_path / "none") == ([], [])
