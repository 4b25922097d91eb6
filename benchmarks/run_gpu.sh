#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
set -uo pipefail

usage() {
  cat <<'TEXT'
Usage: benchmarks/run_gpu.sh OUT [--quick] [--routes] [--keep]

Everything that a machine with an NVIDIA GPU can check, in one call of under 10 minutes:
  build       the package with CUDA kernels for this device only, from this source tree
  tests       pytest -m gpu
  memcheck    compute-sanitizer on small shapes: out-of-bounds and misaligned accesses
  racecheck   ... shared-memory races
  initcheck   ... reads of memory that nothing wrote
  synccheck   ... misused barriers
  table       times beside torch eager, with errors: OUT/gpu_table.json, OUT/gpu_table.md
A step that fails is recorded and the next one runs. OUT/summary.txt has a line per step,
OUT/run.log their output. The exit code is 0 only if every step passed.

  --quick     small shapes only in the table and the tests
  --routes    also find where each route of the weighted degree is the fastest (about a minute):
              OUT/gpu_routes.json, OUT/gpu_routes.md
  --keep      leave the build in OUT/work

Needs python3 with torch (a CUDA build), numpy, pytest, pybind11, scikit-build-core, cmake and ninja;
nvcc and g++; compute-sanitizer. Nothing is downloaded and nothing is installed outside OUT.
Environment: PYTHON (python3), HUBPRUNE_CUDA_ARCHITECTURES (the device's own, e.g. 90a-real).
TEXT
}

readonly TOTAL_SECONDS=585
out=""
quick=0
routes=0
keep=0
for argument in "$@"; do
  case "$argument" in
    -h | --help) usage; exit 0 ;;
    --quick) quick=1 ;;
    --routes) routes=1 ;;
    --keep) keep=1 ;;
    -*) echo "unknown option $argument; see --help" >&2; exit 2 ;;
    *)
      if [ -n "$out" ]; then echo "one folder only; got $out and $argument" >&2; exit 2; fi
      out=$argument
      ;;
  esac
done
if [ -z "$out" ]; then usage >&2; exit 2; fi

python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)

device=$("$python" - <<'CODE'
import sys

try:
    import torch
except ImportError:
    sys.exit("python3 has no torch")
if not torch.cuda.is_available():
    sys.exit("no CUDA device: nothing to run here")
major, minor = torch.cuda.get_device_capability()
print(f"{major}{minor}{'a' if major == 9 else ''}-real {torch.cuda.get_device_name()}")
CODE
) || exit 1
architectures=${HUBPRUNE_CUDA_ARCHITECTURES:-${device%% *}}

mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
work=$out/work
log=$out/run.log
summary=$out/summary.txt
rm -rf "$work"
mkdir -p "$work/empty"
cleanup() { if [ "$keep" -eq 0 ]; then rm -rf "$work"; fi; }
trap cleanup EXIT

commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
if [ "$commit" != unknown ] && [ -n "$(git -C "$root" status --porcelain 2>/dev/null)" ]; then
  commit="$commit with changes"
fi

{
  echo "hubprune at $commit on ${device#* }"
  echo "architectures $architectures, $(date -u +%Y-%m-%dT%H:%MZ)"
} | tee "$summary" >"$log"
cat "$summary"

failures=0
record() { # state, name, seconds, remark
  [ "$1" = passed ] || failures=$((failures + 1))
  printf '%-9s %-10s %4d s  %s\n' "$1" "$2" "$3" "$4" | tee -a "$summary"
}

step() { # name, limit in seconds, command...
  local name=$1 limit=$2 left=$((TOTAL_SECONDS - SECONDS)) began=$SECONDS code
  shift 2
  if [ "$left" -lt "$limit" ]; then limit=$left; fi
  if [ "$limit" -lt 5 ]; then
    record "not run" "$name" 0 "the $TOTAL_SECONDS s are used up"
    return 1
  fi
  printf '\n===== %s: %s\n' "$name" "$*" >>"$log"
  timeout --kill-after=10 "$limit" "$@" >>"$log" 2>&1
  code=$?
  case $code in
    0) record passed "$name" $((SECONDS - began)) "" ;;
    124 | 137) record failed "$name" $((SECONDS - began)) "ran past $limit s" ;;
    *) record failed "$name" $((SECONDS - began)) "exit code $code; see run.log" ;;
  esac
  return $code
}

cd "$root" || exit 1
step build 240 "$python" -m pip install --no-build-isolation --no-deps --no-index \
  --disable-pip-version-check --target "$work/site" . \
  -Cbuild-dir="$work/build" \
  -Ccmake.define.HUBPRUNE_CUDA=ON \
  -Ccmake.define.CMAKE_CUDA_ARCHITECTURES="$architectures"
built=$?

if [ "$built" -eq 0 ]; then
  export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
  export HUBPRUNE_GPU_REQUIRED=1
  tests=("$python" -m pytest -p no:cacheprovider -m gpu tests/test_gpu.py)

  HUBPRUNE_GPU_SMALL=$quick step tests 150 "${tests[@]}"

  small="features or batches or filter_vectors or special or non_finite or strided"
  small+=" or distance or squares or (long_rows and 300-130) or (in_one_go and float32)"
  small+=" or (closeness_centrality and shape2 and one_minus) or (without_the_graph and 64-17)"
  small+=" or (greedy_degree and 129-7) or (pivoted_cholesky and 9-4)"
  sanitizer=$(command -v compute-sanitizer || command -v /usr/local/cuda/bin/compute-sanitizer)
  for tool in memcheck racecheck initcheck synccheck; do
    if [ -z "$sanitizer" ]; then
      record "not run" "$tool" 0 "compute-sanitizer not found"
      continue
    fi
    # memcheck watches every kernel; the others would also judge torch's, which are not ours.
    filter=(--kernel-name kernel_substring=hubprune)
    if [ "$tool" = memcheck ]; then filter=(); fi
    # Without torch's memory pool every tensor is an allocation of its own, so that an access past
    # its end is not hidden by a neighbour. Refused calls are tested elsewhere and are no findings.
    HUBPRUNE_GPU_SMALL=1 PYTORCH_NO_CUDA_MEMORY_CACHING=1 step "$tool" 75 \
      "$sanitizer" --tool "$tool" --error-exitcode 86 --report-api-errors no "${filter[@]}" \
      "${tests[@]}" -k "$small"
  done

  options=(--commit "$commit")
  if [ "$quick" -eq 1 ]; then options+=(--quick); fi
  step table 180 "$python" benchmarks/gpu_table.py "$out" "${options[@]}"
  if [ "$routes" -eq 1 ]; then step routes 120 "$python" benchmarks/gpu_routes.py "$out"; fi
fi

if [ "$failures" -gt 0 ]; then
  echo "$failures of the steps did not pass" | tee -a "$summary"
  exit 1
fi
echo "every step passed" | tee -a "$summary"
