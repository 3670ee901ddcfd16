"""The bfloat16 twin: near the network, float32 where a picture needs it."""

import keras
import numpy as np
import pytest

from sr_keras import component, metrics, models
from sr_keras.bfloat16 import bfloat16_twin

PICTURE = np.random.default_rng(0).random((1, 24, 21, 3), np.float32)


def build(name, **options):
    keras.utils.set_random_seed(0)
    return component.build(models, {"name": name, **options}, scale=2)


@pytest.mark.parametrize(
    ("name", "options"), [("anchor", {}), ("edsr", {"blocks": 1}), ("fsrcnn", {}), ("srresnet", {"blocks": 1})]
)
def test_the_twin_is_near_the_network_and_gives_float32(name, options):
    network = build(name, **options)
    twin = bfloat16_twin(network)
    expected, got = network(PICTURE), twin(PICTURE)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    assert metrics.psnr(np.asarray(expected) * 255.0, np.asarray(got) * 255.0) > 35
    assert not np.array_equal(expected, got)
    assert all(w.dtype == "float32" for w in twin.weights)


def test_only_what_comes_before_the_last_sum_is_in_bfloat16():
    kinds = {layer.name: layer.compute_dtype for layer in bfloat16_twin(build("anchor")).layers}
    convolutions = [kind for name, kind in kinds.items() if name.startswith("conv2d")]
    assert set(convolutions) == {"bfloat16"}
    assert [kind for name, kind in kinds.items() if name.startswith("add")] == ["float32"]


def test_a_last_convolution_without_a_sum_stays_in_float32():
    convolutions = [x for x in bfloat16_twin(build("espcn")).layers if isinstance(x, keras.layers.Conv2D)]
    assert [x.compute_dtype for x in convolutions] == ["bfloat16", "bfloat16", "float32"]
