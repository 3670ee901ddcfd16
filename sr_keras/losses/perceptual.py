"""Perceptual loss (Johnson et al., 2016, arXiv 1603.08155): pictures compared in a frozen classifier's feature maps.

By default it is a distance in EfficientNet-Lite0's features, which a CPU computes quickly and which needs no download.
ESRGAN's (Wang et al., 2018, arXiv 1809.00219) is `network: vgg19`. Neither is fitted to human judgements.
"""

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from sr_keras.features import efficientnet_lite0, vgg19

Network = Literal["efficientnet_lite0", "vgg19"]
_NETWORKS = {"efficientnet_lite0": efficientnet_lite0, "vgg19": vgg19}
Criterion = Literal["pooled", "l1", "mse"]


def build(
    *,
    network: Network = "efficientnet_lite0",
    layers: dict[str, float] | None = None,
    criterion: Criterion | None = None,
    weights: str | None = None,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `f(hr, sr)` of `[B, H, W, C]` in [0, 1]: the weighted sum of the layers' mean differences, a scalar.

    The criterion "pooled", Lite0's default, compares what lies in cells of 4x4 places, not where in them it lies: the
    means of the features and of their magnitudes, squared difference, as a part of HR's own square. A texture that is
    shifted by a pixel costs little so, one that is missing much (as in DISTS, Ding et al., 2020, arXiv 2004.07728).
    "l1" is ESRGAN's and VGG19's default, "mse" SRGAN's.

    C is 3 (RGB) or 1, which is repeated. `layers` maps layer names to weights; None is the network's `LAYER_WEIGHTS`.
    `weights` is the network's own option (None: its default). `vgg19` computes in the dtype policy of the time of
    `build` and needs 16 pixels or more for conv5_4; Lite0 computes in float32 and takes any size. Features are
    compared in float32, and no gradient flows into `hr`. Raises `InputError` for an unknown layer and for weights that
    can't be had.
    """
    module = _NETWORKS[network]
    layers = dict(module.LAYER_WEIGHTS) if layers is None else layers
    features = module.build(layers=tuple(layers), **({} if weights is None else {"weights": weights}))
    difference = _CRITERIA[criterion or module.CRITERION]

    def loss(hr: tf.Tensor, sr: tf.Tensor) -> tf.Tensor:
        # Two passes, not one over both: the backward pass then costs half, and that of `hr` is never needed.
        wanted, got = features(_rgb(tf.stop_gradient(hr))), features(_rgb(sr))
        pairs = {name: (tf.cast(wanted[name], tf.float32), tf.cast(got[name], tf.float32)) for name in layers}
        return tf.add_n([weight * difference(*pairs[name]) for name, weight in layers.items()])

    return loss


def _pooled(wanted: tf.Tensor, got: tf.Tensor) -> tf.Tensor:
    wanted, got = (_cells(tf.concat([features, tf.abs(features)], axis=-1)) for features in (wanted, got))
    return tf.reduce_mean(tf.math.squared_difference(wanted, got)) / tf.reduce_mean(tf.square(wanted))


def _cells(features: tf.Tensor) -> tf.Tensor:
    return tf.nn.avg_pool2d(features, 4, 4, "SAME")


_CRITERIA = {
    "pooled": _pooled,
    "l1": lambda wanted, got: tf.reduce_mean(tf.abs(wanted - got)),
    "mse": lambda wanted, got: tf.reduce_mean(tf.math.squared_difference(wanted, got)),
}


def _rgb(picture: tf.Tensor) -> tf.Tensor:
    return tf.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture
