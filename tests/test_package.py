from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import robustseg

PACKAGE = Path(robustseg.__file__).parent
CHECKOUT = Path(__file__).parents[1]


def module_names() -> list[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], "robustseg.")
    return ["robustseg", *(m.name for m in found if m.name != "robustseg.__main__")]


MODULES = module_names()
PACKAGES = [
    f"robustseg.{p.name}" for p in sorted(PACKAGE.iterdir()) if (p / "__init__.py").is_file()
]


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="a copy without links is as good")
@pytest.mark.parametrize("name", ["corruptions", "models", "reports"])
def test_links_at_the_root_point_into_the_package(name: str) -> None:
    link = CHECKOUT / name
    assert link.is_symlink()
    assert link.readlink() == Path("robustseg") / name
    assert (link / "__init__.py").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_exported_members_exist(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    assert [member for member in exported if not hasattr(module, member)] == []


def exported_and_imported(path: Path) -> tuple[set[str], set[str]]:
    """``__all__`` of a package's file, and what it imports from its own modules."""
    exported: set[str] = set()
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            exported = set(ast.literal_eval(node.value))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robustseg."):
            imported |= {alias.asname or alias.name for alias in node.names}
    return exported, imported


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_export_what_they_gather_from_their_modules(name: str) -> None:
    folder = PACKAGE / name.removeprefix("robustseg.")
    exported, imported = exported_and_imported(folder / "__init__.py")
    modules = {path.stem for path in folder.glob("*.py")}  # for the lazy lookup
    assert imported - modules == exported


@pytest.mark.parametrize(
    "name", ["robustseg.models", "robustseg.corruptions", "robustseg.datasets"]
)
def test_unknown_member_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        importlib.import_module(name).nonsense  # noqa: B018


def imports_of(path: Path) -> Iterator[str]:
    """Every module of the package that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


ABOVE = ("engine", "erf", "reports", "cli", "demo", "results")

FORBIDDEN = {
    "models": (*ABOVE, "corruptions", "datasets", "metrics"),
    "corruptions": (*ABOVE, "models", "metrics"),
    "datasets": (*ABOVE, "models", "corruptions", "metrics"),
    "metrics": (*ABOVE, "models", "datasets"),
    "engine": ("cli", "demo", "erf"),  # a training ends with a figure
    "erf": ("cli", "demo", "reports"),
    "reports": ("cli", "demo", "engine", "erf"),
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    files = list((PACKAGE / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.name} imports {name}"
        for path in files
        for name in imports_of(path)
        for part in FORBIDDEN[package]
        if name == f"robustseg.{part}" or name.startswith(f"robustseg.{part}.")
    ]
    assert wrong == []


def test_direction_test_sees_imports_within_functions() -> None:
    assert "robustseg.corruptions.registry.corrupt_frame" in set(
        imports_of(PACKAGE / "engine" / "pictures.py")
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_every_module_has_a_docstring_and_says_what_it_exports(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    if path.name not in ("__init__.py", "__main__.py"):
        names = {ast.unparse(t) for n in tree.body if isinstance(n, ast.Assign) for t in n.targets}
        assert "__all__" in names
