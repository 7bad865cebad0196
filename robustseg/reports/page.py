"""The report as one HTML page that opens from disk, with its figures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2

from robustseg import __version__
from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.files import write_text
from robustseg.metrics.robustness import Averaging
from robustseg.reports.figures import severity_curves
from robustseg.reports.render import (
    BEYOND,
    NAMES,
    beyond_to_csv,
    head_of,
    to_csv,
    to_latex,
    to_markdown,
)
from robustseg.reports.table import HEADINGS, Table, beyond_the_sixteen, build_table
from robustseg.results import CellResult

__all__ = ["FigureFile", "write_report"]


@dataclass(frozen=True)
class FigureFile:
    """A picture for the page.

    Attributes:
        title: Heading.
        path: PNG or JPEG file.
        caption: What it shows and how to read it.
    """

    title: str
    path: Path
    caption: str

    @property
    def url(self) -> str:
        """The file as a data URL."""
        kind = "jpeg" if self.path.suffix == ".jpg" else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.path.read_bytes()).decode()}"


def write_report(
    results: Sequence[CellResult],
    output: Path,
    averaging: Averaging = "paper",
    figures: Sequence[FigureFile] = (),
    remarks: Sequence[str] = (),
) -> Table:
    """Write the table in all formats, the figures and the page.

    Args:
        results: Of any protocols and models.
        output: Folder; ``index.html``, ``table5.md``, ``table5.tex``, ``table5.csv`` and figures
            are written into it, and ``beyond.csv`` if there is anything beyond the sixteen.
        averaging: Over severities.
        figures: Further pictures for the page.
        remarks: Sentences for the top of the page.

    Returns:
        The table.
    """
    table = build_table(results, averaging)
    write_text(output / "table5.md", to_markdown(table))
    write_text(output / "table5.tex", to_latex(table))
    write_text(output / "table5.csv", to_csv(table))
    if table.beyond:
        write_text(output / "beyond.csv", beyond_to_csv(table))
    else:  # nor may that of an earlier report stay beside this one
        (output / "beyond.csv").unlink(missing_ok=True)
    drawn = [*_draw_curves(results, output), *figures]
    write_text(output / "index.html", _page(table, results, drawn, remarks))
    return table


def _draw_curves(results: Sequence[CellResult], output: Path) -> list[FigureFile]:
    """Draw the curves of each protocol: of the sixteen, and of those beyond."""
    drawn = []
    for slug in dict.fromkeys(r.protocol.slug for r in results):
        members = [r for r in results if r.protocol.slug == slug]
        caption = f"One line a model; {members[0].protocol.title}."
        if any(r.cell.corruption in CORRUPTIONS for r in members):
            path = output / f"severity-{slug}.png"
            severity_curves(members, path)
            drawn.append(FigureFile("mIoU against severity", path, caption))
        names = beyond_the_sixteen(members)
        if names:
            path = output / f"beyond-{slug}.png"
            severity_curves(members, path, names)
            drawn.append(FigureFile("mIoU beyond the sixteen", path, caption))
    return drawn


def _page(
    table: Table,
    results: Sequence[CellResult],
    figures: Sequence[FigureFile],
    remarks: Sequence[str],
) -> str:
    template = resources.files(__package__).joinpath("data/page.html.jinja")
    source = template.read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.from_string(source).render(
        table=table,
        headings=HEADINGS,
        names=NAMES,
        beyond_title=BEYOND,
        head_of=head_of,
        figures=figures,
        summary=[*summary(table), *remarks],
        provenance=_provenance(results),
        version=__version__,
    )


def summary(table: Table) -> list[str]:
    """Say in one sentence a measured row what the table says of it."""
    lines = []
    for block in table.blocks[:-1]:
        for row in block.rows:
            clean, mean = row.numbers["clean"], row.numbers["mean"]
            if clean.value is None or mean.value is None:
                continue
            kept = row.numbers["retention"].text()
            lines.append(
                f"{row.label} has a clean mIoU of {clean.text()} % and {mean.text()} % on average "
                f"over the sixteen corruptions: it keeps {kept} % of it."
            )
    return lines


def _provenance(results: Sequence[CellResult]) -> list[tuple[str, str]]:
    """Say of networks, data and libraries where they came from, each fact once."""
    facts = []
    for result in results:
        model, protocol = result.model, result.protocol
        origin = (
            f"{model.parameters:,} parameters from {model.origin}, "
            f"SHA-256 {model.checkpoint[:16]}…, on {result.provenance.get('device', 'unknown')}"
        )
        own = {k: v for k, v in result.versions.items() if k.startswith("corruption ")}
        libraries = ", ".join(f"{k} {v}" for k, v in result.versions.items() if k not in own)
        facts += [
            (model.label, origin),
            ("Data", f"{protocol.title}; fingerprint {protocol.fingerprint[:16]}…"),
            ("Libraries", libraries),
            *((key.capitalize(), origin) for key, origin in own.items()),
        ]
    networks = {result.model.label for result in results}
    return sorted(dict.fromkeys(facts), key=lambda fact: fact[0] not in networks)
