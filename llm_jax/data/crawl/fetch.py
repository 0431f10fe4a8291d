"""One page of a server on this machine, with limits; what robots.txt says.

Only loopback and private addresses are ever connected to: a name is resolved
once, checked, and the connection is made to the address that was checked. A
request has a limit of time and of bytes over the whole of it, however slowly
the server sends.
"""

from __future__ import annotations

import dataclasses
import http.client
import ipaddress
import socket
import time
import urllib.parse
import urllib.robotparser

from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

from llm_jax.config import ConfigError, require

_BLOCK = 1 << 14
_MAX_URL = 2_000


@dataclasses.dataclass(frozen=True)
class Response:
  """What a server sent, as it is recorded.

  Attributes:
    status: code of the answer.
    request: request line and headers.
    head: status line and headers; those of a body sent in chunks are renamed,
      as Common Crawl does it, for the body is recorded whole.
    body: at most as many bytes as were allowed.
    truncated: "", "length" or "time": why the body is not whole.
    headers: of the answer, for reading.
  """
  status: int
  request: str
  head: str
  body: bytes
  truncated: str
  headers: http.client.HTTPMessage

  @property
  def is_html(self) -> bool:
    """Whether its links can be followed."""
    return (self.headers.get_content_type() in (
        "text/html", "application/xhtml+xml")
            and self.headers.get("Content-Encoding", "identity") == "identity")


def local_address(host: str, port: int) -> str:
  """The address to connect to for a host of this machine or its network.

  Raises:
    ConfigError: the name is not known, or is of somewhere else.
  """
  try:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
  except (OSError, UnicodeError) as error:
    raise ConfigError(f"start has the host {host!r}, whose address cannot be "
                      f"found ({error}); give one of this machine, such as "
                      "http://localhost:8000/.") from error
  addresses = [str(info[4][0]).partition("%")[0] for info in found]
  for address in addresses:
    parsed = ipaddress.ip_address(address)
    # ::ffff:8.8.8.8 is 8.8.8.8; at 169.254.0.0/16 clouds keep secrets.
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    require((parsed.is_loopback or parsed.is_private)
            and not parsed.is_unspecified and not parsed.is_link_local,
            f"start has the host {host!r}, which is at {address}: this crawler "
            "fetches only from this machine and its private network, such as "
            "http://localhost:8000/. For the web use a crawler made for it, or "
            "Common Crawl.")
  return addresses[0]


def fetch(url: str, address: str, *, user_agent: str, timeout_s: float,
          max_bytes: int) -> Response:
  """Asks a server for a page.

  Args:
    url: what is asked for.
    address: of the server, checked by `local_address`.
    user_agent: who asks.
    timeout_s: for the whole of it.
    max_bytes: the body is cut there.

  Raises:
    OSError, http.client.HTTPException: no answer, or none that is HTTP.
  """
  parts = urllib.parse.urlsplit(url)
  target = parts.path or "/"
  if parts.query:
    target += f"?{parts.query}"
  deadline = time.monotonic() + timeout_s
  headers = {"Host": parts.netloc, "User-Agent": user_agent,
             "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.5",
             "Accept-Encoding": "identity", "Connection": "close"}
  request = "\r\n".join((f"GET {target} HTTP/1.1", *(
      f"{name}: {value}" for name, value in headers.items())))
  connection = http.client.HTTPConnection(
      address, parts.port or 80, timeout=timeout_s)
  try:
    connection.connect()
    # The answer takes the connection's socket away.
    channel = connection.sock
    connection.putrequest("GET", target, skip_host=True,
                          skip_accept_encoding=True)
    for name, value in headers.items():
      connection.putheader(name, value)
    connection.endheaders()
    channel.settimeout(max(deadline - time.monotonic(), 0.001))
    answer = connection.getresponse()
    body, truncated = _read(answer, channel, deadline, max_bytes)
    return Response(answer.status, request, _head(answer, len(body)), body,
                    truncated, answer.headers)
  finally:
    connection.close()


def _read(answer: http.client.HTTPResponse, channel: socket.socket,
          deadline: float, max_bytes: int) -> tuple[bytes, str]:
  """The body, and why it ends early, if it does."""
  body = bytearray()
  try:
    while True:
      left = deadline - time.monotonic()
      if left <= 0:
        return bytes(body), "time"
      channel.settimeout(left)
      block = answer.read1(min(_BLOCK, max_bytes + 1 - len(body)))
      if not block:
        # A server that hangs up early leaves less than it announced.
        return bytes(body), "disconnect" if answer.length else ""
      body += block
      if len(body) > max_bytes:
        return bytes(body[:max_bytes]), "length"
  except TimeoutError:
    return bytes(body), "time"
  except (OSError, http.client.HTTPException):
    return bytes(body), "disconnect"


def _head(answer: http.client.HTTPResponse, length: int) -> str:
  version = "1.0" if answer.version == 10 else "1.1"
  lines = [f"HTTP/{version} {answer.status} {answer.reason}".rstrip()]
  for name, value in answer.getheaders():
    if name.lower() in ("transfer-encoding", "content-length"):
      name = f"X-Crawler-{name}"
    lines.append(f"{name}: {value}")
  return "\r\n".join((*lines, f"Content-Length: {length}"))


class Robots:
  """What a site allows (RFC 9309), of the answer for its robots.txt."""

  def __init__(self, response: Response | None, user_agent: str):
    """Reads the rules.

    Args:
      response: the answer; None if there was none: then nothing is allowed.
      user_agent: whose rules are asked for.
    """
    self._agent = user_agent
    self._rules = urllib.robotparser.RobotFileParser()
    if response is None or response.status >= 500:
      self._rules.disallow_all = True
    elif response.status in (401, 403):
      # RFC 9309 would allow all; a site that hides its rules wants no guest.
      self._rules.disallow_all = True
    elif response.status >= 300:
      self._rules.allow_all = True
    else:
      self._rules.parse(response.body.decode("utf-8", "replace").splitlines())

  def allows(self, url: str) -> bool:
    """Whether the page may be asked for."""
    return self._rules.can_fetch(self._agent, url)

  @property
  def delay_s(self) -> float:
    """Seconds between two requests that the site asks for; 0 if it does not."""
    if self._rules.disallow_all or self._rules.allow_all:
      return 0.0
    return float(self._rules.crawl_delay(self._agent) or 0)


def links(url: str, response: Response) -> list[str]:
  """Addresses that a page links to, in order, without fragments."""
  tree = HTMLTree.parse(bytes_to_str(
      response.body, response.headers.get_content_charset()
      or detect_encoding(response.body)))
  base = tree.document.query_selector("base[href]")
  if base is not None:
    url = urllib.parse.urljoin(url, base.getattr("href"))
  found = []
  for element in tree.document.query_selector_all("a[href]"):
    if "nofollow" not in (element.getattr("rel") or "").lower().split():
      link = absolute(url, element.getattr("href"))
      if link:
        found.append(link)
  return found


def absolute(base: str, link: str) -> str:
  """The link as an address to ask for; "" if it is none of HTTP."""
  try:
    parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, link.strip()))
    port = parts.port
  except ValueError:
    return ""
  if parts.scheme not in ("http", "https") or not parts.hostname:
    return ""
  host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
  netloc = host if port in (None, 80) else f"{host}:{port}"
  # Spaces and letters beyond ASCII are written as bytes.
  path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
  query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
  url = urllib.parse.urlunsplit((parts.scheme, netloc, path, query, ""))
  return url if len(url) <= _MAX_URL else ""
