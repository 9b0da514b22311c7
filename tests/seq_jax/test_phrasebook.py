"""seq_jax/phrasebook: every rule that its README states and a program can check."""

import re
import unicodedata
from collections import Counter

import pytest

from seq_jax import phrasebook

ENGLISH = re.compile(r"[A-Z][a-z]*( [a-z]+){4}")
KANNADA = re.compile(r"[\u0c80-\u0cff]+( [\u0c80-\u0cff]+){1,4}")  # no ZWJ, ZWNJ or mark
TEST_SENTENCES = ("economic development and social change", "in front of her house")
PRONOUNS = {  # english -> kannada, nominative or the dative of feeling, wanting and knowing
    "i": ("ನಾನು", "ನನಗೆ", "ನನ್ನ"),
    "we": ("ನಾವು", "ನಮಗೆ", "ನಮ್ಮ"),
    "you": ("ನೀವು", "ನಿಮಗೆ", "ನಿಮ್ಮ"),
    "he": ("ಅವನು", "ಅವನಿಗೆ", "ಅವನ"),
    "she": ("ಅವಳು", "ಅವಳಿಗೆ", "ಅವಳ"),
    "they": ("ಅವರು", "ಅವರಿಗೆ", "ಅವರ"),
}
# Endings that show the person: present and future, "is", past. The verb closes the sentence.
ENDINGS = {
    "ನಾನು": ("ತ್ತೇನೆ", "ದ್ದೇನೆ", "ೆ"),
    "ನಾವು": ("ತ್ತೇವೆ", "ದ್ದೇವೆ", "ೆವು"),
    "ನೀವು": ("ತ್ತೀರಿ", "ದ್ದೀರಿ", "ದಿರಿ", "ತ್ತೀರಾ"),
    "ಅವನು": ("ತ್ತಾನೆ", "ದ್ದಾನೆ", "ನು"),
    "ಅವಳು": ("ತ್ತಾಳೆ", "ದ್ದಾಳೆ", "ಳು"),
    "ಅವರು": ("ತ್ತಾರೆ", "ದ್ದಾರೆ", "ರು"),
    "ಅದು": ("ತ್ತದೆ",),
}
OWN = {  # endings that belong to exactly one pronoun
    "ನಾನು": ("ತ್ತೇನೆ", "ದ್ದೇನೆ"),
    "ನಾವು": ("ತ್ತೇವೆ", "ದ್ದೇವೆ", "ೆವು"),
    "ನೀವು": ("ತ್ತೀರಿ", "ದ್ದೀರಿ", "ದಿರಿ", "ತ್ತೀರಾ"),
    "ಅವನು": ("ತ್ತಾನೆ", "ದ್ದಾನೆ", "ದನು", "ಂದನು", "ಟ್ಟನು"),
    "ಅವಳು": ("ತ್ತಾಳೆ", "ದ್ದಾಳೆ", "ದಳು", "ಂದಳು", "ಟ್ಟಳು"),
    "ಅವರು": ("ತ್ತಾರೆ", "ದ್ದಾರೆ", "ದರು", "ಂದರು", "ಟ್ಟರು"),
    "ಅದು": ("ತ್ತದೆ", "ತ್ತಿದೆ", "ಂತು"),
}
# Same for every person: negation, must, may, let us.
PERSONLESS = ("ಇಲ್ಲ", "ಿಲ್ಲ", "ಲಿಲ್ಲ", "ಬೇಕು", "ಬಹುದು", "ೋಣ")
# Nouns as first words, after a possessive or alone, that fix the person of the verb.
SUBJECTS = {
    **dict.fromkeys(("ತಂದೆ", "ತಾಯಿ", "ಅಜ್ಜ", "ಅಜ್ಜಿ", "ಮಕ್ಕಳು", "ಶಿಕ್ಷಕರು", "ವೈದ್ಯರು"), "ಅವರು"),
    **dict.fromkeys(("ರೈತರು", "ವಿದ್ಯಾರ್ಥಿಗಳು", "ಎಲ್ಲರೂ"), "ಅವರು"),
    **dict.fromkeys(("ತಮ್ಮ", "ಮಗ", "ಸ್ನೇಹಿತ", "ಹುಡುಗ"), "ಅವನು"),
    **dict.fromkeys(("ತಂಗಿ", "ಮಗಳು"), "ಅವಳು"),
    **dict.fromkeys(("ಬಸ್", "ರೈಲು", "ರಸ್ತೆ", "ಬೆಕ್ಕು", "ನಾಯಿ", "ಹಸು", "ಮಗು"), "ಅದು"),
}
POSSESSIVES = ("ನನ್ನ", "ನಮ್ಮ", "ನಿಮ್ಮ", "ಅವನ", "ಅವಳ", "ಅವರ", "ಈ", "ಆ")


