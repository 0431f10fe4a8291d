"""Sentences with made-up personal data, and with what only looks like it.

Every name, address and number is drawn at random. Telephone numbers are of the
forms that their countries give out: ranges set aside for films are known to be
nobody's, and so a detector may rightly leave them. Cards have a right check
digit, social security numbers a valid form.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_NAMES = ("anna", "lopez", "martin", "keller", "ibrahim", "moreau", "silva",
          "becker", "jones", "novak", "haas", "ortega", "claire", "daniel",
          "mei", "petrov", "okafor", "lindgren", "rossi", "evans")
_DOMAINS = ("museum-north", "cityarchive", "fieldstation", "rivertrust",
            "openlibrary-club", "uni-harbour", "gardensociety", "trainfans",
            "chessclub", "oldmaps")
_ENDINGS = ("com", "org", "net", "co.uk", "edu", "fr", "es", "de", "info")
CLASSES = ("email", "ip", "phone", "card", "ssn")


def email(rng: random.Random) -> str:
  """An e-mail address in one of its usual writings."""
  one, two = rng.sample(_NAMES, 2)
  local = rng.choice((f"{one}.{two}", f"{one[0]}{two}", f"{one}_{two}",
                      f"{one}{rng.randrange(10, 99)}", f"{one}+news",
                      f"{one}-{two}", "info", "office", one.capitalize()))
  sub = rng.choice(("", "", "", "mail."))
  return f"{local}@{sub}{rng.choice(_DOMAINS)}.{rng.choice(_ENDINGS)}"


def ip(rng: random.Random) -> str:
  """A public IPv4 address."""
  first = rng.choice((23, 45, 52, 62, 77, 81, 93, 104, 138, 151, 185, 212))
  return f"{first}." + ".".join(str(rng.randrange(1, 255)) for _ in range(3))


def _digits(rng: random.Random, number: int) -> str:
  return "".join(rng.choice("0123456789") for _ in range(number))


def phone(rng: random.Random, language: str = "en") -> str:
  """A telephone number: of any country with its prefix, or without one as it is
  written where the language is spoken."""
  area = rng.choice(("212", "312", "415", "617", "206", "305", "512", "718"))
  us, line = f"{rng.randrange(2, 9)}{_digits(rng, 2)}", _digits(rng, 4)
  gb = _digits(rng, 3)
  mobile = f"7{rng.choice('4589')}{_digits(rng, 2)}"
  fr = rng.choice("4578") + _digits(rng, 7)
  pairs = " ".join(fr[i:i + 2] for i in range(0, 8, 2))
  es = rng.choice(("61", "62", "65", "91", "93")) + _digits(rng, 7)
  national = {
      "en": (f"({area}) {us}-{line}", f"{area}-{us}-{line}",
             f"{area}.{us}.{line}", f"020 7{gb} {line}",
             f"0161 4{gb[1:]} {line}", f"0{mobile} {gb}{gb[::-1]}"),
      "fr": (f"01 {pairs}", f"06 {pairs}", f"01.{pairs.replace(' ', '.')}"),
      "es": (f"{es[:3]} {es[3:6]} {es[6:]}",
             f"{es[:3]} {es[3:5]} {es[5:7]} {es[7:]}")}
  if rng.random() < 0.6:
    return rng.choice(national[language])
  return rng.choice((
      f"+1 {area} {us} {line}", f"+1-{area}-{us}-{line}",
      f"+1 ({area}) {us}-{line}", f"+44 20 7{gb} {line}",
      f"+44 {mobile} {gb}{gb[::-1]}", f"+33 1 {pairs}", f"+33 6 {pairs}",
      f"+34 {es[:3]} {es[3:5]} {es[5:7]} {es[7:]}",
      f"+49 30 {rng.randrange(2, 9)}{_digits(rng, 6)}",
      f"+39 06 {rng.randrange(4, 9)}{_digits(rng, 7)}"))


def _with_check_digit(digits: str) -> str:
  """The digits and Luhn's check digit."""
  total = 0
  for place, digit in enumerate(reversed(digits)):
    value = int(digit) * (2 if place % 2 == 0 else 1)
    total += value - 9 if value > 9 else value
  return digits + str(-total % 10)


def card(rng: random.Random) -> str:
  """A payment card's number with a right check digit."""
  kind = rng.randrange(4)
  if kind == 3:  # American Express: 15 digits
    number = _with_check_digit(rng.choice(("34", "37")) + _digits(rng, 12))
    return rng.choice((number, f"{number[:4]} {number[4:10]} {number[10:]}"))
  start = rng.choice(("4", "4", "51", "53", "55", "6011"))
  number = _with_check_digit(start + _digits(rng, 15 - len(start)))
  groups = [number[i:i + 4] for i in range(0, 16, 4)]
  return rng.choice((number, " ".join(groups), "-".join(groups)))


def ssn(rng: random.Random) -> str:
  """A US social security number of a valid form."""
  area = rng.choice([*range(100, 600), *range(700, 773)])
  return f"{area}-{rng.randrange(1, 100):02d}-{rng.randrange(1, 10_000):04d}"


_MAKE: dict[str, Callable[[random.Random], str]] = {
    "email": email, "ip": ip, "card": card, "ssn": ssn}
