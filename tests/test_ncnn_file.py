"""ncnn's models: the text, the weights of each kind of layer in PyTorch's order, and what must be refused.

The layouts were compared with ncnn 1.0.20261020 itself: each kind of layer run there, and in PyTorch with what is read.
"""

import re

import ncnn_files
import numpy as np
import pytest
from ncnn_files import raw, save, tagged

from sr_keras import ncnn_file
from sr_keras.errors import InputError


def numbers(*shape: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + np.prod(shape), dtype=np.float32).reshape(shape)


def weights(folder, line: str, content: bytes) -> dict[str, np.ndarray]:
    """Reads a model of one layer, `kind options...`."""
    kind, *options = line.split()
    count = 0 if kind == "MemoryData" else 1
    path = save(folder, [f"{kind} it {count} 1 {'data ' * count}out {' '.join(options)}"], content)
    return ncnn_file.read(path)[1].weights


def test_the_layers_come_in_their_order_with_their_options(tmp_path):
    layers = ncnn_file.read(ncnn_files.tiny(tmp_path))
    assert [layer.name for layer in layers] == "in split conv_0 slope conv_1 shuffle nearest add".split()
    assert layers[2].kind == "Convolution"
    assert (layers[1].inputs, layers[1].outputs) == (("data",), ("data_0", "data_1"))
    assert layers[2].options == {0: 2, 1: 3, 4: 1, 5: 1, 6: 54, 9: 2, 10: [0.2]}
    assert layers[6].options == {0: 1, 1: 2.0, 2: 2.0}
    assert {name: array.shape for name, array in layers[4].weights.items()} == {"weight": (12, 2, 1, 1), "bias": (12,)}
    assert layers[5].weights == {}


@pytest.mark.parametrize("given", ["net.param", "net.bin"])
def test_either_of_the_two_files_may_be_given(tmp_path, given):
    ncnn_files.tiny(tmp_path)
    assert len(ncnn_file.read(tmp_path / given)) == 8


@pytest.mark.parametrize("kind", ["raw", "float32", "float16", "bfloat16"])
def test_kernels_of_every_type_become_float32(tmp_path, kind):
    kernel, bias = numbers(3, 1, 1, 3), numbers(3, start=50)  # an odd number: padded if of two bytes
    found = weights(tmp_path, "Convolution 0=3 1=3 11=1 5=1 6=9", tagged(kernel, kind) + raw(bias))
    assert found["weight"].dtype == found["bias"].dtype == np.float32
    np.testing.assert_array_equal(found["weight"], kernel)
    np.testing.assert_array_equal(found["bias"], bias)


def test_kernels_of_a_table_are_looked_up(tmp_path):
    indices = np.array([0, 255, 7, 7, 128, 1, 2, 3, 4])
    found = weights(tmp_path, "Convolution 0=3 1=3 11=1 5=1 6=9", tagged(indices, "table") + raw(numbers(3)))
    np.testing.assert_array_equal(found["weight"].ravel(), ncnn_files.TABLE[indices])
    np.testing.assert_array_equal(found["bias"], numbers(3))


def test_a_kernel_is_not_square(tmp_path):
    found = weights(tmp_path, "Convolution 0=2 1=5 11=3 6=60", tagged(numbers(2, 2, 3, 5)))
    np.testing.assert_array_equal(found["weight"], numbers(2, 2, 3, 5))
    assert "bias" not in found


def test_a_grouped_convolution_has_the_inputs_of_a_group(tmp_path):
    found = weights(tmp_path, "ConvolutionDepthWise 0=6 1=3 6=108 7=2", tagged(numbers(6, 2, 3, 3)))
    np.testing.assert_array_equal(found["weight"], numbers(6, 2, 3, 3))


def test_a_deconvolution_has_its_inputs_first(tmp_path):
    outputs_first = numbers(6, 4, 3, 5)
    found = weights(tmp_path, "Deconvolution 0=6 1=5 11=3 5=1 6=360", tagged(outputs_first) + raw(numbers(6)))
    np.testing.assert_array_equal(found["weight"], outputs_first.swapaxes(0, 1))


def test_a_grouped_deconvolution_has_its_inputs_first_in_each_group(tmp_path):
    outputs_first = numbers(6, 2, 3, 3)  # two groups of three outputs, two inputs each
    found = weights(tmp_path, "DeconvolutionDepthWise 0=6 1=3 6=108 7=2", tagged(outputs_first))
    halves = [half.swapaxes(0, 1) for half in (outputs_first[:3], outputs_first[3:])]
    np.testing.assert_array_equal(found["weight"], np.concatenate(halves))


