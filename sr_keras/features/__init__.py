"""Frozen networks whose feature maps are compared: `build(...)` maps RGB in [0, 1] to named feature maps."""
