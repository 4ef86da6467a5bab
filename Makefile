# make demo: profile a real network on this machine.  make test: everything that is checked.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
DEMO_STORE = build/demo.db

.PHONY: demo test lint unit test-avx2 sanitize test-arm reports fuzz clean

demo: $(VENV)/.demo
	@mkdir -p build
	$(VENV)/bin/hwprof doctor
	$(VENV)/bin/hwprof profile mobilenet_v2 --store $(DEMO_STORE) || [ $$? -eq 4 ]
	$(VENV)/bin/hwprof compare mobilenet_v2 --variant int8 --fast --store $(DEMO_STORE) || [ $$? -eq 4 ]
	$(VENV)/bin/hwprof report mobilenet_v2 --store $(DEMO_STORE) -o build/demo.html
	@echo "open build/demo.html in a browser"

test: lint unit

lint: $(VENV)/.test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

# A file's tests run in one process, one after the other; at most four processes, each with one thread for torch.
unit: $(VENV)/.test
	$(VENV)/bin/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# What depends on the processor, as on one with AVX2 and nothing newer: torch and oneDNN by their own switches, ONNX
# Runtime, which has none, on an emulated Haswell where qemu-x86_64 is installed (Debian: qemu-user).
AVX2 = ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
QEMU = qemu-x86_64
test-avx2: $(VENV)/.test
	$(AVX2) $(VENV)/bin/python -m pytest -m processor
	if command -v $(QEMU); then $(AVX2) $(QEMU) -cpu Haswell $(VENV)/bin/python -m pytest -q -p no:cacheprovider \
		-p no:xdist tests/variants/test_calibration.py -k 'nearly and convolutional'; fi

# The integer kernels' tests on a build that stops at a bad access, an overflow or another undefined operation, and in
# which others stand in for the instructions of AMX and AVX-VNNI. 6 minutes on one core.
sanitize: $(VENV)/.test
	$(VENV)/bin/python hwprof/integer/kernels/compile.py build/sanitized \
		-O1 -fsanitize=address,undefined -fno-sanitize-recover=all
	LD_PRELOAD=$$($(CXX) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
		HWPROF_TEST_KERNELS=build/sanitized $(VENV)/bin/python -m pytest -q tests/integer/kernels/test_kernels.py \
		tests/integer/run/test_library.py tests/integer/numerics/test_recurrent.py \
		tests/integer/program/test_weight_formats.py \
		tests/integer/kernels/test_sequence_kernels.py tests/integer/numerics/test_gated.py \
		tests/integer/kernels/test_wide_kernels.py

# On an emulated ARM machine, made in ~/.cache/hwprof once (10 minutes, 1.3 GB): what counts on it, what is built for it
# here, and what runs on it.
test-arm: $(VENV)/.test
	$(VENV)/bin/hwprof emulator build
	$(VENV)/bin/python -m tests.arm.in_root
	HWPROF_TEST_ARM=1 $(VENV)/bin/python -m pytest tests/backends/emulator tests/cli/test_emulated.py tests/arm

# What stands in reports/ about measuring: an hour and a half, on a machine that does nothing else.
reports: $(VENV)/.test
	tests/benchmarks/profile_networks.sh
	$(VENV)/bin/python tests/benchmarks/protocol_claims.py run
	$(VENV)/bin/python tests/benchmarks/protocol_claims.py report
	$(VENV)/bin/python tests/benchmarks/integer_kernels.py

# Reads changed models, predictors, tables, data sets and stores: `make fuzz FUZZ_SECONDS=3600 FUZZ_SEED=7`. Each has to
# give a result or a one-line error; the others are kept in build/fuzz.
FUZZ_SECONDS = 600
FUZZ_SEED = 0
fuzz: $(VENV)/.test
	$(VENV)/bin/python -m tests.fuzz $(FUZZ_SECONDS) $(FUZZ_SEED)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hwprof needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[onnxruntime]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all,test]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf build $(VENV)
