"""A tiny run from end to end through seq_jax.modes, and what it leaves in its workdir.

The language is easy (each English word has one Kannada word, in the same order), so that the loss
falls; the config calls the epoch with the highest val_loss the best one, so that the best is not
the last.
"""

import functools
import io
import json
import shutil
import signal
from importlib.util import find_spec
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from configs import seq_base
from seq_jax import baselines, modes, task
from seq_jax.report import page
from seq_jax.scores import translation_scores
from seq_jax.text import from_json
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.interrupt import Interrupted
from train_jax.run.log import Log, read_csv

pytestmark = pytest.mark.usefixtures("quick_scores")
WORDS = dict(zip("i you go come see eat home rice".split(), "ಕ ಗ ಚ ಜ ಟ ಡ ತ ದ".split(), strict=True))
COLUMNS = (
    "epoch,loss,accuracy,accuracy_pad_counted,val_loss,val_accuracy,val_accuracy_pad_counted,lr,"
    "seconds,sentences/s"
)
TIMES = ("seconds", "sentences/s")


def write_corpus(folder, count=60, seed=0, *, longest=4, step=1):
    """kan.txt with `count` different sentences of 2 to `longest` words, translated in their order,
    or with a step of -1 in the reverse one."""
    rng = np.random.default_rng(seed)
    lines = {}
    while len(lines) < count:
        words = rng.choice(list(WORDS), rng.integers(2, longest + 1))
        lines[" ".join(words)] = " ".join(WORDS[word] for word in words[::step])
    path = folder / "kan.txt"
    path.write_text("".join(f"{e.capitalize()}.\t{k}.\n" for e, k in lines.items()), "utf-8")
    return path


def make_config(path, **fields):
    c = seq_base.get_config()
    c.data.path = str(path)
    c.data.source_words = 0
    c.data.max_tokens = 0  # 4 words and the markers: 6
    c.model.embedding = 8
    c.model.units = 8
    c.model.dense = 16
    c.train.epochs = 4
    c.train.seed = 1  # its first epoch, which is evaluated, says many different things
    c.train.batch_size = 2  # 21 steps per epoch
    c.train.eval_batch_size = 16
    c.train.steps_per_call = 8
    c.schedule.learning_rate = 3e-2
    c.checkpoint.monitor = "val_loss"
    c.checkpoint.mode = "max"
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return c


@pytest.fixture(scope="module")
def run(tmp_path_factory, quick_scores):
    """A finished run. Tests that write into its workdir copy it first."""
    folder = tmp_path_factory.mktemp("seq")
    config = make_config(write_corpus(folder))
    modes.train(config, folder / "run")
    return SimpleNamespace(
        config=config,
        path=folder / "kan.txt",
        workdir=folder / "run",
        splits=task.load_splits(config)[1],
        history=read_csv(folder / "run" / "metrics.csv"),
        eval=json.loads((folder / "run" / "eval.json").read_text()),
    )


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run.workdir, tmp_path / "run")


def translations(workdir):
    """{split: [(source, reference, hypothesis)]} of translations.tsv."""
    header, *rows = (workdir / "translations.tsv").read_text("utf-8").splitlines()
    assert header == "split\tsource\treference\thypothesis"
    found = {}
    for row in rows:
        split, *rest = row.split("\t")
        found.setdefault(split, []).append(tuple(rest))
    return found


# what a run leaves


def test_files(run):
    for name in ("config.json", "metrics.csv", "eval.json", "translations.tsv"):
        assert (run.workdir / name).stat().st_size > 0
    assert (run.workdir / "figures" / "history.png").read_bytes()[1:4] == b"PNG"
    if find_spec("tensorboardX"):
        assert list((run.workdir / "tb").glob("events.out.tfevents.*"))
    assert len(list((run.workdir / "checkpoints").glob("*/manifest.json"))) == 2  # best and newest
    assert (run.workdir / "metrics.csv").read_text().splitlines()[0] == COLUMNS


def test_config_and_vocabularies(run):
    saved = json.loads((run.workdir / "config.json").read_text())
    assert saved["config"] == json.loads(json.dumps(run.config.to_dict()))
    for name, side in (("english", 0), ("kannada", 1)):
        path = run.workdir / f"vocabulary_{name}.json"
        vocabulary = from_json(path.read_text("utf-8"), "")
        assert saved["identity"][f"{('source', 'target')[side]}_sha256"] == vocabulary.sha256
        words = {word for s in run.splits["train"][side] for word in s.split()}
        assert set(vocabulary.words[4:]) == words


