"""A tiny encoder-decoder from end to end: batches by length, vocabularies without leaks, its score,
what it exports, and resuming bit for bit."""

import json
import re
import shutil
import signal
import zipfile
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seq_jax
from configs import seq_attention
from seq_jax import attention_task, explain, modes, subwords, task
from seq_jax.filter import Pairs
from seq_jax.scores import translation_scores
from seq_jax.text import build_vocabulary, decode, encode
from tests.seq_jax.test_modes import WORDS, write_corpus
from train_jax import loop, metrics
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.interrupt import Interrupted
from train_jax.run.log import Log, read_csv
from train_jax.settings import of_config

pytestmark = pytest.mark.usefixtures("quick_scores")
REVERSED = {"longest": 7, "step": -1}  # sentences that no net can translate word by word


def make_config(path, **fields):
    c = seq_attention.get_config()
    c.data.path = str(path)
    c.data.subwords = 40
    c.data.bpe_dropout = 0.2
    c.data.lengths = (6, 8, 10)
    c.data.valid_fraction = 0.2
    c.data.test_fraction = 0.2
    for name in ("embedding", "units", "encoder_units"):
        c.model[name] = 8
    c.model.bfloat16 = False
    c.train.epochs = 2
    c.train.batch_size = 8
    c.train.eval_batch_size = 16
    c.decode.beam, c.decode.no_repeat = 1, 0  # greedy, as in training
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return c


@pytest.fixture(scope="module")
def run(tmp_path_factory, quick_scores):
    """(config, workdir) of a finished run. Tests that write into it copy it first."""
    folder = tmp_path_factory.mktemp("attention")
    config = make_config(write_corpus(folder, **REVERSED))
    modes.train(config, folder / "run")
    yield config, folder / "run"
    shutil.rmtree(folder)


# data


def test_a_pair_has_the_least_length_that_holds_both_sides():
    vocabularies = [build_vocabulary([" ".join(side)]) for side in ("abcdef", "uvwxyz")]
    pairs = Pairs(("a b", "a b c d e f", "a", "a b c d"), ("u", "v", "u v w x y", "u v w x"))
    found = attention_task.arrays(pairs, vocabularies, (5, 6, 8))
    assert found["length"].tolist() == [5, 8, 8, 6]  # with <start> and <end>
    assert found["source"].shape == found["target"].shape == (4, 8)
    for name in ("source", "target"):
        for row, length in zip(found[name], found["length"], strict=True):
            assert not row[length:].any()


def test_longer_pairs_are_left_out_and_counted(capsys):
    vocabulary = build_vocabulary(["a b c d e f"])
    pairs = Pairs(("a b", "a b c d e"), ("a b c d", "a"))
    found = attention_task.arrays(pairs, (vocabulary, vocabulary), (4, 6))
    assert found["length"].tolist() == [6] and found["target"][0].tolist()[0] == 2
    assert "1 of 2 pairs have more than 6 tokens" in capsys.readouterr().out


PHRASES = [f"{a}ing the {b}s" for a in ("go", "see", "com") for b in ("house", "water", "boy")]


def test_bpe_dropout_draws_other_pieces_of_the_same_sentences_in_each_epoch():
    pairs = Pairs(tuple(PHRASES), tuple(reversed(PHRASES)))
    vocabularies = [subwords.train(side * 5, size=60, kind="bpe") for side in pairs]
    lengths, settings = (8, 12, 20), {"rate": 0.3, "seed": 5}
    usual, train_at = attention_task.make_train_at(pairs, vocabularies, lengths, **settings)
    plain = attention_task.arrays(pairs, vocabularies, lengths)
    for name in ("source", "target"):
        np.testing.assert_array_equal(usual[name], plain[name])
    assert (usual["length"] >= plain["length"]).all() and (usual["length"] > plain["length"]).any()
    epochs = [train_at(epoch) for epoch in range(4)]
    for found in epochs:
        np.testing.assert_array_equal(found["length"], usual["length"])  # so the steps, too
        for vocabulary, name, side in zip(vocabularies, ("source", "target"), pairs, strict=True):
            assert [decode(vocabulary, row) for row in found[name]] == list(side)
            for row, length in zip(found[name], found["length"], strict=True):
                assert not row[length:].any()
    used = {tuple(found["source"][0]) for found in epochs}
    assert len(used) > 1
    # whatever was drawn before: a function of (seed, epoch)
    again = attention_task.make_train_at(pairs, vocabularies, lengths, **settings)[1]
    for name, array in again(2).items():
        np.testing.assert_array_equal(array, epochs[2][name])
    other = attention_task.make_train_at(pairs, vocabularies, lengths, rate=0.3, seed=6)[1](2)
    assert any((other[name] != epochs[2][name]).any() for name in other)


