"""The codes by which Caffe2's files and tables name dtypes (TensorProto.DataType)."""

import numpy as np

# BYTE (3) is an alias that old files use for UINT8 (6).
NUMPY_OF_CODE: dict[int, np.dtype] = {
    code: np.dtype(kind)
    for code, kind in {
        1: np.float32,
        2: np.int32,
        3: np.uint8,
        5: np.bool_,
        6: np.uint8,
        7: np.int8,
        8: np.uint16,
        9: np.int16,
        10: np.int64,
        12: np.float16,
        13: np.float64,
    }.items()
}

CODE_OF_NAME: dict[str, int] = {
    "FLOAT": 1,
    "INT32": 2,
    "BYTE": 3,
    "BOOL": 5,
    "UINT8": 6,
    "INT8": 7,
    "UINT16": 8,
    "INT16": 9,
    "INT64": 10,
    "FLOAT16": 12,
    "DOUBLE": 13,
}

# By numpy's names, one code each.
CODE_OF_NUMPY: dict[str, int] = {dtype.name: code for code, dtype in NUMPY_OF_CODE.items() if code != 3}