def test_the_loss_falls(run):
    assert run.history[-1]["loss"] < 0.7 * run.history[0]["loss"]


def test_the_best_epoch_is_evaluated_not_the_last(run):
    losses = [row["val_loss"] for row in run.history]
    best = int(np.argmax(losses))  # checkpoint.mode is 'max' here
    assert best < 3 and losses[best] - losses[-1] > 0.01  # or this test would show nothing
    assert run.eval["scored"] == f"epoch {best + 1}"
    valid, row = run.eval["splits"]["valid"], run.history[best]
    assert valid["token_accuracy"] == pytest.approx(row["val_accuracy"], abs=1e-6)
    assert valid["accuracy_pad_counted"] == pytest.approx(row["val_accuracy_pad_counted"], abs=1e-6)


def by_hand(run, sentences):
    """Translations by the best checkpoint, sentence by sentence, without the code under test."""
    words = [
        from_json((run.workdir / f"vocabulary_{n}.json").read_text("utf-8"), "").words
        for n in ("english", "kannada")
    ]
    vocabularies = task.build_vocabularies(run.config, run.splits["train"])
    model = task.build_model(run.config, vocabularies)
    checkpoints = Checkpoints(run.workdir / "checkpoints", mode="max")
    like = {"params": task.init_model(model, 6, jax.random.key(0))["params"]}
    params = checkpoints.load_part(checkpoints.best(), like)
    rows = np.zeros((len(sentences), 6), np.int32)
    for row, sentence in zip(rows, sentences, strict=True):
        tokens = ["<start>", *sentence.split(), "<end>"]
        row[: len(tokens)] = [
            words[0].index(t) if t in words[0] else words[0].index("<unk>") for t in tokens
        ]
    for logits in np.asarray(model.apply(params, rows, train=False)):
        said = []
        for place, scores in enumerate(logits):
            order = [words[1][v] for v in np.argsort(-scores, kind="stable")]
            token = next(t for t in order if t not in ("<PAD>", "<unk>", "<start>"[: 99 * place]))
            if token == "<end>":
                break
            said.append(token)
        yield " ".join(word for word in said if word != "<start>")


def test_eval_json_by_hand(run):
    assert set(run.eval) == {
        "data", "sha256", "split_sha256", "scored", "splits", "baselines", "verdict",
    }  # fmt: skip
    assert list(run.eval["splits"]) == ["train", "valid", "test"]
    found = translations(run.workdir)
    for name, pairs in run.splits.items():
        source, reference, said = zip(*found[name], strict=True)
        assert (source, reference) == pairs
        assert list(said) == list(by_hand(run, pairs.source))
        scores = run.eval["splits"][name]
        assert scores["n"] == len(source)
        expected = translation_scores(said, reference)
        assert {key: scores[key] for key in expected} == expected
    assert sum(len(rows) for rows in found.values()) == 60
    assert len({said for _, _, said in found["train"]}) > 5  # or these tests would show little


def test_what_each_sentence_adds_to_the_score_is_kept(run):
    with np.load(run.workdir / "outcomes.npz") as found:
        assert list(found) == ["train", "valid", "test"]
        for name, rows in translations(run.workdir).items():
            _, references, said = zip(*rows, strict=True)
            score_of = functools.partial(page.score_of, n=len(rows))
            assert score_of(found[name].sum(0)) == run.eval["splits"][name]["chrf++"]
            for counts, hypothesis, reference in zip(found[name], said, references, strict=True):
                alone = CHRF(word_order=2).corpus_score([hypothesis], [[reference]]).score
                assert page.score_of(counts, 1) == alone
    assert len({*run.eval["split_sha256"].values()}) == 3


def test_baselines_are_fit_on_train_and_stand_next_to_each_other_split(run):
    assert list(run.eval["baselines"]) == ["valid", "test"]
    for name, scores in run.eval["baselines"].items():
        pairs = run.splits[name]
        for baseline, translate in baselines.fit(run.splits["train"]).items():
            expected = translation_scores([translate(s) for s in pairs.source], pairs.target)
            assert {key: scores[baseline][key] for key in expected} == expected
            assert set(scores[baseline]) == set(run.eval["splits"]["test"])


