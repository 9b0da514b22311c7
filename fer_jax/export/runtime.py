"""onnxruntime-web, pinned: fetched by npm once, checked, and kept in the user's cache folder."""

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import onnxruntime

from train_jax.run.errors import UserError

VERSION = "1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"  # of ARCHIVE
ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"
FILES = {  # script without WebGPU, with the code that loads the other
    "runtime": "package/dist/ort.wasm.bundle.min.mjs",
    "wasm": "package/dist/ort-wasm-simd-threaded.wasm",
}
SECONDS = 300  # for 25 MB


def load() -> dict[str, bytes]:
    """{name of FILES: content}.

    Raises:
      UserError: it is not in the cache, and npm cannot fetch it; or it is not the pinned one.
    """
    path = cache() / ARCHIVE
    if not path.exists():
        fetch(path.parent)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise UserError(
            f"{path}: its SHA-256 is {digest}, expected {SHA256}. Delete it: it is fetched again"
        )
    with tarfile.open(path) as archive:
        files = {name: archive.extractfile(file) for name, file in FILES.items()}
        return {name: file.read() for name, file in files.items() if file}


def notices() -> tuple[str, str]:
    """(licence, notices of third parties), which come with the Python package."""
    folder = Path(onnxruntime.__file__).parent
    licence, others = folder / "LICENSE", folder / "ThirdPartyNotices.txt"
    return licence.read_text("utf-8"), others.read_text("utf-8")


def fetch(folder: Path):
    """Lets npm put ARCHIVE into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", f"onnxruntime-web@{VERSION}", f"--pack-destination={folder}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        problem = done.stderr.strip()[-200:] if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem or not (folder / ARCHIVE).exists():
        raise UserError(
            f"index.html needs onnxruntime-web, which npm could not fetch ({problem}). Put "
            f"{ARCHIVE} into {folder}, or leave the page out with --config.export.page=False"
        )


def cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fer_seq_jax"
