# make install | demo | test : each works on a fresh machine; the first sets up .venv, the others begin with it.
#
# PYTHON=python3.13 VENV=.venv-3.13 takes another Python; PARTS=plots,demo,dev leaves PyTorch out; SELECT="not slow"
# leaves out the tests that do so much arithmetic that they say nothing of a Python or a dependency.
PYTHON ?= python3
VENV ?= .venv
PARTS ?= torch,litert,plots,demo,dev
CONSTRAINTS ?= constraints.txt
SELECT ?=
BIN := $(VENV)/bin
KERNELS := $(wildcard caffe2_models/kernels/*.cpp caffe2_models/kernels/*.h)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: install demo test test-minimum test-arm lint docs zoo-sweep architecture-sweep proto clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml $(CONSTRAINTS) setup.py $(KERNELS)
	$(PYTHON) -m venv $(VENV)
	$(if $(findstring torch,$(PARTS)),$(PIP) -c $(CONSTRAINTS) torch)
	$(PIP) -c $(CONSTRAINTS) -e ".[$(PARTS)]"
	touch $@

demo: install
	$(BIN)/python scripts/demo.py

test: install lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "$(SELECT)"

# The oldest versions that setup.cfg promises, on the oldest Python: PYTHON=python3.10.
test-minimum:
	$(MAKE) install VENV=.venv-minimum PARTS=plots,demo,test CONSTRAINTS=constraints-minimum.txt
	.venv-minimum/bin/python -m pytest -n 2 --dist loadfile -m "$(SELECT)"

# The kernels for 64-bit ARM, cross-compiled and run in qemu; .arm is set up where it is not there yet.
test-arm: install
	root=$$(PYTHON=$(BIN)/python bash scripts/setup_arm.sh) && \
	PYTHON=$(BIN)/python bash scripts/build_arm.sh "$$root" && \
	ARM_ROOT="$$root" $(BIN)/python -m pytest tests/arm

# mypy for Windows too: calls that only Linux or POSIX has are errors there.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32

# The documentation as a site, in build/site; any warning is an error.
docs: install
	$(PIP) -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Minutes; goes on where it was interrupted. CAFFE2_PYTHON adds the real Caffe2 to the table.
zoo-sweep: install
	$(BIN)/python scripts/zoo_sweep.py --journal build/zoo_sweep.jsonl

architecture-sweep: install
	$(BIN)/python scripts/architecture_sweep.py --output docs/architectures.md

# The pinned compiler writes code that every protobuf from 4.25 on accepts.
proto:
	$(PYTHON) -m venv build/proto
	build/proto/bin/pip install --quiet grpcio-tools==1.62.3 "setuptools<80"
	build/proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
		caffe2_models/proto/caffe2.proto caffe2_mobile/compat/proto/*.proto

clean:
	rm -rf .venv* build *.egg-info
