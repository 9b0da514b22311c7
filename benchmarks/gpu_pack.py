"""Packs what gpu.py needs on a GPU machine without a network into `.gpu/`, which git ignores.

python benchmarks/gpu_pack.py archive.zip

.gpu/wheels/   what such a machine lacks, as wheels: ml_collections, tensorboardX
.gpu/train.zip the training images of archive.zip (28,709 JPEGs, 49 MB; the whole zip has 55)

There, with that machine's python3, which has jax with CUDA, flax, optax, orbax and torch (wheels
go into it by a .pth file, which its own processes read, too):

    site=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    for w in .gpu/wheels/*.whl; do python3 -m zipfile -e $w /tmp/site; done
    echo /tmp/site > $site/carried.pth
    python3 -u benchmarks/gpu.py --data=.gpu/train.zip --out=$OUT

`--minutes` is 8 unless told otherwise. Packed once, the folder serves every call.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".gpu"
WHEELS = "ml_collections==1.1.0", "tensorboardX==2.6.5"


def main(archive):
    wheels = FOLDER / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels)]
    subprocess.run([*pip, *WHEELS], check=True)
    with (
        zipfile.ZipFile(archive) as source,
        zipfile.ZipFile(FOLDER / "train.zip", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in sorted(source.namelist()):
            if name.startswith("train/") and not name.endswith("/"):
                packed.writestr(name, source.read(name))
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>12,d}  {path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
