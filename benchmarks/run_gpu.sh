#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
set -uo pipefail

usage() {
  cat <<'TEXT'
Usage: benchmarks/run_gpu.sh OUT [--only LIST] [--without LIST] [--quick]

Everything that a machine with an NVIDIA GPU can check, in one call of under 10 minutes:
  build       the package with CUDA kernels for this device only. It stays in build/gpu: another
              call with the same sources builds nothing
  canary      on Hopper: the kernel for its matrix units alone, on a small shape. If that hangs or
              breaks the device, HUBPRUNE_WITHOUT_SM90=1 leaves this kernel out of all that follows
  tests       pytest -m gpu, in several processes where pytest-xdist is installed: then a hang or a
              fault costs one test, else it ends the step
  table       times beside torch eager, with errors, in groups of which none takes another along
  routes      where each route of the weighted degree is the fastest
  peers       lines of the table beside other packages; torch.compile takes its time
  sanitizers  with the time that is left: compute-sanitizer's four tools on small shapes, beside
              each other; Hopper's kernel in runs of its own (racecheck does not understand its
              barriers in every version). Reports about other kernels than hubprune's are counted,
              and fail nothing
LIST names some of tests, table, routes, peers, sanitizers: to spread them over two calls, say
--without peers,sanitizers, then --only peers,sanitizers, with the same OUT or a copy of it.

OUT receives summary.txt (a line per step), run.log (their output), failures.txt (every failed test,
as it fails), gpu_table.json, gpu_table.md, gpu_routes.json, gpu_routes.md; the first three grow with
every call. What a step has written stays whatever happens to the next. The exit code is 0 if
every step passed, 14 if only errors above their bounds were found, 1 if anything else failed.

  --quick     small shapes only in the table and the tests

Needs python3 with torch (a CUDA build), numpy, pytest, pybind11, scikit-build-core, cmake and ninja;
nvcc and g++; compute-sanitizer. Nothing is downloaded and nothing is installed outside build/gpu.
Environment: PYTHON (python3), HUBPRUNE_CUDA_ARCHITECTURES (the device's own, e.g. 90a-real),
HUBPRUNE_COMMIT (git's), HUBPRUNE_GPU_SECONDS (560: when the last step is stopped; what it has
written by then takes up to 20 s more).
TEXT
}

readonly TOTAL_SECONDS=${HUBPRUNE_GPU_SECONDS:-560}
readonly STEPS="tests table routes peers sanitizers"
steps=" $STEPS "
out=""
quick=0

names() { # LIST: its names, or nothing if one is unknown
  local name
  for name in ${1//,/ }; do
    case " $STEPS " in *" $name "*) ;; *) return 1 ;; esac
  done
  echo "${1//,/ }"
}
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --quick) quick=1 ;;
    --only | --without)
      if ! listed=$(names "${2:-}") || [ -z "$listed" ]; then
        echo "$1 needs names among ${STEPS// /, }; got '${2:-}'" >&2
        exit 2
      fi
      if [ "$1" = --only ]; then
        steps=" $listed "
      else
        for name in $listed; do steps=${steps/ $name / }; done
      fi
      shift
      ;;
    -*) echo "unknown option $1; see --help" >&2; exit 2 ;;
    *)
      if [ -n "$out" ]; then echo "one folder only; got $out and $1" >&2; exit 2; fi
      out=$1
      ;;
  esac
  shift
done
if [ -z "$out" ]; then usage >&2; exit 2; fi
wanted() { case "$steps" in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)

