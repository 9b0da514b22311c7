"""What an H100 would run in each training step of a net, found by compiling for one without a GPU.

pip install --no-deps --target /tmp/cuda-plugin jax-cuda13-plugin==X jax-cuda13-pjrt==X
PYTHONPATH=/tmp/cuda-plugin python benchmarks/gpu_structure.py [fer_best fer_wide seq_lstm]

X is the version of the jax that runs this (seen with 0.10.2 and 0.11.2); no library of CUDA is
needed. XLA_FLAGS hold for the compilation, too. Counted are, for one step of a call of many:

  kernels, library calls and copies on the GPU; of a conditional the longest branch
  launches   what the host starts one by one; a CUDA graph counts once, whatever is in it
  graphs     how many of the launches are CUDA graphs (XLA's command buffers)
  waits      conditionals outside of graphs: the host waits for the GPU to know the branch
  loops      the iterations of loops outside of graphs, such as time steps

Nothing is autotuned without a GPU: the structure is the real one, times are not to be had.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import Mesh  # noqa: E402
from nets import NETS, build, config_of, task_of  # noqa: E402

from train_jax.parallel import by_rows, replicated  # noqa: E402

# The fields that XLA's compiler looks at, of NVIDIA's data sheet and as CUDA reports them.
H100 = """
gpu_device_info {
  name: "NVIDIA H100 80GB HBM3" device_vendor: "NVIDIA Corporation"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  device_memory_size: 84942979072 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  pcie_bandwidth: 34359738368 device_address_bits: 64 ecc_enabled: true
  platform_version: "Compute Capability 9.0a" driver_version: "13.0.0" runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 2 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
COPIES = {"kCopy", "kMemcpy", "kMemset", "kMemzero", "kMemset32BitValue"}
LIBRARIES = {"kConvolution", "kGemm", "kCublasLtMatmul", "kCuDnn", "kNorm", "kCustomCall"}
COLUMNS = ("kernels", "library calls", "copies", "launches", "graphs", "waits", "loops")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=["fer_best", "fer_wide", "seq_lstm"])
    parser.add_argument("--steps", type=int, default=32, help="of a call")
    parser.add_argument("--batch", type=int, help="in place of the config's")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--dump", help="a folder that keeps what XLA writes")
    options = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")
    if unknown := set(options.nets) - set(NETS):
        parser.error(f"no net {', '.join(unknown)}, only {', '.join(NETS)}")
    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    mesh = Mesh(np.array(topology.devices[:1]), ("data",))
    print(f"jax {jax.__version__}, {options.steps} steps per call; of one step:\n")
    print(f"| net, batch | {' | '.join(COLUMNS)} | arguments, MB | temporaries, MB |")
    print("|---" * (len(COLUMNS) + 3) + "|", flush=True)
    for net in options.nets:
        config = config_of(net, **({"bfloat16": True} if options.bfloat16 else {}))
        config.train.batch_size = options.batch or config.train.batch_size
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(options.dump or folder) / net
            compiled = compile_step(config, mesh, options.steps, folder)
            found = count(step_of(read_thunks(folder), options.steps))
        memory = compiled.memory_analysis()
        megabytes = memory.argument_size_in_bytes * 1e-6, memory.temp_size_in_bytes * 1e-6
        cells = [f"{found[name]:.4g}" for name in COLUMNS] + [f"{mb:.1f}" for mb in megabytes]
        print(f"| {net}, {config.train.batch_size} | {' | '.join(cells)} |", flush=True)


