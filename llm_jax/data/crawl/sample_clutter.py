"""Pages that hold no article: boilerplate, spam, and what machines write."""

from __future__ import annotations

import random
import string

BOILERPLATE = ("login", "cookies", "links", "category", "search", "error",
               "terms")
NOISE = ("random", "keywords", "repeated", "markov", "log", "numbers", "lorem")
_LOREM = ("lorem ipsum dolor sit amet consectetur adipiscing elit sed do "
          "eiusmod tempor incididunt ut labore et dolore magna aliqua ut enim "
          "ad minim veniam quis nostrud exercitation ullamco laboris nisi ut "
          "aliquip ex ea commodo consequat").split()
_TERMS = (
    "This site and its partners store and read information on your device.",
    "You may withdraw your consent at any time by deleting your cookies.",
    "By using this site you accept the terms of use and the privacy policy.",
    "These cookies are strictly necessary and cannot be switched off.",
    "The cookie policy explains which data are collected and for how long.",
    "Our terms of use apply to every visit, with or without an account.")
_OFFERS = (
    "Buy {0} online now, best price, no prescription, fast delivery.",
    "Cheap {0} for sale, order today and save {1} percent on everything.",
    "Everybody wins with {0}, try it free for {1} days without any risk.",
    "Top ten {0} reviews of this year, click here for the best offers.",
    "Make {1} dollars a day from home with {0}, no experience needed.",
    "Limited offer, only {1} pieces of {0} left in stock, hurry up.",
    "Our customers love {0} and come back for more every single week.",
    "Get your {0} bonus code before midnight and double your deposit.")
_GOODS = ("watches", "tablets", "slots", "handbags", "loans", "vitamins",
          "sunglasses", "tokens", "diet tea", "sneakers")


def boilerplate(rng: random.Random, kind: str, titles: list[str]) -> str:
  """The body of a page that is all surroundings.

  Args:
    rng: decides what it says.
    kind: one of `BOILERPLATE`.
    titles: of other pages, for lists of links.
  """
  if kind == "login":
    return ('<main><h1>Log in</h1><form action="/login"><label>User name'
            "</label><input><label>Password</label><input type=password>"
            "<button>Log in</button></form><p>Forgot your password?</p><p>New "
            "here? Create an account.</p></main>")
  if kind in ("cookies", "terms"):
    name = "Cookie settings" if kind == "cookies" else "Terms of use"
    lines = rng.sample(_TERMS, rng.randrange(3, len(_TERMS) + 1))
    return (f"<main><h1>{name}</h1>" + "".join(f"<p>{x}</p>" for x in lines)
            + "<button>Save</button></main>")
  if kind == "error":
    return (f"<main><h1>{rng.choice(('404', '403', '503'))}</h1><p>The page "
            "that you were looking for does not exist any more.</p><p><a "
            'href="/">Back to the home page</a></p></main>')
  items = [f'<li><a href="/{rng.randrange(9999)}">{title}</a></li>'
           for title in titles]
  if kind == "links":
    return f"<main><h1>Links</h1><ul>{''.join(items)}</ul></main>"
  if kind == "category":
    return (f"<main><h1>Category: {rng.choice(titles)}</h1><p>Page "
            f"{rng.randrange(1, 40)} of {rng.randrange(40, 90)}</p><ul>"
            f"{''.join(items)}</ul><p>Next</p></main>")
  found = "".join(f"<div class=result><a href=/{rng.randrange(9999)}>{title}"
                  f"</a> ({rng.randrange(1, 99)} hits)</div>"
                  for title in titles)
  return (f"<main><h1>Search results</h1><p>{rng.randrange(9999)} results in "
          f"0.{rng.randrange(99)} seconds</p>{found}</main>")


def chain(texts: list[str]) -> dict[str, list[str]]:
  """Word -> the words that follow it, for Markov's chain."""
  followers: dict[str, list[str]] = {}
  for text in texts:
    words = text.split()
    for word, other in zip(words, words[1:]):
      followers.setdefault(word, []).append(other)
  return followers


def noise(rng: random.Random, kind: str, vocabulary: list[str],
          followers: dict[str, list[str]]) -> list[str]:
  """Paragraphs that no human wrote to be read.

  Args:
    rng: decides what they say.
    kind: one of `NOISE`.
    vocabulary: words of articles.
    followers: of `chain`.
  """
  if kind == "random":
    return [" ".join(_random_word(rng) for _ in range(rng.randrange(40, 90)))
            for _ in range(rng.randrange(3, 8))]
  if kind == "keywords":
    words = rng.sample(vocabulary, 4) + [rng.choice(_GOODS), "cheap", "buy"]
    return [", ".join(" ".join(rng.choices(words, k=3)) for _ in range(60))
            for _ in range(3)]
  if kind == "repeated":
    line = " ".join(rng.choices(vocabulary, k=14)).capitalize() + "."
    return [line] * rng.randrange(12, 40)
  if kind == "markov":
    return [_walk(rng, followers, rng.randrange(30, 90))
            for _ in range(rng.randrange(3, 7))]
  if kind == "log":
    return [f"2024-0{rng.randrange(1, 9)}-{rng.randrange(10, 29)} "
            f"{rng.randrange(10, 23)}:{rng.randrange(10, 59)}:"
            f"{rng.randrange(10, 59)} [{rng.choice(('INFO', 'WARN', 'ERR'))}] "
            f"worker-{rng.randrange(99)} id=0x{rng.randrange(1 << 32):x} "
            f"rc={rng.randrange(9)} t={rng.random():.4f}"
            for _ in range(rng.randrange(30, 90))]
  if kind == "numbers":
    return [" ".join(f"{rng.uniform(0, 999):.2f}" for _ in range(12))
            for _ in range(rng.randrange(20, 60))]
  return [(" ".join(rng.choices(_LOREM, k=rng.randrange(40, 80)))).capitalize()
          + "." for _ in range(rng.randrange(3, 7))] + [
              "Lorem ipsum dolor sit amet, consectetur adipiscing elit."]


def offers(rng: random.Random) -> list[str]:
  """The paragraphs of a spam page."""
  goods = rng.sample(_GOODS, 3)
  lines = [rng.choice(_OFFERS).format(rng.choice(goods), rng.randrange(5, 95))
           for _ in range(rng.randrange(12, 30))]
  return [" ".join(lines[i:i + 4]) for i in range(0, len(lines), 4)]


def _walk(rng: random.Random, followers: dict[str, list[str]],
          length: int) -> str:
  """Each word one that has followed the word before it."""
  starts = list(followers)
  words = [rng.choice(starts)]
  while len(words) < length:
    words.append(rng.choice(followers.get(words[-1]) or starts))
  return " ".join(words).rstrip(".,;") + "."


def _random_word(rng: random.Random) -> str:
  letters = string.ascii_letters + string.digits
  return "".join(rng.choices(letters, k=rng.randrange(3, 18)))
