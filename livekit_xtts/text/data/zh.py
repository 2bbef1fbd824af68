"""Chinese: what is read before the pinyin; numbers are in `text/chinese.py`."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="zh",
    decimal=".", dot="点", at="艾特", slash="斜杠", dash="杠", underscore="下划线",
    minus="负", plus="加", until="到", times="乘", equals="等于",
    percent="百分之", percent_first=True, plural="none",
    currencies={
        "$": "美元", "US$": "美元", "USD": "美元", "€": "欧元", "EUR": "欧元", "£": "英镑", "GBP": "英镑", "¥": "元", "￥": "元",
        "RMB": "元", "CNY": "元", "HK$": "港元",
    },
    units={
        "km/h": "公里每小时", "km": "公里", "m": "米", "cm": "厘米", "mm": "毫米", "kg": "公斤", "g": "克", "mg": "毫克", "L": "升", "l": "升", "ml": "毫升",
        "mL": "毫升", "°C": "摄氏度", "℃": "摄氏度", "°F": "华氏度", "°": "度", "m²": "平方米", "㎡": "平方米", "km²": "平方公里", "KB": "千字节",
        "MB": "兆", "GB": "吉字节", "TB": "太字节", "kW": "千瓦", "kWh": "千瓦时", "s": "秒", "min": "分钟", "h": "小时", "ms": "毫秒",
    },
    symbols={"&": "和", "@": "在", "%": "百分之", "#": "号", "°": "度", "+": "加", "=": "等于", "№": "号"},
)
