"""What this project does on a GPU, next to PyTorch: one command of a few minutes.

python benchmarks/gpu.py [--minutes=8] [--data=archive.zip] [--out=runs/gpu] [part ...]

Runs the parts below in their order, the most important first, or only those whose names begin with
one of the given ones, such as bits or "images fer_best". Each result is in gpu.json and gpu.md of
--out as soon as it is there. A part that no longer fits into the time is left out, for shorter
ones; a crash costs its own part. A machine without a network needs what gpu_pack.py packs.

Ours and PyTorch take turns in one process (ours, eager, compiled, ours ...). Both have their data
on the GPU and are waited for once per call; TF32, fused Adam and channels_last are on in PyTorch.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench import HUGE_PAGES

HERE = Path(__file__).resolve().parent
GRACE = 5  # seconds that a part may take longer than there are
F32, BF16 = "float32", "bfloat16"
PARTS = [  # (seconds that it takes at most, as was guessed; function of gpu_parts.py; arguments)
    (40, "card", []),
    (90, "images", ["fer_best", 64, F32]),
    (60, "losses", ["fer_best"]),
    (90, "images", ["fer_wide", 256, BF16]),
    (60, "sentences", ["seq_lstm", 256, 50]),
    (90, "train", [F32]),
    (90, "checkpoints", []),
    (90, "images", ["fer_lobo", 64, F32]),
    (150, "bits", []),
    (60, "sentences", ["seq_lstm", 64, 7]),
    (90, "images", ["fer_best", 256, BF16]),
    (40, "losses", ["seq_lstm"]),
    (90, "train", [BF16]),
    *((60, "losses", [net]) for net in ("fer_lobo", "fer_wide")),
    *(
        (60, "sentences", [net, *shape])
        for net in ("seq_gru", "seq_rnn")
        for shape in ((256, 50), (64, 7))
    ),
    *(
        (80, "images", [net, batch, dtype])
        for batch in (64, 256, 1024)
        for dtype in (F32, BF16)
        for net in ("fer_wide", "fer_best", "fer_lobo")
    ),
]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="or the beginnings of their names")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--data", default="", help="FER-2013; without it nothing real is trained")
    parser.add_argument("--out", default=str(HERE.parent / "runs" / "gpu"))
    parser.add_argument("--tiny", action="store_true", help="small nets, for a test on a CPU")
    options = parser.parse_args(arguments)
    parts = {}  # without the repeats
    for seconds, function, values in PARTS:
        name = " ".join(map(str, [function, *values]))
        if name.startswith(tuple(options.parts) or ""):
            parts.setdefault(name, (seconds * (0.2 if options.tiny else 1), function, values))
    if not parts:
        parser.error(f"no part begins with {options.parts}")
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    results, end = [], time.time() + 60 * options.minutes
    while parts:
        run_worker(parts, end, options, lambda result: note(results, result, out))


def run_worker(parts, end, options, tell):
    """Runs `parts` in a process of their own until it ends or dies; takes from `parts` what is
    done, left out or failed, and tells the result of each."""
    if time.time() > end:
        for part in list(parts):
            del parts[part]
            tell({"part": part, "left out": "the time is over"})
        return
    settings = {"end": end, "tiny": options.tiny, "data": options.data, "out": options.out}
    env = HUGE_PAGES | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | os.environ
    command = [sys.executable, HERE / "gpu_parts.py", json.dumps(settings), json.dumps(parts)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True
    ) as process:
        left = end + GRACE - time.time()
        stop = threading.Timer(left, lambda: os.killpg(process.pid, signal.SIGKILL))
        stop.start()
        for line in process.stdout:
            if line.startswith("RESULT "):
                result = json.loads(line.removeprefix("RESULT "))
                del parts[result["part"]]
                tell(result)
            else:
                print(line, end="", flush=True)
        stop.cancel()
    if parts:
        tell({"part": next(iter(parts)), "error": f"the process ended with {process.returncode}"})
        del parts[next(iter(parts))]


def note(results, result, out):
    """Adds a result to the files in `out`, and prints it."""
    results.append(result)
    (out / "gpu.json").write_text(json.dumps(results, indent=1))
    (out / "gpu.md").write_text(table(results))
    shown = {k: v for k, v in result.items() if k != "part"}
    print(f"{result['part']}: {json.dumps(shown)}", flush=True)


def table(results) -> str:
    """Everything in Markdown: one table of the speeds, one line for each other result."""
    lines = [
        "| part | ours, ms | peers, ms | ours / the better peer | of the card's product |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        if "ms" in r:
            peers = {name: ms for name, ms in r["ms"].items() if name != "jax"}
            best = min((ms for ms in peers.values() if isinstance(ms, float)), default=None)
            cells = [
                r["part"],
                number(r["ms"]["jax"]),
                ", ".join(f"{name} {number(ms)}" for name, ms in peers.items()),
                f"**{r['ms']['jax'] / best:.2f}**" if best else "",
                f"{r['share']:.1%}" if "share" in r else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for r in results:
        if "ms" not in r:
            lines.append(
                f"- {r['part']}: {', '.join(f'{k} {v}' for k, v in r.items() if k != 'part')}"
            )
    return "\n".join(lines) + "\n"


def number(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(sys.argv[1:])
