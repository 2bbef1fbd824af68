"""Spoken text: the shared corpus against the reference, and what the corpus does not show."""

# ruff: noqa: E501

from __future__ import annotations

import builtins
from collections import Counter
from pathlib import Path

import pytest

from livekit_xtts.speech import LANGUAGES, InvalidRequestError
from livekit_xtts.text import chinese, japanese, korean
from livekit_xtts.text.language import PLURALS, table
from livekit_xtts.text.normalize import normalize, speakable
from livekit_xtts.text.tokenizer import TextTokenizer
from tests.text.vocabulary import published, stand_in

FOLDER = Path(__file__).parent / "corpus"
KINDS = (
    "number", "ordinal", "decimal", "price", "percent", "time", "date", "year", "unit",
    "abbreviation", "symbol", "initials", "address", "markup", "plain", "final",
)  # fmt: skip


def rows(language):
    lines = (FOLDER / f"{language}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [tuple(line.split("\t")) for line in lines]


def reasons():
    lines = (FOLDER / "reasons.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines)


@pytest.mark.parametrize("language", LANGUAGES)
def test_corpus_is_large_enough(language):
    kinds = Counter(row[0] for row in rows(language))
    assert sum(kinds.values()) >= 45
    assert all(kinds[kind] >= 3 for kind in KINDS), kinds


@pytest.mark.parametrize("language", LANGUAGES)
def test_corpus_is_read_as_written_down(language):
    wrong = [
        (written, normalize(written, language), spoken)
        for _, written, spoken, _ in rows(language)
        if normalize(written, language) != spoken
    ]
    assert not wrong


@pytest.mark.parametrize("language", LANGUAGES)
def test_equal_ids_or_a_reason(language, tmp_path):
    """Each sentence has the reference's ids, or differs and says why; neither list is stale."""
    module = pytest.importorskip("TTS.tts.layers.xtts.tokenizer")
    path = published() or stand_in(tmp_path)
    ours, reference = TextTokenizer(path), module.VoiceBpeTokenizer(str(path))
    known = reasons()
    for _, written, spoken, why in rows(language):
        ids = ours.encode(spoken, language, normalized=True)
        if why == "fails":
            with pytest.raises(NotImplementedError):
                reference.encode(written, language)
            continue
        if why:
            assert known[why]
            assert reference.preprocess_text(written, language.split("-")[0]) != spoken, written
        else:
            assert reference.encode(written, language) == ids, written


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "zh-cn"])
def test_normal_text_stays_as_it_is(language):
    """What was read once is read the same again (but for the tone numbers of pinyin)."""
    for kind, _, spoken, _ in rows(language):
        if kind in ("plain", "number", "price"):
            assert normalize(spoken, language) == spoken


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_unreadable_is_left(language):
    allowed = set("!?.,;:¿¡،؛؟।'- ")
    for _, written, spoken, _ in rows(language):
        left = [c for c in spoken if not (c.isalpha() or c in allowed or not c.isprintable())]
        marks = [c for c in left if not 0x300 <= ord(c) <= 0x36F and not 0x610 <= ord(c) <= 0x96F]
        digits_are_tones = language == "zh-cn"
        assert digits_are_tones or not marks, (written, spoken)


