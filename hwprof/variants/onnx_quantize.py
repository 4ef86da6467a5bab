"""Static int8 quantization of a model file by onnxruntime.quantization, as a program of its own.

A process apart keeps the quantizer's chatter, memory and threads away from whoever measures, and a crash
in it becomes an error there. Its last line on stdout is a JSON list of warnings for the user.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from hwprof.onnx_io import save

# The Linux wheels from 1.29 on write files, start a thread and try to upload unless this stands before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
from onnxruntime import set_default_logger_severity
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

_TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
_PER_CHANNEL_OPSET = 13  # DequantizeLinear knows an axis from here on
_ERRORS_ONLY = 3


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            stacked = {name: arrays[name] for name in arrays}
        self._feeds: Iterator[dict[str, np.ndarray]] = (
            dict(zip(stacked, sample, strict=True)) for sample in zip(*stacked.values(), strict=True)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantize_file(source: Path, samples: Path, target: Path, types: str, work: Path) -> list[str]:
    """Writes `target`; returns warnings. `types` names activations, then weights: "u8s8".

    samples: an .npz with [n_samples, *shape] for each input. work: a folder for intermediate files.
    """
    large = source.with_name(f"{source.name}.data").exists()
    prepared, warnings = _prepared(source, work, large)
    quantize_static(
        prepared,
        target,
        _Samples(samples),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=_TYPES[types[:2]],
        weight_type=_TYPES[types[2:]],
        use_external_data_format=large,
    )
    return warnings


def _prepared(source: Path, work: Path, large: bool) -> tuple[Path, list[str]]:
    """The file with a sufficient opset, batch normalization folded and shapes inferred."""
    model = onnx.load(source, load_external_data=False)
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < _PER_CHANNEL_OPSET:
        newer = onnx.version_converter.convert_version(onnx.load(source), _PER_CHANNEL_OPSET)
        source = work / "converted.onnx"
        save(newer, source)
    prepared = work / "prepared.onnx"
    try:
        quant_pre_process(source, prepared, skip_symbolic_shape=True, save_as_external_data=large)
    except Exception as error:  # noqa: BLE001 - it raises plain Exception; the file is good enough without, and that is said
        return source, [f"quantized without ONNX Runtime's pre-processing, which failed: {error}"]
    return prepared, []


def main(source: str, samples: str, target: str, types: str, work: str) -> None:
    """The arguments are those of `quantize_file`, as the command line gives them."""
    set_default_logger_severity(_ERRORS_ONLY)
    warnings = quantize_file(Path(source), Path(samples), Path(target), types, Path(work))
    print(json.dumps(warnings))  # noqa: T201 - the answer to the parent process


if __name__ == "__main__":
    main(*sys.argv[1:])
