"""Weights of PyTorch in our networks: what each makes of a picture is what PyTorch made of it."""

from pathlib import Path

import keras
import numpy as np
import pytest

from sr_keras import component, import_weights, models, recognition, torch_file
from sr_keras.errors import InputError
from sr_keras.run import Run

FIXTURES = Path(__file__).parent / "fixtures" / "imports"  # made by tools/make_import_fixtures.py
CASES = sorted(path.stem for path in FIXTURES.glob("*.pth"))


@pytest.mark.parametrize("case", CASES)
def test_the_picture_is_pytorchs(case):
    network = _imported(FIXTURES / f"{case}.pth")
    with np.load(FIXTURES / f"{case}.npz") as pair:
        np.testing.assert_allclose(network(pair["lr"].astype(np.float32) / 255), pair["sr"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", recognition.architectures())
def test_every_architecture_has_a_picture_of_pytorchs(name):
    assert [case for case in CASES if case.partition("-")[0] == name]


def test_a_deconvolution_that_keeps_no_area_even_needs_the_scale():
    path = FIXTURES / "fsrcnn-x3.pth"
    tensors = torch_file.read(path)
    tensors["last_part.weight"] = np.random.default_rng(0).normal(size=tensors["last_part.weight"].shape)
    with pytest.raises(InputError, match="does not tell its scale"):
        recognition.recognise(tensors, path)
    assert recognition.recognise(tensors, path, scale=4)[1].options["scale"] == 4


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("ecbsr-grey-x2", "backbone.1.conv1x1_sby.mask"),
        ("sesr-trained-x2", "anchor.net.weight"),
        ("sesr-grey-x4", "anchor.net.bias"),
        ("swinir-x2", "layers.0.residual_group.blocks.1.attn_mask"),
        ("swinir-x2", "layers.0.residual_group.blocks.0.attn.relative_position_index"),
    ],
)
def test_constants_that_are_not_the_authors_are_refused(case, name):
    path = FIXTURES / f"{case}.pth"
    tensors = torch_file.read(path)
    tensors[name] = tensors[name][::-1] + 1
    with pytest.raises(InputError, match="can't be imported"):
        recognition.recognise(tensors, path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("upsample.0", "conv_last", "enlarges nothing"),
        ("conv_first", "conv_first.1", "squares of pixels"),
        ("layers.0.residual_group.blocks.1.attn_mask", "absolute_pos_embed", "one size"),
    ],
)
def test_variants_of_swinir_that_are_not_known_are_refused(old, new, says):
    path = FIXTURES / "swinir-x2.pth"
    tensors = {name.replace(old, new): tensor for name, tensor in torch_file.read(path).items()}
    with pytest.raises(InputError, match=f"{says}.*can't be imported"):
        recognition.recognise(tensors, path)


@pytest.mark.parametrize(
    ("case", "name"),
    [("edsr-x2", "sub_mean.bias"), ("carn-x2", "add_mean.shifter.bias"), ("rcan-x2", "add_mean.weight")],
)
def test_a_mean_of_another_colour_is_refused(case, name):
    tensors, path = _read(case)
    tensors[name] = tensors[name] * 1.02
    with pytest.raises(InputError, match="_mean' shifts colours by"):
        recognition.recognise(tensors, path)


@pytest.mark.parametrize(
    ("case", "name", "second"),
    [
        ("edsr-x2", "head.0.weight", "conv_first.weight"),
        ("rcan-x2", "tail.1.bias", "conv_last.bias"),
        ("wdsr-fan-a-x2", "body.0.weight_v", "body.0.weight"),
        ("wdsr-fan-a-x3", "skip.0.parametrizations.weight.original1", "skip.0.weight"),
    ],
)
def test_one_tensor_under_two_names_is_refused(case, name, second):
    tensors, path = _read(case)
    tensors[second] = tensors[name]
    with pytest.raises(InputError, match="of no architecture known here"):
        recognition.recognise(tensors, path)


def test_swinir_without_shifted_windows_is_refused():
    tensors, path = _read("swinir-x2")
    del tensors["layers.0.residual_group.blocks.1.attn_mask"]
    with pytest.raises(InputError, match="made without shifted windows"):
        recognition.recognise(tensors, path)


