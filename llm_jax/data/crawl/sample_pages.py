"""HTML around an article, as sites have it: seven kinds of site.

Menus, scripts, styles, data for search engines, cookie banners, side columns
with links and teasers of other articles, comments, footers; within an article
links and emphasis. Plain pages have no name that would tell what a part is
for, and line breaks for paragraphs; a few are laid out in a table besides, as
was done twenty years ago.
Everything is drawn from the page's own random numbers.
"""

from __future__ import annotations

import dataclasses
import html
import json
import random

# Kinds of site, and how common they are.
LAYOUTS = {"blog": 10, "news": 10, "encyclopedia": 10, "forum": 10, "shop": 10,
           "plain": 2, "table": 1}
_LINKED, _STRONG = 0.02, 0.01  # words of a paragraph


@dataclasses.dataclass(frozen=True)
class Strings:
  """What a site says around its articles, in its language."""
  menu: tuple[str, ...]
  cookies: str
  accept: str
  footer: str
  related: str
  by: str
  share: tuple[str, ...]
  subscribe: str
  comments: str
  replies: tuple[str, ...]


_EN = Strings(
    ("Home", "News", "Culture", "Science", "Travel", "About us", "Contact",
     "Archive", "Shop", "Log in", "Register", "Help"),
    "We use cookies and similar techniques to improve your experience, to "
    "measure traffic and to show advertisements that suit you.",
    "Accept all", "All rights reserved. Imprint | Privacy policy | Terms of "
    "use | Sitemap", "You may also like", "By",
    ("Share on Facebook", "Share on X", "Print"),
    "Subscribe to our newsletter and never miss a story",
    "Leave a comment", ("Thanks for sharing!", "Great post, very helpful.",
                        "Does anybody have a picture?", "Following."))
_FR = Strings(
    ("Accueil", "Actualités", "Culture", "Sciences", "Voyages", "À propos",
     "Contact", "Archives", "Boutique", "Connexion", "Inscription", "Aide"),
    "Nous utilisons des cookies pour améliorer votre expérience, mesurer "
    "l'audience et vous proposer des publicités adaptées.",
    "Tout accepter", "Tous droits réservés. Mentions légales | "
    "Confidentialité | Conditions d'utilisation | Plan du site",
    "À lire également", "Par",
    ("Partager sur Facebook", "Partager sur X", "Imprimer"),
    "Abonnez-vous à notre lettre d'information",
    "Laisser un commentaire", ("Merci pour le partage !", "Super, très utile.",
                               "Quelqu'un a une photo ?", "Je suis le sujet."))
_ES = Strings(
    ("Inicio", "Noticias", "Cultura", "Ciencia", "Viajes", "Quiénes somos",
     "Contacto", "Archivo", "Tienda", "Entrar", "Registrarse", "Ayuda"),
    "Utilizamos cookies para mejorar su experiencia, medir las visitas y "
    "mostrarle anuncios de su interés.",
    "Aceptar todas", "Todos los derechos reservados. Aviso legal | Privacidad "
    "| Condiciones de uso | Mapa del sitio", "También le puede interesar",
    "Por", ("Compartir en Facebook", "Compartir en X", "Imprimir"),
    "Suscríbase a nuestro boletín", "Deje un comentario",
    ("¡Gracias por compartir!", "Muy útil, gracias.",
     "¿Alguien tiene una foto?", "Sigo el tema."))
STRINGS = {"en": _EN, "fr": _FR, "es": _ES}
_AUTHORS = ("A. Keller", "M. Novak", "J. Haas", "C. Moreau", "L. Ortega",
            "S. Evans", "P. Lindgren", "R. Okafor")
_FONTS = ("Arial", "Georgia", "Helvetica", "Verdana", "Roboto")


@dataclasses.dataclass(frozen=True)
class Section:
  """A heading, perhaps empty, and its paragraphs."""
  heading: str
  paragraphs: tuple[str, ...]


def render(rng: random.Random, layout: str, language: str, host: str,
           title: str, sections: list[Section], teasers: list[str],
           charset: str = "utf-8") -> str:
  """A whole page.

  Args:
    rng: decides all that surrounds the article.
    layout: one of `LAYOUTS`.
    language: of the article; others than en, fr, es get English surroundings.
    host: the site's name.
    title: of the page.
    sections: the article.
    teasers: beginnings of other articles, for the side column.
    charset: declared in a meta element; none if empty.
  """
  said = STRINGS.get(language, _EN)
  menu = rng.sample(said.menu, rng.randrange(6, len(said.menu) + 1))
  body = {"blog": _blog, "news": _news, "encyclopedia": _encyclopedia,
          "forum": _forum, "shop": _shop, "plain": _plain,
          "table": _table}[layout](
              rng, said, html.escape(title), sections)
  parts = [
      "<!DOCTYPE html>",
      f'<html lang="{language}">', _head(rng, host, title, charset),
      f'<body class="{layout} page-{rng.randrange(9999)}">',
      _banner(rng, said), _header(rng, host, menu),
      '<div class="container wrapper">', body, _aside(rng, said, teasers),
      "</div>", _footer(rng, said, host), _scripts(rng), "</body>", "</html>"]
  return "\n".join(parts)


