"""Modules of other people that robustseg imports for what they register.

A module registers corruptions and networks with decorators. It is named with ``--plugin`` or in an
environment variable, which processes started from here inherit.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.errors import PluginError, RobustsegError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["PLUGINS", "import_named_plugins", "installed_points", "load_point", "use_plugins"]

PLUGINS = "ROBUSTSEG_PLUGINS"
"""Environment variable: modules to import for what they register, separated by commas. Worker
processes inherit it, so that they know what their parent knows."""


def use_plugins(modules: Sequence[str]) -> None:
    """Import modules for what they register, here and in every process started from here.

    Args:
        modules: Names of importable modules; those in the working folder count as importable.

    Raises:
        PluginError: One cannot be imported.
    """
    if not modules:
        return
    for module in modules:
        _import_plugin(module)
    os.environ[PLUGINS] = ",".join(dict.fromkeys([*_plugin_names(), *modules]))


def import_named_plugins() -> None:
    """Import the modules that the environment variable names, from the working folder too.

    Raises:
        PluginError: One cannot be imported.
    """
    for module in _plugin_names():
        _import_plugin(module)


def installed_points(group: str) -> Iterator[tuple[EntryPoint, str]]:
    """List the entry points of all installed packages in a group; many files are opened for it.

    Yields:
        Entry point, and what it belongs to, such as ``haze-tools 1.2``.
    """
    from importlib import metadata  # it takes longer to load than all of this package's names

    for point in metadata.entry_points(group=group):
        yield point, f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def load_point(point: EntryPoint, kind: str, source: str) -> object:
    """Import what an entry point names.

    Args:
        point: The entry point.
        kind: What it stands for, singular, for the message: ``"corruption"``.
        source: What it belongs to.

    Raises:
        PluginError: It cannot be imported, or is not callable.
    """
    try:
        found: object = point.load()
    except RobustsegError:
        raise
    except Exception as error:  # whatever a stranger's module does when it is imported
        raise PluginError(
            f"{kind} {point.name!r} of {source}: {point.value} cannot be imported "
            f"({type(error).__name__}: {error}): repair or uninstall that package"
        ) from error
    if not callable(found):
        raise PluginError(
            f"{kind} {point.name!r} of {source}: {point.value} is "
            f"{type(found).__name__}, not a function: mend the entry point"
        )
    return found


def _plugin_names() -> list[str]:
    return [name for part in os.environ.get(PLUGINS, "").split(",") if (name := part.strip())]


def _import_plugin(module: str) -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # an installed command does not look there by itself
    try:
        importlib.import_module(module)
    except RobustsegError:
        raise
    except Exception as error:  # whatever a stranger's module does when it is imported
        raise PluginError(
            f"plugin {module!r} cannot be imported ({type(error).__name__}: {error}): give the "
            "name of a module, such as my_plugin for ./my_plugin.py"
        ) from error
