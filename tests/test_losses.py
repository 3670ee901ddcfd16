"""The contract of every file in sr_keras/losses."""

import pkgutil

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from sr_keras import component, embedded, losses
from sr_keras.errors import InputError

NAMES = [module.name for module in pkgutil.iter_modules(losses.__path__) if not module.name.startswith("_")]
REGULARISERS = {"total_variation"}  # they see the prediction alone
RANDOM = np.random.default_rng(0)
HR = tf.constant(RANDOM.random((2, 16, 14, 3)), tf.float32)
DISTURBED = tf.clip_by_value(HR + RANDOM.normal(0, 0.1, HR.shape).astype(np.float32), 0.0, 1.0)


def test_there_are_losses():
    assert {"l1", "charbonnier", "mse", "ssim", "total_variation", "perceptual"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_a_scalar(name):
    assert component.build(losses, name)(HR, DISTURBED).shape == ()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REGULARISERS])
def test_the_truth_costs_less_than_a_disturbed_picture(name):
    loss = component.build(losses, name)
    assert loss(HR, HR) < loss(HR, DISTURBED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sr", [DISTURBED, HR, tf.zeros_like(HR)], ids=["disturbed", "equal", "black"])
def test_the_gradient_is_finite(name, sr):
    loss = component.build(losses, name)
    with tf.GradientTape() as tape:
        tape.watch(sr)
        value = loss(HR, sr)
    assert np.isfinite(tape.gradient(value, sr)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_works_on_one_channel_inside_a_graph(name):
    loss = tf.function(component.build(losses, name))
    assert np.isfinite(loss(HR[..., :1], DISTURBED[..., :1]))


@pytest.mark.parametrize(
    ("name", "wanted"), [("l1", 0.5), ("mse", 0.25), ("charbonnier", np.sqrt(0.25 + 1e-6)), ("total_variation", 0.0)]
)
def test_a_constant_error_costs_what_the_formula_says(name, wanted):
    loss = component.build(losses, name)
    assert float(loss(tf.zeros((1, 4, 4, 1)), tf.fill((1, 4, 4, 1), 0.5))) == pytest.approx(wanted, rel=1e-6)


def test_l1_counts_luminance_by_its_share():
    hr, sr = np.zeros((1, 2, 2, 3), np.float32), np.zeros((1, 2, 2, 3), np.float32)
    sr[..., 1], sr[..., 2] = 0.219, -0.219  # luminance 0.128553 - 0.024966
    colours, luma = 0.219 * 2 / 3, 0.103587
    for share in (0.0, 0.25, 1.0):
        loss = component.build(losses, {"name": "l1", "luma": share})
        assert float(loss(hr, sr)) == pytest.approx((1 - share) * colours + share * luma, rel=1e-5)
    with pytest.raises(ValueError, match="from 0 to 1"):
        component.build(losses, {"name": "l1", "luma": 1.5})


def test_total_variation_counts_both_directions():
    loss, step = component.build(losses, "total_variation"), np.zeros((1, 4, 4, 1), np.float32)
    step[:, 2:] = 1.0
    for sr in (step, step.swapaxes(1, 2)):
        assert float(loss(sr, sr)) == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def perceptual():
    return component.build(losses, "perceptual")


def test_the_perceptual_loss_of_equal_pictures_is_zero(perceptual):
    assert float(perceptual(HR, HR)) == 0.0


def test_the_perceptual_loss_sends_no_gradient_into_the_truth(perceptual):
    with tf.GradientTape() as tape:
        tape.watch([HR, DISTURBED])
        value = perceptual(HR, DISTURBED)
    truth, prediction = tape.gradient(value, [HR, DISTURBED])
    assert truth is None
    assert float(tf.reduce_max(tf.abs(prediction))) > 0


def test_grey_costs_what_the_same_in_rgb_costs(perceptual):
    grey = [x[..., :1] for x in (HR, DISTURBED)]
    assert float(perceptual(*grey)) == pytest.approx(float(perceptual(*[tf.repeat(x, 3, axis=-1) for x in grey])))


@pytest.mark.parametrize("criterion", ["pooled", "l1", "mse"])
def test_the_perceptual_loss_is_the_weighted_sum_of_its_layers(criterion):
    def built(layers):
        return component.build(losses, {"name": "perceptual", "layers": layers, "criterion": criterion})

    first, second, both = built({"stage1": 1}), built({"stage2": 1}), built({"stage1": 0.5, "stage2": 3})
    wanted = 0.5 * first(HR, DISTURBED) + 3 * second(HR, DISTURBED)
    assert float(both(HR, DISTURBED)) == pytest.approx(float(wanted), rel=1e-5)


def cells(features):
    """Means over cells of 4x4, those at the end smaller, of the features and of their magnitudes."""
    both = np.concatenate([features, np.abs(features)], axis=-1)
    height, width = features.shape[1:3]
    starts = [(size - 1) // 4 * 4 + 4 - size for size in (height, width)]  # "same" padding, half of it before
    rows, columns = ([slice(max(k - s // 2, 0), k - s // 2 + 4) for k in range(0, n + s, 4)] for n, s in
                     zip((height, width), starts, strict=True))  # fmt: skip
    return np.array([[both[:, r, c].mean(axis=(1, 2)) for c in columns] for r in rows])


CRITERIA = {
    "pooled": lambda hr, sr: np.mean((cells(hr) - cells(sr)) ** 2) / np.mean(cells(hr) ** 2),
    "l1": lambda hr, sr: np.mean(np.abs(hr - sr)),
    "mse": lambda hr, sr: np.mean((hr - sr) ** 2),
}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_perceptual_loss_follows_its_formula(criterion):
    from sr_keras.features import efficientnet_lite0

    hr, sr = (x["stage2"].numpy().astype(np.float64) for x in map(efficientnet_lite0.build(), (HR, DISTURBED)))
    loss = component.build(losses, {"name": "perceptual", "layers": {"stage2": 2.0}, "criterion": criterion})
    assert float(loss(HR, DISTURBED)) == pytest.approx(2 * CRITERIA[criterion](hr, sr), rel=1e-4)


def test_a_shifted_picture_costs_little_and_a_blurred_one_much(perceptual):
    hr = embedded.photographs("valid").picture(0)[40:168, 60:188][None] / np.float32(255)
    blurred = cv2.GaussianBlur(hr[0], (0, 0), 1.5)[None]
    assert 4 * float(perceptual(hr, np.roll(hr, 1, axis=2))) < float(perceptual(hr, blurred))


@pytest.mark.parametrize(
    ("network", "criterion", "layers"),
    [
        ("efficientnet_lite0", "pooled", {"stage1": 0.25, "stage2": 0.25, "stage3": 0.25, "stage5": 0.25}),
        ("vgg19", "l1", {"conv5_4": 1.0}),
    ],
)
def test_each_network_has_its_own_defaults(network, criterion, layers):
    spec = {"name": "perceptual", "network": network} | ({"weights": "random"} if network == "vgg19" else {})
    pair, values = [tf.image.resize(x, (32, 32)) for x in (HR, DISTURBED)], []
    for said in ({}, {"criterion": criterion, "layers": layers}):
        keras.utils.set_random_seed(1)
        values.append(float(component.build(losses, spec | said)(*pair)))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_the_perceptual_loss_takes_vgg19():
    spec = {"name": "perceptual", "network": "vgg19", "layers": {"conv1_2": 1.0}, "weights": "random"}
    assert float(component.build(losses, spec)(HR, DISTURBED)) > 0


def test_an_unknown_feature_layer_is_refused():
    with pytest.raises(InputError, match=r"has no layer 'stage9' \(did you mean 'stage"):
        component.build(losses, {"name": "perceptual", "layers": {"stage9": 1.0}})
