"""Trials of what reads sentences and settings: see faces_targets.py."""

import csv
import gzip
import hashlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from random import Random

from seq_jax import corpus, data, subwords, text
from tests.reliability import damages, reading
from train_jax.run.errors import UserError

WORDS = "ನಾನು ಮನೆ ಗೆ ಹೋದೆ ಊರು ನೀರು ಬಂತು ಅವನು".split()
ENGLISH = "i went home to the water house he came".split()


def read(path):
    try:
        return list(corpus.read(corpus.find(path)))
    except UserError as error:
        assert str(path) in str(error) and len(str(error)) < 1500, error
        return None


def table(rng) -> list[list[str]]:
    rows = []
    for number in range(rng.choice((1, 3, 8))):
        english = " ".join(rng.choices(ENGLISH, k=5))
        rows.append([english.capitalize() + ".", " ".join(rng.choices(WORDS, k=3)) + "."])
        rows[-1] += [f"CC-BY 2.0 #{number}"] * (number % 2)
    return rows


def check(found, expected, harmless):
    assert found is None or found == expected, "other sentences than the file holds"
    assert found is not None or not harmless, "refused for no reason"


def make_tsv(folder: Path):
    path = folder / "kan.txt"

    def trial(rng):
        rows, harmless = table(rng), rng.random() < 0.1
        if not harmless and rng.random() < 0.5:
            rows = damages.rows(rng, rows)
            rows[-1:] = [[cell + " " for cell in row] for row in rows[-1:]]
        written = "\n".join("\t".join(row) for row in rows) + "\n"
        content = encoded(rng, written, harmless, damaged=0.5)
        path.write_bytes(content)
        found = read(path)
        check(found, reading.tabbed(content), harmless)
        if found and rng.random() < 0.3:
            use(path, found)
        return found is not None

    return trial


def encoded(rng, written: str, harmless, *, damaged) -> bytes:
    """The bytes of a file, now and then with BOM and CRLF; unless harmless also damaged ones."""
    content = written.encode() if harmless else damages.encode(rng, written)
    if rng.random() < 0.3:
        content = b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")
    if not harmless and rng.random() < damaged:
        content = damages.damage(rng, content)
    return content


def make_pairs(folder: Path):
    paths = [folder / name for name in corpus.aligned_names(corpus.LANGUAGES)]

    def trial(rng):
        rows, harmless, contents = table(rng), rng.random() < 0.1, []
        for side in (0, 1):
            lines = [[row[side]] for row in rows]
            if not harmless and rng.random() < 0.2:
                lines = damages.rows(rng, lines)
            written = "".join("".join(line) + "\n" for line in lines)
            contents.append(encoded(rng, written, harmless, damaged=0.2))
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        found = read(folder)
        check(found, reading.pairs(*map(reading.lines, contents)), harmless)
        if found and rng.random() < 0.3:
            use(folder, found)
        return found is not None

    return trial


PACK = {"": bytes, ".gz": gzip.compress}


def make_corpora(folder: Path):
    """Files of pairs in the other forms, packed or not."""

    def written(form, rows):
        if form == "jsonl":
            objects = (dict(zip(("en", "kn"), row, strict=False)) for row in rows)
            return "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects)
        buffer = io.StringIO()
        writer = csv.writer(buffer, "excel" if form == "csv" else "excel-tab", lineterminator="\n")
        writer.writerows(rows)
        return buffer.getvalue()

    def trial(rng):
        form, pack = rng.choice(("tsv", "csv", "jsonl")), rng.choice(("", ".gz", ".zip"))
        rows, harmless = [row[:2] for row in table(rng)], rng.random() < 0.1
        if not harmless and rng.random() < 0.5:
            rows = damages.rows(rng, rows)
        content = encoded(rng, written(form, rows), harmless, damaged=0.3)
        if pack == ".zip":
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"a.{form}", content)
            content = buffer.getvalue()
        else:
            content = PACK[pack](content)
        if not harmless and pack and rng.random() < 0.5:
            content = damages.damage(rng, content)
        path = folder / f"a.{form}{pack}"
        path.write_bytes(content)
        found = read(path)
        check(found, reading.corpus(content, form, pack), harmless)
        return found is not None

    return trial


def make_subwords(folder: Path):
    """A sentencepiece model, whose hash is that of the run or was made again on purpose."""
    from seq_jax import weights  # jax, which the forks of make_flags must not have

    rng = Random(0)
    sentences = [" ".join(rng.choices(WORDS, k=5)) for _ in range(60)]
    whole = subwords.train(sentences, size=60, kind="bpe")
    path = folder / "target.model"

    def trial(rng):
        content = whole.model if rng.random() < 0.1 else damages.damage(rng, whole.model)
        again = rng.random() < 0.7
        sha256 = hashlib.sha256(content).hexdigest() if again else whole.sha256
        path.write_bytes(content)
        try:
            found = weights.read_vocabulary(path.with_suffix(".json"), sha256)
        except UserError as error:
            assert str(path) in str(error) and len(str(error)) < 500, error
            assert content != whole.model, "refused for no reason"
            return False
        assert found.model == content and (again or content == whole.model)
        assert found.words[:4] == text.SPECIALS and len(found.index) == len(found.words)
        sentence = rng.choice(sentences)
        numbers = text.encode(found, sentence)
        assert all(0 <= number < len(found.words) for number in numbers)
        found.sampled(sentence, 0.3, rng)
        text.decode(found, range(4, len(found.words)))
        if content == whole.model:
            assert text.decode(found, numbers) == sentence
        return True

    return trial


