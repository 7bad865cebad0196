"""Turns the parameter names of another code base into own ones, by tables of prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["NameTable"]

FIELDS = {"stage": r"\d+", "number": r"\d+", "reverse": r"\d+", "block": r"\d+", "rest": r".+"}


class NameTable:
    """Prefixes of another code base, and the own prefixes in their place.

    A prefix is a parameter's name without its last part (``weight``, ``running_mean``, ...), which
    stays. Prefixes hold fields in braces:

    * ``{stage}``, ``{number}``, ``{reverse}``: one of the four or more stages, counted from 0,
      from 1, or from the last of four backwards; whichever the other code base uses, the own
      prefix can use each of them;
    * ``{block}``: a number that stays;
    * ``{rest}``: whatever stands there.

    Examples:
        >>> table = NameTable({"stages.{stage}.norm": "norm{number}"})
        >>> table.rename("stages.0.norm.weight")
        'norm1.weight'
    """

    def __init__(self, rows: Mapping[str, str]) -> None:
        self.rows = dict(rows)
        self._plain = {theirs: own for theirs, own in rows.items() if "{" not in theirs}
        self._patterns = [
            (re.compile(_pattern(theirs)), own) for theirs, own in rows.items() if "{" in theirs
        ]

    def rename(self, name: str) -> str | None:
        """Give the own name of a parameter; None where the table has no row for it."""
        prefix, _, leaf = name.rpartition(".")
        if prefix in self._plain:
            return f"{self._plain[prefix]}.{leaf}"
        for pattern, own in self._patterns:
            match = pattern.fullmatch(prefix)
            if match:
                return f"{own.format(**_fields(match.groupdict()))}.{leaf}"
        return None


def _pattern(template: str) -> str:
    parts: Iterable[str] = re.split(r"\{(\w+)\}", template)
    return "".join(
        f"(?P<{part}>{FIELDS[part]})" if odd else re.escape(part)
        for part, odd in zip(parts, [False, True] * template.count("{") + [False], strict=True)
    )


def _fields(found: Mapping[str, str]) -> dict[str, str | int]:
    fields: dict[str, str | int] = dict(found)
    if "stage" in found:
        stage = int(found["stage"])
    elif "number" in found:
        stage = int(found["number"]) - 1
    elif "reverse" in found:
        stage = 3 - int(found["reverse"])
    else:
        return fields
    return {**fields, "stage": stage, "number": stage + 1, "reverse": 3 - stage}
