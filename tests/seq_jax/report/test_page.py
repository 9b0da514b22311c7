"""The report of a run on sentences: scores next to the baselines, translations, letters."""

import base64
import io
import json
import sys
from collections import Counter

import numpy as np
import pytest
import scipy.stats
from fontTools.ttLib import TTFont

from seq_jax.report import page as report_html
from seq_jax.scores import chrf_counts
from train_jax.report.compare import paired
from train_jax.report.run import Run
from train_jax.report.table import Table
from train_jax.run.errors import UserError


def scores(value):
    found = {"n": 40, "accuracy_pad_counted": value + 0.3}
    for key in ("token_accuracy", "chrf++", "bleu", "exact_match"):
        found |= {key: value, f"{key}_ci95": [value - 0.1, value + 0.1]}
    return found


RESULT = {
    "data": "phrasebook", "sha256": "ab" * 32, "scored": "epoch 9", "verdict": "It is <better>.",
    "splits": {"train": scores(0.6), "test": scores(0.5)},
    "baselines": {"test": {"pad_only": scores(0.1), "nearest_neighbour": scores(0.4)}},
}  # fmt: skip


def write(folder, rows, header="split\tsource\treference\thypothesis"):
    text = "\n".join([header, *("\t".join(row) for row in rows)]) + "\n"
    (folder / "translations.tsv").write_text(text, encoding="utf-8")
    return Run(folder, "run", {"config": {}}, [], RESULT, "")


def test_baselines_stand_below_their_split(tmp_path):
    run = write(tmp_path, [("test", "hello", "ನಮಸ್ಕಾರ", "ನಮಸ್ಕಾರ")])
    section = report_html.sections(run)[0]
    text, table = section.parts
    assert text.text == "Epoch 9. It is <better>."
    assert [row[0] for row in table.rows] == [
        "train", "test", "test: pad only", "test: nearest neighbour",
    ]  # fmt: skip
    assert table.rows[1] == [
        "test", "40", "0.5 [0.4, 0.6]", "0.5 [0.4, 0.6]", "0.500 [0.400, 0.600]",
        "0.500 [0.400, 0.600]", "0.800",
    ]  # fmt: skip
    main = report_html.main_score(RESULT)
    assert (main.value, main.low, main.high, main.baseline) == (0.5, 0.4, 0.6, 0.4)
    assert report_html.sections(run._replace(scores=None))[0].parts


def analysed(value, n):
    return {name: scores(v) | {"n": n} for name, v in (("model", value), ("dictionary", 0.2))}


ANALYSIS = {
    "by_words": {"1-4": analysed(0.7, 30), "5-6": analysed(0.4, 10), "7-9": {}},
    "by_likeness": {"0 to 0.25": analysed(0.3, 40)},
    "habits": {
        "reference": {"length_ratio": 1.0, "repeated": 0.02, "copied": 0.1, "new_words": 0.25},
        "model": {"length_ratio": 0.91, "repeated": 0.07, "copied": 0.2, "new_words": 0.05},
    },
}


def test_what_the_scores_hide_has_its_sections(tmp_path):
    run = write(tmp_path, [("test", "hello", "ಕ", "ಕ")])
    assert report_html.analysis_sections(RESULT) == []
    result = RESULT | {"analysis": ANALYSIS}
    result["analysis"]["by_words"]["1-4"]["model"] |= {"bleu": None, "bleu_ci95": None}
    titles = [section.title for section in report_html.sections(run._replace(scores=result))]
    assert titles[2:5] == ["Scores by length", "Scores by likeness to training", "Habits"]
    length, likeness, habits = (s.parts[0] for s in report_html.analysis_sections(result))
    assert length.header == [
        "words of the source", "n", "model, chrF++", "model, BLEU", "dictionary, chrF++",
        "dictionary, BLEU",
    ]  # fmt: skip
    assert length.rows[0][:4] == ["1-4", "30", "0.7 [0.6, 0.8]", "n/a"]
    assert length.rows[1] == ["5-6", "10", *["0.4 [0.3, 0.5]"] * 2, *["0.2 [0.1, 0.3]"] * 2]
    assert len(length.rows) == 2  # no row of a group without a sentence
    assert likeness.rows[0][:3] == ["0 to 0.25", "40", "0.3 [0.2, 0.4]"]
    assert habits.rows == [
        ["reference", "1.000", "2.0%", "10.0%", "25.0%"],
        ["model", "0.910", "7.0%", "20.0%", "5.0%"],
    ]


