from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from robustseg.datasets.labels import LABEL_TO_TRAIN, LABELS, NUM_CLASSES, TRAIN_TO_LABEL
from robustseg.datasets.sample import LabelArray
from robustseg.engine.inference import confusion_matrix
from robustseg.metrics.confusion import Confusion, class_iou, mean_iou

Pairs = Sequence[tuple[LabelArray, LabelArray]]


def confusion_of(pairs: Pairs) -> Confusion:
    """Count train ids (truth, prediction) as the evaluation does."""
    total = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    for truth, prediction in pairs:
        classes = torch.from_numpy(prediction.astype(np.int64))
        total += confusion_matrix(truth, classes, NUM_CLASSES).numpy()
    return total


def slow_iou(pairs: Pairs) -> list[Fraction | None]:
    """Count set by set and pixel by pixel what the definition says, in exact fractions."""
    iou: list[Fraction | None] = []
    for k in range(NUM_CLASSES):
        both = either = 0
        for truth, prediction in pairs:
            for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
                if t != 255:
                    both += t == k and p == k
                    either += t == k or p == k
        iou.append(Fraction(both, either) if either else None)
    return iou


def random_pairs(seed: int, sizes: Sequence[tuple[int, int]], labels: Sequence[int]) -> Pairs:
    """Make label-id truths from ``labels`` and predictions that are right half of the time."""
    rng = np.random.default_rng(seed)
    pairs = []
    for size in sizes:
        truth = rng.choice(labels, size).astype(np.uint8)
        guess = rng.integers(0, NUM_CLASSES, size, dtype=np.uint8)
        train = LABEL_TO_TRAIN[truth]
        right = (rng.random(size) < 0.5) & (train != 255)
        pairs.append((truth, np.where(right, train, guess).astype(np.uint8)))
    return pairs


ALL_IDS = [c.label_id for c in LABELS if c.label_id >= 0]
IMAGES = {
    "all ids": ([(37, 53), (1, 7), (64, 31)], ALL_IDS),
    "most ignored": ([(23, 41)], [*range(7), 9, 10, 14, 29, 7, 26]),
    "absent classes": ([(15, 17), (9, 2)], [7, 8, 11, 23]),
    "one class": ([(5, 5)], [26]),
    "nothing but ignored": ([(11, 13)], [0, 4, 30]),
}


@pytest.mark.parametrize(("sizes", "labels"), IMAGES.values(), ids=list(IMAGES))
def test_against_the_official_evaluator(
    tmp_path: Path, sizes: Sequence[tuple[int, int]], labels: Sequence[int]
) -> None:
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    pairs = random_pairs(len(labels), sizes, labels)
    # its arguments are a global object; instance scores need files of their own and np.in1d
    args = SimpleNamespace(**{**vars(official.args), "evalInstLevelScore": False})
    matrix = official.generateMatrix(args)
    for number, (truth, prediction) in enumerate(pairs):
        names = [str(tmp_path / f"{kind}{number}.png") for kind in ("prediction", "truth")]
        Image.fromarray(TRAIN_TO_LABEL[prediction]).save(names[0])
        Image.fromarray(truth).save(names[1])
        pixels = official.evaluatePair(*names, matrix, {}, {}, args)
        assert pixels == truth.size
    scores = {k: official.getIouScoreForLabel(k, matrix, args) for k in args.evalLabels}

    confusion = confusion_of([(LABEL_TO_TRAIN[t], p) for t, p in pairs])
    wanted = [scores[int(TRAIN_TO_LABEL[k])] for k in range(NUM_CLASSES)]
    np.testing.assert_array_equal(class_iou(confusion), wanted)
    average = official.getScoreAverage(scores, args)
    np.testing.assert_allclose(mean_iou(confusion), average, rtol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_against_counting_by_hand(seed: int) -> None:
    labels = [7, 8, 0, 11, 24, 33][: 4 + seed]
    pairs = [(LABEL_TO_TRAIN[t], p) for t, p in random_pairs(seed, [(7, 5), (3, 4)], labels)]
    exact = slow_iou(pairs)
    wanted = [np.nan if value is None else float(value) for value in exact]
    np.testing.assert_array_equal(class_iou(confusion_of(pairs)), wanted)
    present = [value for value in exact if value is not None]
    mean = float(sum(present, Fraction(0)) / len(present))
    assert mean_iou(confusion_of(pairs)) == pytest.approx(mean, rel=1e-14)


def test_rows_are_truth_and_ignored_pixels_are_absent() -> None:
    truth = np.array([[3, 3, 255], [5, 254, 3]], np.uint8)
    prediction = np.array([[3, 7, 3], [5, 5, 18]], np.uint8)
    confusion = confusion_of([(truth, prediction)])
    assert {(int(t), int(p)): int(confusion[t, p]) for t, p in np.argwhere(confusion)} == {
        (3, 3): 1,
        (3, 7): 1,
        (3, 18): 1,
        (5, 5): 1,
    }


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]], np.int64)
    np.testing.assert_array_equal(class_iou(confusion), [0.75, 0.0, np.nan])
    assert mean_iou(confusion) == 0.375


