"""500 trials of damaged input; 50,000 by `python -m tests.reliability.fuzz --n=50000`."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability import fuzz
from train_jax.run.errors import UserError

ROOT = Path(__file__).parents[2]
TRIALS = {
    "csv": 80, "zip": 60, "folder": 40, "photo": 45, "tar": 30, "ferplus": 30, "parquet": 10,
    "resize": 10, "tsv": 45, "pairs": 45, "corpora": 40, "subwords": 15, "vocabulary": 20,
    "weights": 15, "flags": 15,
}  # fmt: skip


def test_all_targets_and_500_trials():
    assert TRIALS.keys() == fuzz.TARGETS.keys() and sum(TRIALS.values()) == 500
    assert sum(share for _, share in fuzz.TARGETS.values()) == pytest.approx(1)


@pytest.mark.parametrize("target", [target for target in TRIALS if target != "flags"])
def test_damaged_input_is_read_right_or_refused(target, tmp_path):
    accepted, failures = fuzz.run(target, TRIALS[target], 0, tmp_path)
    assert not failures, "\n".join(failures)
    assert 0 < accepted < TRIALS[target]  # or the trials see only one of the two ways


def test_flags_are_understood_or_refused():
    """In a process without jax, whose threads would not survive the forks."""
    options = ["--target=flags", f"--n={TRIALS['flags']}"]
    result = subprocess.run(
        [sys.executable, "-m", "tests.reliability.fuzz", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"flags: {TRIALS['flags']} trials" in result.stdout and " 0 failed" in result.stdout


def trial_that(act):
    def make(folder):
        return lambda rng: act(rng)

    return make


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda rng: [][0], "IndexError"),
        (lambda rng: time.sleep(3), "more than 1 s"),
        (lambda rng: bool(bytearray(b"x") * 500_000_000), "grew by"),
    ],
)
def test_the_runner_sees_errors_hangs_and_memory(act, words, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 1 if "1 s" in words else 60)  # memory may come slowly
    monkeypatch.setattr("tests.reliability.faces_targets.make_csv", trial_that(act))
    failures = fuzz.run("csv", 1, 0, tmp_path)[1]
    assert len(failures) == 1 and words in failures[0]


def test_the_trials_see_a_reader_that_is_wrong(tmp_path, monkeypatch):
    """Labels that are one too high, a column that is taken for another, a refusal of all."""
    from fer_jax.fer2013 import csv_form

    for change in (
        ("EMOTIONS", {str(label): (label + 1) % 7 for label in range(7)}),
        ("USAGES", csv_form.USAGES | {"PrivateTest": "PublicTest"}),
        ("MAX_LINE", 5),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(csv_form, *change)
            assert fuzz.run("csv", 40, 0, tmp_path)[1], change

    def read(source):
        raise UserError(f"{source.paths[0]}: no")

    monkeypatch.setattr("seq_jax.corpus.read", read)
    assert "refused for no reason" in fuzz.run("tsv", 40, 0, tmp_path)[1][0]
