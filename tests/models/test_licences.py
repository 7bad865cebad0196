from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from robustseg.errors import CheckpointError
from robustseg.models.fetch import access_from
from robustseg.models.licences import LICENCES, Consent
from robustseg.models.published import published_networks, published_weights

FREE = [published_weights("dlv3p_r101@mmseg"), published_weights("dlv3p_mbv2@vainf")]
TIED = [published_weights(n) for n in ("segformer_b0@hf", "segformer_b1@mmseg", "mit_b2")]


def answering(answer: bool, questions: list[str]) -> Callable[[str], bool]:
    def ask(question: str) -> bool:
        questions.append(question)
        return answer

    return ask


def test_free_weights_need_no_consent(tmp_path: Path) -> None:
    Consent(tmp_path / "cache").require(FREE)
    assert not (tmp_path / "cache").exists()


def test_every_weight_of_segformer_needs_consent() -> None:
    for row in published_networks():
        needed = LICENCES[row.licence].needs
        assert needed == ("nvidia-segformer" if row.name.startswith("segformer") else "")


def test_yes_is_asked_for_once(tmp_path: Path) -> None:
    questions: list[str] = []
    Consent(tmp_path, ask=answering(True, questions)).require([*FREE, *TIED])
    (question,) = questions
    assert "segformer_b0@hf, segformer_b1@mmseg, mit_b2" in question
    assert "NVIDIA Source Code License for SegFormer" in question
    assert "no commercial use" in question
    assert "https://" in question
    assert "dlv3p" not in question
    entry = json.loads((tmp_path / "licences.json").read_text())["nvidia-segformer"]
    assert entry["by"] == "prompt"
    assert entry["accepted"][:2] == "20"
    Consent(tmp_path, ask=answering(False, questions)).require(TIED)
    Consent(tmp_path).require(TIED)
    assert len(questions) == 1


def test_no_is_an_error_and_not_remembered(tmp_path: Path) -> None:
    questions: list[str] = []
    for _ in range(2):
        with pytest.raises(CheckpointError, match="was not accepted: nothing is fetched"):
            Consent(tmp_path, ask=answering(False, questions)).require(TIED)
    assert len(questions) == 2
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_answers_it_says_how_to_accept(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        Consent(tmp_path).require(TIED)
    message = str(caught.value)
    assert "weights of segformer_b0@hf, segformer_b1@mmseg, mit_b2 fall under" in message
    assert "give --accept-licence" in message
    assert "ROBUSTSEG_ACCEPT_LICENCE=1" in message
    assert "\n" not in message


def test_what_was_said_beforehand_is_remembered_with_its_source(tmp_path: Path) -> None:
    environ = {"ROBUSTSEG_CACHE": str(tmp_path)}
    access_from({**environ, "ROBUSTSEG_ACCEPT_LICENCE": "1"}).consent.require(TIED)
    path = tmp_path / "licences.json"
    assert json.loads(path.read_text())["nvidia-segformer"]["by"] == "ROBUSTSEG_ACCEPT_LICENCE"
    access_from(environ).consent.require(TIED)
    path.write_text("{")
    with pytest.raises(CheckpointError):
        access_from({**environ, "ROBUSTSEG_ACCEPT_LICENCE": "0"}).consent.require(TIED)
    access_from(environ, accept=True).consent.require(TIED)
    assert json.loads(path.read_text())["nvidia-segformer"]["by"] == "--accept-licence"
