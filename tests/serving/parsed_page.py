"""Pages taken apart, and a stage of a funnel to put on them."""

import html.parser
import re


class Tags(html.parser.HTMLParser):
  """Fails where an element is not closed, or closed by another's tag."""
  VOID = {"meta", "br", "input"}

  def __init__(self):
    super().__init__()
    self.open, self.seen, self.text, self.attributes = [], [], [], []

  def handle_starttag(self, tag, attrs):
    self.seen.append(tag)
    self.attributes += attrs
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.seen.append(tag)
    self.attributes += attrs

  def handle_endtag(self, tag):
    assert self.open and self.open[-1] == tag, (tag, self.open)
    self.open.pop()

  def handle_data(self, data):
    self.text.append(data)


def parsed(page):
  """Its elements, attributes and text; all of them closed."""
  tags = Tags()
  tags.feed(page)
  assert not tags.open
  return tags


def words(page):
  """The page's text with all white space as single spaces."""
  return re.sub(r"\s+", " ", " ".join(parsed(page).text))


def stage(name, number_in, number_out, bytes_in, bytes_out, **more):
  """As funnel.json has it; the numbers are nobody's."""
  return {"stage": name, "documents_in": number_in,
          "documents_out": number_out, "bytes_in": bytes_in,
          "bytes_out": bytes_out, "reasons": {}, "counts": {}, "languages": {},
          "languages_gone": {}, "lengths": {}, "examples": []} | more
