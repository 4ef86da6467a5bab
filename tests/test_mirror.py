"""Each module is tested by the file at its mirrored place, or by the one that the table below names."""

import ast
from pathlib import Path

import pytest

from tests.imports import ROOT, modules

PACKAGE = modules()["hwprof"].parent
LOWERING = "integer/lowering/test_lowering.py"
MASKS = "integer/lowering/test_mask_lowering.py"
SEQUENCES = "integer/lowering/test_sequence_lowering.py"
WIDE = "integer/lowering/test_wide_lowering.py"
OPERATORS = "integer/lowering/test_operators.py"

# Modules without a test file of their own, and the file in tests/ that tests them by their behaviour.
TESTED_BY = {
    "__init__.py": "test_start.py",
    "__main__.py": "cli/test_bad_input.py",
    "errors.py": "cli/test_bad_input.py",
    "measurement/samples.py": "measurement/test_record.py",
    "onnx_io/external_data.py": "onnx_io/test_reading.py",
    "interfaces.py": "backends/test_contract.py",
    "testing/chains.py": "testing/test_predictors.py",
    "testing/rules.py": "testing/test_predictors.py",
    "spaces/drawing.py": "spaces/test_generic.py",
    "spaces/generic_extremes.py": "spaces/test_generic.py",
    "spaces/generic_networks.py": "spaces/test_generic.py",
    "spaces/generic_operators.py": "spaces/test_generic.py",
    "predictors/kernel_sum.py": "predictors/test_kernels.py",
    "predictors/kernel_training.py": "predictors/test_kernels.py",
    "predictors/kernel_calibration.py": "predictors/test_kernels.py",
    "predictors/shipped.py": "jobs/test_predicting.py",
    # the command line: by its commands
    "cli/app.py": "cli/test_bad_input.py",
    "cli/devices.py": "cli/test_commands.py",
    "cli/sweep.py": "cli/test_commands.py",
    "cli/history.py": "cli/test_profile.py",
    "measure/opening.py": "measure/test_fitness.py",
    "cli/doctor.py": "cli/test_commands.py",
    "cli/emulator.py": "cli/test_emulated.py",
    "cli/explain.py": "cli/test_commands.py",
    "cli/operators.py": "cli/test_commands.py",
    "cli/options.py": "cli/test_profile.py",
    "cli/output.py": "cli/test_commands.py",
    "cli/results.py": "cli/test_profile.py",
    "jobs/emulating.py": "cli/test_emulated.py",
    "jobs/predicted_operators.py": "jobs/test_predicting.py",
    "jobs/storing.py": "cli/test_store.py",
    "compress/choice.py": "compress/test_method.py",
    "compress/compressed.py": "jobs/test_compressing.py",
    "compress/float_network.py": "compress/test_networks.py",
    # runtimes: by the networks that they open
    "backends/lifetime.py": "cli/test_profile.py",
    "backends/onnx_file.py": "backends/test_onnxruntime.py",
    "backends/openvino_models.py": "backends/test_openvino.py",
    "backends/emulator/guest.py": "backends/emulator/test_backend.py",
    "backends/emulator/location.py": "backends/emulator/test_build.py",
    "backends/emulator/packages.py": "backends/emulator/test_build.py",
    "backends/emulator/process.py": "backends/emulator/test_backend.py",
    "backends/torch/execution.py": "backends/torch/test_backend.py",
    "backends/torch/kernels.py": "backends/torch/test_trace.py",
    "backends/torch/settings.py": "backends/torch/test_backend.py",
    "backends/torch/work_queue.py": "backends/torch/test_timer.py",
    "backends/tvm/database.py": "backends/tvm/test_tuning.py",
    "backends/tvm/kernels.py": "backends/tvm/test_backend.py",
    "backends/tvm/time_limit.py": "backends/tvm/test_remote.py",
    "backends/tvm/timer.py": "backends/tvm/test_backend.py",
    # the integer engine: rules by the programs that they make, the runner by the kernels' results
    "integer/lowering/attention_rule.py": SEQUENCES,
    "integer/lowering/composed_rule.py": OPERATORS,
    "integer/lowering/images.py": OPERATORS,
    "integer/lowering/numbers_rule.py": OPERATORS,
    "integer/lowering/overlap_rule.py": OPERATORS,
    "integer/lowering/pair_rule.py": OPERATORS,
    "integer/lowering/picking.py": OPERATORS,
    "integer/lowering/pooling.py": OPERATORS,
    "integer/lowering/recurrent_rule.py": SEQUENCES,
    "integer/lowering/resizing.py": OPERATORS,
    "integer/numerics/wide_product.py": "integer/kernels/test_wide_convolutions.py",
    "integer/lowering/code_rule.py": MASKS,
    "integer/lowering/embedding_rule.py": SEQUENCES,
    "integer/lowering/folding.py": SEQUENCES,
    "integer/lowering/gru_rule.py": SEQUENCES,
    "integer/lowering/lstm_rule.py": "integer/test_cells.py",
    "integer/lowering/mask_rule.py": MASKS,
    "integer/lowering/movement.py": LOWERING,
    "integer/lowering/norm_rule.py": SEQUENCES,
    "integer/lowering/product_rule.py": LOWERING,
    "integer/lowering/qlinear.py": "integer/test_onnx_cases.py",
    "integer/lowering/rules.py": LOWERING,
    "integer/lowering/symbol_table.py": LOWERING,
    "integer/lowering/tables.py": LOWERING,
    "integer/lowering/target.py": WIDE,
    "integer/program/program.py": "integer/run/test_reference.py",
    "integer/run/engine.py": "integer/kernels/test_kernels.py",
    "integer/run/moves.py": "integer/run/test_library.py",
    "integer/run/packing.py": "integer/program/test_weight_formats.py",
    "integer/run/steps.py": "integer/run/test_library.py",
    # a fleet: by what its parts do together
    "fleet/connection.py": "fleet/test_driver.py",
    "fleet/engine.py": "fleet/test_certificates.py",
    "fleet/pool.py": "fleet/test_rounds.py",
    "fleet/signing.py": "fleet/test_certificates.py",
    "fleet/transport.py": "fleet/test_measuring.py",
    # tasks and training
    "tasks/__init__.py": "tasks/test_load.py",
    "tasks/digits.py": "tasks/test_built_in.py",
    "tasks/signals.py": "tasks/test_built_in.py",
    "training/history.py": "training/test_loop.py",
    # parts of one thing
    "latency_table/bits.py": "latency_table/test_grouping.py",
    "latency_table/rows.py": "latency_table/test_table.py",
    "onnx_io/packed.py": "variants/test_low_bit.py",
    "onnx_io/runtime_messages.py": "onnx_io/test_runtime.py",
    "compress/incremental.py": "compress/test_slq.py",
    "compress/quantized_weights.py": "compress/test_lutq.py",
    "compress/integer/cell.py": "compress/integer/test_recurrent.py",
    "torch_io/functions.py": "torch_io/test_operators.py",
    "torch_io/module.py": "torch_io/test_operators.py",
    "torch_io/onnx_export.py": "variants/test_calibration.py",
    "variants/for_device.py": "variants/test_batch.py",
    "variants/observed_ranges.py": "variants/test_calibration.py",
}
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in modules().values()}


