"""The GPU measurements, as far as a CPU carries them: small, in a process of their own."""

import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

THUNKS = """\
000: kCommandBuffer [source | next=002 (1)]
    001: kCustomKernel [source | sink] transpose grid: [3, 1, 1]
002: kWhile [prev=000 (1) | sink]
condition:
    003: kCustomKernel [source | sink] compare grid: [1, 1, 1]
  body:
    004: kCustomKernel [source | sink] gather grid: [1, 1, 1]
    005: kConditional   [prev=004 (1) | next=000 (1)]
      false_branch:
        000: kCommandBuffer [source | sink]
            006: kCopy [source | sink] kCopy
            007: kConvolution [source | sink] kConvolution
        008: kWhile [prev=000 (1) | sink]
condition:
            009: kCustomKernel [source | sink] compare grid: [1, 1, 1]
          body:
            000: kCommandBuffer [source | sink]
                010: kDynamicSliceFusion [source | sink] params=1
                    011: kCopy [source | sink] kCopy
                012: kCustomKernel [source | sink] cell grid: [1, 1, 1]
      true_branch:
        013: kCustomKernel [source | sink] add grid: [1, 1, 1]
"""
METADATA = """\
thunk_metadata {
  thunk_info {
    profile_annotation: "while.1"
    thunk_id: 2
  }
}
thunk_metadata {
  thunk_info {
    profile_annotation: "while.2"
    thunk_id: 8
  }
}
"""
PROGRAM = """\
  %while.2 = (s32[]) while(%tuple.2), backend_config={"known_trip_count":{"n":"7"}}
  %while.1 = (s32[]) while(%tuple.1), backend_config={"known_trip_count":{"n":"32"}}
"""


@pytest.fixture
def measurements(monkeypatch):
    """The modules, which import one another by their names alone."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return SimpleNamespace(gpu=import_module("gpu"), structure=import_module("gpu_structure"))


def test_a_step_is_counted_as_it_runs(measurements, tmp_path):
    """Of a conditional the longer branch, a loop as often as it runs, a graph as one launch."""
    for name, text in {
        "m.thunk_sequence_after_thunk_passes.txt": THUNKS,
        "m.thunk_metadata.txt": METADATA,
        "m.sm_9.0a_gpu_after_optimizations.txt": PROGRAM,
    }.items():
        (tmp_path / name).write_text(text)
    call = measurements.structure.read_thunks(tmp_path)
    assert measurements.structure.count(measurements.structure.step_of(call, 32)) == {
        "kernels": 1 + 7, "library calls": 1, "copies": 1 + 7, "launches": 1 + 1 + 7,
        "graphs": 1 + 7, "waits": 1, "loops": 7,
    }  # fmt: skip
    with pytest.raises(SystemExit, match="no loop of 8 steps"):
        measurements.structure.step_of(call, 8)


def run(out, *parts, minutes=5, data=""):
    """{name of a part: result} of gpu.json, and gpu.md."""
    command = [sys.executable, BENCHMARKS / "gpu.py", "--tiny", f"--minutes={minutes}",
               f"--out={out}", f"--data={data}", *parts]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "gpu.json").read_text())
    return {r["part"]: r for r in results}, (out / "gpu.md").read_text()


def test_parts_run_in_turn_and_leave_their_results(tmp_path):
    names = "card", "images fer_best 64 bfloat16", "sentences seq_lstm 64 7", "train float32"
    found, table = run(tmp_path, *names)
    assert set(found) == set(names)
    assert found["card"]["jax"] and found["card"]["copy, GB/s"] > 0
    for name in names[1:3]:
        assert found[name]["ms"]["jax"] > 0 and found[name]["share"] > 0
        assert f"| {name} | " in table
        for peer in ("torch", "torch.compile"):  # measured, or said why not
            value = found[name]["ms"][peer]
            assert isinstance(value, float) or "No module named 'torch'" in value
    assert found["train float32"]["left out"] == "--data is not given"


@pytest.mark.slow
def test_the_longer_parts(tmp_path):
    found, _ = run(tmp_path, "losses fer_best", "losses seq_lstm", "checkpoints", "bits")
    for net in ("fer_best", "seq_lstm"):
        losses = found[f"losses {net}"]
        assert len(losses["CPU"]) == 5
        assert max(losses["highest, relative difference of each ten"]) < 1e-4  # the same device
    assert found["checkpoints"]["cost"].endswith(" %")
    bits = found["bits"]
    assert bits.pop("resumed").startswith("continuing after epoch")
    hashes = [value for name, value in bits.items() if name not in ("part", "seconds")]
    assert len(hashes) == 5 and len(set(hashes)) == 1


def test_what_does_not_fit_into_the_time_is_left_out(tmp_path):
    found, _ = run(tmp_path, "bits", minutes=0.1)
    assert "s are left" in found["bits"]["left out"]


def test_a_part_that_dies_or_hangs_costs_itself(measurements, tmp_path, monkeypatch):
    """The worker is replaced by one that dies of its first part and hangs in its second."""
    worker = tmp_path / "gpu_parts.py"
    worker.write_text(
        "import json, os, sys, time\n"
        "first = next(iter(json.loads(sys.argv[2])))\n"
        "if first == 'dies': os._exit(3)\n"
        "print('RESULT ' + json.dumps({'part': first, 'fine': 1}), flush=True)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(measurements.gpu, "HERE", tmp_path)
    monkeypatch.setattr(measurements.gpu, "GRACE", 0)
    options = SimpleNamespace(tiny=True, data="", out=str(tmp_path))
    parts, told = {name: (1, name, []) for name in ("dies", "works", "hangs", "late")}, []
    begin = time.time()
    while parts:
        measurements.gpu.run_worker(parts, begin + 2, options, told.append)
    assert [r["part"] for r in told] == ["dies", "works", "hangs", "late"]
    assert told[0]["error"] == "the process ended with 3" and told[1]["fine"] == 1
    assert told[2]["error"] == "the process ended with -9"
    assert told[3]["left out"] == "the time is over"


def test_an_unknown_part_is_refused(measurements, capsys):
    with pytest.raises(SystemExit):
        measurements.gpu.main(["imagse"])
    assert "no part begins with ['imagse']" in capsys.readouterr().err
