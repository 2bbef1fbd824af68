"""Ids as the reference makes them, and clear errors."""

from __future__ import annotations

import json

import pytest

from livekit_xtts.speech import LANGUAGES, MAX_TEXT_IDS, InvalidRequestError, ModelError
from livekit_xtts.text.languages import CHAR_LIMITS, canonical_language
from livekit_xtts.text.tokenizer import TextTokenizer
from tests.text.vocabulary import ENTRIES, published, stand_in

PLAIN = {
    "en": "good morning, how are you?", "es": "buenos días, ¿qué tal?",
    "fr": "bonjour, comment ça va ?", "de": "guten morgen, wie geht's?",
    "it": "buongiorno, come stai?", "pt": "bom dia, você está bem?", "pl": "dzień dobry, proszę",
    "tr": "günaydın, nasılsın?", "ru": "доброе утро, как дела?", "nl": "goedemorgen, hoe gaat het?",
    "cs": "dobré ráno, jak se máš?", "ar": "صباح الخير، كيف حالك؟", "zh-cn": "ni3hao3，zai4jian4",
    "hu": "jó reggelt, hogy vagy?", "ko": "annyeonghaseyo", "ja": "ohayou gozaimasu",
    "hi": "नमस्ते, आप कैसे हैं?",
}  # fmt: skip


@pytest.fixture(scope="module")
def vocab_path(tmp_path_factory):
    return published() or stand_in(tmp_path_factory.mktemp("vocab"))


@pytest.fixture(scope="module")
def tokenizer(vocab_path):
    return TextTokenizer(vocab_path)


@pytest.fixture(scope="module")
def reference(vocab_path):
    module = pytest.importorskip("TTS.tts.layers.xtts.tokenizer")
    return module.VoiceBpeTokenizer(str(vocab_path))


def test_size_and_languages(tokenizer):
    assert tokenizer.vocab_size == ENTRIES
    assert tokenizer.languages == LANGUAGES
    assert set(CHAR_LIMITS) == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_plain_text_equals_the_reference(tokenizer, reference, language):
    text = PLAIN[language]
    ids = tokenizer.encode(text, language, normalized=True)
    tag = f"[{language}]"
    spelled = reference.tokenizer.encode(tag + text.replace(" ", "[SPACE]")).ids
    assert ids == spelled
    assert ids[0] == reference.tokenizer.token_to_id(tag)
    assert ids.count(reference.tokenizer.token_to_id("[SPACE]")) == text.count(" ")


def test_lower_cases_like_the_reference(tokenizer, reference):
    assert tokenizer.encode("Good Morning, HOW are you", "en") == reference.encode(
        "Good Morning, HOW are you", "en"
    )


def test_a_folder_is_enough(tokenizer, tmp_path):
    stand_in(tmp_path)
    assert TextTokenizer(tmp_path).vocab_size == ENTRIES


@pytest.mark.parametrize(
    ("written", "name"),
    [("zh", "zh-cn"), ("zh-CN", "zh-cn"), ("zh-Hans", "zh-cn"), ("pt_BR", "pt"), ("EN-us", "en")],
)
def test_language_spellings(tokenizer, written, name):
    assert canonical_language(written) == name
    assert tokenizer.encode("a", written, normalized=True) == tokenizer.encode(
        "a", name, normalized=True
    )


@pytest.mark.parametrize("language", ["xx", "", "english", "[en]"])
def test_unknown_language_lists_what_is_known(tokenizer, language):
    with pytest.raises(InvalidRequestError, match="zh-cn") as caught:
        tokenizer.encode("hello", language)
    assert repr(language) in str(caught.value)


def test_too_many_ids(tokenizer):
    text = "x " * MAX_TEXT_IDS
    with pytest.raises(InvalidRequestError, match=f"takes {MAX_TEXT_IDS}"):
        tokenizer.encode(text, "en", normalized=True)
    assert tokenizer.count(text, "en", normalized=True) > MAX_TEXT_IDS


def test_the_limit_counts_the_tag(tokenizer):
    text = " ".join("x" * (MAX_TEXT_IDS // 2))
    assert tokenizer.count(text, "en", normalized=True) == MAX_TEXT_IDS
    assert len(tokenizer.encode(text, "en", normalized=True)) == MAX_TEXT_IDS
    with pytest.raises(InvalidRequestError):
        tokenizer.encode(text + " ", "en", normalized=True)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("text", ["say [STOP] now", "x [en] hi", "[START]", "[[UNK]]"])
def test_typed_control_tags_stay_text(tokenizer, reference, text, normalized):
    ids = tokenizer.encode(text, "en", normalized=normalized)
    control = {0, 1, reference.tokenizer.token_to_id("[START]"), ids[0]}
    assert not control & set(ids[1:])


def test_missing_vocabulary(tmp_path):
    with pytest.raises(ModelError, match="vocabulary not found"):
        TextTokenizer(tmp_path / "vocab.json")
    with pytest.raises(ModelError, match="vocabulary not found"):
        TextTokenizer(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"model": {}}', b"\xff\xfe\x00", b"\x80\x02pickle"]
)
def test_damaged_vocabulary(tmp_path, content):
    path = tmp_path / "vocab.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="vocab"):
        TextTokenizer(path)


@pytest.mark.parametrize("missing", ["[SPACE]", "tags"])
def test_other_vocabularies_are_refused(tmp_path, missing):
    path = stand_in(tmp_path)
    data = json.loads(path.read_text(encoding="utf-8"))

    def drop(name):
        return name == missing or (missing == "tags" and name[0] == "[" and name[1:2].islower())

    data["added_tokens"] = [entry for entry in data["added_tokens"] if not drop(entry["content"])]
    vocab = data["model"]["vocab"]
    data["model"]["vocab"] = {name: number for name, number in vocab.items() if not drop(name)}
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ModelError, match="not a vocabulary for speech"):
        TextTokenizer(path)