def frame(rng: random.Random, language: str, host: str, title: str, body: str,
          charset: str = "utf-8") -> str:
  """A whole page around a ready-made body, for pages without an article."""
  said = STRINGS.get(language, _EN)
  menu = rng.sample(said.menu, rng.randrange(6, len(said.menu) + 1))
  return "\n".join([
      "<!DOCTYPE html>", f'<html lang="{language}">',
      _head(rng, host, title, charset), "<body>", _banner(rng, said),
      _header(rng, host, menu), body, _footer(rng, said, host),
      _scripts(rng), "</body>", "</html>"])


def _article(rng: random.Random, sections: list[Section], tag: str = "h2"
             ) -> str:
  """Sections as headings and paragraphs."""
  lines = []
  for section in sections:
    if section.heading:
      lines.append(f"<{tag}>{html.escape(section.heading)}</{tag}>")
    lines += [f"<p>{_inline(rng, text)}</p>" for text in section.paragraphs]
  return "\n".join(lines)


def _inline(rng: random.Random, text: str) -> str:
  """A paragraph with some words linked or emphasised."""
  words = html.escape(text, quote=False).split(" ")
  for i, word in enumerate(words):
    chance = rng.random()
    if word.isalpha() and chance < _LINKED:
      words[i] = f'<a href="/tag/{rng.randrange(9999)}">{word}</a>'
    elif word.isalpha() and chance < _LINKED + _STRONG:
      words[i] = rng.choice(("<b>{}</b>", "<em>{}</em>")).format(word)
  return " ".join(words)


def _head(rng: random.Random, host: str, title: str, charset: str) -> str:
  data = {"@context": "https://schema.org", "@type": "WebPage",
          "name": title, "publisher": {"@type": "Organization", "name": host},
          "dateModified": f"20{rng.randrange(10, 25)}-0{rng.randrange(1, 9)}-1"
                          f"{rng.randrange(9)}"}
  meta = f'<meta charset="{charset}">\n' if charset else ""
  rules = "\n".join(
      f".c{rng.randrange(999)} {{ margin: {rng.randrange(40)}px; "
      f"color: #{rng.randrange(1 << 24):06x}; }}"
      for _ in range(rng.randrange(10, 40)))
  return (f"<head>\n{meta}<title>{html.escape(title)} - {host}</title>\n"
          '<meta name="viewport" content="width=device-width">\n'
          '<link rel="stylesheet" href="/static/main.css">\n'
          f"<style>body {{ font-family: {rng.choice(_FONTS)}; }}\n{rules}\n"
          '</style>\n<script type="application/ld+json">'
          f"{json.dumps(data)}</script>\n"
          "<script>window.dataLayer=window.dataLayer||[];function gtag()"
          "{dataLayer.push(arguments);}"
          f"gtag('config','G-{rng.randrange(10**8)}');</script>\n</head>")


def _banner(rng: random.Random, said: Strings) -> str:
  if rng.random() < 0.3:
    return ""
  name = rng.choice(("cookie-banner", "cc-window", "gdpr-consent"))
  return (f'<div id="{name}" class="{name}" role="dialog"><p>{said.cookies}'
          f'</p><button>{said.accept}</button></div>')


def _header(rng: random.Random, host: str, menu: list[str]) -> str:
  items = "\n".join(f'<li><a href="/{rng.randrange(999)}/">{item}</a></li>'
                    for item in menu)
  return (f'<header class="site-header"><a class="logo" href="/">{host}</a>\n'
          f'<nav class="main-nav"><ul>\n{items}\n</ul></nav></header>')


def _aside(rng: random.Random, said: Strings, teasers: list[str]) -> str:
  items = "\n".join(
      f'<li><a href="/a/{rng.randrange(99999)}">{html.escape(teaser)}</a></li>'
      for teaser in teasers)
  name = rng.choice(("sidebar", "related-posts", "widget-area"))
  return (f'<aside class="{name}"><h3>{said.related}</h3><ul>\n{items}\n</ul>'
          f'<form class="newsletter"><label>{said.subscribe}</label>'
          '<input type="email" name="mail"><button>OK</button></form></aside>')


def _footer(rng: random.Random, said: Strings, host: str) -> str:
  return (f'<footer class="site-footer"><p>&copy; {rng.randrange(2010, 2025)} '
          f"{host}. {said.footer}</p></footer>")


def _plain(rng: random.Random, said: Strings, title: str,
           sections: list[Section]) -> str:
  """Blocks without names, and line breaks."""
  # Such sites are of a time before that of sharing, half of them.
  share = _share(rng, said) if rng.random() < 0.5 else ""
  return (f"<div><div>{_links(rng, said)}</div><div><font size=5>{title}</font>"
          f"<br><br>\n{_lines(rng, sections)}\n<hr></div>"
          f"<div>{share}</div></div>")