def test_the_table_names_the_baselines_and_says_who_wins(run, copy, capsys):
    modes.evaluate(run.config, copy)
    out = capsys.readouterr().out
    assert "nearest neighbour" in out and "PAD counted" in out
    assert run.eval["verdict"] in out and "baseline" in run.eval["verdict"]


# --mode=eval, and the same command again


def test_eval_again_gives_the_same_files(run, copy):
    for name in ("eval.json", "translations.tsv"):
        (copy / name).unlink()
    modes.evaluate(run.config, copy)
    for name in ("eval.json", "translations.tsv"):
        assert (copy / name).read_bytes() == (run.workdir / name).read_bytes()


def test_a_finished_run_is_not_trained_again(run, copy, monkeypatch):
    for name in ("eval.json", "vocabulary_english.json"):
        (copy / name).unlink()
    monkeypatch.setattr("train_jax.loop.train_epoch", None)  # no step may be taken
    modes.train(run.config, copy)
    for name in ("metrics.csv", "eval.json", "config.json", "vocabulary_english.json"):
        assert (copy / name).read_bytes() == (run.workdir / name).read_bytes()


@pytest.mark.parametrize("mode", [modes.train, modes.evaluate])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model__units": 9}, "config.model.units: 8 -> 9"),
        ({"loss__count_pad": True}, "config.loss.count_pad: False -> True"),
    ],
)
def test_a_changed_config_is_refused(run, copy, mode, fields, message):
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=message):
        mode(make_config(run.path, **fields), copy)
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("mode", [modes.train, modes.evaluate])
def test_other_sentences_are_refused_and_another_path_is_not(run, copy, tmp_path, mode):
    moved = shutil.copy(run.path, tmp_path / "moved.txt")
    mode(make_config(moved), copy)
    text = run.path.read_text("utf-8")
    moved.write_text(text.replace("ಕ", "ನ", 1), "utf-8")
    with pytest.raises(UserError, match="identity.sha256: "):
        mode(make_config(moved), copy)


def test_eval_without_a_run_is_refused_and_leaves_nothing(run, tmp_path):
    for call in (modes.evaluate, lambda *a: modes.translate(*a, inputs="x")):
        with pytest.raises(UserError, match="nothing-here holds no run.*--mode=train"):
            call(run.config, tmp_path / "nothing-here")
    assert not (tmp_path / "nothing-here").exists()


# resume


def arrays_of(workdir):
    """Every array of the newest checkpoint's parameters and optimizer, by name."""
    saved = Checkpoints(workdir / "checkpoints", mode="max").labels()[-1]
    from orbax.checkpoint import v1 as ocp

    tree = ocp.load_checkpointables(workdir / "checkpoints" / str(saved))["state"]
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves if leaf.ndim}


@pytest.mark.filterwarnings("ignore:Sharding info not provided:UserWarning")
@pytest.mark.parametrize("call", [2, 4, 9])  # of the progress line: within and between epochs
def test_stopped_and_resumed_is_bit_for_bit_the_same(run, tmp_path, monkeypatch, call):
    calls = []

    def progress(self, *arguments):
        calls.append(arguments)
        if len(calls) == call:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "progress", progress)
        with pytest.raises(Interrupted):
            modes.train(run.config, tmp_path / "run")
    assert not (tmp_path / "run" / "eval.json").exists()
    modes.train(run.config, tmp_path / "run")
    for one, other in zip(read_csv(tmp_path / "run" / "metrics.csv"), run.history, strict=True):
        assert {k: v for k, v in one.items() if k not in TIMES} == {
            k: v for k, v in other.items() if k not in TIMES
        }
    ours, theirs = arrays_of(tmp_path / "run"), arrays_of(run.workdir)
    assert ours.keys() == theirs.keys() and len(ours) > 15  # parameters and two moments of each
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    for name in ("eval.json", "translations.tsv"):
        assert (tmp_path / "run" / name).read_bytes() == (run.workdir / name).read_bytes()


# --mode=translate


