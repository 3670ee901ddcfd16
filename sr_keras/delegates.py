"""What a phone's delegates make of a TFLite file: the operators they take, what falls back, what to change.

XNNPACK is asked here, for its partitions; what others take comes from delegates.yaml, whose rows name their sources.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sr_keras.errors import InputError

_DATA = Path(__file__).with_name("delegates.yaml")


@dataclass(frozen=True)
class Operator:
    """One operator of a file, its version, and the types of what it reads and writes, constants aside."""

    name: str
    version: int
    types: frozenset[str]


@dataclass(frozen=True)
class Graph:
    """What matters of a TFLite file to a delegate.

    `precision` is what the file computes in: float32, float16 (weights), int8, int16x8 or dynamic; `rank` the most
    dimensions of a tensor; `deep` names the tensors of more than four, `dynamic` those whose sizes are not all fixed.
    """

    operators: tuple[Operator, ...]
    precision: str
    rank: int
    dynamic: tuple[str, ...]
    deep: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What one delegate makes of one file.

    `refused` says why nothing of the file is taken, None if that is not so, and `remedy` what to do; `falls_back` names
    the operators that go to the CPU, `unknown` those of which no source was found, `conditions` what must hold besides,
    with the operator; `sources` are keys of the table's.
    """

    delegate: str
    title: str
    refused: str | None
    remedy: str
    falls_back: tuple[str, ...]
    unknown: tuple[str, ...]
    conditions: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def takes_all(self) -> bool:
        return self.refused is None and not self.falls_back and not self.unknown


@cache
def table() -> dict[str, Any]:
    """Reads delegates.yaml: `sources` and `delegates`."""
    return yaml.safe_load(_DATA.read_text(encoding="utf-8"))


def read(path: Path) -> Graph:
    """Reads the operators and tensors of a .tflite file.

    Raises:
        InputError: there is no TFLite file at `path`.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes() if path.is_file() else b""
    if content[4:8] != b"TFL3":
        raise InputError(f"{path}: is not a TFLite file; export the network again.")
    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    graph: Any = model.subgraphs[0]  # its lists may be None by their types
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    types = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}

    def is_constant(index: int) -> bool:
        data = model.buffers[graph.tensors[index].buffer].data
        return data is not None and len(data) > 0

    operators, weights = [], set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        read_or_written = [k for k in (*operator.inputs, *operator.outputs) if k >= 0]
        kinds = frozenset(types[graph.tensors[k].type] for k in read_or_written if not is_constant(k))
        weights |= {types[graph.tensors[k].type] for k in read_or_written if is_constant(k)}
        operators.append(Operator(names[max(code.builtinCode, code.deprecatedBuiltinCode)], code.version, kinds))
    shapes: dict[str, list[int]] = {}
    for tensor in graph.tensors:
        shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        shapes[tensor.name.decode()] = [] if shape is None else list(shape)
    return Graph(
        tuple(operators),
        _precision({kind for operator in operators for kind in operator.types}, weights),
        max(map(len, shapes.values()), default=0),
        tuple(name for name, shape in shapes.items() if min(shape, default=0) < 0),
        tuple(name for name, shape in shapes.items() if len(shape) > 4),
    )


def _precision(activations: set[str], weights: set[str]) -> str:
    if "int16" in activations:
        return "int16x8"
    if activations & {"int8", "uint8"}:
        return "int8"
    return "dynamic" if "int8" in weights else "float16" if "float16" in weights else "float32"


def xnnpack_partitions(path: Path) -> tuple[int, tuple[str, ...]]:
    """Returns how many partitions XNNPACK makes of a file in LiteRT here, and the operators that it leaves out.

    One and none are best: each further partition copies a picture.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    steps = interpreter._get_ops_details()
    made_by = {int(k): step for step in steps for k in step["outputs"]}  # partitions come last, and win
    wanted, run = [int(tensor["index"]) for tensor in interpreter.get_output_details()], {}
    while wanted:
        step = made_by.get(wanted.pop())
        if step is not None and step["index"] not in run:
            run[step["index"]] = step["op_name"]
            wanted += [int(k) for k in step["inputs"]]
    names = [run[index] for index in sorted(run)]
    return names.count("DELEGATE"), tuple(name for name in names if name != "DELEGATE")


def judge(graph: Graph) -> Iterator[Verdict]:
    """Says for each delegate what it takes of a file, by its rows in delegates.yaml."""
    for name, delegate in table()["delegates"].items():
        refused, remedy = _refused(graph, delegate)
        found = [(operator, delegate["operators"].get(operator.name)) for operator in graph.operators]
        falls_back = [operator.name for operator, row in found if row is not None and not _takes(row, operator)]
        conditions = [f"{operator.name}: {row['when']}" for operator, row in found if row and row.get("when")]
        sources = [delegate["source"], *(row["source"] for _, row in found if row)]
        unknown = [operator.name for operator, row in found if row is None]
        conditions = [condition for condition in conditions if condition.split(":")[0] not in falls_back]
        yield Verdict(
            name, delegate["title"], refused, remedy,
            _once(falls_back), _once(unknown), _once(conditions), _once(sources),
        )  # fmt: skip


def _refused(graph: Graph, delegate: dict[str, Any]) -> tuple[str | None, str]:
    """Says why nothing of a file is taken, and what to do; None if that is not so."""
    if graph.precision not in delegate["types"]:
        files = ", ".join(delegate["types"])
        return f"takes {files} files, not {graph.precision}", f"export {delegate['types'][-1]}"
    if delegate["largest_rank"] and graph.rank > delegate["largest_rank"]:
        most = delegate["largest_rank"]
        return f"takes tensors of {most} dimensions at most, not {graph.rank}", "replace reshapes by depth_to_space"
    if graph.dynamic and delegate["dynamic_shapes"] is False:
        return "takes fixed sizes only", "export with a size"
    return None, ""


def _takes(row: dict[str, Any], operator: Operator) -> bool:
    # uint8 is what int8 files have at both ends; constants and shapes are int32.
    needed = {"int8" if kind == "uint8" else kind for kind in operator.types} - {"int32", "int64", "bool"}
    return (
        bool(row["types"]) and needed <= set(row["types"]) and operator.version <= row.get("version", operator.version)
    )


def _once(names: Sequence[str] | Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
