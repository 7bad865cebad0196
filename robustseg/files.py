"""Writing files so that a reader sees the old content or the new one, never a part; hashing."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = [
    "atomic_path",
    "locked",
    "new_token",
    "set_aside",
    "sha256_of",
    "share_lock",
    "try_lock",
    "write_bytes",
    "write_once",
    "write_text",
]


def new_token() -> str:
    """Give twelve random hexadecimal digits, the mark of temporary files."""
    return secrets.token_hex(6)


@contextmanager
def atomic_path(path: Path, token: str = "") -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block ends well.

    The temporary file is flushed to disk before the rename and removed if the block fails, so
    that a kill or a full disk leaves no partial file under the final name. Its name starts with a
    dot and ends with the suffix of ``path`` (some writers choose the format by the suffix).

    Args:
        path: The final path; missing parent folders are made.
        token: From ``new_token``, where the temporary file's owner must be told from its name.

    Yields:
        The temporary path, not yet existing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{token or new_token()}{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)  # writes do not say which file failed, or name the temporary
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write ``content`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_once(path: Path, content: str) -> bool:
    """Write ``content`` to ``path`` as a whole, unless there is such a file, also by others now.

    Returns:
        Whether this call made the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{new_token()}{path.suffix}")
    try:
        temporary.write_bytes(content.encode())
        _flush(temporary)
        try:
            os.link(temporary, path)  # fails where a rename would replace
        except FileExistsError:
            return False
        except OSError:  # this file system has no links
            return _write_exclusively(path, content)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _write_exclusively(path: Path, content: str) -> bool:
    try:
        with path.open("xb") as stream:
            stream.write(content.encode())
    except FileExistsError:
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file that exists; other processes wait here until the block ends."""
    with _open_to_lock(path) as stream:
        with suppress(OSError):  # a file system without locks: go on as if alone
            _lock(stream, "LOCK_EX")
        yield


def _open_to_lock(path: Path) -> IO[bytes]:
    try:
        return path.open("rb+")  # network file systems lock only what can be written
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return path.open("rb")


def share_lock(stream: IO[bytes]) -> None:
    """Hold a file's lock, together with others that share it, until the stream is closed."""
    with suppress(OSError):
        _lock(stream, "LOCK_SH")


def try_lock(path: Path) -> bool:
    """Say whether no living process shares the lock of a file, on this machine or another.

    False as well where the file system has no locks, since nobody can tell then.
    """
    try:
        with _open_to_lock(path) as stream:
            _lock(stream, "LOCK_EX", "LOCK_NB")
    except OSError:
        return False
    return True


def _lock(stream: IO[bytes], *flags: str) -> None:
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from error
    fcntl.flock(stream, sum(getattr(fcntl, flag) for flag in flags))


def set_aside(path: Path) -> Path:
    """Rename a file that is in the way to the first free name ``<name>.old<number>`` beside it.

    Returns:
        The new path.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.old{number}")).exists():
        number += 1
    return path.rename(aside)


def sha256_of(path: Path) -> str:
    """Hash a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