def translate(run, inputs, workdir=None, **fields):
    return modes.translate(make_config(run.path, **fields), workdir or run.workdir, inputs=inputs)


def test_translations_are_those_of_the_evaluation(run, tmp_path, capsys):
    rows = translations(run.workdir)["test"]
    path = tmp_path / "sentences.txt"
    # with capitals and marks, which the run strips; without a line feed at the end
    path.write_text("\r\n".join(f"{source.upper()} !" for source, _, _ in rows), "utf-8")
    translate(run, str(path))
    out, err = capsys.readouterr()
    assert out.split("\n") == [*(hypothesis for _, _, hypothesis in rows), ""]
    assert err == ""


def test_one_sentence_and_stdin(run, capsys, monkeypatch):
    translate(run, "i see rice")
    one = capsys.readouterr().out
    stdin = SimpleNamespace(buffer=io.BytesIO("\ufeffI see rice\n\nYou go\n".encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    translate(run, "-")
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] + "\n" == one and lines[1] == "" and len(lines) == 4


def test_needs_no_data(run, tmp_path, capsys):
    translate(run, "i see rice", data__path=str(tmp_path / "gone"))
    assert capsys.readouterr().out.strip()


def test_unknown_words_are_named_and_read_as_unk(run, capsys):
    translate(run, "i zebra rice")
    out, err = capsys.readouterr()
    assert err == "line 1: unknown words, read as <unk>: zebra\n"
    assert out.strip() == next(by_hand(run, ["i zebra rice"]))


def test_a_line_that_is_empty_or_too_long_gives_an_empty_line_and_a_note(run, tmp_path, capsys):
    path = tmp_path / "sentences.txt"
    path.write_text("i go\ni go home you come\n ?\nyou see\n", "utf-8")
    assert translate(run, str(path)) == 1
    out, err = capsys.readouterr()
    first, second = by_hand(run, ["i go", "you see"])
    assert out == f"{first}\n\n\n{second}\n"
    long, none = err.splitlines()
    assert long.startswith("line 2: more than 6 tokens") and "'i go home" in long
    assert none.startswith("line 3: no word")
    assert translate(run, "i go") == 0


def test_many_lines_with_unknown_words_are_counted_in_one_line(run, tmp_path, capsys):
    path = tmp_path / "sentences.txt"
    path.write_text("i zebra\n" * 9 + "i go\n", "utf-8")
    assert translate(run, str(path)) == 0
    *named, last = capsys.readouterr().err.splitlines()
    assert len(named) == 3 and last == "9 of 10 lines have unknown words"


def test_a_pipe_is_answered_as_its_lines_come(run, capsys, monkeypatch):
    seen = []

    class Pipe:
        parts = [b"i g", b"o\nyou see\n", b"i see", b" rice", b""]

        def read1(self, size):
            seen.append(capsys.readouterr().out)
            return self.parts[len(seen) - 1]

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Pipe()))
    translate(run, "-")
    seen.append(capsys.readouterr().out)
    one, two, three = by_hand(run, ["i go", "you see", "i see rice"])
    assert seen == ["", "", f"{one}\n{two}\n", "", "", f"{three}\n"]


@pytest.mark.parametrize("name", ["no.txt", "./such", "/no/such"])
def test_a_missing_file_is_not_taken_for_a_sentence(run, name):
    with pytest.raises(UserError, match=f"--inputs={name}: cannot be read"):
        translate(run, name)


def test_bytes_that_are_not_utf8_name_their_line(run, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"i go\ncaf\xe9\n")
    with pytest.raises(UserError, match="latin.txt line 2: not UTF-8 .0xe9"):
        translate(run, str(path))


def test_a_vocabulary_of_another_run_is_refused(run, copy):
    path = copy / "vocabulary_english.json"
    words = json.loads(path.read_text("utf-8"))
    words[4], words[5] = words[5], words[4]
    path.write_text(json.dumps(words), "utf-8")
    with pytest.raises(UserError, match="vocabulary_english.json: another vocabulary"):
        translate(run, "i go", copy)
    path.write_text("not JSON", "utf-8")
    with pytest.raises(UserError, match="vocabulary_english.json: not a vocabulary"):
        translate(run, "i go", copy)
    path.unlink()
    with pytest.raises(UserError, match="vocabulary_english.json: .* cannot be read"):
        translate(run, "i go", copy)