def compile_step(config, mesh, steps, folder):
    """The training call of `steps` steps, compiled for the device of the mesh. XLA's description of
    it is left in `folder`."""
    with mock.patch("jax.default_backend", return_value="gpu"):  # for code that asks
        task = task_of(config, rows=config.train.batch_size)
        program, state = build(task, config, mesh, steps=steps)

        def described(array, sharding):
            return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

        rows = steps, config.train.batch_size
        traced = program.train_step_at(0).trace(
            jax.tree.map(lambda a: described(a, replicated(mesh)), state),
            {name: described(a, by_rows(mesh)) for name, a in task.train.items()},
            jax.ShapeDtypeStruct(rows, jnp.int32),
            jax.ShapeDtypeStruct(rows, jnp.float32),
        )
        lowered = traced.lower(lowering_platforms=("cuda",))
    dump = {"xla_dump_to": str(folder), "xla_dump_hlo_as_text": True}
    return lowered.compile(compiler_options=dump)


class Thunk(NamedTuple):
    """What the GPU's runtime does in one go, or a branch or body that holds such things."""

    kind: str  # as XLA calls it: kCustomKernel, kCommandBuffer, kWhile ...; '' for a branch
    trips: int  # iterations of a loop, 1 for anything else
    inside: list


def read_thunks(folder) -> Thunk:
    """The tree of thunks that XLA has described in `folder`, by indentation."""
    (path,) = folder.glob("*.thunk_sequence_after_thunk_passes.txt")
    trips = loop_trips(folder)
    root = Thunk("", 1, [])
    open_ = [(-1, root)]  # (indentation, thunk) from the root to the last line
    # A loop of known length runs without its condition. A 'body:' lies in its loop by indentation.
    lines = re.sub(r"condition:\n.*?(?=body:)", "", path.read_text(), flags=re.DOTALL)
    for line in lines.splitlines():
        found = re.match(r"( *)(?:(\d+): (k\w+)|(\w*branch\w*):)", line)
        if not found:
            continue
        indentation = len(found[1])
        while open_[-1][0] >= indentation:
            open_.pop()
        count = trips.get(int(found[2]), 1) if found[3] == "kWhile" else 1
        thunk = Thunk(found[3] or "", count, [])
        open_[-1][1].inside.append(thunk)
        open_.append((indentation, thunk))
    return root


def loop_trips(folder) -> dict[int, int]:
    """{number of the thunk of a loop: its iterations}, of the loops that XLA knows them of."""
    (program,) = folder.glob("*gpu_after_optimizations.txt")
    (metadata,) = folder.glob("*.thunk_metadata.txt")
    loops = re.findall(
        r'%(\S+) = .* while\(.*"known_trip_count":\{"n":"(\d+)"', program.read_text()
    )
    numbers = re.findall(r'profile_annotation: "(.*)"\s*thunk_id: (\d+)', metadata.read_text())
    numbers = {name: int(number) for name, number in numbers}
    return {numbers[name]: int(n) for name, n in loops if name in numbers}


def step_of(call: Thunk, steps) -> Thunk:
    """The body of the loop over the steps of a call."""
    found = [t for t in walk(call) if t.kind == "kWhile" and t.trips == steps]
    if not found:
        sys.exit(f"there is no loop of {steps} steps in what XLA made; is --steps 1?")
    return found[0]._replace(kind="", trips=1)


def walk(thunk):
    yield thunk
    for inner in thunk.inside:
        yield from walk(inner)


def count(thunk: Thunk) -> dict[str, int]:
    """The numbers of COLUMNS of a thunk."""
    inside = [count(inner) for inner in thunk.inside]
    total = {name: sum(found[name] for found in inside) for name in COLUMNS}
    if thunk.kind == "kCommandBuffer":
        return total | {"launches": 1, "graphs": 1, "waits": 0, "loops": 0}
    if thunk.kind == "kConditional":
        longest = max(inside, key=lambda found: found["kernels"])
        return longest | {"waits": longest["waits"] + 1}
    if thunk.kind == "kWhile":
        total = {name: n * thunk.trips for name, n in total.items()}
        return total | {"loops": total["loops"] + thunk.trips}
    if inside or not thunk.kind:
        return total
    name = (
        "copies"
        if thunk.kind in COPIES
        else ("library calls" if thunk.kind in LIBRARIES else "kernels")
    )
    return total | {name: 1, "launches": 1}


if __name__ == "__main__":
    main(sys.argv[1:])
