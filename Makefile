# `make burgers` and `make test` need only python >= 3.11 and make; they install the rest into .venv.
PYTHON ?= python3
BIN := .venv/bin
BENCH := $(BIN)/python -m benchmarks
READY := .venv/.ready
PDE := .venv/.ready-pde
TEST := .venv/.ready-test
LINT := .venv/.ready-lint
DOCS := .venv/.ready-docs
WORKDIR ?= runs/burgers
# A smoke run compiles far longer than it computes: without optimization it takes half the time.
QUICK := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
	--xla_cpu_parallel_codegen_split_count=1
CUDA := $(shell nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p')
GPU := $(if $(CUDA),$(shell [ $(CUDA) -ge 13 ] && echo "[cuda13]" || echo "[cuda12]"),)

# The peers have a separate environment. If pip finds no CPU build of torch, name a wheel: TORCH=...
PEERS := .venv-peers
TORCH ?= torch==2.13.0

.PHONY: burgers smoke apebench test lint docs bench bench-full bench-peers sky

burgers: $(READY)
	@echo '+ $(BIN)/python runners/fast_to_sota.py --config configs/burgers.py --workdir $(WORKDIR)'
	@$(BIN)/python runners/fast_to_sota.py --config configs/burgers.py --workdir $(WORKDIR)

smoke: $(READY)
	@echo '+ XLA_FLAGS="$(QUICK)" $(BIN)/python runners/fast_to_sota.py --config configs/burgers.py:smoke'
	@XLA_FLAGS="$(QUICK)" $(BIN)/python runners/fast_to_sota.py --config configs/burgers.py:smoke

# The ten scenarios of one dimension, one seed: twenty trainings, 68 CPU-minutes, as many side by side
# as there are cores: 38 minutes on two hardware threads. Interrupted, it resumes. The published
# table, benchmarks/results/apebench.json, stays as it is.
apebench: $(PDE)
	@echo '+ $(BENCH) apebench --out runs/apebench.json'
	@$(BENCH) apebench --out runs/apebench.json

test: $(TEST)
	@echo '+ $(BIN)/python -m pytest'
	@$(BIN)/python -m pytest

lint: $(TEST) $(LINT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

# The documentation site, with the notebooks of its gallery executed: open build/docs/index.html.
docs: $(DOCS)
	@echo '+ $(BIN)/python -m sphinx -W --keep-going -q docs build/docs'
	@$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

bench: WORKDIR = runs/burgers
bench: $(PDE) burgers
	@for run in 'burgers.py --config.seed=1 --workdir runs/burgers-seed1' \
		'burgers.py --config.seed=2 --workdir runs/burgers-seed2' 'burgers.py:hybrid --config.num_seeds=3' \
		burgers.py:nu0.01 burgers.py:nu0.1 burgers.py:nu1 burgers.py:joint burgers.py:sparse kuramoto.py \
		'apebench.py --config.num_seeds=3' apebench.py:1d_diff_burgers-constrained; do \
		echo "+ $(BIN)/python runners/fast_to_sota.py --config configs/$$run"; \
		$(BIN)/python runners/fast_to_sota.py --config configs/$$run || exit 1; done
	@$(BENCH) collect runs/burgers runs/burgers-* runs/kuramoto runs/apebench*
	@for bench in sampler convolution generator scaling startup ablation viscosities streaming multi_device sweep \
		'time_to_target --task apebench --seconds 20' 'rollout runs/burgers runs/burgers-hybrid' \
		'transfer runs/burgers runs/burgers-hybrid' 'search_cost runs/burgers' joint_cost \
		'refinement runs/burgers runs/burgers-seed1 runs/burgers-seed2' table; do \
		echo "+ $(BENCH) $$bench"; $(BENCH) $$bench || exit 1; done

# For one GPU: the pack of benchmarks/GPU.md, the :full recipe, and its seconds to published errors.
bench-full: $(PDE)
	@$(BENCH) gpu
	@$(BENCH) time_to_target --task full --seconds 600
	@$(BIN)/python runners/fast_to_sota.py --config configs/burgers.py:full
	@$(BENCH) collect runs/burgers-full

bench-peers: $(READY) $(PEERS)/.ready
	@$(BENCH) step_time
	@$(BENCH) time_to_target
	@$(PEERS)/bin/python -m benchmarks apebench_families
	@$(BENCH) table

$(PEERS)/.ready: benchmarks/peers/requirements.txt
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# SkyPilot has a separate environment: its packages conflict with wandb's.
SKY := .venv-sky
sky: $(SKY)/.ready

$(SKY)/.ready: ups_jax/jobs/launch/requirements.txt
	@$(PYTHON) -m venv $(SKY)
	@$(SKY)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'error: python >= 3.11 is needed; choose one: make PYTHON=python3.12 burgers'; exit 1; }
	@echo 'setting up .venv with $(if $(CUDA),CUDA $(CUDA) (nvidia-smi answers),the CPU build of jax)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(GPU)'
	@touch $@

# exponax, whose solvers make and judge APEBench's scenarios.
$(PDE): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pde]'
	@touch $@

$(TEST): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[test,pde,dashboard,slurm,sweep]'
	@touch $@

# A type checker with a node of its own, 290 MB.
$(LINT): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lint]'
	@touch $@

$(DOCS): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@