_SENTENCES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "email": (
            "Questions about this page can be sent to {} at any time.",
            "Readers who know more are welcome to write to {}.",
            "The archive answers letters and messages ({}) within a week.",
            "A list of sources is available from the author, {}, on request.",
            "Contact: {} or the desk at the entrance.",
            "Corrections go to {}; please name the paragraph."),
        "ip": (
            "The edit was made by an unregistered reader at {} last spring.",
            "The old server answered at {} until the library moved.",
            "Most of the requests came from {} according to the log.",
            "Whoever wrote this (IP {}) did not sign the note.",
            "The mirror can be found under http://{}/ for the time being."),
        "phone": (
            "Visitors can book a guided tour by calling {} before noon.",
            "The reading room can be reached at {} on weekdays.",
            "Tel.: {} (ask for the curator of the collection).",
            "For group visits please phone {} two weeks ahead.",
            "The office (phone {}) is closed on public holidays.",
            "Ring {} if the gate is locked.",
            "Orders are also taken by fax at {} around the clock.",
            "Send a text message to {} to join the tour."),
        "card": (
            "The receipt that was published by mistake shows the card {}.",
            "A donor paid the entrance fee with card number {} in March.",
            "Somebody left the number of a credit card, {}, in the forum.",
            "The example in the leaflet, Visa {}, was a real one.",
            "Paid by card {}, signature on file."),
        "ssn": (
            "The scanned form shows the social security number {} in full.",
            "The applicant gave {} as the SSN on the second page.",
            "His file is kept under SSN {} in the basement.",
            "A note in the margin reads {}, which is a tax payer's number.")},
    "fr": {
        "email": (
            "Pour toute question sur cette page, écrivez à {} sans hésiter.",
            "La liste des sources est disponible auprès de {} sur demande."),
        "ip": ("La modification a été faite depuis l'adresse {} au printemps.",
               "L'ancien serveur répondait à l'adresse {} jusqu'en été."),
        "phone": (
            "Les visites guidées se réservent par téléphone au {} le matin.",
            "La salle de lecture est joignable au {} en semaine.",
            "Tél. {} (demander la conservatrice de la collection).",
            "Pour un groupe, appelez le {} deux semaines à l'avance."),
        "card": ("Le reçu publié par erreur montre la carte {} en entier.",),
        "ssn": ("Le formulaire américain montre le numéro {} en entier.",)},
    "es": {
        "email": (
            "Las preguntas sobre esta página se pueden enviar a {} siempre.",
            "La lista de fuentes se puede pedir a {} sin compromiso."),
        "ip": ("El cambio se hizo desde la dirección {} en primavera.",
               "El antiguo servidor respondía en {} hasta el verano."),
        "phone": (
            "Las visitas guiadas se reservan llamando al {} por la mañana.",
            "La sala de lectura atiende en el {} de lunes a viernes.",
            "Tel. {} (preguntar por la conservadora).",
            "Para grupos, contacte con el teléfono {} dos semanas antes."),
        "card": ("El recibo publicado por error muestra la tarjeta {} entera.",
                 ),
        "ssn": ("El formulario estadounidense muestra el número {} entero.",)}}


def planted(rng: random.Random, language: str) -> tuple[str, dict[str, str]]:
  """A sentence with one piece of personal data, and what it is."""
  kind = rng.choice(CLASSES)
  value = phone(rng, language) if kind == "phone" else _MAKE[kind](rng)
  sentence = rng.choice(_SENTENCES[language][kind]).format(value)
  return sentence, {"class": kind, "value": value, "sentence": sentence}


def look_alike(rng: random.Random) -> str:
  """An English sentence whose numbers are nobody's data."""
  wrong = card(rng)
  last = str((int(wrong[-1]) + rng.randrange(1, 9)) % 10)
  year = rng.randrange(1500, 1990)
  isbn = f"978-{rng.randrange(0, 10)}-{_digits(rng, 2)}-{_digits(rng, 6)}-" \
         f"{rng.randrange(10)}"
  return rng.choice((
      f"The second edition (ISBN {isbn}) appeared in {year + 20}.",
      f"The period {year}–{year + 9} is better documented than "
      f"{year - 40}-{year - 31}.",
      f"The catalogue was made with version {rng.randrange(1, 12)}."
      f"{rng.randrange(20)}.{rng.randrange(20)} of the program.",
      f"The exhibit's own network uses 192.168.{rng.randrange(255)}."
      f"{rng.randrange(1, 255)} and 10.0.{rng.randrange(255)}."
      f"{rng.randrange(1, 255)} inside the building.",
      f"The site lies at {rng.uniform(-60, 60):.4f}, "
      f"{rng.uniform(-170, 170):.4f} on most maps.",
      f"The print was sold under order number {_digits(rng, 8)} in "
      f"{year + 25}.",
      f"The label reads {wrong[:-1]}{last}, which no bank ever issued.",
      f"The inventory lists it as object {rng.randrange(10, 99)}-"
      f"{rng.randrange(1000, 9999)}-{rng.randrange(100)} since {year}.",
      f"About {rng.randrange(100, 999)},{_digits(rng, 3)},{_digits(rng, 3)} "
      "copies were printed in all.",
      f"Opening hours changed on {rng.randrange(1, 28):02d}.0"
      f"{rng.randrange(1, 9)}.{year} and again in {year + 7}.",
      f"Readers know the handle @{rng.choice(_NAMES)}{rng.randrange(99)} "
      "from the comments.",
      f"The score was {rng.randrange(30)}-{rng.randrange(30)} at half time "
      f"and {rng.randrange(60)}-{rng.randrange(60)} at the end."))
