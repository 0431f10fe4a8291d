"""What is read off an article's first lines."""

from llm_jax.data.article_facts import ArticleFact, article_facts
from llm_jax.data.wikipedia import Article


def read(*articles):
  return article_facts([Article(title, extract, "", topic)
                        for title, extract, topic in articles])


def test_capitals_and_nationalities():
  assert read(
      ("Accra", "Accra is the capital and largest city of Ghana, located on "
       "the Gulf of Guinea.", "Geography"),
      ("Madrid", "Madrid is the capital of Spain.", "Geography"),
      ("Ada Lovelace", "Augusta Ada King was an English mathematician and "
       "writer.", "People")) == [
           ArticleFact("Ghana", "capital", "Accra", "Accra"),
           ArticleFact("Spain", "capital", "Madrid", "Madrid"),
           ArticleFact("Ada Lovelace", "nationality", "English",
                       "Ada Lovelace")]


def test_what_cannot_be_read_off_is_left_out():
  assert not read(
      ("Lagos", "Lagos is the former capital of Nigeria.", "Geography"),
      ("Maiduguri", "Maiduguri is the capital, some say, of Africa.", "Geo"),
      ("London", "London is the capital of England and the United Kingdom.",
       "Geography"),
      ("Kaduna", "Kaduna is the capital of Kaduna State.", "Geography"),
      ("Leeds", "The city is the capital of Yorkshire.", "Geography"),
      ("Calvin", "John Calvin was a Christian theologian.", "People"),
      ("Ajax", "Ajax was a Greek hero.", "Mythology"),
      ("Bach", "Bach wrote music.", "People"))


def test_a_land_with_two_capitals_is_not_asked_about():
  assert not read(("Sucre", "Sucre is the capital of Bolivia.", "Geography"),
                  ("Paz", "Paz is the capital of Bolivia.", "Geography"))
