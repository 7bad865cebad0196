"""Fetching published weights: once, with consent, from wherever they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from robustseg.errors import CheckpointError
from robustseg.files import set_aside
from robustseg.models.cache import (
    Record,
    altered_file,
    cache_folder,
    cached_file,
    file_of,
    hub_folder,
    read_record,
    renew_record,
    write_record,
)
from robustseg.models.download import FetchError, fetch_file
from robustseg.models.hub import fetch_from_hub
from robustseg.models.licences import LICENCES, Consent
from robustseg.models.published import Published, imagenet_source
from robustseg.progress import Console

__all__ = ["Access", "access_from", "fetch_encoder"]


@dataclass(frozen=True)
class Access:
    """What fetching may do.

    Attributes:
        cache: The folder of fetched weights.
        hub: Hugging Face's own cache, where weights from there lie.
        offline: Why the network must not be asked, as the end of a sentence, or empty.
        consent: To licences.
        console: For progress.
        timeout: Seconds to wait for a server.
    """

    cache: Path
    hub: Path
    offline: str
    consent: Consent
    console: Console
    timeout: float = 30.0

    def cached(self, row: Published, hashed: bool = True) -> Path | None:
        """Find weights that need not be fetched, as ``cached_file``; the network is not asked."""
        return cached_file(self.cache, row, self.hub, hashed)

    def altered(self, row: Published) -> str:
        """Say of a file in the cache that it is not what was fetched, in a clause, or nothing."""
        record = altered_file(self.cache, row)
        return _difference(record) if record is not None else ""

    def reach(self, rows: Sequence[Published], folder: Path) -> None:
        """See that weights can be fetched, licences aside, before any of them is.

        Args:
            rows: Weights that are not in the cache.
            folder: Where a person would put them.

        Raises:
            CheckpointError: Some are to be fetched by hand, or the network must not be asked.
        """
        by_hand = [row for row in rows if row.origin == "hand"]
        if by_hand:
            row = by_hand[0]
            raise CheckpointError(
                f"no weights for {_named(by_hand)}: no program can fetch them: "
                f"{row.by_hand(folder)}"
            )
        if rows and self.offline:
            why = next(filter(None, map(self.altered, rows)), f"not in the cache {self.cache}")
            raise CheckpointError(
                f"no weights for {_named(rows)}: {why}, and {self.offline}: "
                f"{rows[0].by_hand(folder)}"
            )

    def fetch(self, row: Published, folder: Path) -> Path:
        """Give the file of published weights, fetching it where it is not in the cache.

        A file that is there without a record gets one. One that is not what was fetched is set
        aside.

        Args:
            row: The weights.
            folder: Where a person would put them.

        Raises:
            CheckpointError: It cannot be fetched, for a reason of ``reach``, of its licence or of
                the network; the message says what to do.
            OSError: The file cannot be written.
        """
        found = self.cached(row)
        if found is not None:
            self._keep_record(row, found)
            return found
        self.reach([row], folder)
        self.consent.require([row])
        self._clear(row)
        self.console.say(f"fetching {row.name} from {row.page}")
        try:
            if row.origin == "url":
                return self._fetch_address(row)
            return self._fetch_repository(row)
        except FetchError as error:
            raise CheckpointError(
                f"cannot fetch the weights of {row.name}: {error}: repeat the command, or "
                f"{row.by_hand(folder)}"
            ) from error

    def _keep_record(self, row: Published, path: Path) -> None:
        """Record a file that others left in a cache, or whose record is gone."""
        earlier = read_record(self.cache, row.name)
        known = earlier is not None and (earlier.source, earlier.path) == (row.address, str(path))
        revision = path.parent.name if row.origin == "huggingface" else ""
        with suppress(OSError):  # a cache that can only be read is of use too
            if known and earlier is not None:
                renew_record(self.cache, earlier)
            else:
                write_record(self.cache, row, path, revision)

    def _clear(self, row: Published) -> None:
        """Set a file aside that is not what was fetched."""
        record = altered_file(self.cache, row)
        if record is None:
            return
        path = Path(record.path)
        with suppress(FileNotFoundError):  # another process was faster
            # Hugging Face's snapshots are links: the library would link the same content again
            aside = set_aside(path.resolve() if row.origin == "huggingface" else path)
            self.console.say(f"{row.name}: {_difference(record)}: kept as {aside}")

    def _fetch_address(self, row: Published) -> Path:
        path = file_of(self.cache, row)
        label = f"fetching {row.name}"
        found = fetch_file(row.address, path, row.sha256, self.console, label, self.timeout)
        write_record(self.cache, row, path, sha256=found)
        return path

    def _fetch_repository(self, row: Published) -> Path:
        earlier = read_record(self.cache, row.name)
        pinned = earlier.revision if earlier and earlier.source == row.address else ""
        got = fetch_from_hub(
            row.address, self.hub, self.console, f"fetching {row.name}", pinned, self.timeout
        )
        write_record(self.cache, row, got.path, got.revision, got.sha256)
        return got.path


def _difference(record: Record) -> str:
    """Say of a file that it is not what its record says."""
    return f"{record.path} is not the file that was fetched (SHA-256 {record.sha256[:8]}...)"


def _named(rows: Sequence[Published]) -> str:
    """Name the first, and the others in brackets."""
    others = ", ".join(row.name for row in rows[1:])
    return f"{rows[0].name} (nor for {others})" if others else rows[0].name


def access_from(
    environ: Mapping[str, str] = os.environ,
    offline: bool = False,
    accept: bool = False,
    ask: Callable[[str], bool] | None = None,
    console: Console | None = None,
) -> Access:
    """Gather what the environment and the user allow.

    Args:
        environ: ``ROBUSTSEG_OFFLINE``, ``HF_HUB_OFFLINE`` and ``ROBUSTSEG_ACCEPT_LICENCE`` count
            as set where they are 1, yes, true or on.
        offline: Whether ``--offline`` was given.
        accept: Whether ``--accept-licence`` was given.
        ask: Puts a question to the user; None where nobody can answer.
        console: For progress; by default silent.
    """
    reason = "--offline forbids fetching" if offline else ""
    for variable in ("ROBUSTSEG_OFFLINE", "HF_HUB_OFFLINE"):
        if not reason and _is_set(environ, variable):
            reason = f"{variable} forbids fetching"
    given = "--accept-licence" if accept else ""
    if not given and _is_set(environ, "ROBUSTSEG_ACCEPT_LICENCE"):
        given = "ROBUSTSEG_ACCEPT_LICENCE"
    cache = cache_folder(environ)
    return Access(
        cache,
        hub_folder(environ),
        reason,
        Consent(cache, given, ask),
        console or Console(quiet=True),
    )


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in ("1", "yes", "true", "on")


def fetch_encoder(name: str, access: Access | None = None) -> Path:
    """Give the file of the ImageNet encoder that training of a network starts from.

    Args:
        name: A name of the zoo.
        access: What fetching may do; by default what the environment says.

    Returns:
        A file of Mix Transformer's authors for SegFormer, of timm for DeepLabv3+.

    Raises:
        CheckpointError: It cannot be fetched; the message says what to download by hand.
        NameLookupError: The network is unknown, or nobody published such an encoder.
    """
    access, row = access or access_from(), imagenet_source(name)
    path = access.fetch(row, Path())
    access.console.say(f"{name}: encoder {row.name}, {row.page}, {LICENCES[row.licence].title}")
    return path
