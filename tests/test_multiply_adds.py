"""Multiply-adds: counted by hand, and as papers print them."""

import keras
import pytest
import tensorflow as tf
from keras import layers, ops
from tiny import TINY

from sr_keras import component, models
from sr_keras.layers.collapsible_conv import collapse
from sr_keras.multiply_adds import at_hd, multiply_adds
from sr_keras.quantize import fake_quantised

H, W = 6, 8


def _network(*parts, channels=4):
    x = lr = keras.Input((None, None, channels))
    for part in parts:
        x = part(x)
    return keras.Model(lr, x)


class _Own(layers.Layer):
    """Calls a function of TensorFlow's."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def build(self, shape):
        self.square = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        return self.function(x, self.square)

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize(
    ("part", "count"),
    [
        (layers.Conv2D(5, 3, padding="same"), H * W * 5 * 3 * 3 * 4),
        (layers.Conv2D(5, (3, 1)), (H - 2) * W * 5 * 3 * 4),
        (layers.Conv2D(5, 3, strides=2, padding="same"), H * W // 4 * 5 * 3 * 3 * 4),
        (layers.Conv2D(6, 3, padding="same", dilation_rate=2), H * W * 6 * 3 * 3 * 4),
        (layers.Conv2D(6, 3, padding="same", groups=2), H * W * 6 * 3 * 3 * 2),  # a function of its own on a CPU
        (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), H * W * 8 * 3 * 3),
        (layers.SeparableConv2D(5, 3, padding="same"), H * W * (4 * 3 * 3 + 5 * 4)),
        (layers.Conv2DTranspose(5, 3, strides=2, padding="same"), H * W * 5 * 3 * 3 * 4),
        (layers.Conv2DTranspose(5, 3, padding="valid"), H * W * 5 * 3 * 3 * 4),
        (layers.Dense(5), H * W * 5 * 4),
        (layers.EinsumDense("...x,xy->...y", output_shape=5), H * W * 5 * 4),
        (_Own(lambda x, w: tf.einsum("...x,xy->...y", x, w)), H * W * 4 * 4),
        (_Own(lambda x, w: tf.function(lambda x: tf.matmul(x, w))(x)), H * W * 4 * 4),
        (_Own(lambda x, w: tf.matmul(x, x, transpose_a=True)), H * 4 * 4 * W),  # of each row
        (_Own(lambda x, w: tf.einsum("...ij,...kj->...ik", x, x[0])), H * W * W * 4),
        (_Own(lambda x, w: tf.einsum("bhwc->bchw", x)), 0),
    ],
)
def test_a_layer_has_the_multiply_adds_of_its_formula(part, count):
    assert multiply_adds(_network(part), H, W) == count


def test_attention_counts_both_its_products_and_its_projections():
    x = lr = keras.Input((None, None, 4))
    x = layers.Reshape((-1, 4))(x)
    x = layers.MultiHeadAttention(num_heads=2, key_dim=3)(x, x)
    pixels, inner = H * W, 2 * 3
    assert multiply_adds(keras.Model(lr, x), H, W) == 4 * pixels * 4 * inner + 2 * pixels * pixels * inner


def test_layers_add_up_and_what_computes_no_product_is_free():
    free = [layers.BatchNormalization(), layers.PReLU(shared_axes=[1, 2]), layers.MaxPooling2D(), layers.UpSampling2D()]
    both = [layers.Conv2D(4, 3, padding="same"), *free, layers.Conv2D(2, 1, activation="relu")]
    assert multiply_adds(_network(*both), H, W) == H * W * (4 * 3 * 3 * 4 + 2 * 4)


def test_a_kernel_that_follows_from_the_picture_counts():
    def adaptive(x, w):
        kernel = ops.matmul(ops.mean(x, (1, 2)), w)
        return tf.nn.depthwise_conv2d(x, tf.reshape(kernel, (1, 1, 4, 1)), (1, 1, 1, 1), "SAME")

    assert multiply_adds(_network(_Own(adaptive)), H, W) == 4 * 4 + H * W * 4


@pytest.mark.parametrize("side", [4, 20])  # TensorFlow hands large constants over as variables are
def test_fixed_weights_are_free(side):
    fixed = tf.ones((side, side))
    assert multiply_adds(_network(_Own(lambda x, w: x @ (2.0 * fixed)), channels=side), H, W) == 0
    both = _Own(lambda x, w: x @ (w * fixed))
    assert multiply_adds(_network(both, channels=side), H, W) == H * W * side * side


def test_weights_times_weights_are_free():
    wide = component.build(models, {"name": "anchor", "expansion": 4}, scale=2)
    assert multiply_adds(wide, H, W) == multiply_adds(collapse(wide), H, W)
    plain = component.build(models, "anchor", scale=2)
    assert multiply_adds(plain, H, W) == multiply_adds(wide, H, W) == multiply_adds(fake_quantised(plain), H, W)


def test_a_network_within_a_network_counts():
    inner = _network(layers.Conv2D(4, 3, padding="same"))
    assert multiply_adds(_network(inner, inner), H, W) == 2 * H * W * 4 * 3 * 3 * 4


def test_mixed_precision_counts_alike(mixed_bfloat16):
    assert multiply_adds(_network(layers.Conv2D(5, 3, padding="same")), H, W) == H * W * 5 * 3 * 3 * 4


def test_a_condition_without_products_is_no_obstacle():
    chosen = _Own(lambda x, w: tf.cond(tf.reduce_mean(x) > 0, lambda: x, lambda: -x) @ w)
    assert multiply_adds(_network(chosen), H, W) == H * W * 4 * 4


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, w: tf.cond(tf.reduce_mean(x) > 0, lambda: x @ w, lambda: x), "condition, but If .* computes"),
        (lambda x, w: tf.boolean_mask(x, x[..., 0] > 0) @ w, r"MatMul .* learns \(None, 4\) only"),
        (lambda x, w: tf.nn.conv3d(x[None], w[None, None, None], (1,) * 5, "SAME")[0], "Conv3D .* not counted here"),
    ],
)
def test_what_can_not_be_counted_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        multiply_adds(_network(_Own(function)), H, W)


def test_a_network_that_continues_the_picture_counts_what_it_adds():
    network = component.build(models, {"name": "rrdbnet", **TINY["rrdbnet"]}, scale=2)
    assert multiply_adds(network, 31, 19) == multiply_adds(network, 32, 20) > multiply_adds(network, 30, 18)


def test_pictures_smaller_than_a_network_wants_count():
    network = component.build(models, {"name": "rlfn", **TINY["rlfn"]}, scale=2)
    assert 0 < multiply_adds(network, 1, 1) < multiply_adds(network, 5, 3)


def test_other_than_colour_pictures_count():
    colour, grey = (component.build(models, "vdsr", scale=2, channels=channels) for channels in (3, 1))
    assert multiply_adds(colour, H, W) - multiply_adds(grey, H, W) == 4 * H * W * 2 * 2 * 9 * 64


@pytest.mark.parametrize(
    ("name", "scale", "channels", "options", "giga"),
    [
        ("vdsr", 2, 1, {}, "612.6"),
        ("srcnn", 3, 1, {}, "52.7"),
        ("espcn", 4, 1, {}, "1.4"),
        ("edsr", 2, 3, {}, "316"),
        ("edsr", 3, 3, {}, "160"),
        ("edsr", 4, 3, {}, "114"),
        ("rlfn", 2, 3, {}, "115"),
        ("imdn", 2, 3, {}, "158.8"),
        ("imdn", 4, 3, {}, "40.9"),
        ("carn", 2, 3, {}, "222.8"),
        ("carn", 4, 3, {"recursive": True, "groups": 4}, "32.5"),
        ("safmn", 3, 3, {}, "23"),
        ("sesr", 2, 1, {"blocks": 11}, "6.30"),
        # Tables have the deconvolution's kernel once per pixel that it gives: 6.0, 5.0 and 4.6.
        ("fsrcnn", 2, 1, {}, "2.9"),
        ("srvgg", 4, 3, {}, "35.7"),  # parameters, slopes of PReLU among them, times pixels make 35.8
    ],
)
def test_papers_print_the_same_for_1280x720(name, scale, channels, options, giga):
    network = component.build(models, {"name": name, **options}, scale=scale, channels=channels)
    assert f"{at_hd(network, scale) / 1e9:.{len(giga.partition('.')[2])}f}" == giga