def test_pieces_that_do_not_fit_are_not_taken():
    sentences = (*PHRASES, *(sentence.split()[0] for sentence in PHRASES))
    pairs = Pairs(sentences, sentences)
    vocabulary = subwords.train(sentences * 5, size=60, kind="bpe")
    longest = max(len(encode(vocabulary, sentence)) for sentence in sentences)
    usual, train_at = attention_task.make_train_at(
        pairs, (vocabulary, vocabulary), (longest,), rate=0.9, seed=0
    )
    full = (usual["source"] != 0).sum(1) == longest
    assert full.any() and not full.all()
    for epoch in range(3):
        np.testing.assert_array_equal(train_at(epoch)["source"][full], usual["source"][full])


@pytest.mark.parametrize(
    "fields",
    [{"bpe_dropout": 1.0}, {"bpe_dropout": -0.1}, {"subwords": 0}, {"subword_kind": "char"}],
)
def test_bpe_dropout_that_cannot_be(fields):
    config = make_config("x", **{f"data__{name}": value for name, value in fields.items()})
    with pytest.raises(UserError, match="config.data.bpe_dropout must be in"):
        attention_task.training_arrays(config, Pairs((), ()), None, (8,))


@pytest.mark.parametrize("lengths", [(), (2, 4), (8, 6), (6, 6)])
def test_lengths_that_cannot_be(lengths):
    config = make_config("x")
    config.data.lengths = lengths
    with pytest.raises(UserError, match="data.lengths must be rising"):
        attention_task.static_lengths(config)


@pytest.mark.parametrize("size", [0, 60])
def test_vocabularies_know_nothing_of_validation_and_test(tmp_path, size):
    """Each pair has letters of its own, so what was looked at shows."""
    latin = [chr(c) for c in range(0x61, 0x7B)]
    kannada = [chr(c) for c in range(0xC95, 0xC95 + 20)]
    lines = [f"{a}{a} {b}\t{x}{x} {y}\n" for a, x in zip(latin, kannada, strict=False)
             for b, y in [(a * 3, x * 3)]]  # fmt: skip
    (tmp_path / "kan.txt").write_text("".join(lines), "utf-8")
    config = make_config(
        tmp_path / "kan.txt", data__subwords=size, data__bpe_dropout=0.2 * bool(size)
    )
    _, splits, vocabularies, *_ = modes.prepare_run(config)
    assert min(len(splits[name].source) for name in ("train", "valid", "test")) > 2
    for side in (0, 1):
        letters = set("".join(vocabularies[side].words[4:]))
        assert set("".join(splits["train"][side])) - {" "} <= letters
        for name in ("valid", "test"):
            assert not letters & (set("".join(splits[name][side])) - {" "})


# the loss


def test_loss_by_hand_over_real_tokens():
    vocabulary = build_vocabulary(["a b c"])  # 7 tokens
    target = np.array([[2, 4, 5, 3, 0], [2, 6, 3, 0, 0], [2, 4, 3, 0, 0]])
    logits = np.random.default_rng(0).normal(0, 2, (3, 4, 7)).astype(np.float32)
    logits[0, 0] = 1  # all alike: the likeliest is the first of them
    batch = {"target": jnp.asarray(target), "mask": jnp.array([1.0, 1.0, 0.0])}
    sums = attention_task.make_sums(vocabulary, label_smoothing=0.2)
    smoothed, scores = sums(jnp.asarray(logits), batch)
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    nll, smooth, hits, places = 0.0, 0.0, 0, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    for row, t in places:
        right = target[row, t + 1]
        nll -= log_p[row, t, right]
        smooth -= 0.8 * log_p[row, t, right] + 0.2 * log_p[row, t].mean()
        hits += log_p[row, t].argmax() == right
    assert float(metrics.safe_divide(scores["loss"])) == pytest.approx(nll / 5, rel=1e-5)
    assert float(metrics.safe_divide(smoothed)) == pytest.approx(smooth / 5, rel=1e-5)
    assert float(scores["accuracy"].total) == hits and float(scores["accuracy"].count) == 5


