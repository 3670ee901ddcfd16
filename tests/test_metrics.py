"""PSNR and SSIM against scikit-image, the bicubic means of the literature, and what each protocol compares."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sr_keras import embedded, image, metrics, resize

RANDOM = np.random.default_rng(0)
Y, RGB, Y_FLOAT = (metrics.PROTOCOLS[name] for name in ("y", "rgb", "y-float"))
BICUBIC = {  # data/README.md: PSNR on Y, dB
    ("Set5", 2): 33.674, ("Set5", 3): 30.405, ("Set5", 4): 28.430,
    ("Set14", 2): 30.232, ("Set14", 3): 27.539, ("Set14", 4): 25.997,
}  # fmt: skip


def noise(channels):
    hr = RANDOM.random((40, 33, channels)) * 255.0
    return hr, np.clip(hr + RANDOM.normal(0, 20, hr.shape), 0, 255)


def photograph():
    hr = embedded.photographs("valid").picture(0)[:120, :150].astype(float)
    return hr, resize.imresize(resize.imresize(hr, 1 / 2), 2)


PICTURES = {"noise": noise(3), "grey noise": noise(1), "photograph": photograph()}


@pytest.mark.parametrize("name", PICTURES)
def test_psnr_is_scikit_images(name):
    hr, sr = PICTURES[name]
    assert metrics.psnr(hr, sr) == pytest.approx(peak_signal_noise_ratio(hr, sr, data_range=255), abs=1e-9)


@pytest.mark.parametrize("name", PICTURES)
def test_ssim_is_scikit_images(name):
    hr, sr = PICTURES[name]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert metrics.ssim(hr, sr) == pytest.approx(structural_similarity(hr, sr, channel_axis=2, **options), abs=1e-9)


def test_equal_pictures_have_infinite_psnr():
    assert metrics.psnr(PICTURES["noise"][0], PICTURES["noise"][0]) == np.inf


def test_equal_pictures_have_ssim_one():
    assert metrics.ssim(PICTURES["noise"][0], PICTURES["noise"][0]) == pytest.approx(1.0, abs=1e-12)


def test_a_picture_below_the_window_has_no_ssim():
    assert np.isnan(metrics.ssim(np.zeros((10, 50, 1)), np.zeros((10, 50, 1))))


@pytest.mark.parametrize(("name", "scale"), BICUBIC)
def test_bicubic_has_the_known_mean(data_root, name, scale):
    folder, found = data_root / "eval" / name, []
    for path in image.listing(folder / "HR"):
        hr = image.crop_to_multiple(image.read(path), scale)
        sr = resize.imresize(image.read(folder / f"LRbicx{scale}" / path.name), scale)
        found.append(metrics.psnr(Y.prepare(hr, scale), Y.prepare(sr, scale)))
    assert np.mean(found) == pytest.approx(BICUBIC[name, scale], abs=0.01)


@pytest.mark.parametrize("protocol", metrics.PROTOCOLS.values(), ids=metrics.PROTOCOLS)
def test_grey_stays_grey(protocol):
    grey = RANDOM.integers(0, 256, (9, 8, 1), np.uint8)
    np.testing.assert_allclose(protocol.prepare(grey, 0), grey, atol=1e-4)


@pytest.mark.parametrize("protocol", metrics.PROTOCOLS.values(), ids=metrics.PROTOCOLS)
def test_the_border_of_the_scale_is_cut(protocol):
    prepared = protocol.prepare(np.zeros((20, 30, 3), np.uint8), 4)
    assert prepared.shape[:2] == (12, 22)


def test_y_is_the_luma_of_the_rounded_prediction():
    sr = RANDOM.random((5, 6, 3), np.float32)
    rounded = np.floor(sr.astype(np.float64) * 255.0 + 0.5) / 255.0
    np.testing.assert_allclose(Y.prepare(sr, 0), image.rgb_to_y(rounded) * 255.0, atol=1e-9)


def test_y_float_is_the_luma_of_the_prediction_as_it_is():
    sr = RANDOM.random((5, 6, 3), np.float32)
    np.testing.assert_allclose(Y_FLOAT.prepare(sr, 0), image.rgb_to_y(sr.astype(np.float64)) * 255.0, atol=1e-9)


def test_rgb_keeps_all_channels_rounded():
    sr = RANDOM.random((5, 6, 3), np.float32)
    np.testing.assert_allclose(RGB.prepare(sr, 0), np.floor(sr.astype(np.float64) * 255.0 + 0.5), atol=1e-9)


def test_white_is_235_on_luma():
    np.testing.assert_allclose(Y.prepare(np.full((3, 3, 3), 255, np.uint8), 0), 235.0)


def test_the_protocols_give_different_numbers():
    hr, sr = (p / 255.0 for p in PICTURES["photograph"])
    assert len({metrics.psnr(p.prepare(hr, 2), p.prepare(sr, 2)) for p in metrics.PROTOCOLS.values()}) == 3


def test_texture_is_no_drift_of_colours_but_a_cast_is():
    random = np.random.default_rng(0)
    lr = np.full((48, 48, 3), 120, np.uint8)
    sr = np.repeat(np.repeat(lr, 4, axis=0), 4, axis=1) / 255.0
    noisy = sr + random.normal(0.0, 0.05, sr.shape)
    assert metrics.colour_drift(lr, sr) == pytest.approx(0.0, abs=1e-3)
    assert metrics.colour_drift(lr, noisy) < 0.4
    assert metrics.colour_drift(lr, sr + np.array([0.02, 0.0, 0.0])) > 2.0


def test_a_change_of_lightness_by_one_is_a_drift_of_one():
    from skimage.color import lab2rgb

    grey, lighter = (lab2rgb(np.full((32, 32, 3), (lightness, 0.0, 0.0))) for lightness in (50.0, 51.0))
    assert metrics.colour_drift(grey, lighter) == pytest.approx(1.0, abs=0.02)
