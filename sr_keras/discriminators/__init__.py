"""Discriminators of the adversarial game: they tell HR from SR; one file is one network with one function, `build`."""
