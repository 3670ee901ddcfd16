"""Tiles: their result is the whole picture's, at any size, and the memory may run out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_keras import tiling
from sr_keras.rows import Rows
from sr_keras.tiling import Plan, Reach

SCALE = 2


def neighbours(radius):
    """Makes a network that sums all pixels at most `radius` away, beyond the border nothing, and doubles the size."""

    def network(batch):
        x = batch.astype(np.float64) / (255 if batch.dtype == np.uint8 else 1)
        padded = np.pad(x, [(0, 0), (radius, radius), (radius, radius), (0, 0)])
        window = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1), (1, 2))
        y = np.round(window.mean((-1, -2)), 9).astype(np.float32)  # the order of the sum must not show
        return y.repeat(SCALE, 1).repeat(SCALE, 2)

    return network


def run(pixels, network, reach, plan, dtype=np.float32, bands=5):
    parts = [pixels[top : top + bands] for top in range(0, len(pixels), bands)]
    rows = Rows(parts, *pixels.shape, pixels.dtype)
    return tiling.enlarged(rows, network, scale=SCALE, reach=reach, plan=plan, dtype=dtype).whole()


def planned(pixels, reach, **options):
    return tiling.plan(*pixels.shape[:2], reach, **{"most": 10**9, "row_bytes": 1, **options})


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), channels=st.integers(1, 4), radius=st.integers(0, 6),
    tile=st.integers(1, 30), batch=st.integers(1, 3), bands=st.integers(1, 50), deep=st.booleans(),
)  # fmt: skip
def test_tiles_give_the_whole_picture(height, width, channels, radius, tile, batch, bands, deep):
    dtype = np.uint16 if deep else np.uint8
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype)
    network, reach = neighbours(radius), Reach(radius)
    if deep:
        pixels = pixels / np.float32(255)
    plan = replace(planned(pixels, reach, tile=tile), batch=batch)
    np.testing.assert_array_equal(run(pixels, network, reach, plan, bands=bands), network(pixels[None])[0])


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.tuples(st.integers(7, 25), st.integers(7, 25)))
def test_a_fixed_size_takes_any_picture_exactly_but_for_a_halo_at_a_padded_edge(height, width, size):
    pixels = np.random.default_rng(0).random((height, width, 3), np.float32)
    reach = Reach(3, size=size)
    got, whole = run(pixels, neighbours(3), reach, planned(pixels, reach)), neighbours(3)(pixels[None])[0]
    inner = [
        slice(0, side * SCALE - (3 * SCALE if side < most else 0))
        for side, most in zip((height, width), size, strict=True)
    ]
    if all(part.stop > 0 for part in inner):
        np.testing.assert_array_equal(got[tuple(inner)], whole[tuple(inner)])


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), tile=st.integers(1, 30), alignment=st.integers(2, 4))
def test_windows_keep_the_alignment(height, width, tile, alignment):
    seen = []

    def network(batch):
        seen.append(batch.shape[1:3])
        first = np.rint(batch[:, :, :, 0] * 10_000)
        assert np.all(first[:, 0, 0] // 100 % alignment == 0) and np.all(first[:, 0, 0] % 100 % alignment == 0)
        return batch.repeat(SCALE, 1).repeat(SCALE, 2)

    places = (100 * np.arange(height)[:, None] + np.arange(width)) / 10_000
    pixels = np.repeat(places[..., None], 3, 2)
    reach = Reach(2, alignment)
    got = run(pixels, network, reach, planned(pixels, reach, tile=tile))
    np.testing.assert_allclose(got, pixels.repeat(SCALE, 0).repeat(SCALE, 1), atol=1e-6)
    assert {(h % alignment, w % alignment) for h, w in seen} == {(height % alignment, width % alignment)}


def test_a_halo_that_is_too_small_shows():
    pixels = np.random.default_rng(0).random((30, 30, 3), np.float32)
    reach = Reach(2)
    got = run(pixels, neighbours(3), reach, planned(pixels, reach, tile=8))
    assert not np.array_equal(got, neighbours(3)(pixels[None])[0])


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200), tile=st.integers(1, 70), fixed=st.booleans())
def test_blended_windows_sum_up_to_one(height, width, tile, fixed):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    reach = Reach(None, size=(48, 70) if fixed else None)

    def network(batch):
        return (batch / np.float32(255)).repeat(SCALE, 1).repeat(SCALE, 2)

    got = run(pixels, network, reach, planned(pixels, reach, tile=tile), np.uint8)
    np.testing.assert_array_equal(got, pixels.repeat(SCALE, 0).repeat(SCALE, 1))


def test_blended_windows_have_no_seam():
    def brightness_of_its_own(batch):
        levels = np.random.default_rng(len(calls)).random((len(batch), 1, 1, 1), np.float32)
        calls.extend(batch)
        return np.broadcast_to(levels, (len(batch), batch.shape[1] * SCALE, batch.shape[2] * SCALE, 3))

    calls = []
    pixels = np.zeros((200, 230, 3), np.float32)
    got = run(pixels, brightness_of_its_own, Reach(None), planned(pixels, Reach(None), tile=60))
    assert len(calls) > 8
    steps = [np.abs(np.diff(got, axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 2 / (tiling.BLEND * SCALE)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc"), ValueError("OOM when allocating")])
def test_when_the_memory_runs_out_the_windows_are_halved_and_the_work_goes_on(error):
    pixels, network, sizes = np.random.default_rng(0).random((90, 70, 3), np.float32), neighbours(3), []

    def small_only(batch):
        if batch.shape[1] * batch.shape[2] > 700 or (len(sizes) > 6 and batch.shape[1] * batch.shape[2] > 300):
            raise error
        sizes.append(batch.shape)
        return network(batch)

    reach = Reach(3)
    got = run(pixels, small_only, reach, Plan((90, 70), batch=2))
    np.testing.assert_array_equal(got, network(pixels[None])[0])


def test_the_error_comes_through_when_the_windows_can_not_be_smaller():
    def never(batch):
        raise RuntimeError("bad_alloc")

    for reach in (Reach(3), Reach(3, size=(20, 20))):
        with pytest.raises(MemoryError, match="does not fit"):
            run(np.zeros((40, 40, 3), np.float32), never, reach, Plan((20, 20)))


def test_an_error_of_the_rows_is_never_retried():
    def bands():
        yield np.zeros((4, 40, 3), np.float32)
        raise MemoryError("of the source")

    rows = Rows(bands(), 40, 40, 3, np.float32)
    with pytest.raises(MemoryError, match="of the source"):
        tiling.enlarged(rows, neighbours(1), scale=2, reach=Reach(1), plan=Plan((20, 20)), dtype=np.float32).whole()


@pytest.mark.parametrize("shape", [(17, 40), (37, 41), (31, 16), (5, 5)])
def test_a_fixed_size_with_an_alignment_is_blended(shape):
    reach = Reach(1, 2, (16, 16))
    assert not reach.exact
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    got = run(pixels, lambda b: (b / np.float32(255)).repeat(2, 1).repeat(2, 2), reach, Plan((16, 16)), np.uint8)
    np.testing.assert_array_equal(got, pixels.repeat(2, 0).repeat(2, 1))


def test_another_error_comes_through_at_once():
    def broken(batch):
        calls.append(1)
        raise ValueError("no such thing")

    calls = []
    with pytest.raises(ValueError, match="no such thing"):
        run(np.zeros((40, 40, 3), np.float32), broken, Reach(3), Plan((40, 40)))
    assert len(calls) == 1


def test_a_plan_keeps_to_the_pixels_it_may_take():
    for most in (5_000, 60_000, 500_000):
        window = tiling.plan(3000, 4000, Reach(6), most=most, row_bytes=4000 * 12).window
        assert window[0] * window[1] <= most
        kept = (window[0] - 12) * (window[1] - 12)
        assert window[0] * window[1] / kept < 1 + 60 / most**0.5  # few pixels are computed twice


def test_a_picture_that_fits_is_one_window():
    assert tiling.plan(300, 400, Reach(6), most=500_000, row_bytes=400 * 12).window == (300, 400)


def test_a_row_of_windows_makes_64_megabytes_at_most():
    plan = tiling.plan(6000, 20_000, Reach(6), most=10**9, row_bytes=20_000 * 48)
    assert (plan.window[0] - 12) * 20_000 * 48 <= 64 << 20
