# Every target sets up what it needs. TORCH_BACKEND=cpu installs PyTorch without CUDA (0.3 GB
# instead of 5): versions are then those of the lock, hashes are not checked for PyTorch's own index. What
# the environment was made with it keeps; TORCH_BACKEND= makes it anew with CUDA.
VENV := .venv
PYTHON ?= python3
UV_VERSION := 0.13.9
CONFIG ?=
NEU_DET ?=
BIN := $(VENV)/bin
PACKAGES := config daemon migrations models training
MADE_WITH := $(patsubst $(VENV)/.ready-%,%,$(firstword $(wildcard $(VENV)/.ready-*)))
BACKEND := $(if $(filter undefined,$(origin TORCH_BACKEND)),$(MADE_WITH),$(TORCH_BACKEND))
READY := $(VENV)/.ready$(if $(BACKEND),-$(BACKEND))

.PHONY: setup demo run test lint docs bench soak fuzz model line-start lock clean \
	install upgrade uninstall bundle systemd-test licences sbom audit-dependencies

setup: $(READY)

demo: $(READY)
	$(BIN)/millwatch demo

run: $(READY)
	$(BIN)/millwatch run $(if $(CONFIG),--config $(CONFIG))

# Three tests at a time, on two cores too, as most of them wait. One thread for each network: several
# daemons at a time would fight for the processor. What Python compiles, it keeps, whatever the
# environment says: pytest takes ten seconds of each process to compile the tests anew.
test: $(READY)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n 4 --dist worksteal $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@command -v shellcheck >/dev/null || echo "not linted: shellcheck is not installed, for the scripts"
	@! command -v shellcheck >/dev/null || shellcheck -x systemd/*.sh tests/systemd/*.sh .ci/run

docs: $(READY)
	$(BIN)/python docs/build.py build/docs

bench: $(READY)
	$(BIN)/pytest -m benchmark -s tests/benchmarks

# A line that is killed again and again while cameras write: SOAK_IMAGES, SOAK_CYCLES, SOAK_SEED.
soak: $(READY)
	$(BIN)/pytest -m soak -s tests/soak

# Made-up picture files for ten minutes: FUZZ_SECONDS, FUZZ_SEED.
fuzz: $(READY)
	$(BIN)/pytest -m fuzz -s tests/fuzz

# The model that ships, from NEU-DET's training part (a folder or a zip), in a good hour on two free
# cores, in minutes on a GPU. What is interrupted goes on where it ended.
model: $(READY)
	@test -n "$(NEU_DET)" || { echo "name the data: make model NEU_DET=path/to/NEU-DET"; exit 1; }
	$(BIN)/millwatch prepare "$(NEU_DET)" --select-percent 10 --test-percent 5 --out build/model/manifest.json
	$(BIN)/millwatch train build/model/manifest.json --out build/model/model
	$(BIN)/millwatch export build/model/model --manifest build/model/manifest.json
	$(BIN)/millwatch evaluate build/model/model build/model/manifest.json --corruptions

# What a line's own network starts from: taught on made-up surfaces alone, above the first stage of the
# model that ships, in about an hour of one core. What ships was taught longer, in minutes of a GPU
# (docs/experiments.md).
line-start: $(READY)
	$(BIN)/python -m training.retraining.flaw_teaching

# After a change of the dependencies in pyproject.toml. The second lock is the part of the first that a
# line PC gets.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --all-extras --python-version 3.11 \
		--no-header --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --extra line --python-version 3.11 \
		--no-header --no-annotate --constraints requirements.lock \
		--output-file requirements-line.lock pyproject.toml

# On the line PC, as root: PREFIX, DESTDIR, PYTHON, TORCH_BACKEND, GPU=1; PURGE=1 to uninstall with all data. What is
# installed keeps its PREFIX, its GPU=1 and its PyTorch; TORCH_BACKEND= brings the one with CUDA.
export PREFIX DESTDIR PYTHON GPU PURGE OUT
ifneq ($(origin TORCH_BACKEND),undefined)
export TORCH_BACKEND
endif
install upgrade uninstall:
	systemd/$@.sh

# An archive that installs where there is no network.
bundle:
	systemd/bundle.sh

# In a Debian of its own with a real systemd, in a few minutes: needs root, debootstrap, systemd-nspawn.
systemd-test: $(READY)
	tests/systemd/run.sh || [ $$? = 77 ]

# Of what a line PC gets: docs/licences.md, build/millwatch.cdx.json (CycloneDX), and known weaknesses, which asks
# PyPI and fails where that cannot be reached.
licences sbom: $(READY)
	$(BIN)/python systemd/supply.py $@

audit-dependencies: $(READY)
	$(BIN)/uv tool run pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements-line.lock

clean:
	rm -rf $(VENV) build *.egg-info

# Compiled once, or each of hundreds of processes that a test run starts compiles 700 modules anew where
# PYTHONDONTWRITEBYTECODE is set: two seconds of three.
$(READY): export UV_COMPILE_BYTECODE := 1
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Millwatch needs Python 3.11 or later; name one with PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
		{ echo "Python has no venv; on Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
ifeq ($(BACKEND),)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
else
	grep -oE '^[A-Za-z0-9._-]+==[^ ;\\]+' requirements.lock > $(VENV)/constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=$(BACKEND) \
		--constraints $(VENV)/constraints.txt ".[dev]"
endif
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q $(PACKAGES)
	rm -f $(VENV)/.ready*
	touch $@
