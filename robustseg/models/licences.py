"""Licences of published weights: what they allow, and remembering who accepted them.

Weights whose licence forbids commercial use are fetched only after somebody accepted it: at the
prompt, by ``--accept-licence``, or by ``ROBUSTSEG_ACCEPT_LICENCE=1``. An acceptance is kept in the
cache folder, so that it is asked for once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from robustseg.errors import CheckpointError
from robustseg.files import write_text
from robustseg.models.published import Published

__all__ = ["LICENCES", "NOTICE", "Consent", "Licence"]

NVIDIA = "nvidia-segformer"
NVIDIA_NAME = "NVIDIA Source Code License for SegFormer"
NVIDIA_TITLE = f"{NVIDIA_NAME} (research and evaluation only, no commercial use)"

NOTICE = f"{NVIDIA_TITLE}, for weights of SegFormer's authors and what was made from them"
"""Holds for every SegFormer whose weights were not trained here."""


@dataclass(frozen=True)
class Licence:
    """The licence of published weights.

    Attributes:
        label: In lists.
        title: In sentences.
        needs: The key of the licence to be accepted before fetching, or empty.
        url: Its text.
    """

    label: str
    title: str
    needs: str = ""
    url: str = ""


LICENCES: dict[str, Licence] = {
    "apache-2.0": Licence("Apache-2.0", "Apache-2.0"),
    "mit": Licence("MIT", "MIT"),
    NVIDIA: Licence(
        "NVIDIA NC",
        NVIDIA_TITLE,
        NVIDIA,
        "https://github.com/NVlabs/SegFormer/blob/master/LICENSE",
    ),
    # mmsegmentation's zoo says Apache-2.0, but its encoders were initialised with NVIDIA's weights
    "apache-2.0-from-nvidia": Licence(
        "Apache-2.0 + NVIDIA NC",
        f"Apache-2.0, made from encoders under the {NVIDIA_NAME}",
        NVIDIA,
    ),
}


WAYS = ": read it, and give --accept-licence to fetch them (or set ROBUSTSEG_ACCEPT_LICENCE=1)"
"""How a licence is accepted where nobody can be asked, as the end of a sentence."""


def _statement(licence: Licence, names: str) -> str:
    """Say which licence weights fall under."""
    return f"weights of {names} fall under the {licence.title}, {licence.url}"


@dataclass(frozen=True)
class Consent:
    """How a licence can be accepted here.

    Attributes:
        folder: Where acceptances are remembered.
        given: By what the user accepted beforehand, such as ``--accept-licence``, or empty.
        ask: Puts a question to the user and gives the answer; None where nobody can answer.
    """

    folder: Path
    given: str = ""
    ask: Callable[[str], bool] | None = None

    @property
    def path(self) -> Path:
        """The file of acceptances."""
        return self.folder / "licences.json"

    def accepted(self, key: str) -> bool:
        """Say whether a licence was accepted earlier."""
        return key in self._remembered()

    def require(self, wanted: Iterable[Published]) -> None:
        """See that the licences of weights are accepted, asking once for each.

        Raises:
            CheckpointError: One is not.
        """
        for key, names in self._open(wanted).items():
            self._remember(key, self._obtain(LICENCES[key], names))

    def outlook(self, wanted: Iterable[Published]) -> list[str]:
        """Say in a line each which licences ``require`` would ask for or refuse; ask nobody."""
        lines = []
        for key, names in self._open(() if self.given else wanted).items():
            stated = _statement(LICENCES[key], names)
            would = "the run would be refused" if self.ask is None else "the run would ask first"
            lines.append(f"{would}: {stated}{'' if self.ask else WAYS}")
        return lines

    def _open(self, wanted: Iterable[Published]) -> dict[str, str]:
        """Name the licences that nobody accepted yet, with the weights that fall under each."""
        groups: dict[str, list[str]] = {}
        for row in wanted:
            needs = LICENCES[row.licence].needs
            if needs and not self.accepted(needs):
                groups.setdefault(needs, []).append(row.name)
        return {key: ", ".join(names) for key, names in groups.items()}

    def _obtain(self, licence: Licence, names: str) -> str:
        """Get a licence accepted, and say by what."""
        if self.given:
            return self.given
        stated = _statement(licence, names)
        if self.ask is None:
            raise CheckpointError(f"{stated}{WAYS}")
        if not self.ask(f"{stated}\naccept this licence?"):
            raise CheckpointError(
                f"the licence of the weights of {names} was not accepted: nothing is fetched"
            )
        return "prompt"

    def _remembered(self) -> dict[str, object]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none yet, or damaged: then it is asked for again
            return {}
        return content if isinstance(content, dict) else {}

    def _remember(self, key: str, how: str) -> None:
        entry = {
            "licence": LICENCES[key].title,
            "url": LICENCES[key].url,
            "accepted": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": how,
        }
        write_text(self.path, json.dumps({**self._remembered(), key: entry}, indent=2) + "\n")
