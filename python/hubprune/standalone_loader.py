# SPDX-License-Identifier: MIT
"""Load a network saved by hubprune.save_pruned with torch alone.

    import torch
    from load import load_pruned          # this file, copied into the saved folder

    network = load_pruned(MyNetwork(), "saved-folder")

`MyNetwork()` is the architecture before pruning; it is cut to the saved sizes and filled.
"""

from __future__ import annotations

import json
import os
import pathlib

import torch

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Return {name: tensor} of a safetensors file: header length, JSON header, raw values."""
    content = bytearray(pathlib.Path(path).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = torch.empty(0, dtype=_DTYPES[entry["dtype"]])
        if end > begin:
            # A copy: entries of the file need not be aligned as torch wants its tensors.
            piece = bytearray(content[start + begin : start + end])
            values = torch.frombuffer(piece, dtype=_DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def load_pruned(network: torch.nn.Module, folder: str | os.PathLike[str]) -> torch.nn.Module:
    """Cut `network`, the unpruned architecture, to the sizes saved in `folder` and fill it."""
    state = read_safetensors(pathlib.Path(folder, "model.safetensors"))
    plan = json.loads(pathlib.Path(folder, "plan.json").read_text())
    for name, sizes in plan["sizes"].items():
        for attribute, size in sizes.items():
            setattr(network.get_submodule(name), attribute, size)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if name in state:
            saved = state[name]
            if (tensor.shape, tensor.dtype) != (saved.shape, saved.dtype):
                tensor.data = tensor.data.new_empty(saved.shape, dtype=saved.dtype)
    versioned = network.state_dict()  # with the versions of its parts, which files do not hold
    versioned.clear()
    versioned.update(state)
    network.load_state_dict(versioned)
    return network