@pytest.mark.parametrize("change", ["a block less", "a head less"])
def test_swinir_with_unequal_groups_is_refused(change):
    tensors, path = _read("swinir-x3-without-buffers")
    block, table = "layers.1.residual_group.blocks.1.", "attn.relative_position_bias_table"
    if change == "a block less":
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(block)}
    else:
        tensors[block + table] = tensors[block + table][:, :1]
    with pytest.raises(InputError, match="groups differ in blocks, heads or windows"):
        recognition.recognise(tensors, path)


def test_carn_of_several_scales_takes_the_given_one():
    tensors, path = _read("carn-x24")
    for scale in (2, 4):
        _, found = recognition.recognise(tensors, path, scale=scale)
        assert found.options["scale"] == scale
        for part in ("weight", "bias"):
            taken, there = found.tensors[f"upsample.up.body.0.{part}"], tensors[f"upsample.up{scale}.body.0.{part}"]
            np.testing.assert_array_equal(taken, there)
        assert found.notes[-1] == f"the upsampler of x{scale} is taken, those of x{6 - scale} are left out"
    with pytest.raises(InputError, match="enlarges 4 times, not 3; drop --scale"):
        recognition.recognise(tensors, path, scale=3)


def test_span_of_one_channel_that_takes_colours_mean_off_is_refused(tmp_path, monkeypatch):
    tensors, path = _read("span-merged-grey-x3")
    del tensors["no_norm"]
    monkeypatch.setattr(recognition, "read", lambda path, under: (tensors, ()))
    with pytest.raises(InputError, match="mean must have one number a channel or none, got 3 for 1"):
        import_weights.import_weights(path, Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_windows_that_would_take_all_memory_are_refused():
    tensors, path = _read("swinir-x3-without-buffers")
    for name, tensor in tensors.items():
        if name.endswith(".relative_position_bias_table"):
            tensors[name] = np.broadcast_to(np.float16(0), (65**2, tensor.shape[1]))
    with pytest.raises(InputError, match="windows of 33x33 are too large; 32 are taken"):
        recognition.recognise(tensors, path)


def test_rcan_of_groups_that_differ_is_refused():
    """Lest 400 tensors make a network of 200 times 200 blocks."""
    tensors, path = _read("rcan-basicsr-x4")
    more = {f"body.{k}.residual_group.0.x": np.zeros(1) for k in range(100)}
    with pytest.raises(InputError, match="this RCAN's groups differ in blocks"):
        recognition.recognise({**tensors, **more}, path)


def test_more_blocks_than_any_network_has_are_refused():
    tensors, path = _read("rlfn-x2")
    for more, refused in ((198, False), (199, True)):  # beside the two that there are
        many = {f"block_{3 + k}.c5.bias": tensors["block_1.c5.bias"] for k in range(more)}
        if refused:
            with pytest.raises(InputError, match="201 parts of one kind .* are too many; 200 are taken"):
                recognition.recognise({**tensors, **many}, path)
        else:
            assert recognition.recognise({**tensors, **many}, path)[1].options["blocks"] == 200


def test_more_filters_than_any_network_has_are_refused():
    tensors, path = _read("srvgg-x2")
    first = tensors["body.0.weight"][:1]
    assert recognition.recognise({**tensors, "body.0.weight": first.repeat(2048, 0)}, path)[0] == "srvgg"
    with pytest.raises(InputError, match="makes a srvgg of 2049 filters or blocks; 2048 are the most here"):
        recognition.recognise({**tensors, "body.0.weight": first.repeat(2049, 0)}, path)


def _read(case: str) -> tuple[dict[str, np.ndarray], Path]:
    path = FIXTURES / f"{case}.pth"
    return dict(torch_file.read(path)), path


def _imported(path: Path) -> keras.Model:
    tensors = torch_file.read(path)
    name, published = recognition.recognise(tensors, path)
    assert name == path.stem.partition("-")[0]
    options = {key: value for key, value in published.options.items() if key not in ("scale", "channels")}
    given = {key: published.options[key] for key in ("scale", "channels")}
    network = component.build(models, {"name": name, **options}, **given)
    recognition.fill(network, recognition.matched(network, published.tensors, path))
    return network
