"""Options of XLA's compiler, by the platform that it compiles for.

Those of one program are given to `jax.jit(compiler_options=...)`; what XLA takes from the
environment alone is in launch.py.
"""

import jax

from train_jax.run.errors import UserError

MATMUL_PRECISIONS = ("", "default", "high", "highest")

# A forward pass on a CPU: YNNPACK gets single matrix products alone. Otherwise XLA hands it whole
# chains of layers that end in a sum, convolutions included, where they are slower: prediction by
# fer_best of one face takes 0.79 of the time, of 64 0.93 (2 cores).
_FORWARD_ON_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}
# A step on an NVIDIA GPU is one CUDA graph: to what XLA captures by default comes CONVOLUTION,
# without which the host starts a step of fer_best in 59 pieces (benchmarks/gpu_structure.py).
_STEP_ON_GPU = {
    "xla_gpu_enable_command_buffer": (
        "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONVOLUTION"
    ),
}


def forward_options(platform: str) -> dict:
    """`platform`: as a jax.Device names it: cpu, gpu, tpu."""
    return _FORWARD_ON_CPU if platform == "cpu" else step_options(platform)


def step_options(platform: str) -> dict:
    return _STEP_ON_GPU if platform == "gpu" else {}


def use_matmul_precision(name: str):
    """Of all float32 products and convolutions that this process compiles from now on.

    '' leaves it to jax's own setting and the platform. An NVIDIA GPU rounds their inputs to TF32,
    10 bits of mantissa with float32 sums, and is several times as fast as with 'highest', which is
    float32 throughout. A CPU computes in float32 whatever is said. UserError for another name.
    """
    if name not in MATMUL_PRECISIONS:
        choices = ", ".join(map(repr, MATMUL_PRECISIONS))
        raise UserError(f"config.train.matmul_precision must be one of {choices}, got {name!r}")
    if name:
        jax.config.update("jax_default_matmul_precision", name)
