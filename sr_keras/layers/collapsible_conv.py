"""A convolution trained as an expanded linear block (SESR, Bhardwaj et al., 2022, arXiv 2103.09404), run as one."""

import keras
import numpy as np
from keras import ops


class Collapsible(keras.layers.Conv2D):
    """A convolution whose `kernel`, in float32, and perhaps `bias` are made of other weights in every step; abstract.

    Maps `[B, H, W, C]` to `[B, H, W, filters]`, as `keras.layers.Conv2D` with padding "same" does. What is trained is
    combined before it meets the picture, under every policy in float32, so a step costs hardly more than a plain one.

    Raises:
        ValueError: for strides, dilation, groups, other padding than "same", even kernels, `channels_first`.
    """

    inner: frozenset[str] = frozenset()  # variables whose last axis is not the filters; read by sr_keras.recognition

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **{"padding": "same", **kwargs})
        plain = set(self.strides) | set(self.dilation_rate) | {self.groups} == {1}
        odd = all(size % 2 for size in self.kernel_size)
        if not (plain and odd and self.padding == "same" and self.data_format == "channels_last"):
            raise ValueError(
                f"'{self.name}' must have an odd kernel, padding 'same', no strides, dilation or groups; take Conv2D."
            )
        self.radius = max(self.kernel_size) // 2  # read by sr_keras.receptive_field

    def weights_of(self, other):
        """Returns the weights with which this layer computes what another convolution does; none if it can't.

        Those of a layer like this one stay as they are.
        """
        raise NotImplementedError  # abstract: each kind of block has its own

    def call(self, inputs):
        x = self.convolution_op(inputs, ops.cast(self.kernel, self.compute_dtype))
        return self.activation(x + ops.cast(self.bias, self.compute_dtype) if self.use_bias else x)

    def _own_weight(self, name, shape, initializer):
        """Adds a weight that is never rounded to bfloat16."""
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, autocast=False, dtype=self.variable_dtype
        )

    def _identity(self):
        """The kernel that changes nothing, where C == filters, as a constant: OpenVINO makes no unit matrix."""
        height, width = (size // 2 for size in self.kernel_size)
        centre = [(height, height), (width, width), (0, 0), (0, 0)]
        return np.pad(np.eye(self.filters, dtype="float32")[None, None], centre)

    def save_own_variables(self, store):
        for index, variable in enumerate(self.weights):
            store[str(index)] = variable

    def load_own_variables(self, store):
        for index, variable in enumerate(self.weights):
            variable.assign(store[str(index)])


@keras.saving.register_keras_serializable("sr_keras")
class CollapsibleConv2D(Collapsible):
    """Convolves with the product of a wide kernel and a 1x1 kernel, plus the identity if `residual` and C == filters.

    What is trained is a kernel `[kh, kw, C, width]` and a projection `[width, filters]`, where `width` is, unless it
    is given, `expansion * max(C, filters)`.

    Raises:
        ValueError: as `Collapsible` does, and for an `expansion` or a `width` below 1.
    """

    inner = frozenset({"expand"})

    def __init__(self, filters, kernel_size, expansion=4, residual=True, width=None, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        if expansion < 1:
            raise ValueError(f"expansion must be 1 or more, got {expansion}; try 4.")
        if width is not None and width < 1:
            raise ValueError(f"width must be 1 or more, got {width}; try 256.")
        self.expansion, self.residual, self.width = expansion, residual, width

    def build(self, input_shape):
        channels = input_shape[-1]
        wide = self.width or self.expansion * max(channels, self.filters)
        self.has_identity = self.residual and channels == self.filters
        # The product's weights then have the variance of the given initializer; beside the identity, which keeps a map
        # of positive numbers as large as it is, a small part of it: else each layer doubles what comes in.
        scaled = keras.initializers.VarianceScaling
        gain = getattr(self.kernel_initializer, "scale", 1.0) * (0.05 if self.has_identity else 1.0)
        self.expand = self._own_weight("expand", (*self.kernel_size, channels, wide), scaled(1.0, "fan_in"))
        self.project = self._own_weight("project", (wide, self.filters), scaled(gain, "fan_in"))
        self.bias = (
            self.add_weight(name="bias", shape=(self.filters,), initializer=self.bias_initializer)
            if self.use_bias
            else None
        )
        self.built = True

    @property
    def kernel(self):
        """The one kernel `[kh, kw, C, filters]`, float32."""
        product = ops.matmul(ops.cast(self.expand, "float32"), ops.cast(self.project, "float32"))
        return product + self._identity() if self.has_identity else product

    def weights_of(self, other):
        """Returns the weights with which this layer computes what another convolution does; none if it can't.

        Those of a layer like this one stay as they are. Any other kernel becomes a product of two matrices of equal
        norm. The second is a multiple of this layer's projection, which must have full rank, as random ones have.
        """
        own = (self.expand.shape, self.has_identity)
        if tuple(other.kernel.shape) != tuple(self.kernel.shape) or other.use_bias != self.use_bias:
            return []
        if isinstance(other, CollapsibleConv2D) and (other.expand.shape, other.has_identity) == own:
            return other.get_weights()
        product = ops.convert_to_numpy(other.kernel).astype(np.float64)
        if self.has_identity:
            product -= self._identity()
        project = np.asarray(ops.convert_to_numpy(self.project), np.float64)
        expand = product @ np.linalg.pinv(project)
        size = np.sqrt((np.linalg.norm(project) or 1.0) / (np.linalg.norm(expand) or 1.0))
        bias = [ops.convert_to_numpy(other.bias)] if self.use_bias else []
        return [(expand * size).astype(np.float32), (project / size).astype(np.float32), *bias]

    def get_config(self):
        own = {"expansion": self.expansion, "residual": self.residual, "width": self.width}
        return {**super().get_config(), **own}


def collapse(model: keras.Model) -> keras.Model:
    """Returns the functional network with plain convolutions in place of collapsible ones; itself if there are none.

    The twin shares no weights with `model` and equals it to 1e-5 on pictures in [0, 1]: only the order of sums differs.
    """
    if not any(isinstance(layer, Collapsible) for layer in model.layers):
        return model

    def rebuilt(part: keras.Operation) -> keras.Operation:
        kind = keras.layers.Conv2D if isinstance(part, Collapsible) else type(part)
        return kind.from_config(kind.get_config(part))  # pyright: ignore[reportArgumentType]

    twin = keras.models.clone_model(model, clone_function=rebuilt)
    for layer in model.layers:
        if isinstance(layer, Collapsible):
            bias = [layer.bias] if layer.use_bias else []
            twin.get_layer(layer.name).set_weights([ops.convert_to_numpy(w) for w in (layer.kernel, *bias)])
        elif layer.weights:
            twin.get_layer(layer.name).set_weights(layer.get_weights())
    return twin