def _table(rng: random.Random, said: Strings, title: str,
           sections: list[Section]) -> str:
  """A table: links on the left, the article on the right."""
  return ('<table width="100%" border="0"><tr><td width="20%" valign="top">'
          f'{_links(rng, said)}</td><td valign="top"><font size="5">{title}'
          f"</font><br><br>\n{_lines(rng, sections)}\n<hr></td></tr></table>")


def _links(rng: random.Random, said: Strings) -> str:
  return "<br>".join(f'<a href="/{rng.randrange(99)}.htm">{item}</a>'
                     for item in said.menu[:6])


def _lines(rng: random.Random, sections: list[Section]) -> str:
  """Sections with line breaks between paragraphs."""
  lines = []
  for section in sections:
    heading = html.escape(section.heading)
    lines += [f"<b>{heading}</b>"] if heading else []
    lines += [_inline(rng, text) for text in section.paragraphs]
  return "<br><br>\n".join(lines)


def _scripts(rng: random.Random) -> str:
  lines = "\n".join(f"var v{i} = {rng.randrange(1 << 30)}; if (v{i} > 3) {{ "
                    f"document.cookie = 'k{i}=' + v{i}; }}"
                    for i in range(rng.randrange(5, 40)))
  return f"<script>\n(function() {{\n{lines}\n}})();\n</script>"


def _byline(rng: random.Random, said: Strings) -> str:
  return (f'<div class="byline meta">{said.by} {rng.choice(_AUTHORS)}, '
          f"<time>{rng.randrange(1, 28)}.{rng.randrange(1, 13)}."
          f"{rng.randrange(2009, 2025)}</time></div>")


def _share(rng: random.Random, said: Strings) -> str:
  return " | ".join(f'<a href="/share?to={rng.randrange(9)}">{item}</a>'
                    for item in said.share)


def _blog(rng: random.Random, said: Strings, title: str,
          sections: list[Section]) -> str:
  return (f'<main id="main"><article class="post hentry"><h1 class="entry-title'
          f'">{title}</h1>{_byline(rng, said)}\n<div class="entry-content">\n'
          f"{_article(rng, sections)}\n</div>\n"
          f'<div class="share-buttons">{_share(rng, said)}</div></article>\n'
          f'<section id="comments"><h3>{said.comments}</h3><form>'
          "<textarea></textarea><button>OK</button></form></section></main>")


def _news(rng: random.Random, said: Strings, title: str,
          sections: list[Section]) -> str:
  return (f'<div class="story" role="main"><h1>{title}</h1>'
          f"{_byline(rng, said)}\n"
          f'<figure><img src="/img/{rng.randrange(9999)}.jpg" alt=""></figure>'
          f'\n<div class="story-body article-body">\n'
          f'{_article(rng, sections, "h3")}\n</div>'
          f'<div class="social">{_share(rng, said)}</div></div>')


def _encyclopedia(rng: random.Random, said: Strings, title: str,
                  sections: list[Section]) -> str:
  toc = "\n".join(f'<li><a href="#s{i}">{html.escape(section.heading)}</a></li>'
                  for i, section in enumerate(sections) if section.heading)
  rows = "\n".join(f"<tr><th>{html.escape(s.heading)}</th><td>"
                   f"{rng.randrange(1, 999)}</td></tr>" for s in sections
                   if s.heading)
  return (f'<div id="content" class="mw-body"><h1 id="firstHeading">{title}'
          f'</h1><table class="infobox">\n{rows}\n</table>\n'
          f'<div id="toc" class="toc"><ul>\n{toc}\n</ul></div>\n'
          f'<div id="bodyContent" class="mw-parser-output">\n'
          f"{_article(rng, sections)}\n</div>\n"
          f'<div id="catlinks">{said.menu[0]} | {said.menu[7]}</div></div>')


def _forum(rng: random.Random, said: Strings, title: str,
           sections: list[Section]) -> str:
  """A long first post, and short answers to it."""
  def post(body: str) -> str:
    return (f'<div class="post" id="p{rng.randrange(99999)}">'
            f'<div class="postprofile"><a href="/u/{rng.randrange(999)}">'
            f'user{rng.randrange(9999)}</a></div><div class="postbody">'
            f'<div class="content">{body}</div></div></div>')
  answers = [post(f"<p>{reply}</p>") for reply in rng.sample(
      said.replies, rng.randrange(1, len(said.replies)))]
  posts = "\n".join([post(_article(rng, sections)), *answers])
  return (f'<div id="page-body" class="thread"><h2 class="topic-title">{title}'
          f'</h2>\n{posts}\n<div class="pagination">1 2 3 &raquo;</div></div>')


def _shop(rng: random.Random, said: Strings, title: str,
          sections: list[Section]) -> str:
  del said
  return (f'<main class="product"><h1 class="product-title">{title}</h1>'
          f'<div class="price">{rng.randrange(5, 300)}.{rng.randrange(10, 99)}'
          ' EUR <button class="add-to-cart">+</button></div>\n'
          '<div class="product-description description">\n'
          f'{_article(rng, sections, "h3")}\n</div>\n<table class="specs">'
          f"<tr><td>SKU</td><td>{rng.randrange(10**6)}</td></tr></table></main>")
