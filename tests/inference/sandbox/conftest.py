"""Things of value that a hostile program might find, and a look at them."""

import os
import socket
import subprocess
import sys

import pytest

SECRET = "the-canary-" + os.urandom(8).hex()
ABSTRACT = "llm-jax-" + os.urandom(8).hex()


class Canaries:
  """Files, sockets, a process and an environment variable."""

  def __init__(self, root):
    self.folder = root / "folder"
    self.folder.mkdir()
    (self.folder / "canary.txt").write_text(SECRET)
    (self.folder / SECRET).write_text("a name that nobody is told")
    (self.folder / "canary_module.py").write_text(f"SECRET = {SECRET!r}")
    (self.folder / "target.txt").write_text("untouched")
    self.tcp = socket.create_server(("127.0.0.1", 0))
    port = self.tcp.getsockname()[1]
    self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    self.udp.bind(("127.0.0.1", port))
    self.unix, self.abstract = (socket.socket(socket.AF_UNIX)
                                for _ in range(2))
    self.unix.bind(str(root / "socket"))
    self.servers = [self.tcp, self.unix]
    if sys.platform == "linux":
      self.abstract.bind(f"\0{ABSTRACT}")
      self.servers.append(self.abstract)
    for server in self.servers:
      server.listen()
      server.setblocking(False)
    self.udp.setblocking(False)
    self.victim = subprocess.Popen(["sleep", "600"])
    self.names = {
        "secret": str(self.folder / "canary.txt"), "folder": str(self.folder),
        "target": str(self.folder / "target.txt"), "port": str(port),
        "socket": str(root / "socket"), "abstract": ABSTRACT,
        "pid": str(os.getpid()), "victim": str(self.victim.pid)}
    self.before = self.look()

  def fill(self, code):
    for name, value in self.names.items():
      code = code.replace(f"«{name}»", value)
    return code

  def look(self):
    return ({path.name: (path.read_text(), path.stat().st_mode)
             for path in self.folder.iterdir()}, self.victim.poll())

  def check(self, told):
    """Fails where anything was touched, or `told` tells of a secret."""
    for secret in (SECRET, "root:x:0"):
      assert secret not in told
    assert self.look() == self.before
    for server in self.servers:
      with pytest.raises(BlockingIOError):
        server.accept()
    with pytest.raises(BlockingIOError):
      self.udp.recv(1)

  def close(self):
    self.victim.kill()
    self.victim.wait()
    for each in (self.udp, self.abstract, self.unix, self.tcp):
      each.close()


@pytest.fixture(scope="session")
def canaries(tmp_path_factory):
  os.environ["LLM_JAX_CANARY"] = SECRET
  made = Canaries(tmp_path_factory.mktemp("canaries"))
  yield made
  made.close()
  del os.environ["LLM_JAX_CANARY"]
