"""Data parallelism over the devices of one process or of many: a mesh with one axis, 'data'.

The state is replicated; the rows of each split and of each batch are divided over the devices. What
the step computes stays that of the whole batch: XLA's partitioner adds the sums across devices, so
losses, gradients and the statistics of batch norm are global. One device is a mesh of one, and runs
the same code.
"""

import contextlib
import os

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train_jax.run.errors import UserError

_main = True  # this is the only process, until `start` joins others


def start(*, coordinator, processes, process):
    """Joins the other processes of this run, before jax has any device, and decides which one
    writes.

    Args:
      coordinator: host:port of process 0; '' for what the environment says: SLURM's srun, Open
        MPI's mpirun, or JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID. Without
        any of them there is one process.
      processes: how many; with a coordinator only.
      process: the number of this one, from 0; with a coordinator only.

    Raises:
      UserError: the settings contradict one another, or the others do not come.
    """
    where = _meeting_place(coordinator, processes, process)
    if where is None:
        return
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
    try:
        jax.distributed.initialize(*where)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes did not find one another: {error}") from error
    global _main
    _main = jax.process_index() == 0


def _meeting_place(coordinator, processes, process):
    """The arguments of jax.distributed.initialize: () where a cluster tells jax, None for one
    process. See `start`."""
    env = os.environ
    if not coordinator and "JAX_COORDINATOR_ADDRESS" in env:
        coordinator = env["JAX_COORDINATOR_ADDRESS"]
        try:
            processes, process = int(env["JAX_NUM_PROCESSES"]), int(env["JAX_PROCESS_ID"])
        except (KeyError, ValueError) as error:
            raise UserError(
                f"JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES and JAX_PROCESS_ID must be "
                f"whole numbers: {error!r}"
            ) from None
    cluster = any(
        int(env.get(name, 1)) > 1 for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    )
    if coordinator:
        if not 0 <= process < processes:
            raise UserError(
                f"config: distributed.process must be in [0, {processes}), got {process}"
            )
        return coordinator, processes, process
    if cluster:
        return ()
    if processes > 1:
        raise UserError(
            f"config: distributed.processes is {processes}, so distributed.coordinator must be "
            "HOST:PORT of process 0"
        )
    return None


def make_mesh(devices: int) -> Mesh:
    """A mesh of `devices` devices; 0 for all there are, which many processes must use."""
    found = jax.devices()
    if not 0 <= devices <= len(found) or (0 < devices < len(found) and jax.process_count() > 1):
        raise UserError(
            f"config: distributed.devices must be at most {len(found)}, the devices of all "
            f"processes (0 takes all, as {jax.process_count()} processes must), got {devices}"
        )
    return Mesh(np.array(found[: devices or None]), ("data",))


def platform_of(mesh) -> str:
    """cpu, gpu or tpu."""
    return mesh.devices.flat[0].platform


def replicated(mesh) -> NamedSharding:
    """Every device has the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh) -> NamedSharding:
    """Each device has its part of the first axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def shard_rows(data: dict[str, np.ndarray], mesh) -> dict[str, jax.Array]:
    """The arrays [N, ...], divided by rows over the mesh; each process sends what its devices get.

    Rows of zeros are appended until the devices get equally many. No index may point to them.
    """

    def shard(array):
        rows = -(-len(array) // mesh.size)  # of one device

        def part(index):
            first = index[0].start or 0
            piece = array[first : first + rows]
            return np.pad(piece, [(0, rows - len(piece))] + [(0, 0)] * (array.ndim - 1))

        shape = rows * mesh.size, *array.shape[1:]
        return jax.make_array_from_callback(shape, by_rows(mesh), part)

    return {name: shard(array) for name, array in data.items()}


def replicate(tree, mesh):
    """The arrays of `tree`, the same in every process, on all devices of the mesh."""
    if jax.process_count() == 1:
        return jax.device_put(tree, replicated(mesh))

    def put(array):  # device_put knows the devices of its own process only, as far as keys go
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(array))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
        return jax.make_array_from_callback(
            array.shape, replicated(mesh), np.asarray(array).__getitem__
        )

    return jax.tree.map(put, tree)


def local(tree):
    """The replicated arrays of `tree` as arrays on one device of this process."""
    return jax.tree.map(lambda a: a.addressable_data(0), tree)


def is_main() -> bool:
    """Whether this is the process that writes and prints. Asking starts no backend."""
    return _main


@contextlib.contextmanager
def main_first():
    """The main process goes through the block before the others."""
    if not is_main():
        _wait("main_first")
    yield
    if is_main():
        _wait("main_first")


def agree(signum: int | None) -> int | None:
    """The signal that any process got, so that all stop at the same step; None where none did.

    With many processes this waits for the step in progress: one exchange per call of the step.
    """
    if jax.process_count() == 1:
        return signum
    return int(multihost_utils.process_allgather(np.int32(signum or 0)).max()) or None


def _wait(name):
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
