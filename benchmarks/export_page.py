"""The exported page in Chromium beside --mode=predict: answers and times, for docs/export.md.

python benchmarks/export_page.py --page=runs/export/index.html --photos=FOLDER [--shots=FOLDER]
"""

import argparse
import functools
import http.server
import os
import shutil
import statistics
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from fer_jax import weights as weights_lib
from fer_jax.predict.faces import find_faces
from fer_jax.predict.run import make_classify
from tests.fer_jax.export.scenes import scene
from tests.fer_jax.export.test_page import Visit

SEARCH = {"detector": "haar", "min_face": 40, "margin": 0.0, "align": True, "turned": False}
LOOKS = {
    "light": {"viewport": {"width": 1100, "height": 800}},
    "dark": {"viewport": {"width": 1100, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}


def compare(visit, files, classify):
    """Prints how far boxes and probabilities are apart, and the medians of the times."""
    found = visit.faces_of([str(file) for file in files])
    apart, off, count, missing = [0.0], [0.0], 0, 0
    for file in files:
        faces = find_faces(np.asarray(Image.open(file).convert("RGB")), **SEARCH)
        count += len(faces)
        if len(faces) != len(found[file.name]):
            missing += 1
            continue
        probabilities = classify([face.crop for face in faces])
        for face, p, (box, ours) in zip(faces, probabilities, found[file.name], strict=True):
            apart.append(abs(np.subtract(face.box, box)).max())
            off.append(abs(p - ours).max())
    print(f"{len(files)} pictures, {count} faces, {missing} with another number of faces; boxes "
          f"{max(apart):.0f} pixels apart at most, probabilities {max(off):.4f}")  # fmt: skip


def times(visit):
    """Median ms of finding (a picture) and judging (a face), as the page says them."""
    find, judge = [], []
    for article in visit.tab.query_selector_all("article"):
        words = article.query_selector("p").inner_text().replace(",", " ").split()
        faces = len(article.query_selector_all(".face"))
        if faces:
            find.append(float(words[words.index("Finding") + 1]))
            judge.append(float(words[words.index("judging") + 1]) / faces)
    return (
        f"find {statistics.median(find):.0f} ms a picture, judge {statistics.median(judge):.1f} ms "
        f"a face (medians of {len(find)} pictures)"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=Path("runs/export/index.html"))
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--weights", type=Path, default=weights_lib.SHIPPED)
    args = parser.parse_args()
    classify = make_classify(weights_lib.load(args.weights), tta="none")
    photos = sorted(args.photos.glob("*.jpg"))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with sync_playwright() as p, tempfile.TemporaryDirectory() as folder:
        scenes = [Path(folder) / f"{seed}.png" for seed in range(40)]
        for seed, path in enumerate(scenes):
            Image.fromarray(scene(seed)).save(path)
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        print("Chromium", browser.version)
        handler = functools.partial(
            http.server.SimpleHTTPRequestHandler, directory=args.page.resolve().parent
        )
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            served = f"http://127.0.0.1:{server.server_port}/{args.page.name}"
            for url, files in ((args.page.resolve().as_uri(), scenes), (served, photos)):
                visit = Visit(browser, url)
                ready = visit.tab.locator("html").get_attribute("data-ready")
                print(f"{url.split(':')[0]}: ready after {ready} ms")
                compare(visit, files, classify)
                print(times(visit), "; requests:", len(visit.requests), "errors:", visit.errors)
            for name, look in LOOKS.items() if args.shots else ():
                visit = Visit(browser, served, **look)
                visit.faces_of([str(photo) for photo in photos])
                visit.tab.screenshot(path=args.shots / f"page_{name}.png", full_page=True)
            server.shutdown()
        browser.close()


if __name__ == "__main__":
    main()