def translate(references, rng, wrong):
    """Of each reference so many words in ten are others."""
    return [
        " ".join(rng.choice(WORDS) if rng.random() < wrong else w for w in reference.split())
        for reference in references
    ]


WORDS = "ನಾನು ಮನೆಗೆ ಹೋಗುತ್ತೇನೆ ಅವಳು ಶಾಲೆಗೆ ಬಂದಳು ಪುಸ್ತಕ ಓದಿದೆ".split()


def counts_by_hand(said, true):
    """i64[8, 3]: n-grams of the translation, of the reference, and of both."""

    def grams(parts, n):
        return Counter(tuple(parts[i : i + n]) for i in range(len(parts) - n + 1))

    rows = []
    for order in (*((False, n) for n in range(1, 7)), (True, 1), (True, 2)):
        words, n = order
        a, b = (grams(s.split() if words else s.replace(" ", ""), n) for s in (said, true))
        rows.append([a.total() if b else 0, b.total(), (a & b).total()])
    return np.array(rows)


def chrf_by_hand(sums):
    """f[...] of sums i[..., 8, 3]: F2 of the mean precision and the mean recall (Popovic 2017)."""
    said, true, both = np.moveaxis(sums.astype(float), -1, 0)
    precision, recall = (both / said).mean(-1), (both / true).mean(-1)
    return 100 * 5 * precision * recall / (4 * precision + recall)


@pytest.mark.equivalence(
    "compare.paired of chrF++", "Counter, scipy's paired bootstrap", "12 % of a half width"
)
def test_two_runs_are_compared_sentence_by_sentence(tmp_path):
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(70)]
    said = [translate(references, rng, wrong) for wrong in (0.5, 0.35)]
    runs = [
        Run(tmp_path, "run", {}, [], RESULT | {"split_sha256": {"test": "ab"}}, "",
            {"test": chrf_counts(hypotheses, references).astype(np.int32)})
        for hypotheses in said
    ]  # fmt: skip
    pair = paired(*runs, report_html.score_of)
    a, b = (np.array(list(map(counts_by_hand, hypotheses, references))) for hypotheses in said)
    theirs = scipy.stats.bootstrap(
        (np.arange(70),),
        lambda i: chrf_by_hand(b[i].sum(0)) - chrf_by_hand(a[i].sum(0)),
        vectorized=False, method="percentile", n_resamples=4000, rng=np.random.default_rng(7),
    ).confidence_interval  # fmt: skip
    half = (theirs.high - theirs.low) / 2
    assert pair.difference == pytest.approx(chrf_by_hand(b.sum(0)) - chrf_by_hand(a.sum(0)))
    assert [pair.low, pair.high] == pytest.approx(list(theirs), abs=0.12 * half)
    assert 0 < pair.low < pair.difference < pair.high
    with np.errstate(invalid="ignore"):  # a sentence of one word has no pair of words
        alone = chrf_by_hand(b) - chrf_by_hand(a)
    known = np.isfinite(alone)
    assert known.sum() > 60
    assert 0 <= pair.better - (alone[known] > 0).sum() <= (~known).sum()
    assert 0 <= pair.worse - (alone[known] < 0).sum() <= (~known).sum()
    assert pair.better > pair.worse > 0