@pytest.fixture(scope="module")
def pairs():
    return phrasebook.load()


def counts(sentences):
    return Counter(word for sentence in sentences for word in sentence.lower().split())


def is_finite(word):
    """Whether a word ends like a verb of one person (nominal sentences have none)."""
    return any(word.endswith(e) for endings in OWN.values() for e in endings)


def subject(words):
    """Pronoun whose agreement the sentence must show, or None where the start does not say."""
    if words[0] in ENDINGS:
        return words[0]
    first = words[1] if words[0] in POSSESSIVES else words[0]
    return SUBJECTS.get(first)


def agreement_error(kannada):
    """None, or the (subject, verb) that do not agree."""
    words = kannada.split()
    who, verb = subject(words), words[-1]
    if who is None or verb.endswith(PERSONLESS) or not is_finite(verb):
        return None
    foreign = (e for name, es in OWN.items() if name != who for e in es)
    return (who, verb) if verb.endswith(tuple(foreign)) else None


def test_numbers_stay_within_bounds(pairs):
    english, kannada = (counts(side) for side in zip(*pairs, strict=True))
    assert len(pairs) == 729
    assert 450 <= len(english) <= 520
    assert 330 <= len(kannada) <= 380
    assert min(kannada.values()) >= 2


def test_readme_states_the_counts(pairs):
    text = phrasebook.PATH.with_name("README.md").read_text(encoding="utf-8")
    english, kannada = (counts(side) for side in zip(*pairs, strict=True))
    numbers = (len(pairs), len(english), len(kannada), english.total(), kannada.total())
    for number in numbers:
        assert f"{number:,}" in text, number


def test_english_is_five_words_of_letters(pairs):
    assert [e for e, _ in pairs if not ENGLISH.fullmatch(e)] == []


def test_kannada_is_two_to_five_words_of_its_script_in_nfc(pairs):
    assert [k for _, k in pairs if not KANNADA.fullmatch(k)] == []
    assert [k for _, k in pairs if unicodedata.normalize("NFC", k) != k] == []


def test_kannada_letters_are_assigned_and_no_vowel_sign_starts_a_word_or_doubles(pairs):
    for _, kannada in pairs:
        for word in kannada.split():
            assert unicodedata.category(word[0]) == "Lo", word
            assert not re.search(r"[\u0cbe-\u0ccd]{2}", word), word
            assert "Cn" not in map(unicodedata.category, word), word
            assert not any(c.isdigit() for c in word), word


def test_nothing_occurs_twice(pairs):
    english, kannada = zip(*pairs, strict=True)
    assert [e for e, n in Counter(e.lower() for e in english).items() if n > 1] == []
    assert [k for k, n in Counter(kannada).items() if n > 1] == []


def test_the_test_sentences_are_held_out(pairs):
    english = {e.lower() for e, _ in pairs}
    assert not english & set(TEST_SENTENCES)
    assert "ಆರ್ಥಿಕ ಅಭಿವೃದ್ಧಿ ಮತ್ತು ಸಾಮಾಜಿಕ ಬದಲಾವಣೆ" not in {k for _, k in pairs}


def test_verbs_agree_with_their_subjects(pairs):
    assert [(k, agreement_error(k)) for _, k in pairs if agreement_error(k)] == []
    checked = [k for _, k in pairs if subject(k.split()) and is_finite(k.split()[-1])]
    assert len(checked) > 300  # or the check has gone blind


@pytest.mark.parametrize(
    "wrong",
    [
        "ನಾನು ಮನೆಗೆ ಹೋಗುತ್ತಾನೆ",
        "ನಾವು ಮನೆಗೆ ಹೋಗುತ್ತೇನೆ",
        "ನೀವು ಮನೆಗೆ ಹೋಗುತ್ತಾರೆ",
        "ಅವನು ಮನೆಗೆ ಹೋಗುತ್ತಾಳೆ",
        "ಅವಳು ಮನೆಗೆ ಬಂದನು",
        "ಅವರು ಮನೆಯಲ್ಲಿ ಇದ್ದಳು",
        "ಅದು ಮನೆಗೆ ಹೋಗುತ್ತೇವೆ",
        "ನನ್ನ ತಾಯಿ ಮನೆಗೆ ಬರುತ್ತಾಳೆ",
        "ನನ್ನ ತಂಗಿ ಮನೆಗೆ ಬರುತ್ತಾನೆ",
        "ಬಸ್ ಮನೆಗೆ ಹೋಗುತ್ತಾನೆ",
        "ನಾನು ತಡವಾಗಿ ಬಂತು",
    ],
    ids=range(11),
)
def test_a_wrong_ending_would_be_seen(wrong):
    assert agreement_error(wrong)


