"""Weights of PyTorch in our networks: what each makes of a picture is what PyTorch made of it."""

from pathlib import Path

import keras
import numpy as np
import pytest

from sr_keras import component, models, recognition, torch_file
from sr_keras.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures" / "imports"  # made by tools/make_import_fixtures.py
CASES = sorted(path.stem for path in FIXTURES.glob("*.pth"))


@pytest.mark.parametrize("case", CASES)
def test_the_picture_is_pytorchs(case):
    network = _imported(FIXTURES / f"{case}.pth")
    with np.load(FIXTURES / f"{case}.npz") as pair:
        np.testing.assert_allclose(network(pair["lr"].astype(np.float32) / 255), pair["sr"], atol=1e-4)


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


def _imported(path: Path) -> keras.Model:
    tensors = torch_file.read(path)
    name, published = recognition.recognise(tensors, path)
    assert name == path.stem.partition("-")[0]
    options = {key: value for key, value in published.options.items() if key not in ("scale", "channels")}
    given = {key: published.options[key] for key in ("scale", "channels")}
    network = component.build(models, {"name": name, **options}, **given)
    recognition.fill(network, recognition.matched(network, published.tensors, path))
    return network