def has_code(path: Path) -> bool:
    """Whether there is more than a docstring, imports (of optional libraries, too), second names and `__all__`."""
    body = ast.parse(path.read_text()).body
    statements = [inner for node in body for inner in (node.body if isinstance(node, ast.With) else [node])]
    return not all(
        isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)
        or (
            isinstance(node, ast.Assign)
            and (isinstance(node.value, ast.Name | ast.Tuple) or ast.unparse(node.targets[0]) == "__all__")
        )
        for node in statements
    )


def mirrored(module: str) -> Path:
    """The place of the module's own tests; those of a package are named after it."""
    path = Path(module)
    name = path.parent.name if path.name == "__init__.py" else path.stem
    return ROOT / "tests" / path.parent / f"test_{name}.py"


@pytest.mark.parametrize("module", [m for m, path in MODULES.items() if has_code(path)])
def test_a_module_is_tested_at_its_mirrored_place_or_by_a_named_file(module: str):
    assert mirrored(module).exists() != (module in TESTED_BY), "either a file of its own or a line in TESTED_BY"


def test_the_table_names_modules_and_files_that_exist():
    assert {m for m in TESTED_BY if m not in MODULES} == set()
    assert {name for name in TESTED_BY.values() if not (ROOT / "tests" / name).exists()} == set()
