"""Facts on the Edge TPU, its compiler and its memory.

Google's compiler 16.0.384591198 of 2021 is the last; its rules are not published, so
each fact names where it was observed.
"""

from __future__ import annotations

from typing import Any

from edgetpu_lib.hardware.evidence import (
    CHANGES,
    RECALLED,
    SPARTA,
    TABLE,
    Rule,
    guess,
    issues,
    log,
    pair,
)

MIB = 1 << 20


def by_name(*rows: tuple[Any, str]) -> dict[str, Any]:
    """Return name → value of rows of a value and the names that have it."""
    return {name: value for value, names in rows for name in names.split()}


# Versions of the runtime a compiled file can ask for (`--min_runtime_version`).
# Source: google-coral/libedgetpu api/runtime_version.h.
OLDEST_RUNTIME = 10
NEWEST_RUNTIME = 14

# First runtime, operators that the compiler knows, and why this is believed.
_KNOWN = (
    (
        10,
        "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED"
        " L2_NORMALIZATION LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PAD RELU RELU6"
        " RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX"
        " SPACE_TO_DEPTH SPLIT SQUEEZE STRIDED_SLICE SUB TANH",
        (TABLE,),
    ),
    (13, "EXPAND_DIMS PACK QUANTIZE SUM TRANSPOSE_CONV", (TABLE, CHANGES)),
    (13, "PRELU", (TABLE, guess("runtime 13"))),
    (14, "REDUCE_MAX REDUCE_MIN SQUARED_DIFFERENCE", (RECALLED,)),
    (14, "UNIDIRECTIONAL_SEQUENCE_LSTM", (RECALLED,)),
    (14, "RSQRT", (issues(384), guess("runtime 14"))),
    (14, "TRANSPOSE", (issues(433), guess("runtime 14"))),
    (
        14,
        "BATCH_MATMUL",
        (log(f"{SPARTA}: mapped once quantized per tensor"), guess("runtime 14")),
    ),
    (
        14,
        "TILE",
        (
            pair("one published compilation; all that is known is in its own rule"),
            guess("runtime 14"),
        ),
    ),
)
# Operators the compiler knows → first runtime that runs them.
SUPPORTED = by_name(*((runtime, kinds) for runtime, kinds, _ in _KNOWN))
SUPPORTED_RULES = tuple(
    Rule("runtime-version", kinds, f"is known since runtime {runtime}", evidence)
    for runtime, kinds, evidence in _KNOWN
)

# Highest version of each operator that TensorFlow Lite 2.5.0 registers; the compiler
# was built within weeks of it and refuses a whole model for one operator beyond.
# Source: measured with that release, one file an operator and version.
NEWEST_OPERATOR_VERSION = by_name(
    (1, "EXP EXPAND_DIMS HARD_SWISH PRELU RELU_N1_TO_1 RESHAPE"),
    (2, "L2_NORMALIZATION QUANTIZE RSQRT SPACE_TO_DEPTH SQUARED_DIFFERENCE"),
    (2, "SQUEEZE SUM"),
    (3, "ADD AVERAGE_POOL_2D CONCATENATION LOGISTIC MAX_POOL_2D MEAN PACK PAD"),
    (3, "PADV2 REDUCE_MAX REDUCE_MIN RELU RELU6 SOFTMAX TANH TRANSPOSE_CONV"),
    (4, "DEQUANTIZE MAXIMUM MINIMUM MUL RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR"),
    (4, "SPLIT"),
    (5, "CONV_2D SLICE STRIDED_SLICE SUB TRANSPOSE"),
    (6, "DEPTHWISE_CONV_2D"),
    (9, "FULLY_CONNECTED"),
)

# Source: coral.ai, the same table.
SOFTMAX_MAX_ELEMENTS = 16_000
# The smallest map whose MEAN was reported as not mapped (256 × 128).
# Source: google-coral/edgetpu issues 183 and 461.
MEAN_MAX_POSITIONS = 256 * 128 - 1
# DeepLab's 1 → 33 stays on the CPU, twofold enlargements are mapped; the limit lies
# somewhere between. Source: Google's compiled test files.
RESIZE_MAX_FACTOR = 8

# Narrow memory, for activations: 16 tiles of 192 KiB.
# Source: google-coral/libedgetpu beagle_chip_structures.h.
ACTIVATION_BYTES = 3 * MIB
# Tensors up to three times that memory are cut up and compile (PoseNet 721 × 1281 has
# 5.3 MiB); beyond four times nothing public did. A deduction, not a documented limit.
ACTIVATION_LIMIT_BYTES = 4 * ACTIVATION_BYTES
# Wide memory, 8 MiB, holds parameters and what else the compiler puts there, which is
# not known. What it reported as cached, by the side of the image, pixels → MiB; between
# two of them: interpolated. Neither the largest map, nor the maps an operator reads and
# writes, nor all that are alive put these reports in order; the side of the image does.
# Source: 96, 512 and 768, mouad-zouhdi/sparta-edgetpu; 240, S and M compiled together,
# HanChangHun/EdgeTPU-Compiler-Log-Parser; 299, Inception v3, sparta-edgetpu. For 224 it
# reports 7.14 for two ResNets and 6.59 for GoogLeNet, which are not used.
PARAMETER_CACHE = ((96, 7.70), (240, 7.41), (299, 5.53), (512, 4.62), (768, 3.91))
# Bytes of a filter besides its weights, with its bias. Filters are padded to the cells
# of a tile, the depth of a convolution to the bytes that a cell multiplies at once. All
# that is within 1 % of what the compiler reported for 30 networks (a test).
# Source: mouad-zouhdi/sparta-edgetpu, Jorgitou98/EdgeTPU-QuantRL-Evaluation.
FILTER_BYTES = 12
DENSE_FILTER_BYTES = 4

# Source: google-coral/libedgetpu beagle_chip_structures.h. That a cell multiplies four
# bytes at once is a deduction: it gives the 4 TOPS that Google tells.
TILES = 16
CELLS_PER_TILE = 64
MACS_PER_CELL = 4
MULTIPLIERS = TILES * CELLS_PER_TILE * MACS_PER_CELL
# libedgetpu1-max and libedgetpu1-std; over PCIe both run at the first.
# Source: beagle_top_level_handler.cc and edgetpu_manager_direct.cc of the same.
CLOCK_HZ = {"max": 500e6, "std": 250e6}

# Statuses in the compiler's operation log.
# Source: google-coral/edgetpu issues 25, 27, 75, 317, 396, 433, 461.
MAPPED = "Mapped to Edge TPU"
CUT_OFF = "More than one subgraph is not supported"
LIMITATION = (
    "Operation is otherwise supported, but not mapped"
    " due to some unspecified limitation"
)
WRONG_TYPE = "Operation is working on an unsupported data type"
NOT_SUPPORTED = "Operation not supported"
WRONG_RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
# Not the compiler's: for a file that it refuses, which has no operation log.
NOT_COMPILED = "Not compiled"
