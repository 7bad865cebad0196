from __future__ import annotations

import itertools

import numpy as np

from robustseg.corruptions import random_stream


def test_seed_is_the_head_of_the_digest() -> None:
    # printf %s 0/frankfurt_000000_000294/fog/3 | sha256sum begins with 44 74 96 90.
    stream = random_stream(0, "frankfurt_000000_000294", "fog", 3)
    assert stream.randint(2**32, dtype=np.uint32) == 534384129
    expected = np.random.RandomState(0x90967444)
    expected.randint(2**32, dtype=np.uint32)
    assert np.array_equal(stream.random_sample(5), expected.random_sample(5))


def test_every_component_changes_the_stream() -> None:
    arguments = list(itertools.product([0, 1], ["a", "b"], ["fog", "snow"], [1, 2]))
    first = {random_stream(*a).randint(2**32, dtype=np.uint32) for a in arguments}
    assert len(first) == len(arguments)


def test_image_ids_may_be_any_text() -> None:
    streams = [random_stream(0, image_id, "fog", 1) for image_id in ("münchen/1", "münchen_1", "")]
    assert len({s.randint(2**32, dtype=np.uint32) for s in streams}) == 3


def test_streams_do_not_share_state() -> None:
    first, second = random_stream(3, "a", "fog", 1), random_stream(3, "a", "fog", 1)
    ahead = first.random_sample(3)
    assert np.array_equal(second.random_sample(3), ahead)