CASES = [
    ("en", "It took 20-25% of 2-3 kg", "it took twenty to twenty-five percent of two to three kilograms"),
    ("en", "at 2024-12-25T10:00", "at december twenty-fifth, twenty twenty-four, ten o'clock"),
    ("en", "call 0800 123 456", "call zero eight zero zero, one two three, four five six"),
    ("de", "Am 3.10. um 8 Uhr", "am dritten oktober um acht uhr"),
    ("de", "bis 31. 12. geschlossen", "bis einunddreißigsten dezember geschlossen"),
    ("de", "Der Wert liegt bei 3.10.", "der wert liegt bei drei komma eins"),
    ("de", "am 3. 10. 2024", "am dritten oktober zweitausendvierundzwanzig"),
    ("de", "Tel. 030 123456", "telefon null drei null, eins zwei drei vier fünf sechs"),
    ("cs", "do 3. 10. 2024", "do třetího října dva tisíce dvacet čtyři"),
    ("tr", "%20-25", "yüzde yirmi ila yirmibeş"),
    ("zh-cn", "涨了20-25%", "zhang3le5bai3fen1zhi1er4shi2dao4bai3fen1zhi1er4shi2wu3"),
    ("ar", "الساعة 3:05", "الساعة الثالثة و خمسة دقائق"),
    ("en", "It's $1.5 million, not $3K.", "it's one point five million dollars, not three thousand dollars"),
    ("en", "Call +1 555 0100 at 9 a.m.", "call plus one, five five five, zero one zero zero at nine a m"),
    ("en", "Version 2.10.3 is out", "version two dot ten dot three is out"),
    ("en", "It is -5°C and 1/2 full", "it is minus five degrees celsius and one half full"),
    ("en", "Pages 5-7, 1990–2000", "pages five to seven, nineteen ninety to two thousand"),
    ("en", "the '90s and the 2010s", "the nineties and the twenty tens"),
    ("en", "St. Mary lives on Main St. now", "saint mary lives on main street now"),
    ("en", "No. 5 is alive. No. I mean it", "number five is alive. no. i mean it"),
    ("en", "She paid £3.20 and €1", "she paid three pounds, twenty pence and one euro"),
    ("en", "and/or", "and or"),
    ("en", "(really)", "really"),
    ("en", "Wait -- what?!", "wait, what?"),
    ("en", "I saw 1 km and 1.5 km", "i saw one kilometer and one point five kilometers"),
    ("en", "I'm Dr Jones", "i'm doctor jones"),
    ("en", "007", "zero zero seven"),
    ("en", "a_b and *c*", "a b and c"),
    ("en", "12345678901234567890", "one two three four five six seven eight nine zero one two three four five six seven eight nine zero"),
    ("en", "1. First\n2. Second", "one. first, two. second"),
    ("en", "Call 555-0100", "call five five five, zero one zero zero"),
    ("en", "World War II and AT&T", "world war two and a t and t"),
    ("en", "between 1990 and 1995", "between nineteen ninety and nineteen ninety-five"),
    ("en", "3 1/2 cups, 5'4\" tall", "three and a half cups, five foot four tall"),
    ("en", "10 a.m.-5 p.m., Mon-Fri", "ten a m to five p m, monday to friday"),
    ("en", "20%-30% or $5-10", "twenty percent to thirty percent or five to ten dollars"),
    ("en", "2² is 4, 5 > 3, ~50", "two squared is four, five is greater than three, about fifty"),
    ("de", "Am 3. und 4. Mai, 1,50 €.", "am dritten und vierten mai, ein euro und fünfzig cent"),
    ("de", "Es kostet 5,- € bzw. 3 Mio. €", "es kostet fünf euro beziehungsweise drei millionen euro"),
    ("de", "1 km, 1 Std. und 21 m²", "ein kilometer, eine stunde und einundzwanzig quadratmeter"),
    ("fr", "1 h, 21 m et 1,5 km", "une heure, vingt et un mètres et un virgule cinq kilomètres"),
    ("es", "21 km y 1 h", "veintiún kilómetros y una hora"),
    ("ru", "1 км, 2 км, 5 км, 21 км, 1 мин.", "один километр, два километра, пять километров, двадцать один километр, одна минута"),
    ("pl", "2 godz. i 5 zł", "dwie godziny i pięć złotych"),
    ("cs", "2 hod. a 3 Kč", "dvě hodiny a tři koruny"),
    ("tr", "IŞIK ve İZMİR", "ışık ve izmir"),
    ("zh-cn", "我有2个苹果", "wo3you3liang3ge4ping2guo3"),
    ("zh-cn", "电话13812345678", "dian4hua4yi1san1ba1yi1er4san1si4wu3liu4qi1ba1"),
    ("ja", "1人と2人と300本", "hitori to futari to sanbyappon"),
    ("ko", "사과 3개, 스무 살", "sagwa se gae, seumu sal"),
    ("hi", "1.5 और 2.5 लाख", "डेढ़ और ढाई लाख"),
    ("ar", "٣٫٥", "ثلاثة فاصلة خمسة"),
    ("hi", "३.५ किमी", "साढ़े तीन किलोमीटर"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_cases(language, written, spoken):
    assert normalize(written, language) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Yes.", "yes"),
        ("Yes...", "yes"),
        ("Yes…", "yes"),
        ('He said "yes."', "he said yes"),
        ('"Yes!"', "yes!"),
        ("“Yes?”", "yes?"),
        ("Yes!!! No", "yes! no"),
        ("Really?!", "really?"),
        ("one — two", "one, two"),
        ("one—two", "one, two"),
        ("…and then", "and then"),
        ("first. Second.", "first. second"),
        ("word ,", "word"),
        ("", ""),
        ("...", ""),
        ("***", ""),
        ("🎉🎉", ""),
        (" \n\t", ""),
    ],
)
def test_clean_ends(written, spoken):
    assert normalize(written, "en") == spoken


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("hi", "धन्यवाद।", "धन्यवाद"),
        ("ar", "شكرا.", "شكرا"),
        ("zh-cn", "谢谢。", "xie4xie4"),
        ("ja", "はい。", "hai"),
        ("fr", "Ça va ?", "ça va ?"),
        ("fr", "« Oui ! »", "oui !"),
        ("es", "¿Sí? ¡No!", "¿sí? ¡no!"),
    ],
)
def test_clean_ends_in_other_scripts(language, written, spoken):
    assert normalize(written, language) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**bold** and _soft_ and ~~gone~~", "bold and soft and gone"),
        ("`code` here", "code here"),
        ("## Head\n\nText", "head, text"),
        ("- one\n- two", "one, two"),
        ("> quoted", "quoted"),
        ("| a | b |\n|---|---|\n| c | d |", "a, b, c, d"),
        ("---\nText", "text"),
        ("![alt](http://x.y/z.png) end", "alt end"),
        ("here](https://x.org/a) end", "here end"),
        ("<b>hi</b> there<br/>", "hi there"),
        ("```python\nprint\n```", "print"),
        ("snake_case stays", "snake case stays"),
        ("👩‍👩‍👧 family 👍🏽 ok 1️⃣", "family ok one"),
        ("😀hi :-) there ;)", "hi there"),
    ],
)
def test_markup(written, spoken):
    assert normalize(written, "en") == spoken


