"""Japanese: counters, days, months and signs, in romaji where they follow a number."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.data import words
from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="ja",
    decimal=".", dot="ドット", at="アットマーク", slash="スラッシュ", dash="ハイフン", underscore="アンダーバー",
    minus="マイナス", plus="プラス",
    currencies={
        "$": "doru", "ドル": "doru", "USD": "doru", "€": "yuuro", "ユーロ": "yuuro", "EUR": "yuuro", "£": "pondo", "ポンド": "pondo",
        "¥": "en", "￥": "en", "円": "en",
    },
)

MONTHS = words(
    "ichigatsu nigatsu sangatsu shigatsu gogatsu rokugatsu shichigatsu hachigatsu kugatsu juugatsu juuichigatsu juunigatsu"
)
DAYS = words(
    "tsuitachi futsuka mikka yokka itsuka muika nanoka youka kokonoka tooka juuichinichi"
    " juuninichi juusannichi juuyokka juugonichi juurokunichi juushichinichi juuhachinichi juukunichi hatsuka nijuuichinichi nijuuninichi"
    " nijuusannichi nijuuyokka nijuugonichi nijuurokunichi nijuushichinichi nijuuhachinichi nijuukunichi sanjuunichi sanjuuichinichi"
)

COUNTERS = {
    "人": "nin", "名": "mei", "時": "ji", "時間": "jikan", "分": "fun", "分間": "funkan", "秒": "byou", "年": "nen", "年間": "nenkan",
    "か月": "kagetsu", "ヶ月": "kagetsu", "カ月": "kagetsu", "週間": "shuukan", "日間": "nichikan", "日後": "nichi go", "回": "kai",
    "階": "kai", "個": "ko", "本": "hon", "枚": "mai", "台": "dai", "冊": "satsu", "匹": "hiki", "杯": "hai", "歳": "sai", "才": "sai",
    "位": "i", "番": "ban", "番目": "banme", "度": "do", "倍": "bai", "点": "ten", "件": "ken", "つ": "tsu", "万円": "man en",
    "人前": "ninmae", "号": "gou", "代": "dai", "割": "wari", "ページ": "peeji", "キロ": "kiro", "メートル": "meetoru",
    "グラム": "guramu", "リットル": "rittoru", "パーセント": "paasento", "丁目": "choume", "票": "hyou",
}

EXCEPTIONS = {
    ("1", "人"): "hitori", ("2", "人"): "futari", ("1", "つ"): "hitotsu", ("2", "つ"): "futatsu", ("3", "つ"): "mittsu",
    ("4", "つ"): "yottsu", ("5", "つ"): "itsutsu", ("6", "つ"): "muttsu", ("7", "つ"): "nanatsu", ("8", "つ"): "yattsu",
    ("9", "つ"): "kokonotsu", ("20", "歳"): "hatachi", ("20", "才"): "hatachi", ("3", "階"): "san gai",
}

UNITS = {
    "km/h": "kiromeetoru mai ji", "km": "kiromeetoru", "m": "meetoru", "cm": "senchimeetoru", "mm": "mirimeetoru", "kg": "kiroguramu",
    "g": "guramu", "mg": "miriguramu", "L": "rittoru", "l": "rittoru", "ml": "miririttoru", "mL": "miririttoru", "°C": "do", "℃": "do",
    "°": "do", "m²": "heihou meetoru", "㎡": "heihou meetoru", "%": "paasento", "％": "paasento", "KB": "kirobaito", "MB": "megabaito",
    "GB": "gigabaito", "TB": "terabaito", "kW": "kirowatto", "kWh": "kirowatto ji", "ms": "miribyou",
}

SYMBOLS = {
    "&": "アンド", "＆": "アンド", "@": "アットマーク", "%": "パーセント", "#": "ナンバー", "+": "プラス", "＋": "プラス", "=": "イコール",
    "＝": "イコール", "°": "度", "・": " ", "№": "ナンバー", "「": "", "」": "", "『": "", "』": "",
}
