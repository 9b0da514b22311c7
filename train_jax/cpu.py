"""CPU only: what the processor of this machine can do."""

import functools
from pathlib import Path


@functools.cache
def has(flag: str) -> bool:
    """Whether Linux lists `flag` among the processor's: 'avx512f' (vectors of 16 float32),
    'amx_bf16' (products of bfloat16 matrices). False where there is no telling."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    return flag in next((line.split() for line in lines if line.startswith("flags")), [])
