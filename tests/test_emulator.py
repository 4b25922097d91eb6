# SPDX-License-Identifier: MIT
"""The emulator names every mistake that broken_kernels.cpp makes."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import pytest

from emulation import CUDA_ERROR, OK, EmulatedDevice

BROKEN: Final = {
    "correct": "",
    "divergent_barrier": r"sync: threads wait at different __syncthreads, lines \d+ and \d+",
    "left_before_barrier": r"sync: 63 threads wait at __syncthreads on line \d+, 1 have left",
    "barrier_against_shuffle": r"sync: the threads of a block wait for each other",
    "barrier_against_ballot": r"sync: the threads of a block wait for each other",
    "wrong_mask": r"sync: a lane calls with a mask 0000ffff that leaves it out",
    "lane_left": r"sync: the mask ffffffff on line \d+ names lane 8, which has left",
    "shuffle_outside_mask": r"sync: lane \d+ reads lane \d+, which is not in the mask 0000ffff",
    "write_past_end": r"memory: 4 bytes outside every buffer are written \(block \d, thread 0\)",
    "read_before_start": r"memory: 4 bytes outside every buffer are read",
    "shared_past_end": r"memory: 4 bytes outside every buffer are written \(block \d, thread 63\)",
    "shared_size_forgotten": r"memory: 4 bytes outside every buffer are written",
    "misaligned": r"undefined: behaviour that the language does not define",
    "shared_race": r"race: shared memory that thread \d+ of block \d",
    "write_after_read": r"race: shared memory that thread \d+ of block \d",
    "block_race": r"race: global memory that thread \d+ of block \d wrote is written",
    "unsafe_sum": r"race: global memory that thread \d+ of block \d wrote is read",
    "mixed_atomic": r"race: global memory that thread \d+ of block \d wrote is written",
    "unwritten_shared": r"init: shared memory is read before it is written \(block \d, thread 7\)",
    "unwritten_global": r"init: global memory is read before it is written",
    "other_stack": r"memory: 4 bytes of another thread's stack are written",
    "static_shared": r"memory: 4 bytes outside every buffer are written",
    "overflow": r"undefined: behaviour that the language does not define",
    "out_of_extent": r"(undefined: behaviour|memory: 4 bytes outside every buffer)",
}


def test_broken_kernels_are_all_listed(device: EmulatedDevice) -> None:
    names: list[str] = []
    while (name := device.library.broken_name(len(names))) is not None:
        names.append(name.decode())
    assert names == list(BROKEN)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", BROKEN)
def test_emulator_names_the_mistake(device: EmulatedDevice, name: str, seed: int) -> None:
    device.reset(seed)
    data = device.allocate(128 * 4)
    if name in ("unsafe_sum", "mixed_atomic"):  # their mistake is not a missing first write
        device.library.emulator_write(data, np.zeros(128, np.float32).ctypes.data, 128 * 4)
    status = device.library.broken_run(list(BROKEN).index(name), data, 128)
    if name == "correct":
        assert (status, device.error()) == (OK, "")
        np.testing.assert_array_equal(
            device.download(data, (2, 64), np.float32), np.tile(np.arange(63.0, -1, -1), (2, 1))
        )
    else:
        assert status == CUDA_ERROR
        assert re.match(BROKEN[name], device.error()), device.error()
        assert b"cudaErrorLaunchFailure" in device.library.emulated_last_error()


def test_unwritten_output_is_noticed(device: EmulatedDevice) -> None:
    data = device.allocate(64)
    with pytest.raises(AssertionError, match="16 words of an output were never written"):
        device.download(data, (16,), np.float32)
