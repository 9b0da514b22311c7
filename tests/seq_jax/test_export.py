"""The exported programs say what the net says, and a process translates that knows jax alone."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq_jax import weights
from seq_jax.encoder_decoder import EncoderDecoder
from seq_jax.translator import Search
from train_jax.run.errors import UserError

pytest.importorskip("flatbuffers")
from seq_jax import export  # noqa: E402

SETTINGS = {
    "source_vocabulary": 11, "target_vocabulary": 13, "embedding": 4, "encoder_units": 3,
    "encoder_layers": 2, "units": 5, "layers": 2, "input_feeding": True, "reset_after": True,
    "recurrent_init": "gates", "dropout": 0.1, "word_dropout": 0.1, "bfloat16": False,
}  # fmt: skip


@pytest.mark.parametrize(
    "cell,attention,lexical", [("lstm", "luong", True), ("gru", "none", False)]
)
def test_the_programs_say_what_the_net_says(cell, attention, lexical):
    """Greedy for four steps, on sources of other sizes than any that was traced."""
    model = EncoderDecoder(**SETTINGS, cell=cell, attention=attention, lexical=lexical)
    variables = model.init(
        jax.random.key(0), jnp.ones((1, 2), int), jnp.ones((1, 2), int), train=False
    )
    variables = jax.tree.map(
        lambda a: a + 0.3 * jnp.sin(jnp.arange(a.size).reshape(a.shape)), variables
    )
    encode, step = (
        jax.export.deserialize(bytearray(data)) for data in export.build(model, variables)
    )
    assert encode.platforms == step.platforms == ("cpu", "cuda", "tpu")
    source = np.array([[2, 5, 7, 10, 3], [2, 4, 3, 0, 0], [2, 6, 6, 3, 0]], np.int32)
    memory, state = encode.call(source)
    ours, theirs = model.apply(variables, source, train=False, method="encode")
    tokens = np.array([2, 2, 2], np.int32)
    for _ in range(4):
        state, logits = step.call(memory, state, tokens)
        theirs, expected, _ = model.apply(variables, ours, theirs, tokens, method="step")
        np.testing.assert_allclose(logits, expected, atol=1e-5)
        tokens = np.asarray(expected.argmax(1), np.int32)
    assert len({*tokens.tolist()}) > 1  # the sentences differ


def test_the_example_of_the_readme_translates_without_the_project(tmp_path):
    export.export(None, tmp_path / "out", weights=None)
    text = (tmp_path / "out" / "README.md").read_text()
    code = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path / "out", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    greedy = weights.load(search=Search(1, 1.0, 0)).translate(["in front of her house"])
    assert done.stdout.strip() == greedy[0] != ""


def test_a_run_is_not_written_over(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="--workdir=NEW"):
        export.export(None, tmp_path, weights=None)
