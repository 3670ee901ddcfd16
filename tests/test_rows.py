"""Pictures as streams of rows: taken in windows, whole, mapped, and what a stream that is too short says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_keras.rows import Rows

PIXELS = np.random.default_rng(0).integers(0, 256, (23, 5, 3), np.uint8)


def rows(*heights, height=23, close=lambda: None):
    cuts = np.cumsum((0, *heights))
    bands = (PIXELS[top:bottom] for top, bottom in pairwise(cuts))
    return Rows(bands, height, 5, 3, np.uint8, close)


def test_the_bands_come_as_they_are():
    assert [len(band) for band in rows(10, 1, 12)] == [10, 1, 12]


def test_a_picture_in_memory_is_one_band():
    (band,) = Rows.of(PIXELS)
    assert band is PIXELS


def test_whole_puts_the_bands_together():
    np.testing.assert_array_equal(rows(10, 1, 12).whole(), PIXELS)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_windows_that_go_down_are_those_of_the_picture(data):
    heights = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    height = min(sum(heights), 23)
    stream, top, end = rows(*heights, height=height), 0, 0
    for _ in range(data.draw(st.integers(1, 6))):
        top = data.draw(st.integers(top, end))
        bottom = data.draw(st.integers(top, height))
        np.testing.assert_array_equal(stream.take(top, bottom), PIXELS[top:bottom])
        end = max(end, bottom)
    np.testing.assert_array_equal(stream.whole(), PIXELS[top:height])


def test_rows_that_are_gone_are_refused():
    stream = rows(10, 13)
    stream.take(0, 9)
    stream.take(5, 12)
    with pytest.raises(ValueError, match="rows 5 to 23 are kept, got 4; take from above down"):
        stream.take(4, 12)


def test_rows_that_would_leave_a_gap_are_refused():
    stream = rows(10, 13)
    stream.take(0, 3)
    with pytest.raises(ValueError, match="rows 0 to 10 are kept, got 11"):
        stream.take(11, 12)


def test_rows_below_the_picture_are_refused():
    with pytest.raises(ValueError, match="the bands end 1 rows before row 24, the height is 23"):
        rows(10, 13).take(0, 24)


def test_what_was_taken_is_not_kept():
    stream = rows(*[1] * 23)
    for top in range(22):
        stream.take(top, top + 2)
    assert len(stream._kept) == 2


def test_iterating_goes_on_from_the_last_window():
    stream = rows(4, 4, 15)
    stream.take(0, 3)
    stream.take(2, 5)
    np.testing.assert_array_equal(np.concatenate(list(stream)), PIXELS[2:])


def test_iterating_again_yields_nothing_twice():
    stream = rows(4, 4, 15)
    stream.take(0, 3)
    stream.take(2, 5)
    first = next(iter(stream))
    np.testing.assert_array_equal(np.concatenate([first, *stream]), PIXELS[2:])


@pytest.mark.parametrize("use", [list, Rows.whole], ids=["iterated", "whole"])
def test_bands_that_end_early_are_an_error(use):
    with pytest.raises(ValueError, match="the bands end at row 14, the height is 23"):
        use(rows(10, 4))


def test_whole_refuses_bands_that_are_too_high():
    with pytest.raises(ValueError, match="broadcast"):
        rows(10, 13, height=20).whole()


def test_mapped_changes_every_band_as_it_comes():
    seen = []
    mapped = rows(10, 13).mapped(lambda band: seen.append(len(band)) or band[..., :1] * np.uint16(257), 1, np.uint16)
    assert (mapped.height, mapped.width, mapped.channels, mapped.dtype) == (23, 5, 1, np.uint16)
    next(iter(mapped))
    assert seen == [10]


def test_mapped_passes_the_end_on():
    closed = []
    rows(23, close=lambda: closed.append(True)).mapped(lambda band: band, 3, np.uint8).close()
    assert closed == [True]
