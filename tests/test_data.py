"""Patches as a pure function of (seed, index), pairs of folders, and the dataset that training reads."""

import time
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
import tensorflow as tf

from sr_keras import component, data, degradations, image, resize, store
from sr_keras.errors import InputError

RANDOM = np.random.default_rng(0)
TURNS = range(8)


@dataclass(frozen=True)
class Source:
    hr: str
    lr: str | None = None
    weight: float = 1.0


def picture(height, width, channels=3):
    return RANDOM.integers(0, 256, (height, width, channels), np.uint8)


def source(*pictures, lr=None, weight=1.0):
    stores = [p and store.of_arrays(p, [f"{k}.png" for k in range(len(p))]) for p in (pictures, lr)]
    return data.Pictures(*stores, weight=weight)


def blocks(lr, scale):
    """An HR picture of `scale` x `scale` blocks: its LR partner is known wherever a patch lies."""
    return lr.repeat(scale, 0).repeat(scale, 1)


PICTURES = source(picture(40, 50), picture(24, 31), picture(33, 20))
BICUBIC = component.build(degradations, "bicubic", scale=2)


def patches(*sources, scale=2, patch=12, seed=7, **options):
    return data.Patches(sources or (PICTURES,), scale, patch, seed, **options)


def dataset(seed=7, batch=4, **options):
    return data.train(patches(seed=seed), BICUBIC, batch=batch, **options)


def samples(made, batches):
    """Concatenates the first `batches` batches: LR and HR."""
    return [
        np.concatenate(part) for part in zip(*((a.numpy(), b.numpy()) for a, b in islice(made, batches)), strict=True)
    ]


def assert_same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


# Patches


def test_a_sample_does_not_depend_on_its_batch():
    together, alone = patches().batch(0, 9), [patches().batch(k, 1) for k in (8, 3, 0)]
    for (hr, lr, seeds), k in zip(alone, (8, 3, 0), strict=True):
        assert_same((hr, lr, seeds), [part[k : k + 1] for part in together])


def test_another_seed_gives_other_samples():
    assert not np.array_equal(patches(seed=7).batch(0, 4)[0], patches(seed=8).batch(0, 4)[0])


def test_another_index_gives_other_samples_and_seeds():
    hr, _, seeds = patches().batch(0, 200)
    assert len({patch.tobytes() for patch in hr}) > 190
    assert len({pair.tobytes() for pair in seeds}) == 200


def test_indices_of_long_runs_are_fine():
    assert patches().batch(2**40, 2)[0].shape == (2, 12, 12, 3)


def test_patches_come_from_everywhere_in_a_picture():
    corners = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16, 1)
    hr = patches(source(corners), patch=12, augment=False).batch(0, 600)[0]
    assert set(hr[:, 0, 0, 0].tolist()) == {16 * row + column for row in range(5) for column in range(5)}


def test_without_augmentation_patches_are_cut_as_they_lie():
    hr = patches(source(np.arange(256, dtype=np.uint8).reshape(16, 16, 1)), augment=False).batch(0, 20)[0].astype(int)
    assert (np.diff(hr, axis=2) == 1).all()


def test_augmentation_gives_all_eight_turns():
    ramp = np.arange(144, dtype=np.uint8).reshape(12, 12, 1)
    hr = patches(source(ramp), patch=12).batch(0, 200)[0]
    assert {patch.tobytes() for patch in hr} == {data.turned(ramp, turn).tobytes() for turn in TURNS}


def test_the_eight_turns_are_distinct():
    assert len({data.turned(picture(5, 5), turn).tobytes() for turn in TURNS}) == 8


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_picture_reduces_to_the_turned_lr(turn):
    hr = picture(16, 24)
    reduced = resize.imresize(data.turned(hr, turn), 1 / 2).astype(int)
    wanted = data.turned(resize.imresize(hr, 1 / 2), turn).astype(int)
    # MATLAB rounds between rows and columns: a flip commutes to the last bit, a transposition to one level.
    assert np.abs(reduced - wanted).max() <= (1 if turn & 4 else 0)


@pytest.mark.parametrize("scale", [2, 3])
def test_the_patches_of_a_pair_fit_each_other(scale):
    low = [picture(14, 17), picture(9, 8)]
    high = [np.pad(blocks(p, scale), ((0, 1), (0, 1), (0, 0))) for p in low]  # HR need not be a multiple
    hr, lr, _ = patches(source(*high, lr=low), scale=scale, patch=4 * scale).batch(0, 60)
    assert lr.shape == (60, 4, 4, 3)
    for k in range(60):
        np.testing.assert_array_equal(hr[k], blocks(lr[k], scale))


