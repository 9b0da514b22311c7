"""--mode=export: a translator as StableHLO, two files that jax runs without this project.

B = batch, S = source steps, V = target vocabulary, D, E, H as in encoder_decoder.py. `encode` reads
a source once, `step` adds one token; greedy or beam search is the caller's, see README.md.
"""

from pathlib import Path

import jax
import jax.export
import numpy as np

from seq_jax import subwords
from seq_jax import weights as weights_lib
from seq_jax.cells import make_cell
from seq_jax.decode import markers
from seq_jax.encoder_decoder import Memory, State
from train_jax.run.errors import UserError
from train_jax.run.files import write_atomically
from train_jax.run.weights import of_run
from train_jax.run.workdir import is_run, lock_workdir

PLATFORMS = ("cpu", "cuda", "tpu")
README = """\
# {name}: translates from {source} to {target}

`encode.stablehlo`: source i32[B, S] -> (memory, state). A row is <start>, the tokens, <end>, then
{pad} up to S; any B and S. `step.stablehlo`: (memory, state, tokens i32[B]) -> (state, logits
f32[B, V]) of the tokens that follow. Trained on text in lower case, punctuation: {punctuation}.
Made by `python launch.py --mode=export` from weights with the SHA-256
`{sha256}`.
"""
EXAMPLE = """
With jax, numpy and sentencepiece alone; the project itself keeps {beam} hypotheses, not one:

    import jax, jax.export, numpy as np, sentencepiece
    encode, step = (jax.export.deserialize(bytearray(open(f"{{name}}.stablehlo", "rb").read()))
                    for name in ("encode", "step"))
    words = sentencepiece.SentencePieceProcessor(model_file="source.model")
    ids = [{start}, *words.encode("in front of her house"), {end}]
    memory, state = encode.call(np.array([ids], np.int32))
    token, found = {start}, []
    while token != {end} and len(found) < {longest}:
        state, logits = step.call(memory, state, np.array([token], np.int32))
        logits = np.array(logits[0])
        logits[[{pad}, {unk}, {start}]] = -np.inf  # padding, unknown, start: never said
        token = int(logits.argmax())
        found.append(token)
    print(sentencepiece.SentencePieceProcessor(model_file="target.model").decode(found[:-1]))
"""


def export(config, workdir: Path, *, weights: str | None) -> None:
    """Writes encode.stablehlo, step.stablehlo, the vocabularies and README.md into `workdir`.

    UserError: the weights are damaged, see seq_jax/weights.py; or `workdir` holds a run.
    """
    if is_run(workdir):
        raise UserError(f"{workdir} holds a run: give --weights={workdir} and --workdir=NEW")
    folder = of_run(Path(weights) if weights else weights_lib.SHIPPED)
    translator = weights_lib.load(folder)
    encode, step = build(translator.model, translator.variables)
    with lock_workdir(workdir):
        write_atomically(workdir / "encode.stablehlo", encode)
        write_atomically(workdir / "step.stablehlo", step)
        for side, vocabulary in zip(weights_lib.SIDES, translator.vocabularies, strict=True):
            weights_lib.write_vocabulary(workdir / f"{side}.json", vocabulary)
        write_atomically(workdir / "README.md", readme(translator, folder.name))
    print(f"{workdir}: encode.stablehlo {len(encode):,} bytes, step.stablehlo {len(step):,} bytes")


def build(model, variables) -> tuple[bytes, bytes]:
    """(encode, step) with the weights in them, for any B and S; trees of dicts, lists and arrays,
    which a process reads that knows no class of ours."""

    carry = make_cell(model.cell, reset_after=model.reset_after).carry

    def encode(source):
        memory, state = model.apply(variables, source, train=False, method="encode")
        memory = {name: a for name, a in memory._asdict().items() if a is not None}
        return memory, _plain(state)

    def step(memory, state, tokens):
        memory = Memory(**dict.fromkeys(Memory._fields) | memory)
        state = State(tuple(carry(**c) for c in state["carries"]), state["feed"])
        state, logits, _ = model.apply(variables, memory, state, tokens, method="step")
        return _plain(state), logits

    b, s = jax.export.symbolic_shape("B, S")
    source = jax.ShapeDtypeStruct((b, s), np.int32)
    memory, state = jax.eval_shape(encode, source)
    tokens = jax.ShapeDtypeStruct((b,), np.int32)

    def written(function, *arguments) -> bytes:
        exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
        return bytes(exported.serialize())

    return written(encode, source), written(step, memory, state, tokens)


def _plain(state: State) -> dict:
    return {"carries": [c._asdict() for c in state.carries], "feed": state.feed}


def readme(translator, name: str) -> str:
    card = translator.card
    about = {
        **markers(translator.vocabularies[1]),
        "name": name,
        "source": card["languages"][0],
        "target": card["languages"][1],
        "sha256": card["sha256"],
        "punctuation": translator.punctuation,
        "longest": translator.lengths[-1],
        "beam": card["decode"]["beam"],
    }
    whole = isinstance(translator.vocabularies[0], subwords.Subwords)
    return (README + EXAMPLE if whole else README).format(**about)
