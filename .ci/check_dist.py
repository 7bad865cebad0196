"""Checks that wheel and sdist hold one copy of the code and all data files."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

NEEDED = (
    "robustseg/py.typed",
    "robustseg/engine/recipes/segformer.toml",
    "robustseg/reports/data/segformer_table5.csv",
    "robustseg/reports/data/page.html.jinja",
    "robustseg/datasets/streets/scene.py",
)


def main(folder: Path) -> int:
    """Check the one wheel and the one sdist in a folder."""
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = archive.namelist()
    with tarfile.open(sdist) as archive:
        in_sdist = [name.partition("/")[2] for name in archive.getnames()]
    problems = []
    for kind, names in (("wheel", in_wheel), ("sdist", in_sdist)):
        problems += [f"{kind} lacks {name}" for name in NEEDED if name not in names]
        copies = [n for n in names if n.startswith(("corruptions", "models", "reports"))]
        problems += [f"{kind} holds a second copy: {name}" for name in copies]
    tops = {
        name.split("/")[0] for name in in_wheel if not name.split("/")[0].endswith(".dist-info")
    }
    if tops != {"robustseg"}:
        problems.append(f"wheel installs {sorted(tops)}")
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
