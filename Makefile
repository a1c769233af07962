# Everything is made in .venv and build/; every target prepares what it needs and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PROTOS := protos/v1beta1/deviceplugin.proto protos/v1/podresources.proto protos/npu_agent/v1/agent.proto protos/grpc/health/v1/health.proto

.PHONY: help demo test check mutants e2e e2e-cluster kubelets chart manifests soak bench wheel protos lock clean

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 21

demo: $(READY) ## Run the agent, fake cards and a simulated kubelet, step by step (no root, 2 s)
	@$(BIN)/npu-agent demo

test: $(READY) ## Run the tests that need neither root nor a real kubelet
	$(BIN)/pytest -q -n auto --dist worksteal tests

check: $(READY) ## Lint, types, layers, and that generated files are fresh
	PYTHON=$(BIN)/python ./scripts/check

mutants: $(READY) ## Break the core in small ways and say which of them no test notices (some minutes; MODULES="core.health ...")
	@$(BIN)/python scripts/mutants.py $(MODULES)

e2e: $(READY) ## Run the scenarios on a real kubelet and containerd (root; builds them once; PROGRAM=dist/npu-agent)
	@$(BIN)/python -m tests.e2e.programs
	NPU_AGENT_PROGRAM=$(or $(PROGRAM),$(NPU_AGENT_PROGRAM)) $(BIN)/pytest -q -m e2e tests/e2e

e2e-cluster: $(READY) dist/npu-agent-image.tar ## Run the scenarios of a whole cluster, of Kubernetes 1.36.3 or KUBERNETES=1.30.14 (root; builds it once)
	@KUBERNETES="$(KUBERNETES)" $(BIN)/python -m tests.e2e.programs --cluster
	@$(BIN)/python -m tests.cluster.example_images
	KUBERNETES="$(KUBERNETES)" $(BIN)/pytest -q -n 2 --dist loadfile -m cluster tests/cluster

e2e-image: $(READY) ## Run the tests of the single binary and of the image (root; builds them once)
	$(BIN)/pytest -q -m image tests/container

kubelets: $(READY) ## Run the scenarios on kubelet's own device manager, all versions or VERSIONS="1.28.15 1.36.3" (root; builds them once)
	@$(BIN)/python -m tests.kubelets.build $(VERSIONS)
	KUBELET_VERSIONS="$(VERSIONS)" $(BIN)/pytest -q -m kubelets tests/kubelets

chart: $(READY) ## Lint and test the Helm chart with helm, and compare container/manifests with it (Go; builds helm once)
	@$(BIN)/python -m tests.e2e.helm lint --strict --quiet container/chart/npu-agent
	$(BIN)/python scripts/render_manifests.py build/manifests
	diff -r container/manifests build/manifests
	$(BIN)/pytest -q -n auto -m chart tests/chart

manifests: $(READY) ## Render container/manifests from the chart (Go; builds helm once)
	$(BIN)/python scripts/render_manifests.py

soak: $(READY) ## Restart, cut and break the same kubelets and the agent for some minutes (root; VERSIONS as above)
	KUBELET_VERSIONS="$(VERSIONS)" $(BIN)/python -m tests.kubelets.soak

bench: $(READY) ## Measure the figures of README.md and write build/bench.json
	$(BIN)/python -m benchmarks

.PHONY: bench-fleet
bench-fleet: $(READY) ## Measure a thousand label writers on a real API server, and write build/bench-fleet.json (root; builds it once)
	$(BIN)/python -m benchmarks.fleet $(COUNT)

wheel: $(READY) ## Build dist/npu_agent-VERSION-py3-none-any.whl
	$(BIN)/python -c "import flit_core.buildapi, pathlib; pathlib.Path('dist').mkdir(exist_ok=True); print('dist/' + flit_core.buildapi.build_wheel('dist'))"

.PHONY: binary image reproducible e2e-image
binary: ## Build dist/npu-agent, one file for hosts, and dist/npu-agent.folder/, which the image has
	@$(PYTHON) -m container.binary $(if $(BACKENDS),--backends $(BACKENDS))

image: ## Build dist/npu-agent-image.tar from scratch, with buildah (root; NAME=registry/npu-agent:TAG, BASE=python:3.11-bookworm)
	@$(PYTHON) -m container.image $(if $(NAME),--name $(NAME)) $(if $(BASE),--base $(BASE)) $(if $(BACKENDS),--backends $(BACKENDS))

dist/npu-agent-image.tar: $(shell git ls-files npu_agent container requirements/binary.txt pyproject.toml)
	@$(PYTHON) -m container.image

reproducible: ## Build both again elsewhere and show that they are the same to the last bit
	@$(PYTHON) -m container.reproducible

protos: $(READY) ## Generate npu_agent/api from protos/
	PATH="$(CURDIR)/$(BIN):$$PATH" ./scripts/generate-api npu_agent/api

lock: $(READY) ## Lock the newest allowed versions of the dependencies, with hashes
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -o requirements/runtime.txt pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -c requirements/runtime.txt -o requirements/development.txt --group dev pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -c requirements/runtime.txt -o requirements/binary.txt --group binary pyproject.toml

clean: ## Remove what the other targets made
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): requirements/development.txt pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "npu-agent needs Python 3.11 or newer with venv; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3." >&2; exit 1; }
	@echo "preparing .venv (once; it needs the network and takes from a quarter of a minute to a minute)"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@echo "  fetching and checking $$(grep -c == $<) locked packages"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/development.txt
	@echo "  installing npu-agent into it"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)
