# SPDX-License-Identifier: MIT
"""The script for a machine with a GPU, with pretended tools: its order, what it leaves out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "run_gpu.sh"
pytestmark = [
    pytest.mark.skipif(not SCRIPT.is_file(), reason="only in the source tree"),
    pytest.mark.skipif(shutil.which("timeout") is None, reason="needs coreutils"),
]

# Writes down what it is asked for, prints the file NAME.says, and ends with the next of NAME.codes.
# The scripts of measurements leave a result, unless there is a file NAME.mute.
PYTHON = r"""#!/usr/bin/env bash
end() {
  echo "$1 without_sm90=${HUBPRUNE_WITHOUT_SM90:-0}" >>"$PRETENDED/calls"
  cat "$PRETENDED/$1.says" 2>/dev/null
  codes=$PRETENDED/$1.codes
  [ -s "$codes" ] || exit 0
  code=$(head -n 1 "$codes")
  sed -i 1d "$codes"
  if [ "$code" = hang ]; then exec sleep 100; fi
  exit "$code"
}
result() {
  [ -e "$PRETENDED/$1.mute" ] || echo "$1" >>"$2/results.json"
  end "$1"
}
case "$*" in
  -) cat >/dev/null; echo "${FACTS:-90a-real 1 6 16 A pretended GPU}" ;;
  -VV) echo Python ;;
  *"-m pip install"*) mkdir -p build/gpu/site; end build ;;
  -c*) end probe ;;
  *"65-65 and sm90"*) end canary ;;
  *"-m pytest"*-n*) end tests ;;
  *"-m pytest"*) end "${TOOL:-tests-in-one-process}" ;;
  *gpu_table.py*) [[ $* =~ --group\ ([a-z0-9]+) ]]; result "table-${BASH_REMATCH[1]}" "$2" ;;
  *gpu_routes.py*) result routes "$2" ;;
  *) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""

SANITIZER = r"""#!/usr/bin/env bash
if [ "$1" = --version ]; then echo "Version 2025.3.1"; exit 0; fi
export TOOL=$2
while [ "${1##*/}" != python3 ]; do shift; done
case "$*" in *"and sm90 and"*) TOOL=$TOOL-sm90 ;; esac
"$@"
"""

CLEAN = "========= ERROR SUMMARY: 0 errors\n"


