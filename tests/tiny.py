"""What the tests of all models share: small options and scales."""

TINY = {  # options that keep the test of a heavy model short
    "anchor": {"filters": 8, "blocks": 1},
    "carn": {"filters": 8},
    "cnn_fc": {"filters": 4, "height": 9, "width": 7},
    "edsr": {"filters": 8, "blocks": 1},
    "ecbsr": {"filters": 8, "blocks": 1},
    "imdn": {"filters": 8, "attention_filters": 2, "blocks": 1},
    "rfdn": {"filters": 8, "attention": "spatial", "attention_filters": 4, "blocks": 1},
    "safmn": {"filters": 8, "hidden_filters": 12, "blocks": 1},
    "sesr": {"filters": 8, "blocks": 1, "width": 16},
    "span": {"filters": 8, "blocks": 2},
    "rcan": {"filters": 8, "attention_filters": 2, "residual_groups": 1, "blocks": 1},
    "rlfn": {"filters": 8, "attention_filters": 4, "blocks": 1},
    "rrdbnet": {"filters": 8, "growth": 4, "blocks": 1},
    "srresnet": {"filters": 8, "blocks": 1},
    "srvgg": {"filters": 8, "blocks": 1},
    "swinir": {"filters": 8, "residual_groups": 1, "blocks": 2, "heads": 2, "window": 4},
    "vdsr": {"filters": 8, "depth": 3},
    "wdsr": {"filters": 8, "blocks": 1},
}
SCALES = {"rrdbnet": (2, 1, 4)}  # by name, for a model that does not take 2, 3 and 4