def test_linear_layers_have_outputs_by_inputs(tmp_path):
    matrix, bias = numbers(3, 4), numbers(3, start=50)
    for line, content in {
        "InnerProduct 0=3 1=1 2=12": tagged(matrix) + raw(bias),
        "Gemm 3=1 5=1 6=1 8=3 9=4 10=4": tagged(matrix) + tagged(bias),
        "Gemm 3=0 5=1 6=1 8=3 9=4 10=4": tagged(matrix.T) + tagged(bias),
    }.items():
        found = weights(tmp_path, line, content)
        np.testing.assert_array_equal(found["weight"], matrix)
        np.testing.assert_array_equal(found["bias"], bias)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("PReLU 0=4", ["weight"]),
        ("Bias 0=4", ["bias"]),
        ("Scale 0=4", ["weight"]),
        ("Scale 0=4 1=1", ["weight", "bias"]),
        ("BatchNorm 0=4 1=1e-5", ["weight", "running_mean", "running_var", "bias"]),
        ("LayerNorm 0=4 1=1e-5", ["weight", "bias"]),
        ("InstanceNorm 0=4", ["weight", "bias"]),
        ("GroupNorm 0=2 1=4", ["weight", "bias"]),
    ],
)
def test_vectors_have_no_tag(tmp_path, line, names):
    vectors = [numbers(4, start=10 * n) for n in range(len(names))]
    found = weights(tmp_path, line, raw(*vectors))
    assert list(found) == names
    np.testing.assert_array_equal(list(found.values()), vectors)


@pytest.mark.parametrize(
    ("options", "shape"),
    [("0=5", (5,)), ("0=5 1=3", (3, 5)), ("0=5 1=3 2=2", (2, 3, 5)), ("0=5 1=3 2=2 11=4", (2, 4, 3, 5))],
)
def test_constants_have_the_channels_first(tmp_path, options, shape):
    np.testing.assert_array_equal(
        weights(tmp_path, f"MemoryData {options}", raw(numbers(*shape)))["data"], numbers(*shape)
    )
    tagged_ones = weights(tmp_path, f"MemoryData {options} 21=0", tagged(numbers(*shape), "float16"))
    np.testing.assert_array_equal(tagged_ones["data"], numbers(*shape))


@pytest.mark.parametrize(
    "line",
    [
        "Convolution 0=4 1=3 19=1",
        "Deconvolution 0=4 1=3 28=1",
        "Scale 0=-233",
        "LayerNorm 0=4 2=0",
        "GroupNorm 0=2 1=4 3=0",
        "Padding 0=1 1=1 2=1 3=1",
        "Gemm 3=1",
        "Reshape 0=-1 1=3",
    ],
)
def test_some_layers_have_no_weights_of_their_own(tmp_path, line):
    assert weights(tmp_path, line, b"") == {}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("LSTM 0=4", "line 4 is a layer of the kind LSTM, which can't be read"),
        ("Convolution1D 0=4", "line 4 is a layer of the kind Convolution1D, which can't be read"),
        ("MyOwn 0=4", "line 4 is a layer of the kind MyOwn, which can't be read"),
        ("Padding 6=4", "Padding 'it' has a value for each channel, which can't be read"),
        ("Gemm 4=1 5=1 8=3 9=4", "Gemm 'it' has constants other than a linear layer's"),
        ("Convolution 0=4 1=3 6=35", "35 weights for 4 outputs of 1 groups, by kernels of 3 x 3"),
        ("Convolution 0=4 1=3 6=-36", "has the option 6 of -36"),
        ("Convolution 0=4 1=3 6=3.6e1", "has the option 6 of 36.0"),
        ("Convolution 0=4 6=36", "has the option 1 of 0"),
        ("Convolution 0=4 1=3 -23306=1,36", "has the option 6 of [36]"),
        ("ConvolutionDepthWise 0=4 1=3 6=36 7=3", "36 weights for 4 outputs of 3 groups"),
        ("MemoryData 0=0", "has the shape [] and the type 1"),
        ("MemoryData 0=3 21=2", "has the shape [3] and the type 2"),
        ("Convolution 0=4 1=3 8=1 6=36", "holds Convolution 'it' in int8; give the network in float32 or float16"),
        ("Interp 0", "has '0', which is no option"),
        ("Interp 0=x", "has '0=x', which is no option"),
        ("Interp 0=99999999999", "has '0=99999999999', which is no option"),
        ("Interp 0=1e999", "has '0=1e999', which is no option"),
        ("Interp 0=nan", "has '0=nan', which is no option"),
        ("Interp 0=1,2", "has '0=1,2', which is no option"),
        ("Interp -23300=2,1", "has '-23300=2,1', which is no option"),
        ("Interp 32=1", "has '32=1', which is no option"),
        ("Interp 0=1 0=2", "has '0=2', which is no option or there twice"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path, line, reason):
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        weights(tmp_path, line, bytes(16))
    assert "\n" not in str(caught.value)