class Machine:
    """A source tree of its own and tools that do as they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.told = folder, folder / "out", folder / "told"
        for name in ("tree/benchmarks", "tree/csrc", "tree/python", "bin", "told"):
            (folder / name).mkdir(parents=True)
        shutil.copy(SCRIPT, folder / "tree/benchmarks")
        for name in ("CMakeLists.txt", "pyproject.toml"):
            (folder / "tree" / name).touch()
        for name, text in (("python3", PYTHON), ("compute-sanitizer", SANITIZER)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.say("probe", f"probed 3\n{CLEAN}")
        self.say("tests", "3 failed, 350 passed in 61.50s\n")

    def say(self, name: str, text: str) -> None:
        (self.told / f"{name}.says").write_text(text)

    def end(self, name: str, *codes: int | str) -> None:
        (self.told / f"{name}.codes").write_text("".join(f"{code}\n" for code in codes))

    def run(self, *options: str, **environment: str) -> tuple[int, str]:
        (self.told / "calls").unlink(missing_ok=True)
        run = subprocess.run(
            ["bash", str(self.folder / "tree/benchmarks/run_gpu.sh"), str(self.out), *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "PRETENDED": str(self.told),
                "HUBPRUNE_COMMIT": "abc",
                **environment,
            },
        )
        return run.returncode, run.stdout + run.stderr

    @property
    def calls(self) -> list[str]:
        return [call.split()[0] for call in (self.told / "calls").read_text().splitlines()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


TABLE = [f"table-{group}" for group in ("core", "network", "paths", "long", "mma", "sm90")]
TOOLS = {"memcheck", "initcheck", "racecheck", "synccheck"}
SM90_TOOLS = {f"{tool}-sm90" for tool in TOOLS - {"initcheck"}}


def test_everything_in_one_call(machine: Machine) -> None:
    code, text = machine.run()
    assert code == 0, text
    head = ["build", "canary", "tests", *TABLE, "routes", "table-peers", "probe"]
    assert machine.calls[: len(head)] == head
    assert set(machine.calls[len(head) :]) == TOOLS | SM90_TOOLS
    assert text.startswith("hubprune at abc on A pretended GPU\n")
    assert "3 failed, 350 passed in 61.50s" in text
    assert text == (machine.out / "summary.txt").read_text()
    names = {path.name for path in machine.out.iterdir()}
    assert names == {"run.log", "summary.txt", "results.json"}


def test_two_calls_build_once(machine: Machine) -> None:
    assert machine.run("--without", "sanitizers")[0] == 0
    assert "probe" not in machine.calls
    code, text = machine.run("--only", "sanitizers")
    assert code == 0
    assert "kept from the call before" in text
    assert machine.calls[:2] == ["canary", "probe"]
    assert len(machine.calls) == 2 + len(TOOLS | SM90_TOOLS)
    assert "table-peers" not in machine.calls
    assert len((machine.out / "summary.txt").read_text()) > 1.5 * len(text)
    (machine.folder / "tree/csrc/kernel.cu").write_text("changed")
    machine.run("--only", "tests")
    assert machine.calls[0] == "build"


@pytest.mark.parametrize(("code", "left_out"), [(1, False), (86, True), (139, True)])
def test_a_canary_that_dies_takes_its_kernel_out(
    machine: Machine, code: int, left_out: bool
) -> None:
    machine.end("canary", code)
    assert machine.run()[0] == 1
    calls = (machine.told / "calls").read_text()
    assert ("without_sm90=1" in calls) == left_out
    assert ("table-sm90" in calls) != left_out
    assert ("memcheck-sm90" in calls) != left_out
    assert ("HUBPRUNE_WITHOUT_SM90=1" in (machine.out / "summary.txt").read_text()) == left_out


def test_a_device_without_hoppers_units(machine: Machine) -> None:
    code, text = machine.run(FACTS="80-real 0 0 4 Another")
    assert code == 0
    assert not any("sm90" in call or call == "canary" for call in machine.calls)
    assert "tests-in-one-process" in machine.calls
    assert "pytest-xdist is not installed" in text


def test_a_group_goes_on_behind_what_ended_it(machine: Machine) -> None:
    machine.end("table-core", 1, 13, 15)
    machine.end("table-long", *[139] * 20)
    machine.end("routes", 134, 0)
    code, text = machine.run("--only", "table,routes,peers")
    assert code == 1
    assert machine.calls.count("table-core") == 3
    assert machine.calls.count("table-long") == 7
    assert machine.calls.count("routes") == 2
    assert machine.calls[-1] == "table-peers"
    assert re.search(r"failed +table, core .* lines failed, .*a fault ended it 2 times", text)
    assert re.search(r"passed +routes .* ended it 1 times", text)


def test_what_ends_before_its_first_result_is_not_tried_again(machine: Machine) -> None:
    (machine.told / "table-core.mute").touch()
    machine.end("table-core", *[1] * 20)
    assert machine.run("--only", "table")[0] == 1
    assert machine.calls.count("table-core") == 1


def test_only_bounds_were_missed(machine: Machine) -> None:
    machine.end("table-core", 14)
    machine.end("routes", 14)
    code, text = machine.run("--only", "table,routes")
    assert code == 14
    assert re.search(r"missed +table, core .*bound", text)
    assert "2 steps missed a bound, the others passed" in text


def test_a_step_that_hangs_is_stopped(machine: Machine) -> None:
    machine.end("tests", "hang")
    code, text = machine.run("--only", "tests,routes", HUBPRUNE_GPU_SECONDS="7")
    assert code == 1
    assert re.search(r"failed +tests .*ran past \d s", text)
    assert re.search(r"not run +routes .*used up", text)


def test_sanitizers_are_read(machine: Machine) -> None:
    ours = (
        "========= Invalid __global__ read of size 4 bytes\n=========     at void hubprune::k()\n"
    )
    others = "=========     at void at::native::k()\n========= Host Frame: hubprune [0x1]\n"
    passed = "5 passed in 2.00s\n"
    machine.say("memcheck", f"{ours}{passed}========= ERROR SUMMARY: 1 error\n")
    machine.end("memcheck", 86)
    machine.say("initcheck", f"{others}{passed}========= ERROR SUMMARY: 2 errors\n")
    machine.end("initcheck", 86)
    machine.say("synccheck", CLEAN + passed)
    machine.end("racecheck", 1)
    code, text = machine.run("--only", "sanitizers", FACTS="80-real 0 0 4 Another")
    assert code == 1
    assert "Version 2025.3.1" in text
    for line in (
        r"failed +memcheck .*ERROR SUMMARY: 1 error, lines on hubprune: 1; 5 passed",
        r"passed +initcheck .*ERROR SUMMARY: 2 errors, lines on hubprune: 0; 5 passed",
        r"passed +synccheck .*ERROR SUMMARY: 0 errors, lines on hubprune: 0; 5 passed",
        r"failed +racecheck .*no summary, lines on hubprune: 0; 1",
    ):
        assert re.search(line, text), text


def test_a_device_that_sanitizers_refuse(machine: Machine) -> None:
    machine.say("probe", "========= Error: Device not supported\n")
    machine.end("probe", 1)
    code, text = machine.run("--only", "sanitizers")
    assert code == 1
    assert "does not work here: ========= Error: Device not supported" in text
    assert machine.calls[-1] == "probe"


@pytest.mark.parametrize(
    "options", [["--only"], ["--only", ""], ["--without", "all"], ["--fast"], ["again"]]
)
def test_unknown_options(machine: Machine, options: list[str]) -> None:
    assert machine.run(*options)[0] == 2


def test_a_failed_build_ends_it(machine: Machine) -> None:
    machine.end("build", 1)
    code, text = machine.run()
    assert code == 1
    assert machine.calls == ["build"]
    assert "nothing else can run" in text


def test_the_chosen_tests_exist() -> None:
    """Every name that a step selects is in a test's name: a renamed test would go unchecked."""
    tests = (SCRIPT.parents[1] / "tests" / "test_gpu.py").read_text()
    chosen = "\n".join(re.findall(r'^small\+?="(.*)"$', SCRIPT.read_text(), re.MULTILINE))
    names = set(re.findall(r"[a-z_]+(?=\[)|\b[a-z_]{4,}\b", chosen)) - {"high", "one_minus"}
    assert len(names) > 20
    functions = " ".join(re.findall(r"def (test_\w+)", tests))
    assert not [name for name in names if name not in functions]
