"""weights/seq_best as a user has it: small, whole, and it translates without a config."""

import subprocess
import sys
from pathlib import Path

import pytest

import seq_jax
from seq_jax import weights
from seq_jax.text import script_check

is_kannada = script_check("Kannada")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def translator():
    return seq_jax.load()


def test_it_is_small(translator):
    files = list(weights.SHIPPED.iterdir())
    assert {f.name for f in files} >= {"model.safetensors", "source.model", "target.model"}
    assert sum(f.stat().st_size for f in files) <= 5 << 20
    assert translator.card["parameters"] <= 8_000_000


def test_it_beats_every_baseline_by_its_own_card(translator):
    scores = translator.card["scores"]
    name = list(scores["splits"])[-1]
    low = scores["splits"][name]["chrf++_ci95"][0]
    assert all(low > s["chrf++_ci95"][1] for s in scores["baselines"][name].values())


def test_whatever_the_batch_the_translation_is_the_same(translator):
    sentences = ["i am going to school", "she reads a book", "what is your name", "he came home"]
    together = translator.translate(sentences)
    assert together == [translator.translate([s])[0] for s in sentences]
    assert together[::-1] == translator.translate(sentences[::-1])
    assert all(is_kannada(said.split()) and said for said in together)


def test_out_of_the_box():
    done = subprocess.run(
        [sys.executable, "launch.py", "--mode=translate", "--inputs=in front of her house"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and is_kannada(done.stdout.split())