def test_a_pronoun_as_subject_closes_with_its_own_ending(pairs):
    for english, kannada in pairs:
        words = kannada.split()
        if words[0] in ENDINGS and is_finite(words[-1]):
            assert words[-1].endswith(ENDINGS[words[0]]), (english, kannada)


def test_all_seven_persons_occur(pairs):
    starts = Counter(k.split()[0] for _, k in pairs if is_finite(k.split()[-1]))
    assert all(starts[pronoun] >= 5 for pronoun in ENDINGS), starts


def test_both_sides_name_the_same_person(pairs):
    for english, kannada in pairs:
        expected = PRONOUNS.get(english.lower().split()[0])
        if expected:
            assert set(expected) & set(kannada.split()), (english, kannada)


def test_negation_is_on_both_sides_or_on_none(pairs):
    no = {"not", "no", "nobody", "nothing", "never", "dislike", "dislikes"}
    for english, kannada in pairs:
        verb = kannada.split()[-1]
        if verb == "ಹುಷಾರಿಲ್ಲ":  # "is ill", literally "is not well"
            continue
        negative = verb.endswith(("ಇಲ್ಲ", "ಿಲ್ಲ", "ಅಲ್ಲ", "ಬೇಡ", "ಬೇಡಿ"))
        assert bool(no & set(english.lower().split())) == negative, (english, kannada)


def test_postpositions_follow_the_genitive(pairs):
    """The genitive ends in -ಯ, -ದ or -ನ; ನನ್ನ and ಅದರ do not stand before these here."""
    for _, kannada in pairs:
        words = kannada.split()
        if words[-1] in ("ಮುಂದೆ", "ಹಿಂದೆ", "ಮೇಲೆ", "ಕೆಳಗೆ", "ಪಕ್ಕದಲ್ಲಿ", "ಬಗ್ಗೆ"):
            assert words[-2].endswith(("ಯ", "ದ", "ನ")), kannada


def test_file_is_lf_and_without_byte_order_mark():
    raw = phrasebook.PATH.read_bytes()
    assert b"\r" not in raw and not raw.startswith(b"\xef\xbb\xbf") and raw.endswith(b"\n")


GOOD = "I go home\tನಾನು ಹೋದೆ\n".encode()


@pytest.mark.parametrize(
    ("damage", "line", "words"),
    [
        (GOOD + b"one column\n" + GOOD, 2, "1 columns"),
        (GOOD + GOOD + b"a\tb\tc\n", 3, "3 columns"),
        (GOOD + b"\n" + GOOD, 2, "1 columns"),
        (GOOD + b"a\t\xff\xfe\n", 2, "not UTF-8"),
        (GOOD + "a\tಕ\u0cc6\u0cd5\n".encode(), 2, "NFC"),
        (GOOD + b"\t" + "ಕ\n".encode(), 2, "empty side"),
        (GOOD + "a \tಕ\n".encode(), 2, "stray blank"),
        (GOOD + "a  b\tಕ\n".encode(), 2, "stray blank"),
        (GOOD + "a\tಕ\r\n".encode(), 2, "stray blank"),
        (b"\xef\xbb\xbf" + GOOD, 1, "stray blank"),
        (GOOD + GOOD[:-3], 2, "newline"),
        (b"", 1, "empty file"),
    ],
    ids=range(12),
)
def test_damage_is_refused_with_its_line(damage, line, words, tmp_path, monkeypatch):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(damage)
    monkeypatch.setattr(phrasebook, "PATH", path)
    with pytest.raises(ValueError, match=rf"pairs\.tsv:{line}: .*{words}"):
        phrasebook.load()


def test_a_sound_file_is_read_in_order(tmp_path, monkeypatch):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(GOOD + "b\tಕ\n".encode())
    monkeypatch.setattr(phrasebook, "PATH", path)
    assert phrasebook.load() == [("I go home", "ನಾನು ಹೋದೆ"), ("b", "ಕ")]
