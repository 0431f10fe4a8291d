"""Texts in which vocabularies may differ."""

TEXTS = [
    "", " ", "  ", "\n", "\r\n\r\n", "a\n\n\nb", "tab\tand  spaces   ",
    "1", "12", "123", "1234", "12345678", "3.14159", "x2y33z444w5555",
    "I'm you're he'S WE'LL they'VE don'T 'd ''s", "naïve façade Zürich",
    "Ελληνικά русский عربى עברית हिन्दी ไทย", "漢字かな交じり文。한국어",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 ok", "½ ² ③ Ⅷ", "x = [1, 2];\n\tif (x) { y(); }\n// end",
    "http://a.b/c?d=e&f=%20", "<|end|><|user|><|im_end|>",
    "e\u0301 \u00a0 \u2003 z", "UPPER lower MiXeD_case-words",
    "«quoted» — “text”…"]
