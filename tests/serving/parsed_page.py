"""A page of HTML taken apart, for the tests of pages."""

import html.parser
import re


class Tags(html.parser.HTMLParser):
  """Fails where an element is not closed, or closed by another's tag."""
  VOID = {"meta", "br"}

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
