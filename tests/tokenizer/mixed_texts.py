"""Texts that are hard to encode."""

import random

HARD_TEXTS = [
    "", " ", "\n", "a", "Hello, world! It's 2024; we'LL see, I'VE 1234567.",
    "def f(x):\n\treturn {'a': [x ** 2, 0x1F]}  # ok\n\n\n    pass\r\n",
    "日本語のテキスト、そして한국어와 العربية и русский",
    "café cafe\u0301 ﬁ ß ſ K İ ı ŉ 'ſ 'ﬆ",
    "👩‍👩‍👧‍👦 🇫🇷 👍🏽 ❤️ \U0001f9ff", "½ ² Ⅷ ٣٤٥ १२३ 𝟘𝟙𝟚",
    "  two   three    \t tab\u00a0nbsp\u3000wide \u2028 line \x85 next",
    " \n \n\n x \r\n\r\n y   \n", "\x00\x01\x7f\ufeff\ufffd\U0010ffff",
    "!!!...???---===___\n\n\n///", "<|endoftext|><|user|> <|end|",
    "a" * 3000, "ab" * 2000, "\t\n" * 1000 + "x", " " * 5000 + "x",
    "0" * 1001,
]


def random_texts(count: int, seed: int = 0) -> list[str]:
  """Strings of code points from everywhere, with spaces, digits and ASCII."""
  rng = random.Random(seed)
  ranges = [(0, 0x80), (0, 0x250), (0x370, 0x1000), (0x2000, 0x3100),
            (0x4e00, 0xd800), (0xe000, 0x11000), (0x1f000, 0x20000),
            (0x20000, 0x110000)]
  texts = []
  for _ in range(count):
    chars = []
    while len(chars) < rng.randrange(1, 120):
      kind = rng.randrange(4)
      if kind == 0:
        chars += rng.choice([" ", "  ", "\n", "\r\n", "\t", "\u00a0", "   \n"])
      elif kind == 1:
        chars += str(rng.randrange(10 ** rng.randrange(1, 9)))
      elif kind == 2:
        chars += rng.choice(["the", "'s", "'Re", "return", "self.", "ing"])
      else:
        low, high = rng.choice(ranges)
        chars += [chr(rng.randrange(low, high))
                  for _ in range(rng.randrange(1, 6))]
    texts.append("".join(chars))
  return texts
