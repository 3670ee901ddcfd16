"""Delegates: what the data file says holds together, and is what XNNPACK does with files here."""

import keras
import pytest
from keras import layers

from sr_keras import component, delegates, models, quantize
from sr_keras.delegates import Graph, Operator
from sr_keras.errors import InputError
from sr_keras.exporters import tflite

TYPES = {"float32", "float16", "int8", "int16", "int16x8", "dynamic"}


def graph(*names, precision="float32", types=("float32",), version=1, dynamic=()):
    operators = tuple(Operator(name, version, frozenset(types)) for name in names)
    return Graph(operators, precision, 4, tuple(dynamic), ())


def verdict(delegate, of):
    return next(each for each in delegates.judge(of) if each.delegate == delegate)


def saved(spec, folder, **options):
    keras.utils.set_random_seed(0)
    return tflite.save(component.build(models, spec, scale=2), folder, **options)


def test_every_row_has_types_and_a_source_that_is_listed():
    table = delegates.table()
    for name, delegate in table["delegates"].items():
        assert {"title", "types", "largest_rank", "dynamic_shapes", "source", "operators"} <= set(delegate), name
        assert set(delegate["types"]) <= TYPES
        for operator, row in delegate["operators"].items():
            assert set(row) <= {"types", "source", "when", "version"}, (name, operator)
            assert set(row["types"]) <= TYPES, (name, operator)
            assert row["source"] in table["sources"], (name, operator)
        assert delegate["source"] in table["sources"]
    for source in table["sources"].values():
        assert set(source) == {"title", "where", "read"}


def test_a_file_is_read_with_its_operators_types_and_free_sizes(tmp_path):
    whole = delegates.read(saved("anchor", tmp_path, size=(16, 16)))
    assert {operator.name for operator in whole.operators} >= {"CONV_2D", "DEPTH_TO_SPACE", "ADD"}
    assert (whole.precision, whole.rank, whole.dynamic, whole.deep) == ("float32", 4, (), ())
    assert delegates.read(saved("anchor", tmp_path)).dynamic
    assert delegates.read(saved("anchor", tmp_path, precision="float16")).precision == "float16"
    assert delegates.read(saved("anchor", tmp_path, precision="dynamic")).precision == "dynamic"


def test_what_is_no_tflite_file_is_refused(tmp_path):
    (tmp_path / "x.tflite").write_text("no model")
    with pytest.raises(InputError, match="is not a TFLite file"):
        delegates.read(tmp_path / "x.tflite")


@pytest.mark.parametrize("spec", ["anchor", "espcn", {"name": "srvgg", "filters": 8, "blocks": 1}])
@pytest.mark.parametrize("whole", [False, True])
def test_xnnpack_does_what_its_rows_say(spec, whole, tmp_path):
    keras.utils.set_random_seed(0)
    network = component.build(models, spec, scale=2)
    network = quantize.fake_quantised(network) if whole else network
    path = tflite.save(network, tmp_path, size=(16, 16), precision="int8" if whole else "float32")
    partitions, left = delegates.xnnpack_partitions(path)
    said = verdict("xnnpack", delegates.read(path))
    assert set(left) - {"QUANTIZE"} == set(said.falls_back)
    assert partitions == (1 if not said.falls_back else 1 + left.count("PRELU"))


def test_the_clip_of_an_int8_file_by_the_converter_stays_outside_xnnpack(tmp_path):
    picture = [keras.random.uniform((16, 16, 3), seed=1).numpy()]
    path = saved("anchor", tmp_path, size=(16, 16), precision="int8", calibration=picture)
    assert {"MINIMUM", "RELU"} <= set(delegates.xnnpack_partitions(path)[1])


def test_a_type_that_a_delegate_does_not_take_is_refused_with_what_to_export():
    said = verdict("coreml", graph("CONV_2D", precision="int8", types=("int8",)))
    assert said.refused == "takes float32, float16 files, not int8"
    assert said.remedy == "export float16"
    assert not said.takes_all


def test_free_sizes_are_refused_where_they_are_not_taken():
    assert verdict("gpu", graph("CONV_2D", dynamic=("x",))).refused == "takes fixed sizes only"
    assert verdict("gpu", graph("CONV_2D")).refused is None


def test_operators_fall_back_by_type_and_by_version():
    assert verdict("edgetpu", graph("DEPTH_TO_SPACE", precision="int8", types=("int8",))).falls_back == (
        "DEPTH_TO_SPACE",
    )
    assert verdict("gpu", graph("RELU", version=2)).takes_all
    assert verdict("gpu", graph("RELU", version=3)).falls_back == ("RELU",)


def test_uint8_ends_count_as_int8():
    assert verdict("gpu", graph("QUANTIZE", precision="int8", types=("uint8", "int8"))).takes_all


def test_an_operator_that_no_source_names_is_not_known():
    said = verdict("gpu", graph("CONV_2D", "FFT"))
    assert said.unknown == ("FFT",)
    assert not said.takes_all


def test_tensors_above_rank_four_are_found(tmp_path):
    lr = keras.Input((8, 8, 12))
    x = layers.Reshape((8, 8, 2, 2, 3))(layers.Conv2D(12, 1)(lr))
    x = layers.Reshape((16, 16, 3))(layers.Permute((1, 3, 2, 4, 5))(x))
    found = delegates.read(tflite.save(keras.Model(lr, x), tmp_path))
    assert found.rank > 4
    assert found.deep
    assert "dimensions at most" in (verdict("gpu", found).refused or "")
