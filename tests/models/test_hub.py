"""Fetching from Hugging Face and keeping what came, against a server that answers as it does."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustseg.errors import CheckpointError
from robustseg.models.cache import file_of
from robustseg.models.fetch import Access, access_from, fetch_encoder
from robustseg.models.published import Published, published_weights
from robustseg.progress import Console

CONTENT = random.Random(0).randbytes(1_200_000)
HASH = hashlib.sha256(CONTENT).hexdigest()
FIRST, SECOND = "a" * 40, "b" * 40
"""Commits."""

Loopback = Any  # the fixture's class, which cannot be imported from a conftest


@pytest.fixture
def row() -> Published:
    return published_weights("segformer_b0@hf")


@pytest.fixture
def access(loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    """Online, the licence accepted."""
    monkeypatch.setenv("HF_ENDPOINT", loopback.url)
    environ = {"ROBUSTSEG_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}
    access = access_from(environ, accept=True, console=Console(io.StringIO()))
    return replace(access, timeout=5.0)


def offer(
    loopback: Loopback,
    row: Published,
    name: str = "model.safetensors",
    content: bytes = CONTENT,
    commit: str = FIRST,
    etag: str = "",
) -> None:
    """Put a file on the server, as the newest and under its commit."""
    etag = etag or hashlib.sha256(content).hexdigest()
    for revision in ("main", commit):
        path = f"/{row.address}/resolve/{revision}/{name}"
        loopback.files[path] = content
        loopback.headers[path] = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
        missing = f"/{row.address}/resolve/{revision}/model.safetensors"
        if missing not in loopback.files:
            loopback.headers[missing] = {"X-Error-Code": "EntryNotFound"}


def record_of(access: Access, row: Published) -> dict[str, object]:
    content = json.loads((access.cache / "weights" / f"{row.name}.json").read_text())
    assert isinstance(content, dict)
    return content


def failure(access: Access, row: Published) -> str:
    with pytest.raises(CheckpointError) as caught:
        access.fetch(row, Path("checkpoints"))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(f"{row.by_hand(Path('checkpoints'))}")
    return message


def said(access: Access) -> str:
    assert isinstance(access.console.stream, io.StringIO)
    return access.console.stream.getvalue()


def test_a_file_arrives_and_is_recorded(loopback: Loopback, access: Access, row: Published) -> None:
    offer(loopback, row)
    path = access.fetch(row, Path())
    assert path.read_bytes() == CONTENT
    assert path.name == "model.safetensors"
    assert path.is_relative_to(access.hub)
    record = record_of(access, row)
    assert str(record.pop("date")).startswith("20")
    assert record == {
        "name": "segformer_b0@hf",
        "source": "nvidia/segformer-b0-finetuned-cityscapes-1024-1024",
        "revision": FIRST,
        "path": str(path),
        "sha256": HASH,
        "size": len(CONTENT),
        "licence": "nvidia-segformer",
        "mtime_ns": path.stat().st_mtime_ns,
    }
    assert said(access).splitlines()[0] == f"fetching segformer_b0@hf from {row.page}"
    assert "fetching segformer_b0@hf, MB: 1 done in " in said(access)


def test_what_was_fetched_is_not_asked_for_again(
    loopback: Loopback, access: Access, row: Published
) -> None:
    offer(loopback, row)
    path = access.fetch(row, Path())
    offer(loopback, row, content=b"newer", commit=SECOND)
    loopback.asked.clear()
    assert access.fetch(row, Path()) == path
    offline = replace(access, offline="--offline forbids fetching")
    assert offline.fetch(row, Path()) == path
    assert loopback.asked == []


def test_the_recorded_commit_is_fetched_again(
    loopback: Loopback, access: Access, row: Published
) -> None:
    offer(loopback, row)
    path = access.fetch(row, Path())
    offer(loopback, row, content=b"newer", commit=SECOND)
    path.resolve().unlink()
    assert access.fetch(row, Path()).read_bytes() == CONTENT
    assert not any(f"/{SECOND}/" in path or "/main/" in path for _, path, _ in loopback.asked[2:])


def test_a_cut_file_in_the_cache_is_fetched_again(
    loopback: Loopback, access: Access, row: Published
) -> None:
    offer(loopback, row)
    path = access.fetch(row, Path()).resolve()
    path.write_bytes(CONTENT[:1000])
    assert access.cached(row) is None
    assert access.fetch(row, Path()).read_bytes() == CONTENT
    assert access.cached(row) is not None


def alter(path: Path, content: bytes) -> None:
    """Change a file, some time after it was written."""
    written = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(written + 1, written + 1))


def at_address(loopback: Loopback) -> Published:
    """Put a file on the server under an address of its own, with no published hash."""
    loopback.files["/zoo/net.pth"] = CONTENT
    row = published_weights("dlv3p_r50@mmseg")
    return replace(row, address=f"{loopback.url}/zoo/net.pth", sha256="")


@pytest.mark.parametrize("origin", ["huggingface", "url"])
def test_a_file_that_is_not_what_was_fetched_is_set_aside(
    loopback: Loopback, access: Access, row: Published, origin: str
) -> None:
    offer(loopback, row)
    row = row if origin == "huggingface" else at_address(loopback)
    path = access.fetch(row, Path())
    other = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    alter(path, other)
    loopback.asked.clear()
    assert access.cached(row) is None

    offline = replace(access, offline="--offline forbids fetching")
    assert (
        f"no weights for {row.name}: {path} is not the file that was fetched "
        f"(SHA-256 {HASH[:8]}...), and --offline forbids fetching: "
    ) in failure(offline, row)
    assert path.read_bytes() == other
    assert loopback.asked == []

    assert access.fetch(row, Path()) == path
    assert path.read_bytes() == CONTENT
    aside = Path(said(access).partition("...): kept as ")[2].splitlines()[0])
    assert aside.read_bytes() == other
    assert f"{row.name}: {path} is not the file that was fetched" in said(access)
    assert record_of(access, row)["mtime_ns"] == path.stat().st_mtime_ns
    assert offline.fetch(row, Path()) == path


@pytest.mark.parametrize("missing", [True, False])
def test_a_file_is_hashed_again_where_its_time_differs_and_then_no_more(
    loopback: Loopback,
    access: Access,
    row: Published,
    monkeypatch: pytest.MonkeyPatch,
    missing: bool,
) -> None:
    offer(loopback, row)
    path = access.fetch(row, Path())
    before = record_of(access, row)
    if missing:  # as records once were
        old = {key: value for key, value in before.items() if key != "mtime_ns"}
        (access.cache / "weights" / f"{row.name}.json").write_text(json.dumps(old))
    else:
        alter(path, CONTENT)
    hashed: list[Path] = []

    def spy(path: Path) -> str:
        hashed.append(path)
        return HASH

    monkeypatch.setattr("robustseg.models.cache.sha256_of", spy)
    offline = replace(access, offline="--offline forbids fetching")
    assert offline.fetch(row, Path()) == path
    assert hashed == [path]
    assert record_of(access, row) == {**before, "mtime_ns": path.stat().st_mtime_ns}
    for _ in range(2):
        assert offline.fetch(row, Path()) == path
    assert hashed == [path]


def test_pytorch_files_are_taken_where_there_are_no_others(
    loopback: Loopback, access: Access, row: Published
) -> None:
    offer(loopback, row, "pytorch_model.bin")
    path = access.fetch(row, Path())
    assert path.name == "pytorch_model.bin"
    assert path.read_bytes() == CONTENT


def test_a_repository_with_neither(loopback: Loopback, access: Access, row: Published) -> None:
    for name in ("model.safetensors", "pytorch_model.bin"):
        path = f"/{row.address}/resolve/main/{name}"
        loopback.headers[path] = {"X-Error-Code": "EntryNotFound"}
    assert "holds neither model.safetensors nor pytorch_model.bin" in failure(access, row)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (404, "RepoNotFound", "has no repository nvidia/segformer-b0-"),
        (401, "", "has no repository nvidia/segformer-b0-"),
        (403, "GatedRepo", "only to those who accepted its terms"),
        (401, "GatedRepo", "only to those who accepted its terms"),
        (403, "", "answers 403"),
        (500, "", "answers 500"),
        (200, "", "does not answer as Hugging Face does"),
    ],
)
def test_a_refusal_is_named(
    loopback: Loopback, access: Access, row: Published, status: int, code: str, reason: str
) -> None:
    for name in ("model.safetensors", "pytorch_model.bin"):
        path = f"/{row.address}/resolve/main/{name}"
        loopback.files[path] = CONTENT
        loopback.refusals[path] = status
        loopback.headers[path] = {"X-Error-Code": code} if code else {}
    assert reason in failure(access, row)
    assert not (access.cache / "weights").exists()


def test_no_server(access: Access, row: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port of "discard"
    message = failure(access, row)
    assert "no connection to http://127.0.0.1:9 (" in message
    assert "Connection refused" in message


def test_what_is_not_what_was_announced(loopback: Loopback, access: Access, row: Published) -> None:
    offer(loopback, row, etag="0" * 64)
    message = failure(access, row)
    assert f"what came has SHA-256 {HASH[:8]}..., not 00000000..., and was removed" in message
    assert access.cached(row) is None
    offer(loopback, row)
    assert access.fetch(row, Path()).read_bytes() == CONTENT


def test_files_of_other_programs_are_used(
    loopback: Loopback, access: Access, row: Published
) -> None:
    from huggingface_hub import hf_hub_download

    offer(loopback, row)
    theirs = hf_hub_download(
        row.address, "model.safetensors", cache_dir=access.hub, endpoint=loopback.url
    )
    loopback.asked.clear()
    offline = replace(access, offline="--offline forbids fetching")
    assert offline.fetch(row, Path()) == Path(theirs)
    assert loopback.asked == []
    other = published_weights("segformer_b1@hf")
    with pytest.raises(CheckpointError, match="--offline forbids fetching"):
        offline.fetch(other, Path())


def test_encoders_come_by_the_network_that_starts_from_them(
    loopback: Loopback, access: Access
) -> None:
    for encoder in ("mit_b0", "xception65"):
        offer(loopback, published_weights(encoder), content=encoder.encode())
    assert fetch_encoder("segformer_b0", access).read_bytes() == b"mit_b0"
    assert fetch_encoder("segformer_b0@mmseg", access).read_bytes() == b"mit_b0"
    assert fetch_encoder("dlv3p_x65", access).read_bytes() == b"xception65"
    assert said(access).splitlines()[-1] == (
        "dlv3p_x65: encoder xception65, https://huggingface.co/timm/xception65.tf_in1k, Apache-2.0"
    )
    with pytest.raises(CheckpointError) as caught:
        fetch_encoder("segformer_b3", access)
    assert str(caught.value).endswith(
        "download model.safetensors or pytorch_model.bin from "
        "https://huggingface.co/nvidia/mit-b3 and give --init PATH"
    )


def test_without_its_record_the_newest_commit_here_is_used_and_recorded(
    loopback: Loopback, access: Access, row: Published
) -> None:
    offer(loopback, row)
    path = access.fetch(row, Path())
    before = record_of(access, row)
    record = access.cache / "weights" / f"{row.name}.json"
    record.unlink()
    older = path.parents[1] / SECOND
    older.mkdir()
    (older / path.name).write_bytes(b"older")
    os.utime(older, (0, 0))
    (path.parents[1] / ("d" * 40)).mkdir()  # of another program, without weights
    offline = replace(access, offline="--offline forbids fetching")
    loopback.asked.clear()
    assert offline.cached(row) == path
    assert not record.exists()
    assert offline.fetch(row, Path()) == path
    after = record_of(access, row)
    assert {**after, "date": ""} == {**before, "date": ""}
    assert after["revision"] == FIRST
    assert loopback.asked == []


def test_a_cache_that_can_only_be_read_is_used(
    loopback: Loopback, access: Access, row: Published
) -> None:
    offer(loopback, row)
    path = access.fetch(row, Path())
    blocked = access.cache.with_name("file")
    blocked.touch()
    assert replace(access, cache=blocked).fetch(row, Path()) == path


def test_a_look_at_a_file_does_not_hash_it(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    row = published_weights("dlv3p_r50@mmseg")
    path = file_of(access.cache, row)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"of another hash")
    assert access.cached(row) is None
    monkeypatch.setattr("robustseg.models.cache.sha256_of", lambda _: pytest.fail("hashed"))
    assert access.cached(row, hashed=False) == path


def test_files_with_an_address_are_recorded_beside_them(loopback: Loopback, access: Access) -> None:
    row = replace(
        published_weights("dlv3p_r50@mmseg"),
        address=f"{loopback.url}/zoo/net_{HASH[:8]}.pth",
        sha256=HASH[:8],
    )
    loopback.files[f"/zoo/net_{HASH[:8]}.pth"] = CONTENT
    path = access.fetch(row, Path())
    assert path == access.cache / "weights" / f"net_{HASH[:8]}.pth"
    assert record_of(access, row)["sha256"] == HASH
    assert record_of(access, row)["source"] == row.address
    assert access.cached(row) == path
    (access.cache / "weights" / "dlv3p_r50@mmseg.json").write_text("{")
    assert access.cached(row) == path
    path.write_bytes(CONTENT[:9])
    assert access.cached(row) is None
    loopback.refusals[f"/zoo/net_{HASH[:8]}.pth"] = 404
    assert "the server answers 404" in failure(access, row)