def use(path, lines):
    """The whole way from the lines to arrays, with filters that keep nearly all."""
    try:
        dataset = data.load(str(path), remove_duplicates=False)
    except UserError as error:
        assert "none of" in str(error)
        return
    assert dataset.report.read == len(lines)
    english, kannada = (text.build_vocabulary(side) for side in dataset.pairs)
    arrays = data.encode_pairs(dataset.pairs, english, kannada, max_tokens=None)
    for row, sentence in zip(arrays["target"], dataset.pairs.target, strict=True):
        assert text.decode(kannada, row) == sentence


def make_vocabulary(folder: Path):
    known = text.build_vocabulary([" ".join(WORDS), " ".join(WORDS[:3])])
    written = text.to_json(known)

    def trial(rng):
        if rng.random() < 0.5:
            value = damages.json_value(rng, list(known.words))
            content = json.dumps(value, ensure_ascii=rng.random() < 0.5)
            content = content.encode("utf-8", "surrogatepass")
        else:
            content = damages.damage(rng, damages.encode(rng, written))
        try:
            read = content.decode("utf-8", "replace")
            found = text.from_json(read, "words.json")
        except UserError as error:
            assert str(error).startswith("words.json: not a vocabulary")
            return False
        assert list(found.words) == json.loads(read)
        try:
            text.check_same(found, known.sha256, "words.json")
            assert found == known, "another vocabulary"
        except UserError:
            assert found != known, "the vocabulary of the run was refused"
        return True

    return trial


FLAG_VALUES = damages.NUMBERS + (
    "0", "1", "2", "0.5", "true", "False", "yes", "min", "(1,2)", "((2,), (3, 3))", "[1]", "()",
    "adam", "drawn", "__import__('os')", "{'a': 1}", "é", "\udcff", "a,b", "-", "--", "=",
)  # fmt: skip


def make_flags(folder: Path):
    """launch.parse_flags in a fork each, since absl can read flags only once. No jax here."""
    from absl import app

    import launch  # what parses the flags, before it reads data or imports jax
    from configs import fer_base, seq_base

    app.define_help_flags()  # app.run does it
    bases = {"fer": fer_base.get_config(), "seq": seq_base.get_config()}
    assert "jax" not in sys.modules, "its threads do not survive a fork"

    def fields(config, prefix="config"):
        for name, value in config.items():
            if hasattr(value, "items"):
                yield from fields(value, f"{prefix}.{name}")
            else:
                yield f"{prefix}.{name}", value

    def trial(rng):
        task = rng.choice(("fer", "seq"))
        name, base = rng.choice(list(fields(bases[task])))
        value = rng.choice(FLAG_VALUES).replace("\0", "")
        if rng.random() < 0.2:
            name = damages.damage(rng, name.encode()).decode("utf-8", "replace")
            name = name.replace("\0", "") or "x"
        argv = ["launch.py", f"--config=configs/{task}_base.py", f"--{name}={value}"]
        if rng.random() < 0.3:
            argv.append(rng.choice(("--mode=eval", "--mode=x", "--workdir=", "--", "-x", "stray")))
        argv[1:] = rng.sample(argv[1:], len(argv) - 1)
        code, out, err, found = in_a_fork(launch, argv, name)
        assert code in (0, 1, 2), (code, err)
        if code == 2:
            assert err.startswith("error: ") and len(err) < 12_000, err
            assert "Traceback" not in err and out == ""
        if code == 0 and name in dict(fields(bases[task])) and found is not None:
            check_value(base, value, found)
        return code == 0

    return trial


def check_value(base, value, found):
    """Whether the text of a flag was understood as a value of the field's type."""
    kind = type(base)
    assert found[0] == kind.__name__ or base is None, (base, value, found)
    if kind is str:
        assert found[1] == repr(value), (value, found)
    elif kind is int:
        assert int(found[1]) == int(value, 16 if value[:2] == "0x" else 10), (value, found)
    elif kind is float:
        assert float(found[1]) == float(value) or float(value) != float(value), (value, found)


def in_a_fork(launch, argv, name):
    """(exit code, stdout, stderr, (type, repr) of the field) of launch.parse_flags(argv)."""
    files = [os.memfd_create(kind) for kind in ("out", "err", "found")]
    child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(files[0], 1)
            os.dup2(files[1], 2)
            sys.argv = list(argv)
            try:
                launch.parse_flags(list(argv))
                part = launch.CONFIG.value
                for piece in name.split(".")[1:]:
                    part = part[piece]
                os.write(files[2], f"{type(part).__name__}\n{part!r}".encode("utf-8", "replace"))
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 98
            except (KeyError, AttributeError):
                code = 0  # the field is not there, since its name was damaged
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException as error:
            os.write(2, f"Traceback {error!r}".encode("utf-8", "replace"))
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for file in files:
        os.lseek(file, 0, 0)
        with open(file, encoding="utf-8", errors="replace") as opened:
            texts.append(opened.read())
    return code, texts[0], texts[1], tuple(texts[2].split("\n", 1)) if "\n" in texts[2] else None
