"""Processes that are called, killed, replaced, and that end with this one."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from llm_jax.rl.confined import CallFailed, Hung, StartFailed, Workers

FUNCTIONS = '''
    import os, socket, time

    def act(what, *rest):
      return globals()["_" + what](*rest)

    def _add(a, b):
      return a + b

    def _sleep(seconds):
      time.sleep(seconds)
      return os.getpid()

    def _pid():
      return os.getpid()

    def _order():
      return list({"a", "b", "c", "d", "e", "f"})

    def _env(name):
      return os.environ.get(name)

    def _open(path):
      with open(path) as stream:
        return stream.read()

    def _write(path):
      with open(path, "w") as stream:
        stream.write("x")

    def _connect(port):
      socket.create_connection(("127.0.0.1", port), timeout=2)

    def _spawn():
      os.fork()

    def _garbage():
      for number in range(3, 20):
        try:
          os.write(number, b"\\xff" * 64)
        except OSError:
          pass
      time.sleep(60)

    def _not_json():
      return {1, 2}

    def make(add):
      return lambda number: number + add
'''


@pytest.fixture
def workers(tmp_path, monkeypatch):
  (tmp_path / "acting.py").write_text(textwrap.dedent(FUNCTIONS))
  monkeypatch.syspath_prepend(str(tmp_path))
  made = []

  def make(target="acting:act", **settings):
    made.append(Workers(target, **{"seconds": 30.0} | settings))
    return made[-1]
  yield make
  for each in made:
    each.close()


def test_calls_return_what_json_has(workers):
  act = workers()
  assert act.call("add", 2, 3) == 5
  assert act.call("add", (1,), (2,)) == [1, 2]
  assert act.call("pid") == act.call("pid") != os.getpid()
  assert workers('acting:make(5)').call(2) == 7
  with pytest.raises(CallFailed, match="not JSON serializable"):
    act.call("not_json")
  with pytest.raises(CallFailed, match="KeyError: '_nothing' .acting.py, line"):
    act.call("nothing")


def test_what_hangs_is_killed_and_replaced(workers):
  act = workers()
  pid = act.call("pid")
  began = time.monotonic()
  with pytest.raises(Hung, match="longer than 0.5 seconds"):
    act.call("sleep", 60, seconds=0.5)
  assert time.monotonic() - began < 20
  with pytest.raises(ProcessLookupError):
    os.kill(pid, 0)
  assert act.call("pid") != pid


def test_what_writes_to_our_pipe_is_replaced(workers):
  act = workers(locked=True)
  with pytest.raises(CallFailed, match="process died"):
    act.call("garbage", seconds=20.0)
  assert act.call("add", 2, 3) == 5


def test_several_at_once(workers):
  act = workers(count=3)
  act.start()
  pids = []
  threads = [threading.Thread(target=lambda: pids.append(
      act.call("sleep", 0.2))) for _ in range(9)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  # Made by threads that are gone by now, and alive none the less.
  assert len(pids) == 9 and 1 <= len(set(pids)) <= 3
  assert act.call("pid") in pids


def test_sets_have_one_order(workers):
  assert workers().call("order") == workers(locked=False).call("order")


def test_a_target_that_is_not_there(workers):
  with pytest.raises(StartFailed, match="No module named 'nowhere'"):
    workers("nowhere:act").start()
  with pytest.raises(StartFailed, match="nothing"):
    workers("acting:nothing").start()


def test_what_is_locked_has_no_files_and_no_network(workers, tmp_path):
  act = workers()
  held = act.start()
  if not {"landlock", "seccomp"} <= set(held):
    pytest.skip(f"this kernel holds {held}")
  (tmp_path / "secret").write_text("secret")
  with pytest.raises(CallFailed, match="Permission denied"):
    act.call("open", str(tmp_path / "secret"))
  for what, argument in (("write", str(tmp_path / "new")), ("connect", 1),
                         ("spawn", None)):
    with pytest.raises(CallFailed, match="Permission|permitted"):
      act.call(what, *([argument] if argument is not None else []))
  assert not (tmp_path / "new").exists()
  os.environ["A_KEY_OF_MINE"] = "secret"
  try:
    assert workers().call("env", "A_KEY_OF_MINE") is None
    # The user's own functions have both.
    own = workers(locked=False)
    assert own.call("env", "A_KEY_OF_MINE") == "secret"
    assert own.call("open", str(tmp_path / "secret")) == "secret"
  finally:
    del os.environ["A_KEY_OF_MINE"]


def test_what_is_locked_reads_data_of_installed_packages(
    workers, tmp_path, monkeypatch):
  """Also of those in a directory of their own, as `--target` makes."""
  if "landlock" not in workers().start():
    pytest.skip("this kernel has no Landlock")
  for name in ("installed", "lying_about"):
    (tmp_path / name / "package").mkdir(parents=True)
    (tmp_path / name / "package" / "data.txt").write_text("words")
    monkeypatch.syspath_prepend(str(tmp_path / name))
  (tmp_path / "installed" / "package-1.0.dist-info").mkdir()
  act = workers()
  assert act.call("open", str(tmp_path / "installed/package/data.txt")
                  ) == "words"
  with pytest.raises(CallFailed, match="Permission denied"):
    act.call("open", str(tmp_path / "lying_about/package/data.txt"))


def test_children_end_with_their_parent(tmp_path):
  (tmp_path / "acting.py").write_text(textwrap.dedent(FUNCTIONS))
  program = textwrap.dedent('''
      import json, os, signal, threading
      from llm_jax.rl.confined import Workers
      act = Workers("acting:act", 2, 60.0, locked=False)
      pid = act.call("pid")
      print(json.dumps(pid), flush=True)
      threading.Thread(target=act.call, args=("sleep", 60), daemon=True).start()
      import time; time.sleep(0.5)
      os.kill(os.getpid(), signal.SIGKILL)
  ''')
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(
      [str(tmp_path), *sys.path])}
  done = subprocess.run([sys.executable, "-c", program], env=environment,
                        capture_output=True, text=True, timeout=120,
                        check=False)
  pid = json.loads(done.stdout)
  for _ in range(100):
    try:
      os.kill(pid, 0)
    except ProcessLookupError:
      return
    status = open(f"/proc/{pid}/stat").read().split()[2]
    if status == "Z":  # ended, and nobody here to take note of it
      return
    time.sleep(0.1)
  raise AssertionError("the child is still there")
