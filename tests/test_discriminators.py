"""The contract of every file in sr_keras/discriminators, their parameter counts, and spectral normalisation."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sr_keras import component, discriminators
from sr_keras.layers.spectral_conv import SpectralConv2D

NAMES = component.names(discriminators)
PATCH = 32
PATCHES = [(name, patch) for name in NAMES for patch in (32, 40, 96, 128)] + [("vgg", 33), ("patch", 33), ("patch", 1)]
VARIANTS = [(name, {"filters": 4}) for name in NAMES] + [
    ("patch", {"filters": 4, "normalisation": "spectral"}),
    ("patch", {"filters": 4, "normalisation": "none"}),
]


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize(("name", "patch"), PATCHES)
def test_any_patch_gives_logits_of_one_channel(name, patch):
    model = _build(name, patch=patch)
    logits = model(_pictures(patch))
    assert (
        logits.shape[0] == 2
        and logits.shape[-1] == 1
        and tuple(logits.shape[1:]) == model.compute_output_shape((2, patch, patch, 3))[1:]
    )


@pytest.mark.parametrize(("name", "shape"), [("vgg", (2, 1)), ("patch", (2, 5, 5, 1)), ("unet", (2, 40, 40, 1))])
def test_there_is_a_logit_for_what_the_paper_says(name, shape):
    assert _build(name, patch=40)(_pictures(40)).shape == shape


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_logits_are_of_both_signs_and_beyond_what_a_sigmoid_gives(name, options):
    model = _build(name, **options)
    last = model.layers[-1]
    logits = []
    for sign in (-1.0, 1.0):
        last.bias.assign([5.0 * sign])
        logits.append(np.array(model(_pictures())))
    assert logits[0].min() < 0.0 < 1.0 < logits[1].max()
    np.testing.assert_allclose(logits[1] - logits[0], 10.0, rtol=1e-4)  # nothing comes after the bias


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_logits_are_float32_under_a_mixed_policy(name, options, mixed_bfloat16):
    logits = _build(name, **options)(_pictures())
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert not np.array_equal(logits, ops.cast(ops.cast(logits, "bfloat16"), "float32"))


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_reloaded_discriminator_gives_equal_logits(name, options, tmp_path):
    model = _build(name, **options)
    model(_pictures(), training=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for training in (False, True):
        np.testing.assert_array_equal(again(_pictures(), training=training), model(_pictures(), training=training))


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_one_step_changes_every_weight(name, options):
    model = _build(name, **options)
    before = [weight.numpy() for weight in model.trainable_variables]
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(_pictures(), np.ones((2, *model(_pictures()).shape[1:]), np.float32))
    moved = [not np.array_equal(w.numpy(), old) for w, old in zip(model.trainable_variables, before, strict=True)]
    assert before and all(moved)


@pytest.mark.parametrize("name", NAMES)
def test_a_discriminator_has_the_name_of_its_file_and_takes_other_channels(name):
    model = _build(name, channels=1)
    assert (model.name, model.input_shape[-1]) == (name, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_patch_that_makes_no_sense_is_refused_with_the_rule(name):
    with pytest.raises(ValueError, match="patch must be .*, got 0; try"):
        _build(name, patch=0)


def test_the_unet_refuses_sides_that_three_halvings_do_not_divide():
    with pytest.raises(ValueError, match="patch must be a multiple of 8, got 100; try 96"):
        _build("unet", patch=100)


_VGG = (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512) * 9 + 64
_VGG += 2 * (64 + 128 + 128 + 256 + 256 + 512 + 512) + (6 * 6 * 512 + 1) * 1024 + 1024 + 1
_PATCH = (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) * 16


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("vgg", {}, 23_563_649),
        ("vgg", {}, _VGG),
        ("patch", {}, 2_765_633),
        ("patch", {}, _PATCH + 64 + 2 * (128 + 256 + 512) + 1),
        ("patch", {"normalisation": "none"}, _PATCH + 64 + 128 + 256 + 512 + 1),
        ("patch", {"normalisation": "spectral"}, _PATCH + 64 + 128 + 256 + 512 + 1),
        ("unet", {}, 4_376_897),
    ],
)
def test_trainable_parameters_are_as_many_as_published(name, options, count):
    model = _build(name, patch=96, filters=64, **options)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_variables) == count


def test_a_logit_of_the_patchgan_sees_seventy_pixels():
    model, picture = _build("patch", patch=256, normalisation="none"), tf.constant(_pictures(256)[:1])
    with tf.GradientTape() as tape:
        tape.watch(picture)
        logit = model(picture)[0, 16, 16, 0]
    seen = np.array(tape.gradient(logit, picture))[0].any(axis=2)
    assert (seen.any(axis=0).sum(), seen.any(axis=1).sum()) == (70, 70)


# Spectral normalisation: kernels as large as the picture, so that a convolution is one product of matrices.


def _layer(**options):
    layer = SpectralConv2D(5, 3, kernel_initializer="normal", bias_initializer="normal", **options)
    layer.build((None, 3, 3, 4))
    return layer


def _reference(kernel, u):
    """`torch.nn.utils.spectral_norm` in NumPy: one step of the power iteration, then sigma; returns u, v, sigma."""
    matrix = kernel.astype("float64").reshape(-1, kernel.shape[-1]).T  # PyTorch's: outputs first
    v = matrix.T @ u
    v /= np.linalg.norm(v)
    u = matrix @ v
    u /= np.linalg.norm(u)
    return u, v, float(u @ matrix @ v)


def _inputs(batch=6):
    return np.random.default_rng(1).normal(size=(batch, 3, 3, 4)).astype("float32")


def test_a_training_call_is_pytorchs():
    layer, x = _layer(), _inputs()
    for _ in range(3):
        u, _, sigma = _reference(layer.kernel.numpy(), layer.u.numpy()[:, 0])
        expected = x.reshape(6, -1) @ (layer.kernel.numpy().reshape(-1, 5) / sigma) + layer.bias.numpy()
        np.testing.assert_allclose(np.array(layer(x, training=True)).reshape(6, 5), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.u.numpy()[:, 0], u, rtol=1e-4, atol=1e-6)


def test_the_kernel_itself_is_not_touched():
    layer = _layer()
    before = layer.kernel.numpy()
    layer(_inputs(), training=True)
    np.testing.assert_array_equal(layer.kernel.numpy(), before)


def test_the_largest_singular_value_becomes_one():
    layer = SpectralConv2D(16, 4, use_bias=False, kernel_initializer="normal")
    layer.build((None, 4, 4, 8))
    for _ in range(40):
        layer(np.zeros((1, 4, 4, 8), np.float32), training=True)
    used = np.array(layer(np.eye(128, dtype=np.float32).reshape(128, 4, 4, 8))).reshape(128, 16)
    assert np.linalg.svd(used, compute_uv=False)[0] == pytest.approx(1.0, abs=0.01)
    assert np.linalg.svd(layer.kernel.numpy().reshape(128, 16), compute_uv=False)[0] < 0.9


def test_u_moves_in_training_only():
    layer = _layer()
    start = layer.u.numpy()
    layer(_inputs())
    layer(_inputs(), training=False)
    np.testing.assert_array_equal(layer.u.numpy(), start)
    layer(_inputs(), training=True)
    assert not np.array_equal(layer.u.numpy(), start)


def test_u_starts_as_a_direction_fixed_by_the_seed():
    starts = []
    for number in (0, 0, 1):
        keras.utils.set_random_seed(number)
        starts.append(_layer().u.numpy())
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    assert np.linalg.norm(starts[0]) == pytest.approx(1.0, abs=1e-6)


def test_the_gradient_goes_through_sigma():
    layer, x = _layer(), _inputs()
    weights = np.random.default_rng(2).normal(size=(6, 5))
    kernel = layer.kernel.numpy().astype("float64").reshape(-1, 5)
    u, v, _ = _reference(kernel, layer.u.numpy()[:, 0])

    def loss(matrix):
        return float((weights * (x.reshape(6, -1) @ (matrix / (v @ matrix @ u)))).sum())

    with tf.GradientTape() as tape:
        value = tf.reduce_sum(weights.astype("float32")[:, None, None] * layer(x, training=True))
    found = np.array(tape.gradient(value, layer.kernel.value)).reshape(-1, 5)
    expected, tiny = np.zeros_like(kernel), 1e-6
    for place in np.ndindex(kernel.shape):
        up, down = kernel.copy(), kernel.copy()
        up[place] += tiny
        down[place] -= tiny
        expected[place] = (loss(up) - loss(down)) / (2 * tiny)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_sigma_is_computed_in_float32_under_a_mixed_policy():
    found = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        layer = _layer(dtype=policy)
        output = layer(_inputs(), training=True)
        found.append((layer.u.numpy(), keras.backend.standardize_dtype(output.dtype)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert [dtype for _, dtype in found] == ["float32", "bfloat16"]


def test_two_devices_hold_the_u_of_one(tmp_path):
    script = """
import keras
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from sr_keras.discriminators import unet
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def built():
    keras.utils.set_random_seed(0)
    return unet.build(patch=16, filters=4)

with two.scope():
    mirrored = built()
one, x = built(), tf.random.uniform((2, 16, 16, 3))

@tf.function
def step():
    two.run(lambda: mirrored(x, training=True))

for _ in range(2):
    step()
    one(x, training=True)
for found, expected in zip(mirrored.non_trainable_variables, one.non_trainable_variables, strict=True):
    assert len(found.value.values) == 2
    for copy in found.value.values:
        np.testing.assert_allclose(copy.numpy(), expected.numpy(), atol=1e-6)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("options", [{"groups": 2}, {"data_format": "channels_first"}])
def test_what_has_no_one_matrix_is_refused(options):
    with pytest.raises(ValueError, match="groups must be 1"):
        SpectralConv2D(4, 3, **options)


def _build(name, *, patch=PATCH, **options):
    return component.build(discriminators, {"name": name, "filters": 4, **options}, patch=patch)


def _pictures(patch=PATCH):
    return np.random.default_rng(0).random((2, patch, patch, 3)).astype("float32")
