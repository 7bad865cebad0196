"""Fetching weights from Hugging Face, through its own library and into its own cache."""

from __future__ import annotations

import errno
import inspect
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustseg.errors import first_line
from robustseg.files import sha256_of
from robustseg.models.download import ByteCount, FetchError, byte_task
from robustseg.models.published import HUB, HUB_FILES
from robustseg.progress import Console

__all__ = ["HubFile", "fetch_from_hub"]

LOCAL_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors of the disk, not of the network; those that have no number are the network's."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
        path: Where it lies, in Hugging Face's cache.
        revision: The commit that it is of.
        sha256: Of its bytes.
    """

    path: Path
    revision: str
    sha256: str


def fetch_from_hub(
    repository: str,
    folder: Path,
    console: Console,
    label: str,
    revision: str = "",
    timeout: float = 30.0,
) -> HubFile:
    """Fetch the weights of a repository: its safetensors file, else PyTorch's.

    Args:
        repository: Such as ``nvidia/mit-b0``; asked for at ``HF_ENDPOINT`` where that is set.
        folder: Hugging Face's cache.
        console: For progress.
        label: Of the progress.
        revision: A commit; by default the newest, whose hash is in what is returned.
        timeout: Seconds to wait for the server.

    Raises:
        FetchError: The server cannot be reached, or there is no such file for this user.
        OSError: The file cannot be written.
    """
    # loaded where it is used: it takes a third of a second
    from huggingface_hub import hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    # the library asks again and again, for minutes, where there is no network; one question tells
    name, commit, etag = _look_up(repository, revision, endpoint, timeout)
    options: dict[str, Any] = {"endpoint": endpoint, "etag_timeout": timeout}
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:
        options["tqdm_class"] = _bar_class(console, label)
    for _ in range(2):  # the library takes a file in its cache for whole: a damaged one comes anew
        try:
            got = hf_hub_download(repository, name, revision=commit, cache_dir=folder, **options)
        except Exception as error:
            raise _failure(error, repository, endpoint) from error
        path = Path(got)
        found = sha256_of(path)
        # the tag of a large file is its hash, that of a small one is not
        if found == etag or not re.fullmatch("[0-9a-f]{64}", etag):
            return HubFile(path, commit, found)
        path.resolve().unlink()
    raise FetchError(f"what came has SHA-256 {found[:8]}..., not {etag[:8]}..., and was removed")


def _look_up(repository: str, revision: str, endpoint: str, timeout: float) -> tuple[str, str, str]:
    """Ask once which of the files there is; give its name, commit and entity tag."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for name in HUB_FILES:
        url = hf_hub_url(repository, name, revision=revision or None, endpoint=endpoint)
        try:
            found = get_hf_file_metadata(url, timeout=timeout)
        except EntryNotFoundError:
            continue
        except Exception as error:
            raise _failure(error, repository, endpoint) from error
        if not found.commit_hash or not found.etag:
            raise FetchError(f"{endpoint} does not answer as Hugging Face does")
        return name, found.commit_hash, found.etag
    raise FetchError(f"{endpoint}/{repository} holds neither {' nor '.join(HUB_FILES)}")


def _failure(error: Exception, repository: str, endpoint: str) -> Exception:
    """Turn an error of the library into a reason.

    The library passes on what its HTTP client raises, and its releases differ in the client.
    """
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if isinstance(error, OSError) and error.errno in LOCAL_TROUBLE:
        return error
    if isinstance(error, GatedRepoError):
        return FetchError(
            f"{endpoint}/{repository} is given only to those who accepted its terms there: "
            "do so, and log in with 'hf auth login'"
        )
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return FetchError(f"{endpoint} has no repository {repository}, or needs a login for it")
    if status:
        return FetchError(f"{endpoint} answers {status}")
    return FetchError(f"no connection to {endpoint} ({first_line(error).rstrip('.')})")


def _bar_class(console: Console, label: str) -> type:
    """Make a class that stands in for tqdm's bar and tells the console.

    Of the several bars that the library may draw for one file, the first is shown.
    """
    shown: list[object] = []

    class Bar:
        def __init__(
            self, *_: object, total: float | None = None, initial: float = 0, **_options: object
        ) -> None:
            self.total = int(total or 0)
            self.n = int(initial or 0)
            self.stack = ExitStack()
            self.count: ByteCount | None = None
            if not shown:
                shown.append(self)
                bar = byte_task(console, label, self.total, self.n)
                self.count = self.stack.enter_context(bar)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def update(self, count: float | None = 1) -> None:
            self.n += int(count or 0)
            if self.count is not None:
                self.count.add(int(count or 0))

        def close(self) -> None:
            self.stack.close()

        def __getattr__(self, name: str) -> Callable[..., None]:
            """Do nothing for what else a bar can do: descriptions, postfixes, redrawing."""
            return lambda *_, **__: None

    return Bar
