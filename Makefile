PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEBIAN_PACKAGES := openssh-server gcc libc6-dev docker.io runc containerd busybox-static iptables podman systemd \
	prometheus

.DEFAULT_GOAL := help
.PHONY: help demo test check testbed bench gpu-check clean

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP) ## the console on a simulated site
	$(BIN)/gpudeck demo

test: $(STAMP) ## the test suite
	$(BIN)/pytest -n 2 --dist loadscope

check: $(STAMP) ## lint, format, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

testbed: ## get the real servers the tests talk to: Debian packages (needs root), and a kube-apiserver, built once
	@missing=""; for package in $(DEBIAN_PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then echo "testbed: everything is there ($(DEBIAN_PACKAGES))"; exit 0; fi; \
	echo "testbed: installs the Debian packages$$missing"; \
	sudo=""; if [ "$$(id -u)" != 0 ]; then sudo=sudo; fi; \
	idle() { case "$$missing" in *prometheus*) ! command -v systemctl >/dev/null || $$sudo systemctl "$$@" prometheus.service || true;; esac; }; \
	idle mask --runtime; \
	$$sudo apt-get update -q && $$sudo apt-get install -y -q --no-install-recommends $$missing; rc=$$?; \
	idle unmask --runtime; idle disable; exit $$rc
	@bash tests/testbed/kube-apiserver.sh

bench: $(STAMP) ## what it costs: start, CPU, memory, bytes, latency
	$(BIN)/python -m tests.bench

gpu-check: $(STAMP) ## compare the probe with nvidia-smi on this machine's GPUs
	$(BIN)/python -m tests.gpu_check

clean: ## remove what make made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache
