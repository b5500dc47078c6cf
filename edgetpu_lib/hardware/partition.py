"""Which operators of a file the compiler maps, and what it says of the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edgetpu_lib.hardware import edge_tpu, operator_rules
from edgetpu_lib.hardware.operator_limits import Problem, View
from edgetpu_lib.tflite.file import Operator, TfliteFile

DETECTION = "TFLite_Detection_PostProcess"
# What may follow a network without being a layer of it.
_POSTPROCESSING = frozenset(
    (
        *(DETECTION, "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"),
        *("ARG_MAX", "ARG_MIN", "TOPK_V2", "CAST", "DEQUANTIZE", "GATHER", "GATHER_ND"),
    )
)


@dataclasses.dataclass(frozen=True)
class _Places:
    """Sets of tensors that tell where an operator stands.

    Attributes:
        inputs: of the model.
        outputs: of the model.
        front: inputs, and what is computed in front of the mapped part.
        read: what operators read, but for those that only convert an output.
        detected: what the postprocessing of detections reads.
    """

    inputs: set[int]
    outputs: set[int]
    front: set[int]
    read: set[int]
    detected: set[int]

    @classmethod
    def of(cls, file: TfliteFile, problems: list[list[Problem]]) -> _Places:
        outputs, read, detected = set(file.outputs), set(), set()
        for operator in file.operators:
            converts = operator.kind in ("QUANTIZE", "DEQUANTIZE")
            if not (converts and set(operator.outputs) <= outputs):
                read |= set(operator.inputs)
            if operator.kind == DETECTION:
                detected |= set(operator.inputs)
        front = _tensors_in_front(file, problems)
        return cls(set(file.inputs), outputs, front, read, detected)


def problems_in_place(file: TfliteFile, views: Sequence[View]) -> list[list[Problem]]:
    """Return each operator's problems, named after where it stands in the file."""
    problems = [list(operator_rules.problems_of(view)) for view in views]
    places = _Places.of(file, problems)
    return [
        [_in_place(problem, view, places) for problem in problems[view.operator.index]]
        for view in views
    ]


def statuses(file: TfliteFile, problems: list[list[Problem]]) -> list[str]:
    """Return the compiler's status of each operator.

    One subgraph is mapped. It begins at the inputs, or behind the operators in front
    of it that cannot be mapped, and ends where one cannot; whatever follows that one
    is cut off, and branches beside it stay.
    """
    front = _tensors_in_front(file, problems)
    on_cpu: set[int] = set()
    words = []
    for operator in file.operators:
        found = problems[operator.index]
        if found:
            words.append(found[0].status)
        elif on_cpu & set(operator.inputs):
            words.append(edge_tpu.CUT_OFF)
        else:
            words.append(edge_tpu.MAPPED)
        if words[-1] != edge_tpu.MAPPED:
            on_cpu |= set(operator.outputs) - front - {-1}
    return words


def leaves_postprocessing_alone(file: TfliteFile, words: Sequence[str]) -> bool:
    """Return whether only postprocessing runs on the CPU, behind what is mapped.

    Whatever follows the postprocessing of a detection belongs to it.
    """
    left = [o for o in file.operators if words[o.index] != edge_tpu.MAPPED]
    if not left or len(left) == len(words):
        return False
    behind: set[int] = set()
    mapped: set[int] = set()
    for operator in file.operators:
        if operator in left:
            follows = bool(behind & set(operator.inputs))
            if not follows and not _is_postprocessing(operator, mapped | behind):
                return False
            if follows or operator.kind == DETECTION:
                behind |= set(operator.outputs)
        mapped |= set(operator.outputs)
    return True


def _is_postprocessing(operator: Operator, computed: set[int]) -> bool:
    is_known = operator.kind in _POSTPROCESSING
    return is_known and bool(computed & set(operator.inputs))


def _tensors_in_front(file: TfliteFile, problems: list[list[Problem]]) -> set[int]:
    """Return the model's inputs and what is computed in front of the mapped part.

    An operator stands in front if it cannot be mapped and reads nothing else that is
    computed. One that reads constants alone does not.
    """
    front = set(file.inputs)
    for operator in file.operators:
        read = {i for i in operator.inputs if i >= 0}
        computed = {i for i in read if not file.tensors[i].is_constant}
        if problems[operator.index] and computed and computed <= front:
            front |= set(operator.outputs) - {-1}
    return front


def _in_place(problem: Problem, view: View, places: _Places) -> Problem:
    """Return a problem with a code and a remedy that fit where its operator stands."""
    operator, kind = view.operator, view.operator.kind
    read, computed = set(operator.inputs), set(operator.outputs)
    change = {}
    if kind == DETECTION or (kind == "DEQUANTIZE" and computed <= places.detected):
        change = {
            "code": "detection-postprocessing",
            "reason": "the postprocessing of detections runs on the CPU, as in every"
            " published detection model",
            "remedy": "none, if it is all that is left: --allow_cpu_tail takes that for"
            " ready",
        }
    elif kind == "QUANTIZE" and view.inputs[0].is_float and read <= places.front:
        change = _float_front(read <= places.inputs)
    elif kind == "QUANTIZE" and problem.code == "float-tensor":
        change = {
            "code": "quantize-inside",
            "reason": "floats become integers in the middle of the model",
            "remedy": "quantize what comes before it, too",
        }
    elif kind == "DEQUANTIZE" and computed <= places.outputs:
        change = {
            "code": "float-output",
            "status": edge_tpu.WRONG_TYPE,
            "reason": "the output is float; its DEQUANTIZE stays on the CPU",
            "remedy": "convert with inference_output_type=tf.uint8",
        }
    elif kind == "CAST" and read <= places.inputs:
        change = {
            "reason": "the input is cast to another type; the Edge TPU has no CAST",
            "remedy": "give the Keras model a float32 input, and convert with"
            " inference_input_type=tf.uint8",
        }
    elif problem.remedy == operator_rules.REPLACE:
        change = {"remedy": _replacement(operator, places)}
    return dataclasses.replace(problem, **change)


def _float_front(is_input: bool) -> dict[str, str]:
    """Return what is said of a QUANTIZE of floats in front of the mapped part."""
    if is_input:
        reason = "the input is float; its QUANTIZE stays on the CPU"
        remedy = "convert with inference_input_type=tf.uint8"
    else:
        reason = "floats are computed in front of it; it stays on the CPU with them"
        remedy = "compute on the host what stands in front, and feed integers"
    status = edge_tpu.LIMITATION
    return {"code": "float-input", "status": status, "reason": reason, "remedy": remedy}


def _replacement(operator: Operator, places: _Places) -> str:
    """Return a remedy for an operator that no other of its kind can replace."""
    computed = set(operator.outputs)
    if not places.read & computed:
        return "nothing follows it: leave it to the CPU, or compute it on the host"
    if places.front & computed:
        return "what follows is mapped all the same; to be rid of it, feed its result"
    return operator_rules.REPLACE
