"""The folder of fetched weights: where it is, what is in it, and where that came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from robustseg.files import sha256_of, write_text
from robustseg.models.published import HUB_FILES, Published

__all__ = [
    "Record",
    "cache_folder",
    "cached_file",
    "file_of",
    "hub_folder",
    "read_record",
    "write_record",
]


@dataclass(frozen=True)
class Record:
    """Where fetched weights came from: ``<cache>/weights/<name>.json``.

    Attributes:
        name: Of the weights.
        source: Address of the file, or repository on Hugging Face.
        revision: Commit of the repository, or empty.
        path: The file.
        sha256: Of its bytes.
        size: In bytes.
        date: When it was fetched, in UTC.
        licence: A key of ``LICENCES``.
    """

    name: str
    source: str
    revision: str
    path: str
    sha256: str
    size: int
    date: str
    licence: str


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Choose the folder: ``ROBUSTSEG_CACHE``, else ``robustseg`` in the user's cache folder."""
    if environ.get("ROBUSTSEG_CACHE"):
        return Path(environ["ROBUSTSEG_CACHE"]).expanduser()
    return _user_cache(environ) / "robustseg"


def hub_folder(environ: Mapping[str, str]) -> Path:
    """Choose the folder that Hugging Face's tools share: ``HF_HUB_CACHE``, ``HF_HOME`` or its own.

    Read anew at each call: the library itself reads the variables when it is imported.
    """
    if environ.get("HF_HUB_CACHE"):
        return Path(environ["HF_HUB_CACHE"]).expanduser()
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]).expanduser() / "hub"
    return _user_cache(environ) / "huggingface" / "hub"


def _user_cache(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def file_of(folder: Path, row: Published) -> Path:
    """Name the file of weights with an address, which keeps its published name."""
    return folder / "weights" / row.address.rpartition("/")[2]


def cached_file(folder: Path, row: Published, hub: Path, hashed: bool = True) -> Path | None:
    """Find weights that were fetched before, by this program or into Hugging Face's cache.

    Args:
        folder: From ``cache_folder``.
        row: The weights.
        hub: From ``hub_folder``.
        hashed: Whether a file without a record is hashed; a list of all files need not be that
            sure.

    Returns:
        The file, or None. A file that is not of the recorded size is not taken, nor is one
        without a record whose hash is not the published one.
    """
    record = read_record(folder, row.name)
    recorded = record is not None and record.source == row.address
    if record is not None and recorded:
        path = Path(record.path)
        if path.is_file() and path.stat().st_size == record.size:
            return path
    if row.origin == "url":
        path = file_of(folder, row)
        whole = path.is_file() and (not hashed or sha256_of(path).startswith(row.sha256))
        return path if whole else None
    return _shared_file(row, hub, not recorded) if row.origin == "huggingface" else None


def _shared_file(row: Published, hub: Path, any_commit: bool) -> Path | None:
    """Find a repository's newest file as other programs left it, or as this one did.

    A fetch of a commit, such as this program's, leaves no note of which is the newest: without a
    record the snapshot that was written last is taken.
    """
    repository = hub / f"models--{row.address.replace('/', '--')}"
    snapshots = []
    try:
        commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
        snapshots.append(repository / "snapshots" / commit)
    except (OSError, ValueError):
        pass
    if any_commit:
        every = repository.glob("snapshots/*/")
        snapshots += sorted(every, key=lambda path: path.stat().st_mtime, reverse=True)
    paths = (snapshot / name for snapshot in snapshots for name in HUB_FILES)
    return next((path for path in paths if path.is_file()), None)


def read_record(folder: Path, name: str) -> Record | None:
    """Read the record of fetched weights; None where there is no whole one."""
    try:
        content = json.loads(_record_path(folder, name).read_text(encoding="utf-8"))
        values = {f.name: content[f.name] for f in fields(Record)}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    strings = all(isinstance(v, str) for k, v in values.items() if k != "size")
    return Record(**values) if strings and isinstance(values["size"], int) else None


def write_record(
    folder: Path, row: Published, path: Path, revision: str = "", sha256: str = ""
) -> Record:
    """Write down where weights came from.

    Args:
        folder: From ``cache_folder``.
        row: What was fetched.
        path: The file.
        revision: Commit of the repository, or empty.
        sha256: Of the file, where it is known already.
    """
    record = Record(
        name=row.name,
        source=row.address,
        revision=revision,
        path=str(path),
        sha256=sha256 or sha256_of(path),
        size=path.stat().st_size,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        licence=row.licence,
    )
    write_text(_record_path(folder, row.name), json.dumps(asdict(record), indent=2) + "\n")
    return record


def _record_path(folder: Path, name: str) -> Path:
    return folder / "weights" / f"{name}.json"
