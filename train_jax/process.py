"""What a process sets before jax starts: memory pages, compiler flags, the compile cache, signals.

Nothing here imports jax. Only launch.py and the tests call it: `import fer_jax` leaves a process as
it is.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

STOPS = signal.SIGINT, signal.SIGTERM
listening = False  # set by `listen`: this process is the command's, not a notebook's
_STOPPING = threading.Lock()  # taken once, by the thread that ends the process


def start(script: str):
    """All of it, for the command that runs `script`, the path of a file."""
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        signal.signal(signal.SIGINT, stop)
    use_huge_pages(script)
    listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    use_eigen_convolutions()
    cache_compilations()


def use_huge_pages(script: str):
    """Restarts this process with 2 MB pages for malloc, which glibc only reads at the start.

    XLA allocates its buffers again at every step. In pages of 4 KB that is 39,000 page faults in a
    step of fer_best: 211 ms; with huge pages 490 faults and 173 ms (2 cores, batch 64). With four
    arenas instead of 16 memory does not grow over the epochs: at most 1.24 GB instead of 1.35.
    Signals that come in between wait: they would end the new process without a word.

    Only where `script` is the command that was started: a notebook that runs it stays as it is.
    """
    started = sys.orig_argv[-len(sys.argv) :] == sys.argv and Path(sys.argv[0]).name
    if sys.platform == "linux" and started == Path(script).name:
        if "GLIBC_TUNABLES" not in os.environ:
            os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=4"
            sys.stdout.flush()
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            os.execv(sys.executable, sys.orig_argv)


def use_eigen_convolutions():
    """Convolutions on a CPU by Eigen, not by YNNPACK, which jaxlib 0.10 takes unless told so.

    A step of fer_best 144 ms instead of 205, of fer_lobo 204 instead of 343 (benchmarks/NOTES.md,
    which has the rates of each layer). XLA refuses flags that it does not know.
    """
    if "ynn_fusion_type" not in os.environ.get("XLA_FLAGS", ""):
        _add_xla_flag("--xla_cpu_experimental_ynn_fusion_type=-individual_convolution")


def cache_compilations():
    """Keeps what XLA compiles in the user's cache folder, unless jax's own variable says where.

    From the start to the first finished step of fer_best: 11.2 s, from then on 4.9 s (2 cores,
    benchmarks/startup.py). A damaged entry is compiled again, with a warning. Without a home
    folder nothing is kept.
    """
    with contextlib.suppress(RuntimeError):  # of Path.home
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "fer_seq_jax" / "xla"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def make_deterministic():
    """The same bits in every run on one GPU: no kernel that adds in a changing order, and none that
    is chosen by its time, which the flag turns off with it. XLA reads it with the first array."""
    _add_xla_flag("--xla_gpu_deterministic_ops=true")  # known to builds for the CPU too


def listen():
    """Calls `stop` at once where it is what a signal does, from a thread of its own.

    Python's handlers wait for the instruction in progress, such as a compiled call: in --mode=eval
    that was up to 20 s.
    """
    global listening
    listening = True
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    signal.set_wakeup_fd(sink, warn_on_full_buffer=False)

    def wait():
        while number := os.read(source, 1):
            if signal.getsignal(number[0]) is stop:
                stop(number[0], None)

    threading.Thread(target=wait, daemon=True).start()


def stop(signum, frame):
    """What Ctrl-C and SIGTERM do outside of training, where nothing is in progress to be saved.

    Not by an exception: Python makes another one of it where a class is being defined.
    """
    if not _STOPPING.acquire(blocking=False):
        time.sleep(10)  # the other thread ends the process
    os.write(2, b"interrupted; run the same command again\n")
    flush = threading.Thread(target=_flush, daemon=True)
    flush.start()
    flush.join(0.5)  # a reader that reads no more would make it wait for ever
    os._exit(128 + signum)


def _flush():
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        sys.stdout.flush()


def ignore_stops():
    """When all is written, a signal that comes while Python ends is nothing to report."""
    for signum in STOPS:
        signal.signal(signum, signal.SIG_IGN)


def _add_xla_flag(flag):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