# training


def test_one_compilation_a_length(tmp_path):
    config = make_config(write_corpus(tmp_path, seed=1, **REVERSED), train__epochs=3)
    dataset, splits, vocabularies, model, made = modes.prepare_run(config)
    traces = []

    def loss(params, batch_stats, batch, key):
        traces.append(batch["source"].shape)
        assert batch["target"].shape == batch["source"].shape
        return made.loss(params, batch_stats, batch, key)

    config.checkpoint.monitor, config.checkpoint.mode = "val_loss", "min"
    loop.fit(made._replace(loss=loss, scores={}), of_config(config), workdir=tmp_path / "run")
    lengths = np.unique(made.train["length"])
    assert len(lengths) > 1
    # and once for the shape of the metrics
    assert sorted(traces) == sorted([(8, 10), *((8, length) for length in lengths)])


def test_the_best_epoch_is_that_of_chrf_of_greedy_translations(run):
    config, workdir = run
    rows = read_csv(workdir / "metrics.csv")
    best = max(range(2), key=lambda i: rows[i]["val_chrf++"])
    result = json.loads((workdir / "eval.json").read_text())
    assert result["scored"] == f"epoch {best + 1}"
    assert result["splits"]["valid"]["chrf++"] == pytest.approx(rows[best]["val_chrf++"], abs=0.5)


def test_the_scores_are_those_of_the_written_translations(run):
    _, workdir = run
    rows = [
        line.split("\t") for line in (workdir / "translations.tsv").read_text("utf-8").split("\n")
    ]
    rows = [row for row in rows if row[0] == "test"]
    expected = translation_scores([row[3] for row in rows], [row[2] for row in rows])
    found = json.loads((workdir / "eval.json").read_text())["splits"]["test"]
    assert found["n"] == len(rows) == 12
    assert {name: found[name] for name in expected} == expected


@pytest.mark.filterwarnings("ignore:Sharding info not provided:UserWarning")
@pytest.mark.parametrize("call", [2, 8])
def test_stopped_and_resumed_is_bit_for_bit_the_same(run, tmp_path, monkeypatch, call):
    config, workdir = run
    calls = []

    def progress(self, *arguments):
        calls.append(arguments)
        if len(calls) == call:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "progress", progress)
        with pytest.raises(Interrupted):
            modes.train(config, tmp_path / "run")
    modes.train(config, tmp_path / "run")
    ours, theirs = (newest(folder) for folder in (tmp_path / "run", workdir))
    assert ours.keys() == theirs.keys() and len(ours) > 30
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert (tmp_path / "run" / "eval.json").read_bytes() == (workdir / "eval.json").read_bytes()


def newest(workdir):
    """Every array of the newest checkpoint, by name."""
    from orbax.checkpoint import v1 as ocp

    label = Checkpoints(workdir / "checkpoints", mode="max").labels()[-1]
    tree = ocp.load_checkpointables(workdir / "checkpoints" / str(label))["state"]
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves if leaf.ndim}


# what is exported


def test_the_export_translates_as_the_run_was_scored(run, tmp_path, capsys):
    config, workdir = run
    rows = [
        line.split("\t") for line in (workdir / "translations.tsv").read_text("utf-8").split("\n")
    ]
    rows = [row for row in rows if row[0] == "test"]
    translator = seq_jax.load(workdir / "export")
    assert translator.translate([row[1].upper() + " !" for row in rows]) == [r[3] for r in rows]
    assert translator.translate(["", "i go " * 30]) == ["", ""]
    path = tmp_path / "sentences.txt"
    path.write_text("".join(f"{row[1]}\n" for row in rows), "utf-8")
    code = modes.translate(config, tmp_path, str(path), weights=str(workdir / "export"))
    assert code == 0
    assert capsys.readouterr().out == "".join(f"{row[3]}\n" for row in rows)


