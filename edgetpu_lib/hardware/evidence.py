"""What the rules of the check rest on, and the rules that hold for any operator."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Why a rule is believed.

    Attributes:
        kind: "document" (a published description), "log" (the compiler's output, in
            public), "pair" (a file and what Google's compiler made of it),
            "measurement" (somebody ran it), or "guess" (a deduction or a memory).
        source: where to find it, or what it was deduced from.
    """

    kind: str
    source: str

    def __str__(self) -> str:
        """Return "kind: source"."""
        return f"{self.kind}: {self.source}"


_FILE, _ANY = "the file", "any operator"
KINDS = ("document", "log", "pair", "measurement", "guess")


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule of the check.

    Attributes:
        code: of the findings that it gives; several rules may share one.
        about: kinds of operators, separated by spaces, or "any operator", "the file".
        demand: what must hold, or what is told.
        evidence: what the rule rests on.
    """

    code: str
    about: str
    demand: str
    evidence: tuple[Evidence, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of operators that it is about; none if it is about any."""
        is_general = self.about in (_FILE, _ANY)
        return () if is_general else tuple(self.about.split())


def document(source: str) -> Evidence:
    """Return a published description as evidence."""
    return Evidence("document", source)


def log(source: str) -> Evidence:
    """Return public output of the compiler as evidence."""
    return Evidence("log", source)


def pair(source: str) -> Evidence:
    """Return a file with its compilation by Google as evidence."""
    return Evidence("pair", source)


def measurement(source: str) -> Evidence:
    """Return something that was run as evidence."""
    return Evidence("measurement", source)


def guess(source: str) -> Evidence:
    """Return a deduction or a memory as evidence."""
    return Evidence("guess", source)


def issues(*numbers: int) -> Evidence:
    """Return logs in issues of google-coral/edgetpu as evidence."""
    plural = "s" if len(numbers) > 1 else ""
    return log(f"google-coral/edgetpu issue{plural} {', '.join(map(str, numbers))}")


TABLE = document(
    "coral.ai, TensorFlow models on the Edge TPU, as copied by Axis for ARTPEC-7"
)
CHANGES = document("google-coral/edgetpu CHANGES.md")
RECALLED = guess("recalled from the table on coral.ai, not read again")
SPARTA = "mouad-zouhdi/sparta-edgetpu, compiler 16"
POSE = pair("a pose network of google-coral/test_data: CAST and QUANTIZE stay, 98 map")

GENERAL = (
    Rule(
        "already-compiled",
        _FILE,
        "holds no operator that the compiler wrote",
        (pair("every compiled file of google-coral/test_data"),),
    ),
    Rule(
        "several-subgraphs",
        _FILE,
        "is one subgraph: no conditions, loops or composites, and one signature",
        (guess("the compiler's log counts and compiles the operators of one graph"),),
    ),
    Rule("no-operators", _FILE, "computes something", (issues(358),)),
    Rule(
        "dynamic-shape",
        _FILE,
        "has no open size, such as the batch",
        (TABLE, log("google-coral/tutorials fix_conversion_issues_ptq_tf2.ipynb")),
    ),
    Rule(
        "float-model",
        _FILE,
        "has operators that compute with integers alone",
        (issues(366, 391),),
    ),
    Rule(
        "operator-version",
        _ANY,
        "has a version that TFLite 2.5.0 registers",
        (
            measurement("TFLite 2.5.0, one file for each operator and version"),
            issues(631, 845, 879),
        ),
    ),
    Rule(
        "activations-too-large",
        _FILE,
        "has no tensor of more than 12 MiB",
        (issues(439, 651, 656), guess("12 MiB: nothing public above it compiled")),
    ),
    Rule(
        "activations-large",
        _FILE,
        "has tensors of at most 3 MiB, or they are cut up",
        (document("google-coral/libedgetpu beagle_chip_structures.h"),),
    ),
    Rule(
        "one-subgraph",
        _FILE,
        "is mapped from its inputs up to each operator that cannot be; those that read"
        " the inputs and follow no mapped operator stay in front on the CPU",
        (
            TABLE,
            issues(210, 342, 490),
            pair("DeepLab of google-coral/test_data: side branches stay mapped"),
            POSE,
            guess("any number of operators in front, and in front of any input"),
        ),
    ),
    Rule("unsupported-operator", _ANY, "is of a kind that is known", (TABLE,)),
    Rule("runtime-version", _ANY, "is known to the runtime asked for", (TABLE,)),
    Rule(
        "non-constant-weights",
        _ANY,
        "has weights, sizes and axes that are stored in the file",
        (TABLE,),
    ),
    Rule("float-tensor", _ANY, "computes with integers", (TABLE,)),
    Rule("unsupported-type", _ANY, "computes with 8-bit integers", (TABLE,)),
    Rule("no-scale", _ANY, "has tensors with a scale", (TABLE,)),
    Rule(
        "rank",
        _ANY,
        "has sizes of 1 before the three innermost dimensions",
        (TABLE, issues(75)),
    ),
    Rule(
        "float-input",
        "QUANTIZE",
        "of a float input stays on the CPU, in front",
        (issues(13), POSE),
    ),
    Rule(
        "quantize-inside",
        "QUANTIZE",
        "of floats inside the model stays on the CPU; of integers it is mapped",
        (TABLE, pair("DeepLab of google-coral/test_data")),
    ),
    Rule(
        "float-output",
        "DEQUANTIZE",
        "of a float output stays on the CPU",
        (issues(490),),
    ),
    Rule(
        "detection-postprocessing",
        "TFLite_Detection_PostProcess",
        "stays on the CPU, and the rest is mapped",
        (pair("the published detection models of google-coral/test_data"),),
    ),
    Rule(
        "per-channel-fully-connected",
        "FULLY_CONNECTED",
        "has one scale for all weights, or predicts wrongly in some interpreters",
        (
            measurement(
                f"{SPARTA}: compiled and run on the device, 77.4 % against 77.8 % of"
                " the float model: the compiler seems to compute it rightly"
            ),
            measurement("TFLite 2.4 to 2.9 on a CPU give zeros, TFLite 2.10 does not"),
        ),
    ),
    Rule(
        "parameters-streamed",
        _FILE,
        "has parameters that fit into the chip's cache, or they are sent each time",
        (log("HanChangHun/EdgeTPU-Compiler-Log-Parser"),),
    ),
    Rule(
        "input-contract",
        _FILE,
        "is fed as its scale and zero point say",
        (document("google-coral/libcoral coral/classification/model_test_cases.bzl"),),
    ),
)
_BY_CODE = {rule.code: rule.evidence for rule in GENERAL}


def of_code(code: str) -> tuple[Evidence, ...]:
    """Return the evidence of a rule that is not of one kind of operator alone."""
    return _BY_CODE.get(code, ())
