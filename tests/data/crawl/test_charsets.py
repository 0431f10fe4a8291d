"""Text comes out right, whatever charset was declared."""

import codecs

import pytest

from llm_jax.data.crawl.charsets import decode

FRENCH = ("Les élèves du collège étudient à Orléans ; l'été dernier, la forêt "
          "brûlait près de la forge. Ça s'est arrêté à Noël, “enfin”.")
RUSSIAN = ("Это обычный русский текст о маяке, который построили из гранита, "
           "и о смотрителе, который каждую ночь поднимался по лестнице.")
JAPANESE = ("これは灯台についての文章です。灯台は花崗岩で四年かけて建てられ、"
            "番人は毎晩二度階段を上りました。")


def page(text, meta=""):
  tag = f'<meta charset="{meta}">' if meta else ""
  return f"<html><head>{tag}</head><body><p>{text}</p></body></html>"


@pytest.mark.parametrize("declared", [None, "utf-8", "iso-8859-1",
                                      "windows-1251", "nonsense", ""])
@pytest.mark.parametrize("text", [FRENCH, RUSSIAN, JAPANESE, "plain ASCII"])
def test_utf8_is_seen_whatever_is_declared(text, declared):
  assert decode(page(text).encode(), declared) == page(text)


@pytest.mark.parametrize("text, charset", [
    (FRENCH, "cp1252"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"),
    (JAPANESE, "shift_jis"), (JAPANESE, "euc-jp")])
@pytest.mark.parametrize("declared", [None, "utf-8", "utf8", "nonsense"])
def test_undeclared_or_wrongly_utf8_is_detected(text, charset, declared):
  assert decode(page(text).encode(charset), declared) == page(text)


@pytest.mark.parametrize("text, charset", [
    (FRENCH, "cp1252"), (RUSSIAN, "koi8-r"), (RUSSIAN, "iso8859-5"),
    (JAPANESE, "iso2022_jp"), (FRENCH, "utf-16-le")])
def test_a_right_declaration_is_believed(text, charset):
  name = {"iso2022_jp": "ISO-2022-JP", "iso8859-5": "ISO-8859-5",
          "cp1252": "Latin1"}.get(charset, charset)
  assert decode(page(text).encode(charset), name) == page(text)


def test_a_meta_tag_counts_behind_the_header():
  told = page(RUSSIAN, "koi8-r")
  assert decode(told.encode("koi8-r")) == told
  assert decode(told.encode("koi8-r"), "utf-8") == told


@pytest.mark.parametrize("mark, charset", [
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be")])
def test_a_mark_of_the_byte_order_decides(mark, charset):
  data = mark + page(RUSSIAN).encode(charset)
  assert decode(data, "windows-1252") == page(RUSSIAN)


def test_one_broken_byte_does_not_spoil_utf8():
  data = page(FRENCH * 3).encode()
  place = data.index("é".encode()) + 1
  text = decode(data[:place] + b"x" + data[place + 1:], "utf-8")
  assert text.count("\ufffd") == 1 and "collège étudient" in text


@pytest.mark.parametrize("data", [b"", bytes(range(256)), b"\xff" * 100,
                                  b"\xed\xa0\x80" * 9])
@pytest.mark.parametrize("declared", [None, "utf-8", "unicode_escape", "hex",
                                      "x" * 1000, "\0"])
def test_any_bytes_become_text_that_can_be_written(data, declared):
  text = decode(data, declared)
  assert text.encode("utf-8").decode("utf-8") == text
  assert bool(text) == bool(data)