@pytest.mark.parametrize(
    ("best", "words"), [(0.3, "in no epoch"), (0.6, "from epoch 2 on, at first")]
)
def test_the_learning_curve_stands_beside_the_baselines(tmp_path, best, words):
    baselines = {"dictionary": scores(0.35), "nearest_neighbour": scores(0.25)}
    rows = [{"epoch": i + 1.0, "val_chrf++": v} for i, v in enumerate((0.1, best, 0.2))]
    run = write(tmp_path, [("test", "hello", "ಕ", "ಕ")])
    with_valid = RESULT | {"baselines": {"valid": baselines}}
    section = report_html.curve_section(run._replace(history=rows, scores=with_valid))
    assert section.parts[0].text == f"Above all baselines: {words}."
    assert section.parts[1].pictures[0].svg.startswith("<svg")
    # not for a run without baselines of valid, and not for one that is judged otherwise
    assert report_html.curve_section(run._replace(history=rows)).parts == []
    other = run._replace(history=[{"epoch": 1.0}], scores=with_valid)
    assert report_html.curve_section(other).parts == []


def test_samples_are_of_the_last_split_and_spread_over_it(tmp_path):
    rows = [("train", f"t{i}", "ಕ", "ಕ") for i in range(9)]
    rows += [("test", f"e{i}", f"ಮನೆ {i}", f"ಮನೆ {i if i % 2 else 'x'}") for i in range(100)]
    section = report_html.translation_section(write(tmp_path, rows))
    (table,) = [p for p in section.parts if isinstance(p, Table)]
    places = [int(row[0][1:]) for row in table.rows]
    assert places == list(range(0, 100, 5)) and len(places) <= report_html.SAMPLES
    for place, row in zip(places, table.rows, strict=True):
        assert row == [f"e{place}", f"ಮನೆ {place}", f"ಮನೆ {place if place % 2 else 'x'}",
                       "yes" if place % 2 else ""]  # fmt: skip
    assert "20 of the 100 sentences of test" in section.parts[0].text


def test_an_empty_translation_is_a_row_and_a_wrong_file_is_named(tmp_path):
    run = write(tmp_path, [("test", "hello", "ಕ", "")])
    (table,) = report_html.translation_section(run).parts[1:]
    assert table.rows == [["hello", "ಕ", "", ""]]
    for rows, header in (([("test", "a")], "split\tsource\treference\thypothesis"), ([], "x")):
        write(tmp_path, rows, header)
        with pytest.raises(UserError, match="translations.tsv"):
            report_html.translation_section(run)
    (tmp_path / "translations.tsv").unlink()
    assert report_html.translation_section(run).parts == []


def with_languages(folder, target):
    workdir = folder / target
    workdir.mkdir()
    record = {"config": {"data": {"languages": ["en", target]}}, "identity": {}}
    (workdir / "config.json").write_text(json.dumps(record))
    return workdir


def test_fonts_are_those_of_the_languages(tmp_path):
    pytest.importorskip("manimgx_fonts")
    workdirs = [with_languages(tmp_path, code) for code in ("fr", "hi", "mr")]
    assert report_html.fonts(workdirs[:1]) == []
    (font,) = report_html.fonts(workdirs)
    assert font.name == "Noto Sans Devanagari" and font.range.startswith("U+0900")


def test_without_the_font_there_is_a_page_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "manimgx_fonts", None)
    assert report_html.fonts([with_languages(tmp_path, "kn")]) == []
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "manimgx_fonts" in said


def test_the_font_in_the_page_shapes_kannada(tmp_path):
    """It has the letters, and the rules (GSUB) that join them into syllables."""
    pytest.importorskip("manimgx_fonts")
    (font,) = report_html.fonts([with_languages(tmp_path, "kn")])
    kind, data = font.uri.split(";base64,")
    assert kind == "data:font/ttf"
    loaded = TTFont(io.BytesIO(base64.b64decode(data)))
    letters = set(map(ord, "ನಮಸ್ಕಾರ ಆರ್ಥಿಕ ಅಭಿವೃದ್ಧಿ".replace(" ", "")))
    assert letters <= set(loaded.getBestCmap())
    scripts = {record.ScriptTag for record in loaded["GSUB"].table.ScriptList.ScriptRecord}
    assert {"knda", "knd2"} & scripts
    assert "U+0C80-0CFF" in font.range
