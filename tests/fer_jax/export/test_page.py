"""The page in a browser: the answers of --mode=predict, and no request."""

import functools
import http.server
import re
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_jax import weights
from fer_jax.predict.faces import find_faces
from fer_jax.predict.run import make_classify
from tests.fer_jax.export.scenes import scene
from train_jax.run.errors import UserError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from fer_jax.export import onnx as export  # noqa: E402
from fer_jax.export import page, run, runtime  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SETTINGS = {"threshold": 0.5, "min_face": 40, "margin": 0.0, "align": True}
SEARCH = {"detector": "haar", "min_face": 40, "margin": 0.0, "align": True, "turned": False}

needs_runtime = pytest.mark.skipif(
    not (runtime.cache() / runtime.ARCHIVE).exists() and shutil.which("npm") is None,
    reason="needs npm",
)


@pytest.fixture(scope="module")
def classifier():
    return weights.load(weights.SHIPPED)


def build(classifier, **changes):
    model = export.build(classifier, half=True).SerializeToString()
    return page.build(model, classifier.card | changes, "fer_best", SETTINGS)


@pytest.fixture(scope="module")
def html(classifier):
    return build(classifier)


@needs_runtime
def test_the_page_is_whole_small_and_alone(html):
    assert len(html.encode()) < page.MAX_BYTES
    policy = re.search('Content-Security-Policy" content="(.*?)"', html)[1]
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy
    assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval'", "")
    # nothing is loaded: all sources and links are in the page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html)
    for owner in ("Intel License Agreement", "Rainer Lienhart", "Shameem Hameed", "MIT License"):
        assert owner in html
    assert "67.7 %" in html and "3,589" in html and "DRAWN FACES" not in html


@needs_runtime
def test_a_net_of_drawn_faces_says_so(classifier):
    trained_on = classifier.card["trained_on"] | {"name": "drawn_faces"}
    assert "trained on DRAWN FACES" in build(classifier, trained_on=trained_on)


@needs_runtime
def test_the_same_net_makes_the_same_page(classifier, html):
    assert build(classifier) == html


def test_a_page_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "index.html").write_text("old")
    with pytest.raises(UserError, match="too large for a page"):
        run.write_page(tmp_path / "index.html", "x" * (page.MAX_BYTES + 1))
    assert not (tmp_path / "index.html").exists()


def test_another_runtime_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime.cache().mkdir()
    (runtime.cache() / runtime.ARCHIVE).write_bytes(b"not it")
    with pytest.raises(UserError, match="SHA-256 is .* expected d2228df7"):
        runtime.load()


def test_without_npm_the_page_can_be_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="config.export.page=False"):
        runtime.load()


class Visit:
    """The page in Chromium, with every request that it makes."""

    def __init__(self, browser, url, **settings):
        self.requests, self.errors = [], []
        self.tab = browser.new_context(**settings).new_page()
        self.tab.on("request", lambda r: self.requests.append(r.url))
        self.tab.on("pageerror", lambda e: self.errors.append(str(e)))
        self.tab.goto(url)
        self.tab.locator("html[data-ready]").wait_for(timeout=120_000)

    def faces_of(self, files):
        """{file name: [(box, probabilities), ...]}."""
        self.tab.set_input_files("#files", files)
        self.tab.locator("article[data-done]").nth(len(files) - 1).wait_for(timeout=900_000)
        found = {}
        for article in self.tab.query_selector_all("article"):
            cards = article.query_selector_all(".face")
            found[article.get_attribute("data-file")] = [read(card) for card in cards]
        return found


def read(card):
    values = (card.get_attribute(f"data-{name}") for name in ("box", "probabilities"))
    box, probabilities = ([float(v) for v in value.split(",")] for value in values)
    return box, probabilities


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with api.sync_playwright() as p:
        yield functools.partial(p.chromium.launch, executable_path=CHROMIUM)


@pytest.fixture
def address(html, tmp_path, request):
    """Of the page on the disk, or from a server."""
    (tmp_path / "index.html").write_text(html)
    if request.param == "disk":
        yield f"file://{tmp_path}/index.html"
        return
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@needs_runtime
@pytest.mark.parametrize("address", ["disk", "server"], indirect=True)
def test_the_answers_are_those_of_predict_and_no_request_is_made(
    classifier, browser, address, tmp_path
):
    scenes = {f"{seed}.png": scene(seed) for seed in range(2)}
    for name, pixels in scenes.items():
        Image.fromarray(pixels).save(tmp_path / name)
    launched = browser(args=["--no-sandbox"])
    visit = Visit(launched, address)
    found = visit.faces_of([str(tmp_path / name) for name in scenes])
    classify = make_classify(classifier, tta="none")
    for name, pixels in scenes.items():
        faces = find_faces(pixels, **SEARCH)
        assert len(found[name]) == len(faces) > 0
        for face, p, (box, ours) in zip(
            faces, classify([f.crop for f in faces]), found[name], strict=True
        ):
            assert abs(np.subtract(face.box, box)).max() <= 2
            np.testing.assert_allclose(ours, p, atol=0.02)
    outside = [url for url in visit.requests if not url.startswith(("blob:", "data:"))]
    assert outside == [address] and visit.errors == []
    launched.close()


@needs_runtime
@pytest.mark.parametrize("address", ["disk"], indirect=True)
def test_a_file_that_is_no_picture_is_named(browser, address, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    launched = browser(args=["--no-sandbox"])
    visit = Visit(launched, address)
    visit.tab.set_input_files("#files", [str(tmp_path / "notes.txt")])
    visit.tab.get_by_text("notes.txt: not a picture").wait_for(timeout=30_000)
    assert visit.errors == []
    launched.close()


@needs_runtime
@pytest.mark.parametrize("address", ["server"], indirect=True)
def test_the_camera_shows_faces_until_it_is_stopped(browser, address, tmp_path):
    film = tmp_path / "camera.y4m"
    write_y4m(film, cv2.resize(scene(1), (640, 480)))
    launched = browser(args=[
        "--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ])  # fmt: skip
    visit = Visit(launched, address, permissions=["camera"])
    visit.tab.get_by_role("button", name="Use the camera").press("Enter")
    visit.tab.locator("article[data-file=camera] .face").first.wait_for(timeout=120_000)
    visit.tab.get_by_role("button", name="Stop the camera").press("Enter")
    visit.tab.get_by_text("The camera is off.").wait_for()
    visit.tab.get_by_role("button", name="Clear").press("Enter")
    assert visit.tab.query_selector_all("article") == [] and visit.errors == []
    launched.close()


def write_y4m(path: Path, pixels):
    """Ten frames of one picture u8[H, W, 3]."""
    height, width, _ = pixels.shape
    planes = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420).tobytes()
    header = f"YUV4MPEG2 W{width} H{height} F10:1 Ip C420jpeg\n".encode()
    path.write_bytes(header + 10 * (b"FRAME\n" + planes))
