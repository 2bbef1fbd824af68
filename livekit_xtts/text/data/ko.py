"""Korean; counters with native numbers are in `text/korean.py`."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="ko",
    decimal=".", point="점", dot="닷", at="골뱅이", slash="슬래시", dash="대시", underscore="언더바",
    minus="마이너스", plus="플러스", until="에서", times="곱하기", equals="는",
    percent="퍼센트", plural="none",
    currencies={
        "₩": "원", "KRW": "원", "$": "달러; 센트", "USD": "달러; 센트", "€": "유로; 센트", "EUR": "유로; 센트",
        "£": "파운드; 펜스", "¥": "엔",
    },
    units={
        "km": "킬로미터", "m": "미터", "cm": "센티미터", "mm": "밀리미터", "km/h": "킬로미터 퍼 아워", "kg": "킬로그램", "g": "그램", "mg": "밀리그램",
        "l": "리터", "L": "리터", "ml": "밀리리터", "mL": "밀리리터", "°C": "도", "℃": "도", "°": "도", "m²": "제곱미터", "㎡": "제곱미터", "KB": "킬로바이트",
        "MB": "메가바이트", "GB": "기가바이트", "TB": "테라바이트", "kW": "킬로와트", "kWh": "킬로와트시",
    },
    symbols={"&": "그리고", "@": "에", "%": "퍼센트", "#": "번호", "°": "도", "+": "플러스"},
    spelled="", letters={},
    months=(), day_first=False,
    clock={"full": "{h} 시", "minutes": "{h} 시 {m} 분", "oh": "{h} 시 {m} 분"},
    rules=(
        (r"(?<!\d)(\d{4})-0?(\d{1,2})-0?(\d{1,2})(?!\d)", r"\1년 \2월 \3일"), (r"(?<!\d)(\d{4})[./] ?(\d{1,2})[./] ?(\d{1,2})\.?", r"\1년 \2월 \3일"),
        (r"(?<!\d)(\d{1,2}):00(?!\d)", r"\1시"), (r"(?<!\d)(\d{1,2}):0(\d)(?!\d)", r"\1시 \2분"), (r"(?<!\d)(\d{1,2}):(\d\d)(?!\d)", r"\1시 \2분"),
        (r"(?<!\d)6월", "유월"), (r"(?<!\d)10월", "시월"), (r"№ ?", "번호 "), (r"[$] ?(\d[\d,.]*) ?(만|억|조)", r"\1\2 달러"),
        (r"(\d) ?[~∼〜-] ?(?=\d)", r"\1에서 "),
    ),
)
