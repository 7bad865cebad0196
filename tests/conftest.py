from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import pytest

from robustseg.corruptions.severity import CORRUPTIONS, SEVERITIES
from robustseg.models.zoo import get_spec
from robustseg.results import Cell, CellResult, ModelInfo, Protocol

# networks as small as those of the tests lose more by waiting for a second thread than they gain,
# the more so where tests run side by side
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def _no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test, and what it starts, from the network and from the user's own caches."""
    place = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTSEG_OFFLINE", "1")
        patch.setenv("ROBUSTSEG_CACHE", str(place / "robustseg"))
        patch.setenv("HF_HOME", str(place / "huggingface"))
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        for name in ("HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "ROBUSTSEG_ACCEPT_LICENCE"):
            patch.delenv(name, raising=False)
        yield


@dataclass
class Loopback:
    """What a server on this machine offers, and what it was asked for.

    Attributes:
        url: Its address.
        files: Path to content.
        headers: Path to further headers of the answer.
        refusals: Path to status, for what is not given.
        ranges: Whether it can send a part of a file.
        cuts: After how many bytes each of the next answers breaks off.
        stall: Wait for this before the body is sent.
        asked: Method, path and ``Range`` of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    stall: threading.Event | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Send a file, a part of it, or a refusal."""
        path, wanted = request.path, request.headers.get("Range", "")
        self.asked.append((request.command, path, wanted))
        body = self.files.get(path, b"")
        status = self.refusals.get(path, 200 if path in self.files else 404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if status == 200 and start:
            status = 206 if start < len(body) else 416
        request.send_response(status)
        for name, value in self.headers.get(path, {}).items():
            request.send_header(name, value)
        body = body[start:] if status in (200, 206) else b""
        if status == 206:
            last = start + len(body) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            if self.stall is not None:
                self.stall.wait(20)
            request.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """A server of files on this machine."""
    offers = Loopback()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            offers.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that went away

    with Server(("127.0.0.1", 0), Handler) as server:
        offers.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield offers
        if offers.stall is not None:
            offers.stall.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    return Protocol(
        data="cityscapes",
        split="val",
        images=500,
        limited=False,
        fingerprint="f" * 64,
        inference="slide",
        window=1024,
        stride=768,
        precision="fp32",
        seed=0,
        definition="imagecorruptions-1.1.2",
        source="computed",
    )


@pytest.fixture(scope="session")
def make_result(protocol: Protocol) -> Callable[..., CellResult]:
    """Make a result whose mIoU is ``percent``, given to at most three decimals."""

    def make(
        percent: str | Decimal = "50",
        cell: Cell = Cell("clean", 0),  # noqa: B008
        model: str = "segformer_b0",
        settings: Protocol = protocol,
        **facts: str,
    ) -> CellResult:
        # two classes of 100,000 pixels with as many confused each way have IoU a / (a + 2 b)
        right = int(Decimal(percent) * 2000)
        wrong = 100_000 - right // 2
        matrix = np.array([[right, wrong], [wrong, right]], np.int64)
        info = ModelInfo(
            model, get_spec(model).label, "c" * 64, f"checkpoints/{model}.pth", 3719027
        )
        return CellResult(
            settings,
            replace(info, **facts),  # type: ignore[arg-type]
            cell,
            matrix,
            {"robustseg": "0.1.0", "torch": "2.15.0"},
            {"device": "cpu", "seconds": 1.5},
        )

    return make


@pytest.fixture(scope="session")
def make_row(make_result: Callable[..., CellResult]) -> Callable[..., list[CellResult]]:
    """Make all 81 cells of a network; each severity has its corruption's percentage."""

    def make(
        clean: str | Decimal, columns: Mapping[str, str | Decimal] | str, **facts: object
    ) -> list[CellResult]:
        if isinstance(columns, str):
            columns = dict.fromkeys(CORRUPTIONS, columns)
        cells = [Cell(name, severity) for name in columns for severity in SEVERITIES]
        return [
            make_result(clean, **facts),
            *[make_result(columns[c.corruption], c, **facts) for c in cells],
        ]

    return make