def test_n_best_of_a_run(run, capsys):
    _, workdir = run
    config = make_config(run[0].data.path, decode__beam=3, decode__n_best=3)
    assert modes.translate(config, workdir, "i see rice") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["1"] * 3
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    config.decode.n_best = 4
    with pytest.raises(UserError, match="decode.n_best must be from 1 to decode.beam"):
        modes.translate(config, workdir, "i see rice")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "source.model", "target.model", "model.json"]
)
def test_a_damaged_export_is_refused(run, tmp_path, name):
    folder = shutil.copytree(run[1] / "export", tmp_path / "export")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: damaged.* its SHA-256 is"):
        seq_jax.load(folder)


def test_a_subword_model_of_another_run_is_refused(run, tmp_path):
    workdir = shutil.copytree(run[1], tmp_path / "run")
    other = task.build_vocabularies(run[0], (("go home i see",) * 3, ("ತ ಚ",) * 3))
    (workdir / "vocabulary_english.model").write_bytes(other.source.model)
    with pytest.raises(UserError, match="vocabulary_english.model: damaged, or of another run"):
        modes.translate(run[0], workdir, "i go")


# --mode=score, --mode=eval --inputs


def test_pairs_are_scored_by_their_log_probability(run, tmp_path, capsys):
    config, workdir = run
    path = tmp_path / "pairs.tsv"
    long = "i go see " * 9
    path.write_text(f"I go!\tಗ ಕ.\n{long}\tಗ\nyou see rice\tದ ಟ ಗ\n", "utf-8")
    modes.score_pairs(config, workdir, str(path), weights=str(workdir / "export"))
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[2:] for row in rows] == [
        ["i go", "ಗ ಕ"],
        [long.strip(), "ಗ"],
        ["you see rice", "ದ ಟ ಗ"],
    ]
    assert rows[1][0] == ""  # too long
    translator = seq_jax.load(workdir / "export")
    for value, count, source, target in (rows[0], rows[2]):
        numbers = [
            np.array([encode(v, s)])
            for v, s in zip(translator.vocabularies, (source, target), strict=True)
        ]
        logits = translator.model.apply(translator.variables, *numbers, train=False)[0]
        log_p = np.asarray(jax.nn.log_softmax(logits))
        by_hand = sum(log_p[t, token] for t, token in enumerate(numbers[1][0][1:]))
        assert int(count) == numbers[1].shape[1] - 1
        assert float(value) == pytest.approx(by_hand, abs=2e-3)


def test_a_file_of_pairs_is_scored_with_the_vocabularies_of_the_run(run, tmp_path, capsys):
    config, workdir = run
    rows = [
        line.split("\t") for line in (workdir / "translations.tsv").read_text("utf-8").split("\n")
    ]
    rows = [row for row in rows if row[0] == "test"]
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{row[1]}\t{row[2]}\n" for row in rows), "utf-8")
    before = sorted(p.name for p in workdir.rglob("*"))
    modes.evaluate(config, workdir, inputs=str(path))
    found = json.loads((workdir / "eval.json").read_text())["splits"]["test"]
    out = capsys.readouterr().out
    assert f"n 12, chrF++ {found['chrf++']:.1f} [" in out  # apart from rounding to float16
    assert sorted(p.name for p in workdir.rglob("*")) == before
    export = str(workdir / "export")
    modes.evaluate(config, tmp_path / "nowhere", inputs=str(path), weights=export)
    assert capsys.readouterr().out == out and not (tmp_path / "nowhere").exists()
    with pytest.raises(UserError, match="needs --inputs=PAIRS"):
        modes.evaluate(config, workdir, weights=export)


def test_the_analysis_adds_up(run):
    result = json.loads((run[1] / "eval.json").read_text())
    found = result["analysis"]
    for kind in ("by_words", "by_likeness"):
        groups = [scores["model"]["n"] for scores in found[kind].values() if scores]
        assert sum(groups) == result["splits"]["test"]["n"]
    assert found["habits"]["reference"]["length_ratio"] == 1
    assert found["habits"]["nearest_neighbour"]["copied"] == 1
    assert found["habits"]["nearest_neighbour"]["new_words"] == 0


# --mode=explain