# --- the device, and how many processes share it --------------------------------------------------
facts=$("$python" - <<'CODE'
import importlib.util
import os
import sys
import sysconfig

needed = ("torch", "numpy", "pytest", "pybind11", "scikit_build_core")
missing = [name for name in needed if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"python3 has no {', '.join(missing)}")
if not os.path.isfile(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    sys.exit("python3 has no headers to build an extension with")
import torch

if not torch.cuda.is_available():
    sys.exit("no CUDA device: nothing to run here")
major, minor = torch.cuda.get_device_capability()
cores = len(os.sched_getaffinity(0))
memory = torch.cuda.get_device_properties(0).total_memory >> 30
workers = max(1, min(6, cores // 2, memory // 12))
if importlib.util.find_spec("xdist") is None:
    workers = 0
architecture = f"{major}{minor}{'a' if major == 9 else ''}-real"
hopper = int((major, minor) == (9, 0))
print(architecture, hopper, workers, cores, torch.cuda.get_device_name())
CODE
) || exit 1
read -r architectures hopper workers cores device <<<"$facts"
architectures=${HUBPRUNE_CUDA_ARCHITECTURES:-$architectures}

mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
cd "$root" || exit 1
work=build/gpu
log=$out/run.log
summary=$out/summary.txt
mkdir -p "$work"
touch "$log"

commit=${HUBPRUNE_COMMIT:-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)}
if [ -z "${HUBPRUNE_COMMIT:-}" ] && [ -n "$(git status --porcelain 2>/dev/null)" ]; then
  commit="$commit with changes"
fi
say() { printf '%s\n' "$1" | tee -a "$summary"; }
say "hubprune at $commit on $device"
say "architectures $architectures, $(date -u +%Y-%m-%dT%H:%MZ), steps:$steps"

# --- steps ----------------------------------------------------------------------------------------
failures=0
missed=0
record() { # state, name, seconds, remark
  case $1 in
    passed) ;;
    missed) missed=$((missed + 1)) ;;
    *) failures=$((failures + 1)) ;;
  esac
  say "$(printf '%-8s %-18s %4d s  %s' "$1" "$2" "$3" "$4")"
}

time_left() { # at most $1 seconds
  local left=$((TOTAL_SECONDS - SECONDS))
  echo $((left < $1 ? left : $1))
}

limited() { # seconds, command...: interrupted when they are over, so that it can say what it has
  timeout --signal=INT --kill-after=15 "$@"
}

# Runs a command, again after each time that a hang or a fault ended it: it goes on behind that.
# One that wrote no result before it ended would end in the same way again.
step() { # name, limit in seconds, ends that are allowed, command...
  local name=$1 limit allowed=$3 began=$SECONDS code deadline ends=0 remark="" before
  limit=$(time_left "$2")
  shift 3
  if [ "$limit" -lt 5 ]; then
    record "not run" "$name" 0 "the $TOTAL_SECONDS s are used up"
    return 1
  fi
  deadline=$((SECONDS + limit))
  printf '\n===== %s: %s\n' "$name" "$*" >>"$log"
  while :; do
    before=$(results)
    limited $((deadline - SECONDS)) "$@" >>"$log" 2>&1
    code=$?
    case $code in 0 | 2 | 14 | 15) break ;; esac
    if [ $((deadline - SECONDS)) -lt 5 ] || [ "$ends" -ge "$allowed" ]; then break; fi
    if [ "$(results)" = "$before" ]; then break; fi
    ends=$((ends + 1))
    printf '\n===== %s ended with exit code %s: again\n' "$name" "$code" >>"$log"
  done
  if [ "$ends" -gt 0 ]; then remark="; a hang or a fault ended it $ends times"; fi
  case $code in
    0) record passed "$name" $((SECONDS - began)) "${remark#; }" ;;
    14) record missed "$name" $((SECONDS - began)) "an error is above its bound$remark" ;;
    15) record failed "$name" $((SECONDS - began)) "lines failed, listed below the table$remark" ;;
    124 | 137) record failed "$name" $((SECONDS - began)) "ran past $limit s$remark" ;;
    *) record failed "$name" $((SECONDS - began)) "exit code $code; see run.log$remark" ;;
  esac
  return $code
}

