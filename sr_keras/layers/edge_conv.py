"""A convolution trained as five, three of which see edges (ECB, Zhang et al., 2021), run as one."""

from typing import ClassVar

import keras
import numpy as np
from keras import ops

from sr_keras.layers.collapsible_conv import Collapsible

_EDGES_AT_FIRST = keras.initializers.RandomNormal(stddev=1e-3)


@keras.saving.register_keras_serializable("sr_keras")
class EdgeOrientedConv2D(Collapsible):
    """Convolves with a 3x3 kernel that is the sum of five, plus the identity if `identity` and C == filters.

    They are a plain one; a 1x1 to `expansion * filters` channels followed by a 3x3; and three times a 1x1 followed by
    a fixed mask (Sobel's two, Laplace's) with a trained factor for each channel. The sum is exact at the border too,
    since the authors continue the picture between 1x1 and 3x3 with the 1x1's bias, which is what the 1x1 makes of
    zeros. The masks take that bias away, so here their 1x1 have none. See doi 10.1145/3474085.3475291.

    Raises:
        ValueError: as `Collapsible` does, for other kernels than 3x3, without a bias, for an `expansion` below 1.
    """

    inner = frozenset({"conv1x1_3x3.k0", "conv1x1_3x3.b0"})
    masks: ClassVar = {  # by the names of the authors' branches
        "conv1x1_sbx": [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
        "conv1x1_sby": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
        "conv1x1_lpl": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    }

    def __init__(self, filters, kernel_size=3, expansion=2, identity=False, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        if self.kernel_size != (3, 3) or not self.use_bias:
            raise ValueError(f"'{self.name}' must have a 3x3 kernel and a bias; take Conv2D or CollapsibleConv2D.")
        if expansion < 1:
            raise ValueError(f"expansion must be 1 or more, got {expansion}; try 2.")
        self.expansion, self.identity = expansion, identity

    def build(self, input_shape):
        channels, wide = input_shape[-1], self.expansion * self.filters
        self.has_identity = self.identity and channels == self.filters
        # The sum's weights then have about the variance of the given initializer; beside the identity a small part.
        scaled, zeros = keras.initializers.VarianceScaling, self.bias_initializer
        half = getattr(self.kernel_initializer, "scale", 1.0) * (0.05 if self.has_identity else 1.0) / 2
        one = (1, 1, channels)
        self._plain = [
            self._own_weight("conv3x3.weight", (3, 3, channels, self.filters), scaled(half, "fan_in")),
            self._own_weight("conv3x3.bias", (self.filters,), zeros),
        ]
        self._wide = [
            self._own_weight("conv1x1_3x3.k0", (*one, wide), scaled(1.0, "fan_in")),
            self._own_weight("conv1x1_3x3.b0", (wide,), zeros),
            self._own_weight("conv1x1_3x3.k1", (3, 3, wide, self.filters), scaled(half, "fan_in")),
            self._own_weight("conv1x1_3x3.b1", (self.filters,), zeros),
        ]
        self._edges = [
            [
                self._own_weight(f"{name}.k0", (*one, self.filters), scaled(1.0, "fan_in")),
                self._own_weight(f"{name}.scale", (1, 1, 1, self.filters), _EDGES_AT_FIRST),
                self._own_weight(f"{name}.bias", (self.filters,), zeros),
            ]
            for name in self.masks
        ]
        self.built = True

    @property
    def kernel(self):
        """The one kernel `[3, 3, C, filters]`, float32."""
        first, _, second, _ = _float32(self._wide)
        total = _float32(self._plain)[0] + ops.matmul(first, second)
        for mask, edge in zip(self.masks.values(), self._edges, strict=True):
            first, factor, _ = _float32(edge)
            total += np.array(mask, "float32")[:, :, None, None] * factor * first
        return total + self._identity() if self.has_identity else total

    @property
    def bias(self):
        """The one bias `[filters]`, float32."""
        _, before, second, after = _float32(self._wide)
        total = _float32(self._plain)[1] + ops.matmul(before, ops.sum(second, axis=(0, 1))) + after
        for edge in self._edges:
            total += _float32(edge)[2]
        return total

    def weights_of(self, other):
        """Returns the weights with which this layer computes what another convolution does; none if it can't.

        Those of a layer like this one stay as they are. For any other the plain branch makes up the difference.
        """
        if tuple(other.kernel.shape) != tuple(self.kernel.shape) or not other.use_bias:
            return []
        values = self.get_weights()
        if isinstance(other, EdgeOrientedConv2D):
            shapes = [value.shape for value in other.get_weights()]
            if other.has_identity == self.has_identity and shapes == [value.shape for value in values]:
                return other.get_weights()
        for index, (wanted, own) in enumerate([(other.kernel, self.kernel), (other.bias, self.bias)]):
            values[index] += ops.convert_to_numpy(wanted) - ops.convert_to_numpy(own)
        return values

    def get_config(self):
        return {**super().get_config(), "expansion": self.expansion, "identity": self.identity}


def _float32(variables):
    return [ops.cast(variable, "float32") for variable in variables]
