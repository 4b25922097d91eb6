# SPDX-License-Identifier: MIT
"""Surgery: a pruned model computes what the original computes without the removed channels."""

from __future__ import annotations

import json
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hubprune as hp
from hubprune import surgery
from networks import NETWORKS, Residual, build, lively


def outputs(result: Any) -> list[torch.Tensor]:
    if isinstance(result, Mapping):
        return [result[key] for key in sorted(result)]
    return [result]


def removed_channels(plan: hp.PruningPlan, cut: Any) -> list[int]:
    return sorted(set(range(cut.size)) - set(cut.kept))


def zero_removed(model: nn.Module, plan: hp.PruningPlan) -> None:
    """Zero the removed channels where they come out: of convolutions, and of what follows them.

    Zeroing the output of every layer that loses channels, normalisations included, is what "the
    removed channels are zero" means; the way the library proves its plans (the inputs of the
    readers) is another one.
    """
    for cut in plan.cuts:
        if cut.side not in ("out", "channels"):
            continue
        module = model.get_submodule(cut.target)
        removed = removed_channels(plan, cut)

        def hook(
            _: nn.Module, __: Any, out: torch.Tensor, removed: list[int] = removed
        ) -> torch.Tensor:
            mask = torch.ones(out.shape[1], dtype=out.dtype)
            mask[removed] = 0
            return out * mask.reshape(-1, *[1] * (out.dim() - 2))

        module.register_forward_hook(hook)


def assert_same_function(model: nn.Module, x: torch.Tensor, plan: hp.PruningPlan) -> nn.Module:
    pruned = hp.prune(model, plan)
    with torch.no_grad():
        got = outputs(pruned(x))
        zero_removed(model, plan)
        expected = outputs(model(x))
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-10, atol=1e-10)
    return pruned


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_original_without_the_removed_channels(name: str, ratio: float) -> None:
    model, x = build(name)
    if name == "grouped":
        ratio = max(ratio, 0.5)  # below, equal groups leave nothing to remove of 8 filters
    plan = hp.plan(model, x, ratio=ratio)
    assert plan.layers
    pruned = assert_same_function(model, x, plan)
    count = sum(p.numel() for p in pruned.parameters())
    assert count < sum(p.numel() for p in model.parameters())
    for layer, kept in plan.layers.items():
        assert hp.scorers.filter_weight(pruned.get_submodule(layer)).shape[0] == len(kept)


@pytest.mark.parametrize("scorer", hp.scorers.SCORER_NAMES)
def test_every_scorer_through_the_whole_way(scorer: str) -> None:
    model, x = build("residual")
    assert_same_function(model, x, hp.plan(model, x, scorer=scorer))


def test_linear_layers_when_named() -> None:
    torch.manual_seed(0)
    body = [nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 8), nn.Tanh()]
    model = lively(nn.Sequential(*body, nn.Linear(8, 3)))
    x = torch.randn(4, 6).double()
    plan = hp.plan(model, x, ratio={"0": 0.5, "3": 0.25})
    assert {name: len(kept) for name, kept in plan.layers.items()} == {"0": 5, "3": 6}
    assert_same_function(model, x, plan)


@pytest.mark.parametrize(
    ("name", "ratio"), [("dcase21", 0.5), ("crepe-tiny", 0.5), ("vggish", 0.9), ("cnn6", 0.5)]
)
def test_known_models(name: str, ratio: float) -> None:
    torch.manual_seed(0)
    spec = hp.models.KNOWN_MODELS[name]
    model = lively(spec.load() if spec.packaged else spec.build())
    x = spec.example_inputs().double()
    if name == "cnn6":
        x = x[:, :, :64]
    plan = hp.plan(model, x, ratio=ratio)
    convolutions = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert list(plan.layers) == convolutions
    assert_same_function(model, x, plan)


def test_dcase_loses_two_inputs_per_channel() -> None:
    model = hp.models.Dcase21Baseline()
    plan = hp.plan(model, torch.randn(1, 1, 40, 500), ratio={"conv3": 0.25})
    pruned = hp.prune(model, plan)
    assert (model.fc1.in_features, pruned.fc1.in_features) == (64, 48)