@pytest.mark.parametrize("text", ["hello", "5", "%", "50 €", "你好", "مرحبا", "**a**"])
def test_speakable(text):
    assert speakable(text)


@pytest.mark.parametrize("text", ["", " ", "...", "—", "***", "🎉", "\n\n", "?!", "``` ```"])
def test_unspeakable(text):
    assert not speakable(text)
    assert normalize(text, "en") == ""


def test_unknown_language():
    with pytest.raises(InvalidRequestError, match="zh-cn"):
        normalize("a", "xx")


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "ja"])
def test_tables_are_whole(language):
    spoken = table(language)
    assert spoken.plural in PLURALS
    assert len(spoken.months) in (0, 12)
    assert all(key == key.lower() for key in (*spoken.abbreviations, *spoken.bare, *spoken.months))
    for pattern, _ in spoken.compiled_rules + spoken.compiled_late_rules:
        assert pattern.pattern


@pytest.mark.parametrize(
    ("language", "text", "package", "cached"),
    [
        ("zh", "你好", "pypinyin", chinese._library),
        ("ko", "안녕", "hangul_romanize", korean._transliterator),
        ("ja", "はい", "cutlet", japanese._library),
    ],
)
def test_a_missing_extra_says_what_to_install(monkeypatch, language, text, package, cached):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    cached.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    try:
        with pytest.raises(InvalidRequestError, match=rf"pip install 'livekit-xtts\[{language}\]'"):
            normalize(text, language)
    finally:
        cached.cache_clear()