def test_int8_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"net\.bin: holds Convolution 'it' in int8"):
        weights(tmp_path, "Convolution 0=4 1=1 6=4", tagged(numbers(4), "int8"))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["ReLU one 1 1 nothing a"], "line 4 takes 'nothing', which no line before it makes"),
        (["ReLU one 1 1 data data"], "line 4 makes 'data', which another line has made"),
        (["ReLU one 1 9 data a"], "line 4 is no layer"),
        (["ReLU one 1 99999999999999999999 data a"], "line 4 is no layer"),
        (["ReLU one 1 1"], "line 4 is no layer"),
    ],
)
def test_a_graph_that_does_not_hang_together_is_an_error(tmp_path, lines, reason):
    path = save(tmp_path, ["ReLU zero 1 1 data z"], b"")
    text = path.read_text().replace("ReLU zero 1 1 data z", lines[0])
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"net.param: {reason}")):
        ncnn_file.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no .param of ncnn, which begins with 7767517"),
        (b"75 83\nInput data 0 1 data\n", "is no .param of ncnn"),
        (b"\x89PNG\r\n\x1a\n", "is no .param of ncnn"),
        ((7767517).to_bytes(4, "little") + bytes(20), "is ncnn's binary form of a .param"),
        (b"7767517\n", "lacks the numbers of layers and of blobs"),
        (b"7767517\n1\n", "lacks the numbers of layers and of blobs"),
        (b"7767517\n0 0\n", "lacks the numbers of layers and of blobs"),
        (b"7767517\n99999999 1\n", "lacks the numbers of layers and of blobs"),
        (b"7767517\n2 1\nInput in 0 1 data\n", "lists 1 layers and says 2"),
        (b"7767517\n1 1\nInput in 0 2 data more\n", "names 2 blobs and says 1"),
        (b"7767517\n1 1\nInput in 0 1 data", "ends in the middle of a line"),
        (b"7767517\n1 1\nInput in 0 1 d\xc3\xa4ta\n", "holds bytes that are no ASCII text"),
        (b"7767517\n1 1\nInput in\x1b[2J 0 1 data\n", "line 3 holds a name that is none"),
    ],
)
def test_another_kind_of_text_is_an_error(tmp_path, content, reason):
    path = save(tmp_path, [], b"")
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"net.param: {reason}")) as caught:
        ncnn_file.read(path)
    assert str(caught.value).isprintable()


def test_lines_may_end_as_on_windows(tmp_path):
    path = ncnn_files.tiny(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(ncnn_file.read(path)) == 8


@pytest.mark.parametrize("name", ["net.param.bin", "net.PARAM.BIN"])
def test_the_binary_form_is_refused_by_its_name(tmp_path, name):
    with pytest.raises(InputError, match="is ncnn's binary form of a .param; give the .param in text form"):
        ncnn_file.read(tmp_path / name)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"net\.pth: is neither a \.param nor a \.bin of ncnn"):
        ncnn_file.read(tmp_path / "net.pth")


@pytest.mark.parametrize("suffix", [".param", ".bin"])
def test_a_missing_half_is_an_error(tmp_path, suffix):
    path = ncnn_files.tiny(tmp_path)
    path.with_suffix(suffix).unlink()
    if path.suffix == suffix:
        path = path.with_suffix(".bin" if suffix == ".param" else ".param")
    with pytest.raises(InputError, match=rf"net\.\w+: needs net\{suffix} beside it; ncnn keeps a network in two files"):
        ncnn_file.read(path)


def test_bytes_left_over_are_an_error(tmp_path):
    path = ncnn_files.tiny(tmp_path)
    path.with_suffix(".bin").write_bytes(path.with_suffix(".bin").read_bytes() + bytes(3))
    with pytest.raises(InputError, match=r"net\.bin: holds 3 bytes more than net\.param tells of"):
        ncnn_file.read(path)


@pytest.mark.parametrize(("kind", "step"), [("raw", 1), ("float16", 1), ("table", 7)])
def test_a_truncated_bin_is_an_error_wherever_it_ends(tmp_path, kind, step):
    path = ncnn_files.tiny(tmp_path, kind)
    ncnn_file.read(path)
    whole = path.with_suffix(".bin").read_bytes()
    for length in range(0, len(whole), step):
        path.with_suffix(".bin").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"net\.bin: ends within the weights of [^\n]*$"):
            ncnn_file.read(path)


def test_a_truncated_param_is_an_error_wherever_it_ends(tmp_path):
    path = ncnn_files.tiny(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"net\.param: [^\n]*$"):
            ncnn_file.read(path)


def test_a_bin_that_is_no_file_is_an_error(tmp_path):
    path = ncnn_files.tiny(tmp_path)
    path.with_suffix(".bin").unlink()
    path.with_suffix(".bin").mkdir()
    with pytest.raises(InputError, match=r"net\.bin: is a folder"):
        ncnn_file.read(path)