def test_depthwise_follows_and_grouped_keeps_equal_groups() -> None:
    model, x = build("depthwise")
    plan = hp.plan(model, x)
    assert plan.layers["0"] == plan.layers["3"]
    pruned = hp.prune(model, plan)
    assert pruned[3].groups == pruned[3].in_channels == 4
    model, x = build("grouped")
    plan = hp.plan(model, x, ratio=0.6)
    pruned = hp.prune(model, plan)
    for index in (3, 6):
        assert pruned[index].in_channels % pruned[index].groups == 0
        assert pruned[index].out_channels % pruned[index].groups == 0


def test_the_model_is_left_bit_for_bit() -> None:
    model, x = build("tagger")
    model.train()
    model.bn1.eval()
    model.conv1.bias.requires_grad_(False)
    calls: list[int] = []
    model.conv2.register_forward_hook(lambda *_: calls.append(1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = (torch.rand(1), np.random.rand(), random.random())
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    plan = hp.plan(model, x)
    pruned = hp.prune(model, plan)
    hp.report(model, pruned, x, plan=plan)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert [module.training for module in pruned.modules()] == modes
    assert not pruned.conv1.bias.requires_grad
    calls.clear()
    pruned.eval()(x)
    assert calls == [1]  # hooks are copied


def test_without_gradients_and_with() -> None:
    model, x = build("flattened")
    with torch.no_grad():
        plan = hp.plan(model, x)
        pruned = hp.prune(model, plan)
    with torch.inference_mode():
        assert hp.plan(model, x).layers == plan.layers
        pruned = hp.prune(model, plan)
    pruned(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in pruned.parameters())
    assert all(p.grad is None for p in model.parameters())
    trained = torch.optim.Adam(pruned.parameters())
    trained.step()


@pytest.mark.parametrize("name", ["flattened", "residual", "tagger"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pruned_body_exports(name: str) -> None:
    model, x = build(name)
    pruned = hp.prune(model, hp.plan(model, x))
    program = torch.export.export(pruned, (x,))
    for a, b in zip(outputs(program.module()(x)), outputs(pruned(x)), strict=True):
        assert torch.equal(a, b)


def test_pruning_another_model_names_what_differs() -> None:
    model, x = build("flattened")
    plan = hp.plan(model, x)
    other, _ = build("residual")
    with pytest.raises(ValueError, match="the plan does not fit the model: it has no layer '1'"):
        hp.prune(other, plan)
    pruned = hp.prune(model, plan)
    with pytest.raises(ValueError, match=r"'\d' must have 8 (filters|channels); got 4"):
        hp.prune(pruned, plan)
    with pytest.raises(TypeError, match="plan must be a PruningPlan; got dict"):
        hp.prune(model, {})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model must be a"):
        hp.prune("model", plan)  # type: ignore[arg-type]


# --- saving and loading ---------------------------------------------------------------------------


def built(name: str) -> Callable[[], nn.Module]:
    return lambda: build(name)[0]


@pytest.fixture
def saved(tmp_path: Path) -> tuple[nn.Module, hp.PruningPlan, Path, torch.Tensor]:
    model, x = build("residual")
    plan = hp.plan(model, x)
    pruned = hp.prune(model, plan)
    hp.save_pruned(pruned, plan, tmp_path / "net")
    return pruned, plan, tmp_path / "net", x


Saved = tuple[nn.Module, hp.PruningPlan, Path, torch.Tensor]


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_is_exact(name: str, tmp_path: Path) -> None:
    model, x = build(name)
    plan = hp.plan(model, x)
    pruned = hp.prune(model, plan)
    hp.save_pruned(pruned, plan, tmp_path / "net")
    loaded = hp.load_pruned(built(name), tmp_path / "net")
    for a, b in zip(outputs(loaded(x)), outputs(pruned(x)), strict=True):
        assert torch.equal(a, b)
    text = (tmp_path / "net" / "plan.json").read_text()
    assert hp.PruningPlan.from_json(text) == plan


def test_saved_files_can_be_read_like_any_new_file(saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    modes = {entry.stat().st_mode for entry in saved[2].iterdir()}
    assert modes == {(tmp_path / "new").stat().st_mode}


class TwoHeads(nn.Module):
    """Two names for one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 3, padding=1)
        self.one = nn.Conv1d(6, 6, 1)
        self.two = nn.Linear(5, 3)
        self.three = nn.Linear(5, 3)
        self.three.weight = self.two.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(torch.relu(self.conv(x)))
        return self.two(x) + self.three(x)


def test_tied_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = TwoHeads().eval(), torch.randn(2, 1, 5)
    plan = hp.plan(model, x, ratio={"conv": 0.5})
    pruned = hp.prune(model, plan)
    assert pruned.three.weight is pruned.two.weight
    hp.save_pruned(pruned, plan, tmp_path / "net")
    loaded = hp.load_pruned(TwoHeads, tmp_path / "net").eval()
    assert loaded.three.weight is loaded.two.weight
    assert torch.equal(loaded(x), pruned(x))


CNN14_BY_HAND = """
    import sys
    for name in ("hubprune", "safetensors", "torch_pruning", "torchlibrosa", "rich"):
        sys.modules[name] = None
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Block(nn.Module):
        def __init__(self, c, n):
            super().__init__()
            self.conv1 = nn.Conv2d(c, n, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(n, n, 3, padding=1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(n), nn.BatchNorm2d(n)

        def forward(self, x, pool):
            x = F.relu(self.bn1(self.conv1(x)))
            return F.avg_pool2d(F.relu(self.bn2(self.conv2(x))), pool)

    class Cnn14(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn0 = nn.BatchNorm2d(64)
            widths = [1, 64, 128, 256, 512, 1024, 2048]
            for i in range(6):
                setattr(self, f"conv_block{i + 1}", Block(widths[i], widths[i + 1]))
            self.fc1, self.fc_audioset = nn.Linear(2048, 2048), nn.Linear(2048, 527)

        def forward(self, x):
            x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
            for i in range(6):
                x = getattr(self, f"conv_block{i + 1}")(x, 1 if i == 5 else 2)
            x = x.mean(3)
            return torch.sigmoid(self.fc_audioset(F.relu(self.fc1(x.amax(2) + x.mean(2)))))

    folder = sys.argv[1]
    sys.path.insert(0, folder)
    from load import load_pruned
    torch.set_default_device("meta")
    network = Cnn14()
    torch.set_default_device("cpu")
    network = network.to_empty(device="cpu").eval()
    network = load_pruned(network, folder)
    assert network.conv_block6.conv2.weight.shape == (1024, 1024, 3, 3)
    assert network.conv_block6.conv1.in_channels == 512
    assert network.bn0.num_features == 64
    with torch.no_grad():
        result = network(torch.linspace(-1, 1, 64 * 64).reshape(1, 1, 64, 64))
    print(repr(result.double().sum().item()))
"""


def test_cnn14_halved_at_blocks_4_to_6_loads_with_torch_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = hp.models.Cnn14().eval()
    x = torch.linspace(-1, 1, 64 * 64).reshape(1, 1, 64, 64)
    plan = hp.plan(model, x, ratio={f"conv_block{i}": 0.5 for i in (4, 5, 6)})
    assert len(plan.layers) == 6
    pruned = hp.prune(model, plan)
    hp.save_pruned(pruned, plan, tmp_path / "half")
    with torch.no_grad():
        expected = pruned(x)["clipwise_output"].double().sum().item()
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(CNN14_BY_HAND))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "half")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == pytest.approx(expected, rel=1e-6)


def test_the_torch_only_loader_gives_the_same_model(saved: Saved) -> None:
    """In float64, into an architecture that is built in float32."""
    from hubprune.standalone_loader import load_pruned

    pruned, _, folder, x = saved
    loaded = load_pruned(Residual(), folder).eval()
    assert torch.equal(loaded(x), pruned(x))


def damage_state(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def damage_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def damage_plan(folder: Path) -> None:
    (folder / "plan.json").write_text('{"format": ')


def change_format(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    plan["format"] = "something-else"
    (folder / "plan.json").write_text(json.dumps(plan))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_state, "net is damaged: "),
        (damage_header, "net is damaged: "),
        (damage_plan, "net is damaged: the plan is not JSON"),
        (change_format, "net is damaged: the JSON text must have the format 'hubprune-plan'"),
    ],
)
def test_damaged_files(damage: Callable[[Path], None], message: str, saved: Saved) -> None:
    damage(saved[2])
    with pytest.raises(ValueError, match=re.escape(message)):
        hp.load_pruned(built("residual"), saved[2])


def test_two_prunings_are_saved_as_one_plan(tmp_path: Path) -> None:
    model, x = build("residual")
    first = hp.plan(model, x, ratio=0.25)
    once = hp.prune(model, first)
    second = hp.plan(once, x, ratio=0.25)
    twice = hp.prune(once, second)
    hp.save_pruned(twice, second, tmp_path / "second")
    with pytest.raises(ValueError, match=r"save both steps as one, first_plan\.then\(second_plan"):
        hp.load_pruned(built("residual"), tmp_path / "second")
    hp.save_pruned(twice, first.then(second), tmp_path / "both")
    loaded = hp.load_pruned(built("residual"), tmp_path / "both")
    for a, b in zip(outputs(loaded(x)), outputs(twice(x)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["depthwise", "PReLU"])
def test_a_single_channel_that_is_left_is_saved(kind: str, tmp_path: Path) -> None:
    """With one channel a depthwise convolution is a plain one, and a PReLU has one slope."""

    def make() -> nn.Sequential:
        middle = nn.PReLU(2) if kind == "PReLU" else nn.Conv1d(2, 2, 3, groups=2)
        return nn.Sequential(nn.Conv1d(1, 2, 3), middle, nn.ReLU(), nn.Conv1d(2, 3, 3))

    model, x = make(), torch.randn(2, 1, 16)
    plan = hp.plan(model, x, ratio=0.5)
    assert {len(kept) for kept in plan.layers.values()} == {1}
    pruned = hp.prune(model, plan)
    hp.save_pruned(pruned, plan, tmp_path / "net")
    assert torch.equal(hp.load_pruned(make, tmp_path / "net")(x), pruned(x))
    assert hp.report(model, pruned, x, plan=plan).layers[0].filters_after == 1
    with pytest.raises(ValueError, match="does not fit"):
        hp.save_pruned(make(), plan, tmp_path / "other")


def test_a_plan_of_another_release_is_not_called_damaged(saved: Saved) -> None:
    plan = json.loads((saved[2] / "plan.json").read_text())
    (saved[2] / "plan.json").write_text(json.dumps({**plan, "version": 2}))
    with pytest.raises(
        ValueError, match=r"net cannot be loaded: .* got 2: .* another release"
    ) as e:
        hp.load_pruned(built("residual"), saved[2])
    assert "damaged" not in str(e.value)


def test_saving_below_a_folder_that_does_not_exist(saved: Saved, tmp_path: Path) -> None:
    parent = tmp_path / "no" / "such"
    with pytest.raises(FileNotFoundError, match=re.escape(f"path: {parent} does not exist")):
        hp.save_pruned(saved[0], saved[1], parent / "x")
    assert not parent.parent.exists()


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
def test_missing_files(name: str, saved: Saved, tmp_path: Path) -> None:
    (saved[2] / name).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"holds no pruned model: {name}")):
        hp.load_pruned(built("residual"), saved[2])
    with pytest.raises(FileNotFoundError, match="nowhere holds no pruned model"):
        hp.load_pruned(built("residual"), tmp_path / "nowhere")


def test_loading_into_another_architecture(saved: Saved) -> None:
    with pytest.raises(ValueError, match="the plan does not fit the model: it has no layer"):
        hp.load_pruned(built("flattened"), saved[2])

    class Wider(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 9)

    with pytest.raises(ValueError, match=r"(?s)net does not fit the model: .*head"):
        hp.load_pruned(lambda: Wider().double(), saved[2])
    with pytest.raises(TypeError, match="factory must be a function without arguments"):
        hp.load_pruned(saved[0], saved[2])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"factory must return a torch\.nn\.Module; got int"):
        hp.load_pruned(lambda: 3, saved[2])  # type: ignore[arg-type, return-value]


def test_saving_what_the_plan_does_not_describe(saved: Saved, tmp_path: Path) -> None:
    whole, _ = build("residual")
    with pytest.raises(ValueError, match=r"must have \d+ channels after pruning; got"):
        hp.save_pruned(whole, saved[1], tmp_path / "other")
    assert not (tmp_path / "other").exists()
    saved[0].register_buffer("sparse", torch.eye(3).to_sparse())
    with pytest.raises(ValueError, match="dense tensors only; 'sparse' is a Tensor"):
        hp.save_pruned(saved[0], saved[1], tmp_path / "other")


def test_other_peoples_files_are_safe(saved: Saved, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=re.escape("holds other files (thesis.tex)")):
        hp.save_pruned(saved[0], saved[1], home)
    assert (home / "thesis.tex").read_text() == "years of work"
    with pytest.raises(FileExistsError, match="is not a folder"):
        hp.save_pruned(saved[0], saved[1], home / "thesis.tex")
    with pytest.raises(FileNotFoundError):
        hp.save_pruned(saved[0], saved[1], tmp_path / "no" / "parent")


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Remembering(Residual):
        def get_extra_state(self) -> object:
            return {"epoch": 3}

        def set_extra_state(self, state: object) -> None:
            pass

    nothing = hp.PruningPlan({}, {}, {}, {}, "l1")
    with pytest.raises(ValueError, match="dense tensors only; '_extra_state' is a dict"):
        hp.save_pruned(Remembering(), nothing, tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_saving_through_a_link_replaces_the_folder_behind_it(saved: Saved, tmp_path: Path) -> None:
    pruned, plan, folder, x = saved
    link = tmp_path / "link"
    link.symlink_to(folder)
    with torch.no_grad():
        pruned.head.bias.add_(1.0)
    hp.save_pruned(pruned, plan, link)
    assert link.is_symlink()
    assert {entry.name for entry in tmp_path.iterdir()} == {"link", "net"}
    assert torch.equal(hp.load_pruned(built("residual"), folder)(x), pruned(x))
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="lost is not a folder"):
        hp.save_pruned(pruned, plan, tmp_path / "lost")


@pytest.mark.parametrize("name", ["half [1]*", "half"])
def test_leftovers_of_a_dead_process_are_removed(name: str, saved: Saved, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leftover = tmp_path / f".{name}.saving-{dead.pid}-abc"
    running = tmp_path / f".{name}.saving-{os.getpid()}-abc"
    other = tmp_path / f".other.saving-{dead.pid}-abc"
    for folder in (leftover, running, other):
        folder.mkdir()
    hp.save_pruned(saved[0], saved[1], tmp_path / name)
    assert [folder.exists() for folder in (leftover, running, other)] == [False, True, True]


def contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_an_interrupted_save_leaves_the_old_folder_whole(
    error: BaseException | type[BaseException], saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned, plan, folder, _ = saved
    before = contents(folder)

    def half(file: Path, *_: object) -> None:
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(surgery, "save_tensors", half)
    with pytest.raises((KeyboardInterrupt, OSError)):
        hp.save_pruned(pruned, plan, folder)
    assert contents(folder) == before
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_a_killed_save_leaves_the_old_folder_whole(saved: Saved) -> None:
    pruned, plan, folder, x = saved
    before = contents(folder)
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        import hubprune as hp
        from hubprune import surgery
        from networks import build

        def slow(file, *_):
            file.write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)

        surgery.save_tensors = slow
        model, x = build("residual")
        plan = hp.plan(model, x)
        hp.save_pruned(hp.prune(model, plan), plan, sys.argv[1])
        """
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert contents(folder) == before
    assert len(list(folder.parent.iterdir())) == 2  # what the killed process left
    assert torch.equal(hp.load_pruned(built("residual"), folder)(x), pruned(x))
    hp.save_pruned(pruned, plan, folder)
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_replacing_without_an_atomic_exchange(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems without renameat2 move the old folder aside first."""
    pruned, plan, folder, x = saved
    monkeypatch.setattr(sys, "platform", "elsewhere")
    with torch.no_grad():
        pruned.head.bias.add_(1.0)
    hp.save_pruned(pruned, plan, folder)
    assert torch.equal(hp.load_pruned(built("residual"), folder)(x), pruned(x))
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_a_save_killed_between_its_two_steps_loses_nothing(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned, plan, folder, x = saved
    before = contents(folder)
    monkeypatch.setattr(sys, "platform", "elsewhere")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if Path(target) == folder and ".saving-" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            hp.save_pruned(pruned, plan, folder)
    assert contents(folder) == before
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]
    folder.rename(folder.with_name(".net.replaced"))  # what a kill at the same place leaves
    assert torch.equal(hp.load_pruned(built("residual"), folder)(x), pruned(x))
    with torch.no_grad():
        pruned.head.bias.add_(1.0)
    hp.save_pruned(pruned, plan, folder)
    assert torch.equal(hp.load_pruned(built("residual"), folder)(x), pruned(x))
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_loading_keeps_the_saved_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    def factory() -> nn.Module:
        return nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Conv1d(4, 2, 3))

    model, x = factory().to(dtype).eval(), torch.randn(1, 1, 9).to(dtype)
    plan = hp.plan(model, x)
    pruned = hp.prune(model, plan)
    hp.save_pruned(pruned, plan, tmp_path / "net")
    with torch.inference_mode():
        loaded = hp.load_pruned(factory, tmp_path / "net").eval()
    assert loaded[1].num_batches_tracked.dtype == torch.int64
    assert torch.equal(loaded(x), pruned(x))
    loaded(x).sum().backward()


class Versioned(nn.Sequential):
    """As torchvision's MNASNet: a state without a version is no state of it."""

    _version = 2

    def __init__(self) -> None:
        super().__init__(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3))

    def _load_from_state_dict(self, state: Any, prefix: str, versions: Any, *more: Any) -> None:
        if versions.get("version") != 2:
            raise ValueError("version should be 2")
        super()._load_from_state_dict(state, prefix, versions, *more)


def test_a_network_that_asks_for_the_version_of_its_state(tmp_path: Path) -> None:
    from hubprune.standalone_loader import load_pruned

    model, x = Versioned().eval(), torch.randn(4, 1, 9)
    plan = hp.plan(model, x)
    pruned = hp.prune(model, plan)
    hp.save_pruned(pruned, plan, tmp_path / "net")
    assert torch.equal(hp.load_pruned(Versioned, tmp_path / "net")(x), pruned(x))
    assert torch.equal(load_pruned(Versioned(), tmp_path / "net")(x), pruned(x))


def one_channel_a_group() -> tuple[nn.Module, torch.Tensor, hp.PruningPlan]:
    """A grouped convolution that pruning leaves looking like a depthwise one."""
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).double()
    x = torch.randn(2, 1, 9, 9).double()
    return model.eval(), x, hp.plan(model, x, ratio=0.75)


def test_one_channel_a_group_is_saved_and_loaded(tmp_path: Path) -> None:
    model, x, plan = one_channel_a_group()
    pruned = hp.prune(model, plan)
    assert pruned[2].groups == pruned[2].in_channels == pruned[2].out_channels == 2
    hp.save_pruned(pruned, plan, tmp_path / "saved")
    loaded = hp.load_pruned(lambda: one_channel_a_group()[0], tmp_path / "saved")
    assert torch.equal(loaded(x), pruned(x))
    namespace = runpy.run_path(str(tmp_path / "saved" / "load.py"))
    alone = namespace["load_pruned"](one_channel_a_group()[0], tmp_path / "saved")
    assert torch.equal(alone(x), pruned(x))


@pytest.mark.parametrize("compensate", ["none", "interpolate"])
def test_a_whole_group_goes_in_a_second_step(tmp_path: Path, compensate: str) -> None:
    model, x, plan = one_channel_a_group()
    pruned = hp.prune(model, plan)
    again = hp.plan(pruned, x, ratio=0.5)
    both = plan.then(again)
    assert hp.PruningPlan.from_json(both.to_json()) == both
    at_once = hp.prune(model, both, compensate=compensate)
    assert (at_once[2].groups, at_once[2].in_channels, at_once[2].out_channels) == (1, 1, 1)
    if compensate == "none":
        assert torch.equal(at_once(x), hp.prune(pruned, again)(x))
    hp.save_pruned(at_once, both, tmp_path / "saved")
    loaded = hp.load_pruned(lambda: one_channel_a_group()[0], tmp_path / "saved")
    assert torch.equal(loaded(x), at_once(x))
