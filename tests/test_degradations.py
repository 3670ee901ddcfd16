"""The contract of every file in sr_keras/degradations, and what only the real-world ones promise."""

import importlib
import pkgutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from sr_keras import component, degradations, image, resize
from sr_keras.degradations import _kernels, _noise, _ops, bsrgan

NAMES = [module.name for module in pkgutil.iter_modules(degradations.__path__) if not module.name.startswith("_")]
RANDOM = np.random.default_rng(0)
SEEDS = np.array([[1, 2], [3, 4]], np.int32)
RANDOM_ONES = [name for name in NAMES if name != "bicubic"]
CASES = [(name, scale) for name in NAMES for scale in (2, 3, 4)]


def pictures(scale, channels=3):
    return RANDOM.integers(0, 256, (2, 8 * scale, 9 * scale, channels)).astype(np.float32) / 255.0


def test_there_are_degradations():
    assert "bicubic" in NAMES


@pytest.mark.parametrize(("name", "scale"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_lr_has_the_exact_size(name, scale, channels):
    hr = pictures(scale, channels)
    lr, target = component.build(degradations, name, scale=scale)(tf.constant(hr), tf.constant(SEEDS))
    assert (lr.shape, target.shape) == ((2, 8, 9, channels), hr.shape)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_lr_stays_in_the_unit_range(name, scale):
    hr = np.rint(pictures(scale))  # black and white: every overshoot there is
    for pixels in component.build(degradations, name, scale=scale)(tf.constant(hr), tf.constant(SEEDS)):
        assert 0.0 <= np.min(pixels) <= np.max(pixels) <= 1.0


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_the_same_seed_gives_the_same_pixels(name, scale):
    hr, degrade = tf.constant(pictures(scale)), component.build(degradations, name, scale=scale)
    np.testing.assert_array_equal(degrade(hr, tf.constant(SEEDS))[0], degrade(hr, tf.constant(SEEDS))[0])


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_a_degradation_works_inside_a_dataset(name, scale):
    hr, degrade = pictures(scale), component.build(degradations, name, scale=scale)
    mapped = tf.data.Dataset.from_tensors((hr, SEEDS)).map(degrade)
    np.testing.assert_array_equal(next(iter(mapped))[0], degrade(tf.constant(hr), tf.constant(SEEDS))[0])


def test_bicubic_leaves_the_target_alone():
    hr = pictures(2)
    np.testing.assert_array_equal(component.build(degradations, "bicubic", scale=2)(hr, SEEDS)[1], hr)


def degraded(name, hr, seeds, *, scale=4, **options):
    """Returns LR and target as arrays."""
    degrade = component.build(degradations, {"name": name, **options}, scale=scale)
    return tuple(pixels.numpy() for pixels in degrade(tf.constant(hr, tf.float32), tf.constant(seeds)))


@pytest.mark.parametrize("name", RANDOM_ONES)
def test_a_sample_does_not_depend_on_its_neighbours(name):
    hr, seeds = np.concatenate([pictures(4), pictures(4)]), np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.int32)
    together = degraded(name, hr, seeds)
    for k in (0, 3):
        for pixels, alone in zip(together, degraded(name, hr[k : k + 1], seeds[k : k + 1]), strict=True):
            np.testing.assert_array_equal(pixels[k], alone[0])


@pytest.mark.parametrize("name", RANDOM_ONES)
def test_other_seeds_give_other_pixels(name):
    lr, _ = degraded(name, np.repeat(pictures(4)[:1], 3, axis=0), [[1, 2], [1, 3], [2, 2]])
    assert all(np.abs(lr[a] - lr[b]).max() > 0.02 for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("name", RANDOM_ONES)
def test_lr_is_rounded_to_8_bits(name):
    levels = degraded(name, pictures(4), SEEDS)[0] * 255.0
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_other_sides_than_multiples_of_the_scale_are_refused(name):
    with pytest.raises(ValueError, match="must be multiples of 4, got 32x35; crop first."):
        degraded(name, pictures(4)[:, :, :35], SEEDS)


@pytest.mark.parametrize("name", RANDOM_ONES)
def test_a_picture_of_one_lr_pixel_works(name):
    for k in range(8):
        lr, target = degraded(name, pictures(4)[:1, :4, :4], [[0, k]])
        assert lr.shape == (1, 1, 1, 3) and np.isfinite(lr).all() and np.isfinite(target).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("blur_noise_jpeg", {"noise": (0, 0), "jpeg": (100, 100)}),
        ("bsrgan", {"noise": (0, 0), "jpeg": (100, 100)}),
        ("real_world", {"noise": (0, 0), "noise2": (0, 0), "poisson": (0, 0), "poisson2": (0, 0)}
            | {"jpeg": (100, 100), "jpeg2": (100, 100), "sharpen": False}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_no_pixel_is_shifted(name, options, scale):
    """A ramp stays a ramp under a symmetric blur, so what differs in its middle is a shift."""
    side, count = 40 * scale, 4
    ramp = np.linspace(0.1, 0.9, side)
    hr = np.repeat(0.5 * (ramp[:, None] + ramp)[None, ..., None], count, axis=0)
    lr, _ = degraded(name, hr, [[0, k] for k in range(count)], scale=scale, **options)
    wanted = degraded("bicubic", hr, [[0, 0]] * count, scale=scale)[0]
    middle = slice(14, 26)
    step = 0.5 * 0.8 * scale / (side - 1)  # from one LR pixel to the next, along either axis
    shift = (lr - wanted)[:, middle, middle].mean(axis=(0, 1, 2)) / step
    assert abs(shift) < 0.1


def test_blur_noise_jpeg_without_blur_and_noise_is_the_mean_of_blocks():
    hr = RANDOM.random((1, 48, 48, 1))
    lr, _ = degraded("blur_noise_jpeg", hr, [[1, 2]], sigma=(0, 0), noise=(0, 0), jpeg=(100, 100))
    np.testing.assert_allclose(lr, hr.reshape(1, 12, 4, 12, 4, 1).mean(axis=(2, 4)), atol=2 / 255)


def test_real_world_sharpens_the_target():
    hr = np.kron(RANDOM.random((2, 4, 4, 3)), np.ones((1, 8, 8, 1))).astype(np.float32)
    plain, target = degraded("real_world", hr, SEEDS, sharpen=False)
    sharp, sharpened = degraded("real_world", hr, SEEDS)
    np.testing.assert_array_equal(target, hr)
    wanted = [_ops.sharpen(tf.constant(x.transpose(2, 0, 1))).numpy().transpose(1, 2, 0) for x in hr]
    np.testing.assert_array_equal(sharpened, wanted)
    assert np.abs(sharp - plain).max() > 0.02  # made from the sharpened picture


@pytest.mark.parametrize("name", [name for name in RANDOM_ONES if name != "real_world"])
def test_the_others_leave_the_target_alone(name):
    hr = pictures(4)
    np.testing.assert_array_equal(degraded(name, hr, SEEDS)[1], hr)


@pytest.fixture
def steps(monkeypatch):
    """Notes the steps that run, one after another, with what they were given; none but the resizes does anything."""
    noted = []

    def note(module, name, label, instead):
        def noting(*given, **options):
            noted.append((label, given))
            return instead(*given)

        monkeypatch.setattr(module, name, noting)

    def empty(x, height, width, mode):
        return tf.ensure_shape(tf.zeros([3, height, width]), [3, None, None])

    note(_ops, "blur", "blur", lambda x, kernel: x)
    note(_ops, "jpeg", "jpeg", lambda x, quality: x)
    note(_ops, "resize", "resize", empty)
    note(_noise, "gaussian", "gaussian", lambda x, seed, is_grey: tf.zeros_like(x))
    note(_noise, "poisson_noise", "poisson", lambda x, seed, is_grey: tf.zeros_like(x))
    note(bsrgan, "_correlated", "correlated", lambda x, seed: tf.zeros_like(x))
    for name in ("blurring", "final_sinc", "gaussian"):
        note(_kernels, name, f"{name} kernel", lambda *given: None)
    note(bsrgan, "_shifted_kernel", "shifted kernel", lambda sigma, left: None)
    note(resize, "matrix", "antialiased", lambda length, scale: np.zeros((length // 2, length)))
    return noted


def runs(steps, name, count, **options):
    """Degrades one picture of 64x80 `count` times; returns what ran each time."""
    degrade = component.build(degradations, {"name": name, **options}, scale=4)
    hr, found = tf.zeros([1, 64, 80, 3]), []
    for k in range(count):
        steps.clear()
        degrade(hr, tf.constant([[11, k]]))
        found.append(list(steps))
    return found


def near(share, wanted, count):
    """Says whether a share is within 4 standard deviations of its probability."""
    return abs(share - wanted) <= 4.0 * np.sqrt(wanted * (1.0 - wanted) / count)


def test_real_world_takes_its_branches_as_often_as_published(steps):
    count, seen = 200, Counter()
    for run in runs(steps, "real_world", count, sharpen=False):
        names = [name for name, _ in run]
        noise = [(name, bool(given[2])) for name, given in run if name in ("gaussian", "poisson")]
        (height, width), (height2, width2), last = [
            tuple(map(int, given[1:3])) for name, given in run if name == "resize"
        ]
        assert last == (16, 20) and names.count("jpeg") == 2 and len(noise) == 2
        assert 9 <= height <= 96 and 12 <= width <= 120 and 4 <= height2 <= 19 and 6 <= width2 <= 24
        seen["up"] += height >= 64 and width > 80
        seen["keep"] += (height, width) == (64, 80)
        seen["up2"] += height2 >= 16 and width2 > 20
        seen["down2"] += height2 < 16
        seen["blur2"] += names.count("blurring kernel") - 1
        seen["sinc"] += names.count("final_sinc kernel")
        seen["gaussian"] += noise[0][0] == "gaussian"
        seen["gaussian2"] += noise[1][0] == "gaussian"
        seen["grey"] += noise[0][1]
        seen["grey2"] += noise[1][1]
        seen["jpeg is last"] += names[-1] == "jpeg"
    wanted = {"up": 0.2, "keep": 0.1, "blur2": 0.8, "sinc": 0.8, "gaussian": 0.5, "gaussian2": 0.5, "grey": 0.4}
    wanted |= {
        "grey2": 0.4,
        "jpeg is last": 0.5,
        "up2": 0.3 * 0.75,
        "down2": 0.4,
    }  # of the 30 %, a quarter stays below 21 pixels
    assert [name for name, share in wanted.items() if not near(seen[name] / count, share, count)] == []


def test_bsrgan_takes_its_branches_as_often_as_published(steps):
    count, seen = 120, Counter()
    for run in runs(steps, "bsrgan", count):
        names = Counter(name for name, _ in run)
        sizes = [tuple(map(int, given[1:3])) for name, given in run if name == "resize"]
        assert run[-1][0] == "jpeg" and sizes[-1] == (16, 20) and names["gaussian kernel"] == 2
        assert names["gaussian"] + names["correlated"] == 1
        seen["early jpeg"] += names["jpeg"] - 1
        seen["taken"] += names["shifted kernel"]
        seen["correlated"] += names["correlated"]
        seen["grey"] += any(bool(given[2]) for name, given in run if name == "gaussian")
        seen["halved"] += names["antialiased"] > 0 or sizes[0] == (32, 40)
    wanted = {"early jpeg": 0.9, "taken": 0.25, "correlated": 0.2, "grey": 0.4, "halved": 0.25}
    assert [name for name, share in wanted.items() if not near(seen[name] / count, share, count)] == []


def test_bsrgan_has_every_order_in_which_the_last_reduction_comes_last():
    draw = tf.function(bsrgan._order, autograph=False)
    orders = np.array([draw(tf.constant([5, k])) for k in range(1500)])
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    assert (np.argmax(orders == 2, axis=1) < np.argmax(orders == 3, axis=1)).all()
    assert len(np.unique(orders, axis=0)) > 340  # of 360; each comes 4 times on average
    places = np.array([np.bincount(np.argmax(orders == step, axis=1), minlength=6) for step in (0, 1, 4, 5)])
    assert near(places / 1500, 1 / 6, 1500).all()


@pytest.mark.parametrize("left", [2, 3, 4])
def test_bsrgans_shifted_kernel_lies_in_the_middle_of_what_it_reduces(left):
    taps = bsrgan._shifted_kernel(tf.constant(1.2), tf.constant(left)).numpy().sum(axis=0)
    assert taps.sum() == pytest.approx(1.0, abs=1e-5)
    assert -(taps * np.arange(-12, 13)).sum() == pytest.approx((left - 1) / 2, abs=1e-3)


def test_bsrgans_correlated_noise_has_channels_that_differ_and_go_together():
    noise = [bsrgan._correlated(tf.zeros([3, 60, 60]), tf.constant([1, k])).numpy().reshape(3, -1) for k in range(12)]
    covariances = np.array([np.cov(each) for each in noise])
    assert covariances.min() > -0.05 and covariances.max() < 1.1
    assert (covariances[:, [0, 0, 1], [1, 2, 2]] > 0.05).mean() > 0.5
    assert np.ptp(covariances[:, [0, 1, 2], [0, 1, 2]], axis=1).max() > 0.1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "blur_noise_jpeg",
            {"sigma": (2.0, 1.0)},
            r"sigma must be two values, the low one first, within 0 ... 4, got \(2.0, 1",
        ),
        ("bsrgan", {"jpeg": (0, 95)}, "jpeg must be two values, the low one first, within 1 ... 100"),
        ("bsrgan", {"halved": 2.0}, "halved must be a probability within 0 ... 1, got 2.0"),
        ("real_world", {"noise2": (-1.0, 3.0)}, "noise must be two values"),
        ("real_world", {"resize": (0.2, 0.8)}, "resize must be two factors, 0.01 <= low <= 1 <= high <= 4, got"),
        ("real_world", {"sinc": -0.1}, "sinc must be a probability"),
    ],
)
def test_bad_options_are_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        component.build(degradations, {"name": name, **options}, scale=4)


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "tools")
    return importlib.import_module("show_degradation")


def test_the_tool_writes_a_sheet(tool, tmp_path, capsys):
    image.write(tmp_path / "in.png", RANDOM.integers(0, 256, (50, 61, 3), np.uint8))
    words = [tmp_path / "in.png", "--degradation", "blur_noise_jpeg", "--count", 4, "-o", tmp_path / "out.png"]
    assert tool.main([str(word) for word in words]) == 0
    assert image.read(tmp_path / "out.png").shape == (2 * (48 + 18) + 4, 4 * 60 + 3 * 4, 3)
    assert capsys.readouterr().out == f"{tmp_path / 'out.png'}\n"


@pytest.mark.parametrize(("size", "said"), [(None, "can't be read"), (3, "is smaller than one LR pixel at scale 4")])
def test_the_tool_refuses_bad_pictures_in_one_line(tool, tmp_path, capsys, size, said):
    if size:
        image.write(tmp_path / "in.png", np.zeros((size, size, 3), np.uint8))
    assert tool.main([str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