def test_attention_of_words_sums_the_pieces(run):
    translator = seq_jax.load(run[1] / "export")
    vocabularies = translator.vocabularies
    weights, source, target = explain.attention_of_words(
        translator.model, translator.variables, vocabularies, "i see rice", "ದ ಟ ಗ"
    )
    assert source == ["i", "see", "rice", "<end>"] and target == ["ದ", "ಟ", "ಗ", "<end>"]
    rows = [
        np.array([encode(v, s)]) for v, s in zip(vocabularies, ("i see rice", "ದ ಟ ಗ"), strict=True)
    ]
    variables, model = translator.variables, translator.model
    memory, state = model.apply(variables, rows[0], train=False, method="encode")
    by_hand = []
    for token in rows[1][0][:-1]:
        state, _, w = model.apply(variables, memory, state, np.array([token]), method="step")
        by_hand.append(np.asarray(w)[0])
    on_start = [w[0] for w in by_hand]
    assert weights[-1].sum() == pytest.approx(1 - on_start[-1], abs=1e-5)
    assert weights[-1, -1] == pytest.approx(by_hand[-1][-1], abs=1e-5)
    first = len(vocabularies[1].pieces("ದ"))
    assert weights[0, -1] == pytest.approx(np.mean([w[-1] for w in by_hand[:first]]), abs=1e-5)


def test_pictures_are_drawn_next_to_lines_that_have_none(run, tmp_path, capsys):
    pytest.importorskip("manimgx_fonts")  # its absence is told, too
    config, workdir = run
    path = tmp_path / "sentences.txt"
    path.write_text("i see rice\n\n", "utf-8")
    export = str(workdir / "export")
    assert modes.explain(config, tmp_path / "out", str(path), weights=export) == 0
    out, err = capsys.readouterr()
    assert [p.name for p in (tmp_path / "out" / "figures").iterdir()] == ["attention_1.png"]
    assert out.startswith("i see rice -> ") and err == "line 2: no translation, so no picture\n"
    assert modes.explain(config, tmp_path / "none", " ", weights=export) == 1


# another language


@pytest.mark.parametrize(("code", "name"), [("fr", "French"), ("hi", "Hindi")])
def test_another_language_end_to_end_with_nothing_named_kannada(tmp_path, capsys, code, name):
    """A zip of CSV with a header and columns in the other order, by every mode."""
    said = {
        "fr": "je tu vais viens vois mange maison riz".split(),
        "hi": "मैं तू जाता आता देखता खाता घर चावल".split(),
    }[code]
    other = dict(zip(WORDS, said, strict=True))
    lines = [f"{code},en"]
    for line in write_corpus(tmp_path, seed=2, **REVERSED).read_text("utf-8").splitlines():
        words = line.split("\t")[0].rstrip(".").lower().split()
        lines.append(f"{' '.join(other[w] for w in words)},{' '.join(words)}")
    (tmp_path / "kan.txt").unlink()
    path = tmp_path / "pairs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pairs.csv", "\n".join(lines) + "\n")
    script = {"fr": "Latin", "hi": "Devanagari"}[code]
    config = make_config(
        path, train__epochs=1, data__languages=("en", code), data__target_script=script
    )
    run, out = tmp_path / "run", []
    modes.explore_corpus(config, str(tmp_path / "look"))
    modes.train(config, str(run))  # here and below: folders may be str
    modes.evaluate(config, str(run))
    modes.evaluate(config, str(run), inputs=str(path))
    modes.score_pairs(config, str(run), str(path))
    assert modes.translate(config, str(run), "i see rice") == 0
    if find_spec("manimgx_fonts"):
        modes.explain(config, str(run), "i see rice")
    page = modes.write_report([str(run)]).read_text("utf-8")
    out += [*capsys.readouterr(), *re.sub('base64,[^"]*', "", page).split("the whole config")]
    out.append((run / "export" / "README.md").read_text("utf-8"))
    out += [f.name for f in tmp_path.rglob("*")]
    found = "\n".join(out)
    assert name in found and f"vocabulary_{name.lower()}.model" in found
    assert f"{name} in other than {script} letters" in found
    # but for the field of the base config from which this run differs
    assert "kannada" not in found.lower().replace("<td>&#39;kannada&#39;</td>", "")