def test_no_pixels_at_all() -> None:
    empty = np.zeros((19, 19), np.int64)
    assert np.isnan(class_iou(empty)).all()
    assert np.isnan(mean_iou(empty))


def test_counts_beyond_the_range_of_32_bits() -> None:
    confusion = np.array([[3 * 10**12, 10**12], [0, 4 * 10**12]], np.int64)
    np.testing.assert_allclose(class_iou(confusion), [0.75, 0.8], rtol=1e-15)


matrices = arrays.arrays(np.int64, (5, 5), elements=st.integers(0, 1000))
properties = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@properties
@given(
    st.lists(
        arrays.arrays(np.uint8, (2, 4, 3), elements=st.sampled_from([0, 1, 2, 18, 255])),
        min_size=2,
        max_size=4,
    )
)
def test_merged_matrices_are_the_matrix_of_all_images(images: list[LabelArray]) -> None:
    pairs = [
        (image[0], np.where(image[1] == 255, 9, image[1]).astype(np.uint8)) for image in images
    ]
    one_by_one = sum((confusion_of([pair]) for pair in pairs), np.zeros((19, 19), np.int64))
    mosaic = (np.concatenate([t for t, _ in pairs]), np.concatenate([p for _, p in pairs], 0))
    np.testing.assert_array_equal(one_by_one, confusion_of([mosaic]))
    assert one_by_one.sum() == sum(int((t != 255).sum()) for t, _ in pairs)


@properties
@given(matrices, st.permutations(range(5)))
def test_the_order_of_classes_does_not_matter(confusion: Confusion, order: list[int]) -> None:
    shuffled = confusion[np.ix_(order, order)]
    np.testing.assert_array_equal(class_iou(shuffled), class_iou(confusion)[order])
    np.testing.assert_allclose(mean_iou(shuffled), mean_iou(confusion), rtol=1e-12)


@properties
@given(matrices)
def test_bounds(confusion: Confusion) -> None:
    before = confusion.copy()
    iou = class_iou(confusion)
    occurs = (confusion.sum(0) + confusion.sum(1)) > 0
    np.testing.assert_array_equal(np.isnan(iou), ~occurs)
    assert ((iou[occurs] >= 0) & (iou[occurs] <= 1)).all()
    # IoU of a class is at most its recall and at most its precision
    for k in np.flatnonzero(occurs):
        for total in (confusion[k].sum(), confusion[:, k].sum()):
            if total:
                assert iou[k] <= confusion[k, k] / total
    np.testing.assert_array_equal(confusion, before)


@properties
@given(matrices, st.integers(1, 50))
def test_only_shares_matter(confusion: Confusion, factor: int) -> None:
    np.testing.assert_allclose(class_iou(factor * confusion), class_iou(confusion), rtol=1e-14)


@properties
@given(matrices)
def test_truth_and_prediction_may_change_places(confusion: Confusion) -> None:
    np.testing.assert_array_equal(class_iou(confusion.T), class_iou(confusion))