def test_translate_refuses_a_changed_config(run):
    with pytest.raises(UserError, match="config.data.punctuation: 'strip' -> 'keep'"):
        translate(run, "i go", data__punctuation="keep")


# --mode=explore


def test_explore(run, tmp_path, capsys):
    modes.explore_corpus(run.config, tmp_path / "run")
    assert (tmp_path / "run" / "figures" / "corpus.png").read_bytes()[1:4] == b"PNG"
    out = capsys.readouterr().out
    for part in (str(run.path), "most common Kannada words", "corpus.png", "60  pairs kept"):
        assert part in out


# --mode=cross_validate


@pytest.fixture(scope="module")
def folds(run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("folds") / "run"
    config = make_config(run.path, data__folds=3, train__epochs=2)
    modes.cross_validate(config, str(workdir))
    return SimpleNamespace(config=config, workdir=workdir)


def test_every_pair_is_tested_once_by_a_model_that_did_not_train_on_it(run, folds):
    pooled = translations(folds.workdir)
    assert list(pooled) == ["test"]
    everything = [pair for pairs in run.splits.values() for pair in zip(*pairs, strict=True)]
    assert sorted((s, r) for s, r, _ in pooled["test"]) == sorted(everything)
    parts = []
    for fold in range(3):
        one = translations(folds.workdir / f"fold{fold}")
        parts += one["test"]
        assert not {s for s, _, _ in one["test"]} & {s for s, _, _ in one["train"] + one["valid"]}
        config = json.loads((folds.workdir / f"fold{fold}" / "config.json").read_text())["config"]
        assert config["data"]["fold"] == fold
    assert parts == pooled["test"]


def test_pooled_scores(folds):
    pooled = json.loads((folds.workdir / "eval.json").read_text())
    scores = pooled["splits"]["test"]
    _, reference, said = zip(*translations(folds.workdir)["test"], strict=True)
    expected = translation_scores(said, reference)
    assert {key: scores[key] for key in expected} == expected
    ones = [
        json.loads((folds.workdir / f"fold{fold}" / "eval.json").read_text()) for fold in range(3)
    ]
    for find in (
        lambda result: result["splits"]["test"],
        lambda result: result["baselines"]["test"]["nearest_neighbour"],
    ):
        for name, count in (
            ("token_accuracy", "tokens"),
            ("word_accuracy", "words"),
            ("accuracy_pad_counted", "positions"),
        ):
            hits = sum(find(one)[name] * find(one)[count] for one in ones)
            assert find(pooled)[count] == sum(find(one)[count] for one in ones)
            assert find(pooled)[name] == pytest.approx(hits / find(pooled)[count])
    assert pooled["scored"] == "all 3 folds"


def test_cross_validate_continues(folds, tmp_path, monkeypatch):
    """One fold is gone and one was stopped: only they are trained, and all is as before."""
    workdir = shutil.copytree(folds.workdir, tmp_path / "run")
    (workdir / "eval.json").unlink()
    shutil.rmtree(workdir / "fold2")
    trained = []
    fit = modes.loop.fit
    monkeypatch.setattr(
        modes.loop,
        "fit",
        lambda task, settings, workdir: (
            trained.append(workdir.name) or fit(task, settings, workdir=workdir)
        ),
    )
    monkeypatch.setattr("train_jax.loop.epoch_order", _only_in(workdir / "fold2", trained))
    modes.cross_validate(folds.config, workdir)
    assert trained == ["fold0", "fold1", "fold2"]
    for name in ("eval.json", "translations.tsv"):
        assert (workdir / name).read_bytes() == (folds.workdir / name).read_bytes()


def _only_in(folder, trained):
    """loop.epoch_order, which begins an epoch, and here does so for the last fold alone."""
    from train_jax.epoch import epoch_order

    def order(*arguments, **settings):
        assert trained[-1] == folder.name
        return epoch_order(*arguments, **settings)

    return order


@pytest.mark.parametrize("number", [0, 1])
def test_cross_validate_needs_folds(run, tmp_path, number):
    config = make_config(run.path, data__folds=number)
    with pytest.raises(UserError, match=f"data.folds must be at least 2.*got {number}.*folds=5"):
        modes.cross_validate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
