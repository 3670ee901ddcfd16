"""What the tests of all models share: small options, scales and sizes."""

TINY = {  # options that keep the test of a heavy model short
    "anchor": {"filters": 8, "blocks": 1},
    "cnn_fc": {"filters": 4, "height": 9, "width": 7},
    "edsr": {"filters": 8, "blocks": 1},
    "rlfn": {"filters": 8, "attention_filters": 4, "blocks": 1},
    "rrdbnet": {"filters": 8, "growth": 4, "blocks": 1},
    "srresnet": {"filters": 8, "blocks": 1},
    "srvgg": {"filters": 8, "blocks": 1},
    "vdsr": {"filters": 8, "depth": 3},
}
SCALES = {"rrdbnet": (2, 1, 4)}  # by name, for a model that does not take 2, 3 and 4
