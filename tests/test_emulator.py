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
    "correct_last_block": "",
    "no_fence": r"race: global memory that thread \d+ of block \d wrote is read",
    "warp_not_met": r"race: global memory that thread \d+ of block \d wrote is read",
    "no_second_fence": r"race: global memory that thread \d+ of block \d wrote is read",
    "correct_copy": "",
    "copy_not_awaited": r"init: shared memory is read before it is written",
    "copy_overwrites": r"race: shared memory that thread \d+ of block \d",
    "copy_without_barrier": r"race: shared memory that thread \d+ of block \d",
    "copy_left": r"copy: the block ends before a thread has waited for its own",
    "correct_groups": "",
    "group_not_awaited": r"init: shared memory is read before it is written",
    "copy_not_committed": r"init: shared memory is read before it is written",
}

LAST_BLOCK: Final = ("correct_last_block", "no_fence", "warp_not_met", "no_second_fence")


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
    # Their mistake, if there is one, is not a missing first write.
    if name in ("unsafe_sum", "mixed_atomic", *LAST_BLOCK):
        device.library.emulator_write(data, np.zeros(128, np.float32).ctypes.data, 128 * 4)
    status = device.library.broken_run(list(BROKEN).index(name), data, 128)
    if name == "correct":
        assert (status, device.error()) == (OK, "")
        np.testing.assert_array_equal(
            device.download(data, (2, 64), np.float32), np.tile(np.arange(63.0, -1, -1), (2, 1))
        )
    elif name == "correct_copy":
        assert (status, device.error()) == (OK, "")
        found = device.download(data, (2, 64), np.float32)
        np.testing.assert_array_equal(found[:, 32:36], np.ones((2, 4)))
        np.testing.assert_array_equal(found[:, 36:], np.full((2, 28), 2.0))
    elif name == "correct_groups":
        assert (status, device.error()) == (OK, "")
        found = device.download(data, (2, 64), np.float32)
        zeros = (np.arange(64) >= 32) & (np.arange(64) < 40)
        np.testing.assert_array_equal(found, np.tile(np.where(zeros, 0.0, 1.0), (2, 1)))
    elif name == "correct_last_block":
        assert (status, device.error()) == (OK, "")
        sums = device.download(data, (128,), np.float32)[32:64]
        np.testing.assert_array_equal(sums, np.full(32, 2.0))
    else:
        assert status == CUDA_ERROR
        assert re.match(BROKEN[name], device.error()), device.error()
        assert b"cudaErrorLaunchFailure" in device.library.emulated_last_error()


BROKEN_HOPPER: Final = {
    "correct": "",
    "overwrites": r"copy: a box overwrites|barrier: more arrivals than a phase takes",
    "does_not_wait": r"product: an operand is",
    "reads_early": r"product: warp \d leaves before its sums are there",
    "copies_one_box": r"product: an operand is no box that was copied",
    "expects_more": r"sync: threads wait for a phase of a barrier that nothing completes",
    "forgets_fence": r"product: no fence orders the sums' registers before it",
    "forgets_to_tell_the_engine": r"copy: the engine has not been told of the barrier",
    "no_barrier": r"barrier: it was never initialised",
    "unordered_barrier": r"barrier: (it was never initialised|nothing orders its initialisation)",
    "misaligned": r"copy: the target is misaligned|product: the operand does not start where",
    "other_descriptor": r"product: the operand's swizzle is not that of 128 bytes",
    "other_warp": r"product: warps \d and \d of a group issue different ones",
    "diverges": r"sync: the mask ffffffff on line \d+ names lane 3, which has left",
    "leaves_early": r"copy: the block ends before anybody has waited for a box",
    "arrives_too_often": r"sync: threads wait for a phase of a barrier that nothing completes",
    "outside": r"memory: a box ends outside the block's shared memory",
    "takes_too_many": r"sync: threads wait for a phase",
    "takes_the_file": r"sync: threads wait for a phase",
    "correct_cluster": "",
    "no_meeting": r"barrier: (it was never initialised|nothing orders its initialisation)",
    "forgets_the_other": r"copy: a box overwrites|product: an operand is read before its copy",
    "copies_for_itself": r"sync: threads wait for a phase of a barrier that nothing completes",
    "no_such_block": r"cluster: it has no blocks 7",
    "leaves_the_other": r"cluster: the block of rank \d has left|copy: the block ends before",
}


def test_broken_pipelines_are_all_listed(device: EmulatedDevice) -> None:
    names: list[str] = []
    while (name := device.library.broken_hopper_name(len(names))) is not None:
        names.append(name.decode())
    assert names == list(BROKEN_HOPPER)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("name", BROKEN_HOPPER)
def test_emulator_names_the_mistake_with_hoppers_units(
    device: EmulatedDevice, name: str, seed: int
) -> None:
    device.reset(seed)
    values = np.random.default_rng(seed).integers(-3, 4, (100, 128)).astype(np.float32)
    matrix = device.upload((values.view(np.uint32) >> 16).astype(np.uint16))
    data = device.allocate(64 * 4)
    status = device.library.broken_hopper_run(list(BROKEN_HOPPER).index(name), matrix, 100, data)
    if name.startswith("correct"):
        assert (status, device.error()) == (OK, "")
        np.testing.assert_array_equal(
            device.download(data, (64,), np.float32), values[:64] @ values[0]
        )
    else:
        assert status == CUDA_ERROR
        assert re.match(BROKEN_HOPPER[name], device.error()), device.error()


def test_unwritten_output_is_noticed(device: EmulatedDevice) -> None:
    data = device.allocate(64)
    with pytest.raises(AssertionError, match="16 words of an output were never written"):
        device.download(data, (16,), np.float32)