results() { cat "$out"/*.json 2>/dev/null | cksum; }

outcome() { grep -oE '[0-9]+ (failed|passed)[^=]* in [0-9.]+s' | tail -n 1; } # of pytest

sources() { find csrc python CMakeLists.txt pyproject.toml -type f ! -name '*.py[co]' -print0; }
surroundings=$({ echo "$root $architectures"; "$python" -VV; nvcc --version; } 2>&1 | sha256sum)
key=$({ echo "$surroundings"; sources | sort -z | xargs -0 sha256sum; } | sha256sum)
if [ -d $work/site ] && [ "$(cat $work/key 2>/dev/null)" = "$key" ]; then
  record passed build 0 "kept from the call before"
else
  rm -rf $work/site $work/key
  # Without it there is nothing: rather leave out what comes last than stop it half a minute early.
  if ! step build 420 0 "$python" -m pip install --no-build-isolation --no-deps --no-index \
    --disable-pip-version-check --target $work/site . \
    -Cbuild-dir="$work/cmake-${surroundings:0:8}" \
    -Ccmake.define.HUBPRUNE_CUDA=ON \
    -Ccmake.define.CMAKE_CUDA_ARCHITECTURES="$architectures"; then
    say "nothing else can run"
    exit 1
  fi
  echo "$key" >$work/key
fi

export PYTHONPATH="$root/$work/site:$root/tests${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HUBPRUNE_GPU_REQUIRED=1
tests=("$python" -m pytest -p no:cacheprovider -p device_guard -m gpu tests/test_gpu.py)

if [ "$hopper" -eq 1 ]; then
  # Longer than the step's limit: a hang then differs from a wrong result in its exit code.
  HUBPRUNE_GPU_FAILURES=$out/failures.txt HUBPRUNE_GPU_TEST_SECONDS=100 HUBPRUNE_GPU_SMALL=1 \
    step canary 60 0 "${tests[@]}" -v -k "long_rows and 65-65 and sm90"
  case $? in
    0 | 1) ;;
    *)
      export HUBPRUNE_WITHOUT_SM90=1
      say "sm90 is left out of what follows (HUBPRUNE_WITHOUT_SM90=1)"
      ;;
  esac
fi

if wanted tests; then
  processes=()
  threads=$cores
  if [ "$workers" -gt 0 ]; then
    processes=(-n "$workers" --max-worker-restart=300)
    threads=$((cores / workers))
  else
    say "pytest-xdist is not installed: one process, which a hang or a fault ends"
  fi
  before=$(wc -c <"$log")
  HUBPRUNE_GPU_FAILURES=$out/failures.txt HUBPRUNE_GPU_SMALL=$quick OMP_NUM_THREADS=$threads \
    step tests 180 0 "${tests[@]}" -q --tb=short --durations=10 "${processes[@]}"
  result=$(tail -c "+$before" "$log" | outcome)
  say "         ${result:-no result}; failures.txt has the failures, run.log the largest errors"
fi

table() { # group, limit
  local options=(--resume --group "$1" --commit "$commit")
  if [ "$quick" -eq 1 ]; then options+=(--quick); fi
  step "table, $1" "$2" 6 "$python" benchmarks/gpu_table.py "$out" "${options[@]}"
}
if wanted table; then
  rm -f "$out"/gpu_table.*
  table core 120
  table network 60
  table paths 90
  table long 90
  table mma 60
  if [ "$hopper" -eq 1 ] && [ "${HUBPRUNE_WITHOUT_SM90:-0}" != 1 ]; then table sm90 60; fi
fi
if wanted routes; then
  rm -f "$out"/gpu_routes.*
  step routes 150 3 "$python" benchmarks/gpu_routes.py "$out" --resume --commit "$commit"
fi
if wanted peers; then table peers 120; fi

# --- sanitizers -----------------------------------------------------------------------------------
# Every kernel at a small shape.
small="row_norms or weighted_degree[65- or test_nearest[65- or pairwise_cosine[65-"
small+=" or centrality[shape2-float or of_long_vectors or without_the_graph[64-17"
small+=" or centrality[shape2-one_minus or forms[40-33 or forms[30-257 or squares[129-16"
small+=" or squares[600-70 or long_rows[65-65 or long_rows[300-130-high- or matrix_units[65-"
small+=" or (in_one_go and float32)"
small+=" or distance_sum[65-19 or features[7- or features[17- or features[65- or features[129-"
small+=" or batches or filter_vectors[shape0 or filter_vectors[shape2 or filter_vectors[shape4"
small+=" or filter_vectors[shape5 or filter_vectors[shape6 or filter_vectors[shape7"
small+=" or special or non_finite or strided or same_bits[129-7 or cholesky[9-4 or cholesky[129-9"

sanitize() { # name, tool, tests, options...: in the background
  local name=$1 tool=$2 chosen=$3
  shift 3
  sanitized+=("$name")
  (
    # Without torch's memory pool every tensor is an allocation of its own, so that an access past
    # its end is not hidden by a neighbour. Refused calls are tested elsewhere and are no findings.
    HUBPRUNE_GPU_SMALL=1 PYTORCH_NO_CUDA_MEMORY_CACHING=1 HUBPRUNE_GPU_TEST_SECONDS=150 \
      OMP_NUM_THREADS=2 limited "$limit" \
      "$sanitizer" --tool "$tool" --error-exitcode 86 --report-api-errors no --print-limit 60 \
      --destroy-on-device-error kernel "$@" "${tests[@]}" -v --tb=short -k "$chosen" \
      >"$work/$name.log" 2>&1
    echo "$? $((SECONDS - began))" >"$work/$name.end"
  ) &
}

judge() { # name
  local name=$1 code seconds found ours state=failed result
  if ! read -r code seconds <"$work/$name.end"; then code=unknown seconds=0; fi
  printf '\n===== %s\n' "$name" >>"$log"
  head -c 1500000 "$work/$name.log" >>"$log"  # a file of many reports might not be brought back
  found=$(grep -oE '(ERROR|RACECHECK) SUMMARY: .*' "$work/$name.log" | tail -n 1)
  result=$(outcome <"$work/$name.log")
  ours=$(grep -E '^=+ ' "$work/$name.log" | grep -v 'Host Frame' | grep -c hubprune)
  case $code in
    0) state=passed ;;
    86) if [ "$ours" -eq 0 ] && [[ $result != *failed* ]]; then state=passed; fi ;;
    124 | 137) result="ran past $limit s" ;;
  esac
  record $state "$name" "$seconds" "${found:-no summary}, lines on hubprune: $ours; ${result:-$code}"
}

sanitizers() {
  local sanitizer sanitized=() limit name began=$SECONDS
  sanitizer=$(command -v compute-sanitizer || command -v /usr/local/cuda/bin/compute-sanitizer)
  if [ -z "$sanitizer" ]; then
    record "not run" sanitizers 0 "compute-sanitizer not found"
    return
  fi
  limit=$(time_left 90)
  if [ "$limit" -lt 30 ]; then
    record "not run" sanitizers 0 "the $TOTAL_SECONDS s are used up"
    return
  fi
  # Does it work on this device at all? A kernel of torch's.
  limited "$limit" "$sanitizer" --tool memcheck "$python" -c \
    'import torch; print("probed", int(torch.ones(3, device="cuda").sum()))' \
    >$work/probe.log 2>&1
  { printf '\n===== sanitizers, probe\n'; cat $work/probe.log; } >>"$log"
  if ! grep -q '^probed 3' $work/probe.log || ! grep -q 'ERROR SUMMARY' $work/probe.log; then
    name=$(grep -m 1 -iE 'not supported|unsupported|failed|error' $work/probe.log)
    record "not run" sanitizers $((SECONDS - began)) "does not work here: ${name:-no output}"
    return
  fi
  say "$("$sanitizer" --version | grep -i version | head -n 1)"

  limit=$(time_left 600)
  if [ "$limit" -lt 20 ]; then
    record "not run" sanitizers $((SECONDS - began)) "the $TOTAL_SECONDS s are used up"
    return
  fi
  rm -f $work/*.end
  set -m # or the background's processes would not be interrupted
  began=$SECONDS
  # Filters only where other kernels do not matter: initcheck must see who writes.
  local filter=(--kernel-name kernel_substring=hubprune) others="($small) and not sm90"
  sanitize memcheck memcheck "$others"
  sanitize initcheck initcheck "$others"
  sanitize racecheck racecheck "$others" "${filter[@]}"
  sanitize synccheck synccheck "$others" "${filter[@]}"
  if [ "$hopper" -eq 1 ] && [ "${HUBPRUNE_WITHOUT_SM90:-0}" != 1 ]; then
    local own="long_rows and sm90 and (65-65 or 300-130-high)"
    sanitize "memcheck, sm90" memcheck "$own"
    sanitize "synccheck, sm90" synccheck "$own" "${filter[@]}"
    sanitize "racecheck, sm90" racecheck "$own" "${filter[@]}"
  fi
  set +m
  wait
  for name in "${sanitized[@]}"; do judge "$name"; done
}
if wanted sanitizers; then sanitizers; fi

if [ "$failures" -gt 0 ]; then
  say "$failures steps failed or did not run, $missed missed a bound, in $SECONDS s"
  exit 1
fi
if [ "$missed" -gt 0 ]; then
  say "$missed steps missed a bound, the others passed, in $SECONDS s"
  exit 14
fi
say "every step passed, in $SECONDS s"
