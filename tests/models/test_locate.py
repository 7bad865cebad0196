from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from robustseg.errors import CheckpointError
from robustseg.models.cache import write_record
from robustseg.models.fetch import Access, access_from
from robustseg.models.locate import find_all, find_checkpoint
from robustseg.models.published import Published, published_weights
from robustseg.progress import Console


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """Offline, with an empty cache; what it says lands in a string."""
    environ = {"ROBUSTSEG_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}
    return access_from(environ, offline=True, console=Console(io.StringIO()))


def said(access: Access) -> str:
    assert isinstance(access.console.stream, io.StringIO)
    return access.console.stream.getvalue()


def fill(access: Access, row: Published) -> Path:
    """Put a file into the cache as a fetch does."""
    path = access.cache / "weights" / "file.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    write_record(access.cache, row, path)
    return path


def refusal(
    names: list[str], access: Access, folder: Path, given: dict[str, Path] | None = None
) -> str:
    with pytest.raises(CheckpointError) as caught:
        find_all(names, given or {}, folder, access)
    assert "\n" not in str(caught.value)
    assert said(access) == ""
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_file_named_after_the_network_is_found(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"dlv3p_r50{suffix}"
    path.touch()
    (tmp_path / "dlv3p_r50.txt").touch()
    (tmp_path / "dlv3p_r101.pth").touch()
    assert find_checkpoint("dlv3p_r50", {}, tmp_path) == path
    assert find_checkpoint("dlv3p_r50@mmseg", {}, tmp_path) is None


def test_what_is_given_goes_before_what_is_found(tmp_path: Path) -> None:
    (tmp_path / "dlv3p_r50.pth").touch()
    given = tmp_path / "mine.bin"
    given.touch()
    assert find_checkpoint("dlv3p_r50", {"dlv3p_r50": given}, tmp_path) == given
    other = find_checkpoint("dlv3p_r50", {"dlv3p_r101": given}, tmp_path)
    assert other is not None
    assert other.name == "dlv3p_r50.pth"


def test_several_files_of_one_network(tmp_path: Path) -> None:
    for suffix in (".pt", ".safetensors"):
        (tmp_path / f"dlv3p_r50{suffix}").touch()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("dlv3p_r50", {}, tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "dlv3p_r50.safetensors") in message
    assert str(tmp_path / "dlv3p_r50.pt") in message
    assert "--checkpoint dlv3p_r50=PATH" in message


def test_a_given_path_that_is_missing_is_not_replaced_by_another(
    tmp_path: Path, access: Access
) -> None:
    (tmp_path / "dlv3p_r50.pth").touch()
    fill(access, published_weights("dlv3p_r50@mmseg"))
    given = {"dlv3p_r50": tmp_path / "none.pth"}
    message = refusal(["dlv3p_r50"], access, tmp_path, given)
    assert message == f"checkpoint of dlv3p_r50 not found: {tmp_path / 'none.pth'}"


def test_own_files_go_before_published_ones(tmp_path: Path, access: Access) -> None:
    cached = fill(access, published_weights("dlv3p_r101@mmseg"))
    assert find_all(["dlv3p_r101"], {}, tmp_path, access).paths == {"dlv3p_r101@mmseg": cached}
    by_hand = tmp_path / "dlv3p_r101@mmseg.pth"
    by_hand.touch()
    assert find_all(["dlv3p_r101"], {}, tmp_path, access).paths == {"dlv3p_r101@mmseg": by_hand}
    own = tmp_path / "dlv3p_r101.safetensors"
    own.touch()
    both = find_all(["dlv3p_r101", "dlv3p_r101@mmseg"], {}, tmp_path, access)
    assert both.paths == {"dlv3p_r101": own, "dlv3p_r101@mmseg": by_hand}


def test_the_line_says_what_the_variant_implies(tmp_path: Path, access: Access) -> None:
    for name in ("dlv3p_r101@mmseg", "segformer_b5@hf", "segformer_b5@mmseg"):
        fill(access, published_weights(name))
    find_all(["dlv3p_r101", "segformer_b5", "segformer_b5@mmseg"], {}, tmp_path, access)
    nvidia = "NVIDIA Source Code License for SegFormer"
    assert said(access).splitlines() == [
        "dlv3p_r101 -> dlv3p_r101@mmseg: mmsegmentation's head, output stride 8, ImageNet "
        "normalisation, tested whole 1024x2048, published mIoU 80.97, Apache-2.0",
        "segformer_b5 -> segformer_b5@hf: the paper's head, ImageNet normalisation, tested in "
        "windows of 1024x1024 at steps of 768, published mIoU 82.4, "
        f"{nvidia} (research and evaluation only, no commercial use)",
        "segformer_b5@mmseg: mmsegmentation's head, ImageNet normalisation, tested in windows of "
        "1024x1024 at steps of 768, published mIoU 82.25, Apache-2.0, made from encoders under "
        f"the {nvidia}",
    ]


def test_a_name_without_published_weights_says_what_to_do(tmp_path: Path, access: Access) -> None:
    folder = tmp_path / "checkpoints"
    message = refusal(["segformer_b0", "dlv3p_x65", "dlv3p_x71"], access, folder)
    assert message.startswith("no weights for dlv3p_x65 (dlv3p_x71 neither): ")
    assert f"looked for {folder / 'dlv3p_x65'}.safetensors, .pth and .pt" in message
    assert "nobody published any that can be read" in message
    assert "--checkpoint dlv3p_x65=PATH" in message
    assert "'robustseg train --model dlv3p_x65'" in message
    assert "train" not in refusal(["segformer_b0@smp"], access, folder)


def test_without_network_and_cache_it_says_what_to_download(tmp_path: Path, access: Access) -> None:
    folder = tmp_path / "checkpoints"
    row = published_weights("dlv3p_r50@mmseg")
    message = refusal(["dlv3p_r50", "segformer_b2"], access, folder)
    assert message == (
        f"no weights for dlv3p_r50@mmseg (nor for segformer_b2@hf): not in the cache "
        f"{access.cache}, and --offline forbids fetching: download {row.address} and put it at "
        f"{folder}/dlv3p_r50@mmseg.pth"
    )
    message = refusal(["segformer_b2"], access, folder)
    assert message.endswith(
        "download model.safetensors from "
        "https://huggingface.co/nvidia/segformer-b2-finetuned-cityscapes-1024-1024 and put it at "
        f"{folder}/segformer_b2@hf.safetensors (pytorch_model.bin: segformer_b2@hf.pth)"
    )


def test_what_the_sentence_says_is_what_is_found(tmp_path: Path, access: Access) -> None:
    for name in ("dlv3p_mbv2@vainf", "dlv3p_r50", "segformer_b2"):
        message = refusal([name], access, tmp_path)
        place = Path(message.partition("put it at ")[2].split(" ")[0])
        place.touch()
        assert list(find_all([name], {}, tmp_path, access).paths.values()) == [place]
        access = replace(access, console=Console(io.StringIO()))


def test_weights_behind_links_are_got_by_hand_also_online(tmp_path: Path, access: Access) -> None:
    online = replace(access, offline="")
    message = refusal(["dlv3p_mbv2@vainf"], online, tmp_path)
    assert message == (
        "no weights for dlv3p_mbv2@vainf: no program can fetch them: download the file of DLv3+ "
        "(MBv2) for Cityscapes that is linked at "
        "https://github.com/VainF/DeepLabV3Plus-Pytorch and put it at "
        f"{tmp_path}/dlv3p_mbv2@vainf.pth"
    )


def test_a_dry_run_fetches_nothing_and_says_so(tmp_path: Path, access: Access) -> None:
    cached = fill(access, published_weights("dlv3p_r50@mmseg"))
    online = replace(access, offline="")
    names = ["dlv3p_r50", "segformer_b0", "segformer_b1"]
    found = find_all(names, {}, tmp_path, online, fetching=False)
    assert found.paths == {"dlv3p_r50@mmseg": cached}
    absent = ["segformer_b0@hf", "segformer_b1@hf"]
    assert [row.name for row in found.absent] == absent
    assert [row.name for row in found.published] == ["dlv3p_r50@mmseg", *absent]
    *_, first, second, last = said(access).splitlines()
    for name, line in zip(absent, (first, second), strict=True):
        assert line.startswith(f"{name}: not here yet, would come from https://huggingface.co/")
    with pytest.raises(CheckpointError) as caught:
        find_all(names, {}, tmp_path, online)
    assert last == f"the run would be refused: {caught.value}"


def test_a_dry_run_neither_asks_nor_accepts(tmp_path: Path, access: Access) -> None:
    def ask(question: str) -> bool:
        raise AssertionError(question)

    asking = replace(access, offline="", consent=replace(access.consent, ask=ask))
    find_all(["segformer_b0"], {}, tmp_path, asking, fetching=False)
    assert "the run would ask first: weights of segformer_b0@hf fall under" in said(access)
    assert "--accept-licence" not in said(access)
    before = said(access)
    given = replace(access, offline="", consent=replace(access.consent, given="--accept-licence"))
    find_all(["segformer_b0"], {}, tmp_path, given, fetching=False)
    assert "the run would" not in said(access).removeprefix(before)
    assert not access.consent.path.exists()


def test_a_dry_run_is_refused_where_the_run_is(tmp_path: Path, access: Access) -> None:
    online = replace(access, offline="")
    for name, place in (("segformer_b0", access), ("dlv3p_mbv2@vainf", online)):
        message = refusal([name], place, tmp_path)
        with pytest.raises(CheckpointError) as caught:
            find_all([name], {}, tmp_path, place, fetching=False)
        assert str(caught.value) == message


def test_a_file_of_anybody_has_no_published_score(tmp_path: Path, access: Access) -> None:
    path = tmp_path / "segformer_b0@hf.safetensors"
    path.touch()
    found = find_all(["segformer_b0"], {}, tmp_path, access)
    assert found.published == ()
    assert said(access) == (
        f"segformer_b0 -> segformer_b0@hf: {path}, the paper's head, ImageNet normalisation\n"
    )


def test_what_is_given_for_a_variant_is_meant_for_its_network(
    tmp_path: Path, access: Access
) -> None:
    (tmp_path / "segformer_b0.pth").touch()
    given = {"segformer_b0@mmseg": tmp_path / "mine.bin", "dlv3p_r50@smp": tmp_path / "other.bin"}
    for path in given.values():
        path.touch()
    assert find_all(["segformer_b0", "dlv3p_r50"], given, tmp_path, access).paths == given
    # where the variant is asked for by name, the bare name goes its own way
    names = ["segformer_b0", "segformer_b0@mmseg"]
    found = find_all(names, given, tmp_path, access).paths
    assert found["segformer_b0"] == tmp_path / "segformer_b0.pth"
    assert found["segformer_b0@mmseg"] == given["segformer_b0@mmseg"]


@pytest.mark.parametrize("other", ["segformer_b0", "segformer_b0@hf"])
def test_two_files_given_for_one_network(other: str, tmp_path: Path, access: Access) -> None:
    path = tmp_path / "mine.bin"
    path.touch()
    given = {other: path, "segformer_b0@mmseg": path}
    message = refusal(["segformer_b0"], access, tmp_path, given)
    assert message.endswith(f"ask for {other} and segformer_b0@mmseg")
