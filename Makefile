# make run    train configs/fer_best.py on whatever data is there
# make check  ruff, mypy and the unit tests: nothing that trains from launch.py
# make test   all that CI runs
# make equivalence  what holds us to Keras, PyTorch, flax, scipy and sacrebleu, and how closely
# make bench  times PyTorch, Keras and this project in turn, in an environment of their own
# Each sets up its environment first. On an NVIDIA GPU: CUDA=1 make run.

PYTHON ?= python3
REQUIREMENTS := requirements$(if $(CUDA),-cuda).txt
STAMP := .venv/.installed-$(REQUIREMENTS)

.PHONY: run lint check test equivalence bench
run: $(STAMP)
	.venv/bin/python launch.py --config=configs/fer_best.py

PYTEST := .venv/bin/python -m pytest -n auto --maxprocesses=4 --dist=worksteal

lint: $(STAMP)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

check: lint
	$(PYTEST) -m 'not slow and not end_to_end'

test: lint
	$(PYTEST)

equivalence: $(STAMP)
	$(PYTEST) -m equivalence

bench: .venv-bench/.installed
	.venv-bench/bin/python benchmarks/bench.py

.venv-bench/.installed: benchmarks/requirements.txt requirements.txt constraints.txt
	rm -rf .venv-bench
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check \
		-r requirements.txt -r benchmarks/requirements.txt
	touch $@

# The stamp is touched last, so that an installation that broke off is begun again.
$(STAMP): $(REQUIREMENTS) requirements.txt constraints.txt constraints-cuda.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	rm -rf .venv
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	touch $@