def test_channels_are_shuffled_alike_in_lr_and_hr():
    low = picture(14, 17)
    given = source(blocks(low, 2), lr=[low])
    plain = patches(given).batch(0, 40)
    hr, lr, _ = patches(given, shuffle_channels=True).batch(0, 40)
    np.testing.assert_array_equal(hr, [blocks(p, 2) for p in lr])
    np.testing.assert_array_equal(np.sort(hr, axis=-1), np.sort(plain[0], axis=-1))
    orders = {tuple(np.argsort(p[0, 0])[np.argsort(np.argsort(q[0, 0]))]) for p, q in zip(plain[0], hr, strict=True)}
    assert len(orders) == 6


def test_weights_are_obeyed_for_each_pixel():
    black, white = np.zeros((20, 20, 1), np.uint8), np.full((20, 40, 1), 255, np.uint8)
    given = patches(source(black, weight=3.0), source(white, weight=1.0))  # 3 * 400 to 1 * 800 pixels
    share = (given.batch(0, 4000)[0][:, 0, 0, 0] == 0).mean()
    assert share == pytest.approx(0.6, abs=0.04)  # 5 standard deviations


def test_pictures_smaller_than_the_patch_are_left_out_and_counted():
    given = patches(source(np.zeros((11, 40, 1), np.uint8), np.full((12, 12, 1), 9, np.uint8)))
    assert given.left_out == 1
    assert (given.batch(0, 50)[0] == 9).all()


def test_only_too_small_pictures_are_an_error():
    with pytest.raises(InputError, match=r"all 2 pictures are smaller than data\.patch=12; take a smaller patch\."):
        patches(source(picture(11, 40), picture(5, 5)))


def test_pairs_and_plain_folders_do_not_mix():
    with pytest.raises(InputError, match="either every source has an 'lr' folder or none has"):
        patches(PICTURES, source(picture(20, 20), lr=[picture(10, 10)]))


def test_grey_and_rgb_do_not_mix():
    with pytest.raises(InputError, match="can't be mixed"):
        patches(PICTURES, source(picture(20, 20, 1)))


# Folders


@pytest.fixture
def folders(tmp_path):
    """HR/ and LR/ with `a` and `b` at scale 2, LR in another format."""
    for name, (height, width) in {"a": (5, 6), "b": (7, 4)}.items():
        low = picture(height, width)
        for folder, pixels, ending in (("HR", blocks(low, 2), "png"), ("LR", low, "bmp")):
            (tmp_path / folder).mkdir(exist_ok=True)
            image.write(tmp_path / folder / f"{name}.{ending}", pixels)
    return tmp_path


def opened(folder, **options):
    given = Source(str(folder / "HR"), str(folder / "LR"))
    return data.open_sources([given], scale=2, split="train", cache=str(folder / "cache"), **options)[0]


def assert_partners(pictures, count):
    assert len(pictures.hr) == len(pictures.lr) == count
    for k in range(count):
        np.testing.assert_array_equal(pictures.hr.picture(k), blocks(pictures.lr.picture(k), 2))


def test_pairs_match_by_stem(folders):
    image.write(folders / "LR" / "0.bmp", picture(3, 3))  # an LR picture alone is let be
    assert_partners(opened(folders), 2)


def test_pairs_of_one_stem_in_two_subfolders_are_not_confused(tmp_path):
    for folder in ("x", "y"):
        low = picture(6, 6)
        for side, pixels in (("HR", blocks(low, 2)), ("LR", low)):
            (tmp_path / side / folder).mkdir(parents=True)
            image.write(tmp_path / side / folder / "1.png", pixels)
    assert_partners(opened(tmp_path), 2)


def test_a_picture_whose_lr_is_unreadable_is_skipped_with_it(folders):
    (folders / "LR" / "a.bmp").write_text("hello")
    pictures = opened(folders)
    assert_partners(pictures, 1)
    assert "a.bmp: is not a picture" in pictures.lr.skipped[0]


def test_an_hr_picture_without_lr_is_one_line(folders):
    (folders / "LR" / "b.bmp").unlink()
    with pytest.raises(InputError, match=r"/LR: has no LR picture for b\.png; pairs need the same name"):
        opened(folders)


def test_an_lr_picture_of_the_wrong_size_is_one_line(folders):
    image.write(folders / "LR" / "b.bmp", picture(7, 5))
    with pytest.raises(InputError) as error:
        opened(folders)
    assert str(error.value).endswith(
        "LR/b.bmp: is 7x5, but its HR picture of 14x8 at scale 2 needs 7x4; check scale and folders."
    )


def test_the_embedded_photographs_need_no_folder():
    given = data.open_sources([Source("photographs", weight=2.0)], scale=2, split="valid")[0]
    assert (given.hr.names, given.weight) == (("chelsea.png", "coffee.png"), 2.0)


# Validation pictures


