"""sr_keras: image super-resolution in TensorFlow/Keras, from pictures to a phone."""

__version__ = "0.1.0"
