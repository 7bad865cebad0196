"""The folder of fetched weights: where it is, what is in it, and where that came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from robustseg.files import sha256_of, write_text
from robustseg.models.published import HUB_FILES, Published

__all__ = [
    "Record",
    "altered_file",
    "cache_folder",
    "cached_file",
    "file_of",
    "hub_folder",
    "read_record",
    "renew_record",
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
        mtime_ns: When the file was last changed as it was hashed, in ns; 0 in records that did not
            yet say so.
    """

    name: str
    source: str
    revision: str
    path: str
    sha256: str
    size: int
    date: str
    licence: str
    mtime_ns: int = 0


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
        The file, or None. A file that differs from its record is not taken, see ``altered_file``,
        nor is one without a record whose hash is not the published one.
    """
    record = _record_for(folder, row)
    if record is not None and Path(record.path).is_file():
        return Path(record.path) if _is_recorded(record, hashed) else None
    if row.origin == "url":
        path = file_of(folder, row)
        whole = path.is_file() and (not hashed or sha256_of(path).startswith(row.sha256))
        return path if whole else None
    return _shared_file(row, hub, record is None) if row.origin == "huggingface" else None


def altered_file(folder: Path, row: Published) -> Record | None:
    """Give the record of fetched weights whose file is here, but is not what was fetched.

    Args:
        folder: From ``cache_folder``.
        row: The weights.

    Returns:
        The record, or None where there is no such file or it is as recorded. A file of the recorded
        size and time of change is taken for unchanged; another is hashed.
    """
    record = _record_for(folder, row)
    spoilt = record is not None and Path(record.path).is_file() and not _is_recorded(record)
    return record if spoilt else None


def _record_for(folder: Path, row: Published) -> Record | None:
    """Read the record of weights, unless it is of another address."""
    record = read_record(folder, row.name)
    return record if record is not None and record.source == row.address else None


def _is_recorded(record: Record, hashed: bool = True) -> bool:
    status = Path(record.path).stat()
    if status.st_size != record.size:
        return False
    if not hashed or status.st_mtime_ns == record.mtime_ns:
        return True
    return sha256_of(Path(record.path)) == record.sha256


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
    kinds = {f.name: int if f.type == "int" else str for f in fields(Record)}
    try:
        content = json.loads(_record_path(folder, name).read_text(encoding="utf-8"))
        values = {key: {"mtime_ns": 0, **content}[key] for key in kinds}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = all(isinstance(value, kinds[key]) for key, value in values.items())
    return Record(**values) if whole else None


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
    status = path.stat()  # before hashing, so that a change meanwhile shows
    record = Record(
        name=row.name,
        source=row.address,
        revision=revision,
        path=str(path),
        sha256=sha256 or sha256_of(path),
        size=status.st_size,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        licence=row.licence,
        mtime_ns=status.st_mtime_ns,
    )
    _write(folder, record)
    return record


def renew_record(folder: Path, record: Record) -> None:
    """Write down when a file was changed that still has the recorded hash."""
    status = Path(record.path).stat()
    if status.st_mtime_ns != record.mtime_ns:
        _write(folder, replace(record, mtime_ns=status.st_mtime_ns))


def _write(folder: Path, record: Record) -> None:
    write_text(_record_path(folder, record.name), json.dumps(asdict(record), indent=2) + "\n")


def _record_path(folder: Path, name: str) -> Path:
    return folder / "weights" / f"{name}.json"
