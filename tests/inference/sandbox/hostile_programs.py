"""Programs that mean harm, by name; names in «» are filled in by the test.

«secret» is a file with the canary in it, «folder» the folder around it,
«target» a file that must stay as it is, «port» a port that listens, «socket» a
Unix socket that does, «pid» the process that runs the tests, «victim» another
process of the same user.
"""

HOSTILE = {
    # --- time
    "infinite_loop": "while True: pass",
    "loop_that_catches_all": """
while True:
  try:
    while True: pass
  except BaseException: pass
""",
    "sleep": "import time\ntime.sleep(10**6)",
    "wait_for_input": "input('password: ')",
    "power_tower": "x = 9**9**9**9",
    "slow_regular_expression": "import re\nre.match(r'(a+)+$', 'a'*64 + 'b')",
    "string_of_a_huge_number": "str(10**10**7)",
    "sum_of_everything": "sum(range(10**15))",
    "destructor_that_loops": """
class A:
  def __del__(self):
    while True: pass
A()
""",
    "at_exit": """
import atexit
def forever():
  while True: pass
atexit.register(forever)
""",
    # --- memory
    "memory_string": "x = 'a' * 10**11",
    "memory_list": "x = [0]\nwhile True: x = x + x",
    "memory_number": "x = 1 << 10**12",
    "memory_generator": "list(iter(int, 1))",
    "memory_format": "'%99999999999d' % 1",
    "memory_of_a_map": "import mmap\nmmap.mmap(-1, 10**11)",
    "memory_past_the_limit": """
import resource
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
x = 'a' * 10**10
""",
    # --- processes
    "fork_bomb": "import os\nwhile True: os.fork()",
    "thread_bomb": """
import threading
while True: threading.Thread(target=lambda: input()).start()
""",
    "pool": "import multiprocessing\nmultiprocessing.Pool(64).map(print, 'ab')",
    "subprocess": ("import subprocess\n"
                   "print(subprocess.check_output(['cat', '«secret»']))"),
    "system": "import os\nos.system('cat «secret»; echo x > «target»')",
    "exec": "import os\nos.execv('/bin/cat', ['cat', '«secret»'])",
    "spawn": "import os\nos.posix_spawn('/bin/cat', ['cat', '«secret»'], {})",
    "kill_the_parent": "import os\nos.kill(os.getppid(), 9)",
    "kill_by_number": "import os\nos.kill(«victim», 9)",
    "kill_all": "import os\nos.kill(-1, 9)",
    "kill_the_group": "import os\nos.killpg(0, 9)",
    "leave_the_session": """
import os
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    open('«target»', 'w').write('x')
""",
    # --- signals
    "ignore_signals": """
import signal
for number in range(1, 65):
  try: signal.signal(number, signal.SIG_IGN)
  except Exception: pass
while True: pass
""",
    "signals_to_the_owner_of_a_pipe": """
import fcntl, os
fcntl.fcntl(1, 8, «victim»)
fcntl.fcntl(1, 10, 9)
fcntl.fcntl(1, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
while True: print('x')
""",
    "abort": "import os\nos.abort()",
    "interrupt": "raise KeyboardInterrupt",
    # --- files
    "read_a_file": "print(open('«secret»').read())",
    "read_passwords": "print(open('/etc/passwd').read())",
    "read_by_a_descriptor": """
import os
print(os.read(os.open('«secret»', os.O_RDONLY), 99))
""",
    "read_past_the_root": """
for path in ('/proc/self/root«secret»', '/proc/«pid»/root«secret»',
             '../../../..«secret»', '/proc/1/root«secret»'):
  try: print(open(path).read())
  except Exception as error: print(type(error).__name__)
raise OSError
""",
    "list_a_folder": "import os\nprint(os.listdir('«folder»'))",
    "walk": """
import pathlib
print([path.name for path in pathlib.Path('«folder»').rglob('*')])
raise OSError
""",
    "write_a_file": "open('«target»', 'w').write('harm')",
    "append_to_a_file": "import io\nio.FileIO('«target»', 'a').write(b'harm')",
    "delete": "import shutil\nshutil.rmtree('«folder»')",
    "rename": "import os\nos.rename('«target»', '«target».gone')",
    "permissions": "import os\nos.chmod('«target»', 0)",
    "link": "import os\nos.symlink('«target»', '«folder»/link')",
    "truncate": "import os\nos.truncate('«target»', 0)",
    "temporary_file": """
import tempfile
with tempfile.TemporaryFile() as stream: stream.write(b'x' * 10**9)
""",
    "shared_memory": """
from multiprocessing import shared_memory
shared_memory.SharedMemory('canary', create=True, size=100)
""",
    # --- secrets of the process
    "environment": """
import os
print(dict(os.environ), os.getenv('LLM_JAX_CANARY'))
raise OSError
""",
    "environment_of_the_parent": "print(open('/proc/«pid»/environ').read())",
    "memory_of_the_parent": """
import re
for line in open('/proc/«pid»/maps'):
  print(line)
""",
    "trace_the_parent": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, «pid», 0, 0) < 0: raise OSError(ctypes.get_errno())
print('attached')
""",
    "arguments_of_the_parent": "print(open('/proc/«pid»/cmdline').read())",
    # --- the network
    "connect": """