def test_validation_pairs_are_cropped_and_reduced():
    (made,) = data.pairs([source(picture(9, 7))], BICUBIC, scale=2)
    assert (made.name, made.hr.shape) == ("0.png", (8, 6, 3))
    np.testing.assert_array_equal(made.lr, resize.imresize(made.hr, 1 / 2))


def test_validation_takes_lr_from_its_folder():
    low = picture(6, 5)
    (made,) = data.pairs([source(blocks(low, 2), lr=[low])], BICUBIC, scale=2)
    np.testing.assert_array_equal(made.lr, low)


@pytest.mark.parametrize("with_lr", [False, True])
def test_a_cropped_validation_pair_still_fits(with_lr):
    low = np.full((9, 12, 3), (50, 60, 70), np.uint8)
    low[3:6] += 40
    (made,) = data.pairs([source(blocks(low, 2), lr=[low] if with_lr else None)], BICUBIC, scale=2, crop=(4, 20))
    assert (made.lr.shape, made.hr.shape) == ((4, 12, 3), (8, 24, 3))
    assert np.abs(made.lr.astype(int) - resize.imresize(made.hr, 1 / 2)).max() <= (10 if with_lr else 0)


@pytest.mark.parametrize("with_lr", [False, True])
def test_a_grey_validation_picture_has_one_channel(with_lr):
    lows = [picture(6, 5, 1), picture(6, 5)]
    given = source(*(blocks(low, 2) for low in lows), lr=lows if with_lr else None)
    sizes = [(made.lr.shape, made.hr.shape) for made in data.pairs([given], BICUBIC, scale=2)]
    assert sizes == [((6, 5, 1), (12, 10, 1)), ((6, 5, 3), (12, 10, 3))]


def test_most_takes_pictures_at_equal_distances():
    given = source(*(picture(4, 4) for _ in range(6)))
    assert [pair.name for pair in data.pairs([given], BICUBIC, scale=2, most=3)] == ["0.png", "2.png", "4.png"]


# The dataset


def test_a_batch_is_lr_and_hr_in_the_unit_range():
    lr, hr = samples(dataset(), 1)
    assert (lr.shape, hr.shape) == ((4, 6, 6, 3), (4, 12, 12, 3))
    assert lr.dtype == hr.dtype == np.float32
    assert 0.0 <= lr.min() < lr.max() <= 1.0


def test_the_hr_of_a_batch_is_the_patches():
    np.testing.assert_allclose(samples(dataset(), 2)[1] * 255.0, patches().batch(0, 8)[0], atol=1e-4)


def test_the_lr_of_a_batch_is_reduced_from_its_hr():
    lr, hr = samples(dataset(), 1)
    wanted = [resize.imresize(p, 1 / 2) for p in image.to_uint8(hr)]
    np.testing.assert_array_equal(image.to_uint8(lr), wanted)


def test_the_same_samples_come_in_batches_of_any_size():
    assert_same(samples(dataset(batch=4), 4), samples(dataset(batch=8), 2))


def test_a_dataset_is_the_same_each_time():
    assert_same(samples(dataset(), 6), samples(dataset(), 6))


def test_a_dataset_resumed_at_a_step_goes_on_as_uninterrupted():
    whole = samples(dataset(), 6)
    assert_same(samples(dataset(first_step=4), 2), [part[16:] for part in whole])


def test_the_parts_of_two_workers_are_the_global_batch():
    workers = [dataset(batch=4, worker=k, workers=2) for k in range(2)]
    parts = [samples(one, 1) for one in workers]
    assert_same([np.concatenate(sides) for sides in zip(*parts, strict=True)], samples(dataset(batch=4), 1))


def test_luma_is_the_y_of_the_rgb_batches():
    plain, luma = samples(dataset(), 1), samples(dataset(luma=True), 1)
    for rgb, y in zip(plain, luma, strict=True):
        np.testing.assert_allclose(y, image.rgb_to_y(rgb), atol=1e-6)


def test_pairs_go_into_the_dataset_as_they_are():
    low = picture(14, 17)
    given = patches(source(blocks(low, 2), lr=[low]))
    lr, hr = samples(data.train(given, BICUBIC, batch=4), 1)
    np.testing.assert_array_equal(hr, lr.repeat(2, 1).repeat(2, 2))


def test_the_clock_counts_what_a_slow_source_takes():
    def slowly(hr, seed):
        def work(pixels):
            end = time.perf_counter() + 0.05
            while time.perf_counter() < end:
                pass
            return pixels

        return tf.ensure_shape(tf.numpy_function(work, [hr], tf.float32), hr.shape), hr

    clock = data.WaitClock()
    next(iter(data.train(patches(), slowly, batch=1, clock=clock)))
    assert clock.seconds >= 0.05


def test_the_clock_changes_no_sample():
    assert_same(samples(dataset(clock=data.WaitClock()), 2), samples(dataset(), 2))