import socket
socket.create_connection(('127.0.0.1', «port»), 1).send(b'harm')
""",
    "connect_by_ip_v6": """
import socket
socket.create_connection(('::1', «port»), 1).send(b'harm')
""",
    "datagram": """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(
    b'harm', ('127.0.0.1', «port»))
""",
    "unix_socket": """
import socket
client = socket.socket(socket.AF_UNIX)
client.connect('«socket»')
""",
    "abstract_socket": """
import socket
client = socket.socket(socket.AF_UNIX)
client.connect('\\0«abstract»')
""",
    "request": """
import urllib.request
print(urllib.request.urlopen('http://127.0.0.1:«port»/', timeout=1).read())
""",
    "server": """
import socket
server = socket.socket()
server.bind(('0.0.0.0', 0))
server.listen()
server.accept()
""",
    "name_server": "import socket\nprint(socket.gethostbyname('example.com'))",
    # --- ways round the language
    "import_by_name": "__import__('o' + 's').system('cat «secret»')",
    "import_from_a_folder": """
import sys
sys.path.insert(0, '«folder»')
import canary_module
print(canary_module.SECRET)
""",
    "subclasses": """
for kind in ().__class__.__base__.__subclasses__():
  if kind.__name__ in ('Popen', '_wrap_close', 'FileLoader', 'FileIO'):
    try: print(kind('«secret»').read())
    except Exception: pass
    try: print(kind('canary', '«secret»').get_data('«secret»'))
    except Exception: pass
raise OSError
""",
    "builtins": """
print(print.__self__.__dict__['open']('«secret»').read())
""",
    "frames": """
try: 1/0
except Exception as error:
  frame = error.__traceback__.tb_frame
  while frame.f_back: frame = frame.f_back
  os = frame.f_globals['os']
  print(os.environ, os.listdir('«folder»'))
""",
    "pickle": """
import pickle
pickle.loads(b"cos\\nsystem\\n(S'cat «secret»; echo x > «target»'\\ntR.")
""",
    "code_object": """
def f(): pass
f.__code__ = f.__code__.replace(co_code=b'\\x64\\xff' * 9, co_consts=())
f()
""",
    "null_pointer": "import ctypes\nctypes.string_at(0)",
    "native_system_call": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for call in ('fork', 'vfork', 'getpid'):
  if getattr(libc, call)() < 0: raise OSError(ctypes.get_errno(), call)
print('children')
""",
    "native_read": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
place = libc.open(b'«secret»', 0)
if place < 0: raise OSError(ctypes.get_errno(), 'open')
text = ctypes.create_string_buffer(99)
libc.read(place, text, 99)
print(text.value)
""",
    "more_privileges": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000) < 0: raise OSError(ctypes.get_errno(), 'unshare')
print('root')
""",
    "mount": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'proc', b'/', b'proc', 0, None) < 0:
  raise OSError(ctypes.get_errno(), 'mount')
print('mounted')
""",
    # --- recursion and parsing
    "recursion": "def f(): return f()\nf()",
    "recursion_without_a_limit": """
import sys
sys.setrecursionlimit(10**9)
def f(x): return [f(x)]
f(0)
""",
    "recursion_of_a_method": """
class A:
  def __getattr__(self, name): return getattr(self, name + 'x')
A().x
""",
    "deep_brackets": "(" * 50_000,
    "deep_lists": "x = " + "[" * 3_000 + "]" * 3_000,
    "deep_structure": """
x = []
for _ in range(10**5): x = [x]
print(x)
""",
    "deep_evaluation": "eval('-' * 90_000 + '1')",
    "null_byte": "print(1)\0raise",
    "no_program_at_all": "x" * 200_000,
    # --- output
    "giant_output": "while True: print('x' * 1000)",
    "giant_line": "print('x' * 10**7)",
    "giant_value": "'x' * 10**7",
    "giant_output_by_descriptor": """
import os
while True: os.write(1, b'x' * 65536); os.write(2, b'x' * 65536)
""",
    "giant_error": "raise ValueError('x' * 10**7)",
    "lies_to_the_parent": """
import os
for place in range(3, 32):
  try:
    while True: os.write(place, b'{"error": {"held": [[[[' * 10000)
  except OSError: pass
raise OSError
""",
    "an_answer_for_the_parent": """
import os
for place in range(3, 32):
  try: os.write(place, b'\\xff\\n[]\\n{"error": 3}\\n' + b'[' * 9000 + b'\\n')
  except OSError: pass
raise OSError
""",
    "close_everything": """
import os
for place in range(32):
  try: os.close(place)
  except OSError: pass
while True: pass
""",
    "exit_at_once": "import os\nos._exit(7)",
    "exit_with_a_giant_message": "raise SystemExit('x' * 10**7)",
    "error_that_cannot_be_shown": """
class E(Exception):
  def __str__(self):
    raise self
raise E
""",
    "error_that_takes_forever": """
class E(Exception):
  def __str__(self):
    while True: pass
raise E
""",
    "value_that_takes_forever": """
class A:
  def __repr__(self):
    while True: pass
A()
""",
    "half_a_character": "print('\\ud800', '\\x00', '\\x1b[2J')\nraise OSError",
    "another_output": """
import sys
class Output:
  def write(self, text): raise MemoryError
  def flush(self):
    while True: pass
sys.stdout = Output()
print(1)
""",
}
