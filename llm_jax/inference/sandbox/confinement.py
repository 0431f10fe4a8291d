"""What the Linux kernel takes from a process that is to run a stranger's code.

Each function takes something away, for good, from the process that calls it,
and raises `OSError` where the kernel has no such thing or forbids its use. The
layers overlap on purpose: where one is missing, or has a hole, another holds.

  `enter_namespaces`   no processes, interfaces, mounts but its own; a root
                       directory with nothing in it but Python's library
  `restrict_files`     Landlock: no file may be opened but Python's library
  `filter_calls`       seccomp: no system call but those that computing takes
  `limit_resources`    rlimits: memory, processor time, size of files, ...

This file is run by a bare interpreter (`jail.py`), so it imports nothing of
ours and nothing that is not in the standard library.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Sequence

# Of Python's library, what a program has no use for.
_LEFT_OUT = ("site-packages", "dist-packages", "test", "idlelib", "ensurepip")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
  """The result of a C function, or its errno as `OSError`."""
  if result < 0:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")
  return result


# --- namespaces ---------------------------------------------------------------

_NEW_ALL = (0x10000000  # user
            | 0x00020000  # mounts
            | 0x20000000  # process ids, of the children
            | 0x40000000  # network
            | 0x08000000  # System V and POSIX message queues, shared memory
            | 0x04000000  # host name
            | 0x02000000)  # control groups
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_RELATIME = 4096, 1 << 14, 1 << 18, 1 << 21
_ST_RELATIME = 4096
_MNT_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_NOBODY = 65534


def enter_namespaces(readable: Sequence[str]) -> None:
  """Leaves all namespaces of the machine but that of time.

  Ids of processes are new for children: fork after this. The network has no
  interface, not even a loopback that is up; the root directory is an empty,
  read-only one, with `readable` mounted where it was.

  Args:
    readable: absolute paths of directories and files, read-only from now on.
  """
  user, group = os.getuid(), os.getgid()
  _checked(_libc.unshare(_NEW_ALL), "unshare")
  for name, text in (("setgroups", "deny"), ("uid_map", f"{_NOBODY} {user} 1"),
                     ("gid_map", f"{_NOBODY} {group} 1")):
    with open(f"/proc/self/{name}", "w") as stream:
      stream.write(text)
  _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
  root = next(path for path in ("/tmp", "/mnt", "/proc")
              if os.path.isdir(path)
              and not any(name.startswith(path + "/") for name in readable))
  _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=256k,mode=755")
  for path in readable:
    _bind_read_only(path, root + path)
  _mount(None, root, None, _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
  os.chdir(root)
  _checked(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."),
           "pivot_root")
  _checked(_libc.umount2(b".", _MNT_DETACH), "umount")
  os.chdir("/")


def _mount(source: str | None, target: str, kind: str | None, flags: int,
           options: str | None = None) -> None:
  def text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)
  _checked(_libc.mount(text(source), text(target), text(kind),
                       ctypes.c_ulong(flags), text(options)),
           f"mount {target}")


def _bind_read_only(path: str, target: str) -> None:
  if os.path.isdir(path):
    os.makedirs(target, exist_ok=True)
  elif not os.path.exists(target):  # a file of a directory mounted before is
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
  _mount(path, target, None, _MS_BIND)
  # Flags that the mount had, which a namespace may not take off.
  had = os.statvfs(path).f_flag
  kept = had & 0x40f & ~_MS_RDONLY | (
      _MS_RELATIME if had & _ST_RELATIME else 0)
  _mount(None, target, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID
         | _MS_NODEV | kept)
  for name in _LEFT_OUT:
    if os.path.isdir(f"{target}/{name}"):
      _mount("tmpfs", f"{target}/{name}", "tmpfs", _MS_RDONLY, "size=0")


# --- Landlock -----------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on all machines
_RULE_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# Rights to files, by the version of Landlock that knows them.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_TCP_RIGHTS = 0b11  # bind, connect: from version 4
_SCOPES = 0b11  # abstract sockets and signals: from version 6
_NO_NEW_PRIVILEGES = 38


def restrict_files(readable: Sequence[str]) -> None:
  """Lets this process open nothing but `readable`, and that for reading.

  By Landlock (Linux 5.13), which needs no privilege. From its version 4 on no
  TCP port is bound or connected either, from 6 on no process outside is sent a
  signal.

  Args:
    readable: absolute paths of directories, with all below them, and files.
  """
  version = _checked(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0),
                                   1), "landlock")
  rights = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
  attributes = struct.pack("=QQQ", rights, _TCP_RIGHTS if version >= 4 else 0,
                           _SCOPES if version >= 6 else 0)
  # An older kernel's structure is shorter.
  size = 24 if version >= 6 else 16 if version >= 4 else 8
  rules = _checked(_libc.syscall(_CREATE_RULESET, attributes,
                                 ctypes.c_size_t(size), 0), "landlock")
  for path in readable:
    if not os.path.isdir(path):
      _allow(rules, path, _READ_FILE)
      continue
    _allow(rules, path, _READ_DIR)  # the import system lists it
    for entry in os.scandir(path):
      # Links of the library may lead to what is not there any more.
      if entry.name not in _LEFT_OUT and os.path.exists(entry.path):
        _allow(rules, entry.path, _READ_FILE | _READ_DIR if entry.is_dir()
               else _READ_FILE)
  forgo_privileges()
  _checked(_libc.syscall(_RESTRICT_SELF, rules, 0), "landlock")
  os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
  place = os.open(path, os.O_PATH | os.O_CLOEXEC)
  try:
    _checked(_libc.syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH,
                           struct.pack("=Qi", rights, place), 0), "landlock")
  finally:
    os.close(place)


def forgo_privileges() -> None:
  """No program run from here on gains what this process has not."""
  _checked(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")


# --- seccomp ------------------------------------------------------------------

# Calls that computing, reading open files and looking at the clock take:
# their numbers on x86_64 and aarch64 (None: there is no such call).
_CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80),
    "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "readv": (19, 65), "writev": (20, 66),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    "nanosleep": (35, 101), "getpid": (39, 172), "exit": (60, 93),
    "uname": (63, 160), "getcwd": (79, 17),
    "gettimeofday": (96, 169), "getrusage": (98, 165), "sysinfo": (99, 179),
    "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176),
    "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173),
    "rt_sigpending": (127, 136), "sigaltstack": (131, 132),
    "gettid": (186, 178), "futex": (202, 98), "time": (201, None),
    "sched_getaffinity": (204, 123), "getdents64": (217, 61),
    "restart_syscall": (219, 128), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "exit_group": (231, 94), "poll": (7, None), "select": (23, None),
    "ppoll": (271, 73), "pselect6": (270, 72), "getcpu": (309, 168),
    "getrandom": (318, 278), "rseq": (334, 293),
}
# Calls by which a file is found. They open nothing for writing that a mount or
# Landlock does not let be written.
_FILE_CALLS = {
    "open": (2, None), "openat": (257, 56), "stat": (4, None),
    "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78),
}
# Of this call, commands that tell of a descriptor or copy it; others can have a
# signal sent to any process of the user, when there is something to read.
_FCNTL = (72, 25)
_FCNTL_COMMANDS = (0, 1, 2, 3, 1030)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused: EPERM
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32_BIT = 0x40000000  # calls of another binary interface, on x86_64
_SET_SECCOMP, _FILTER = 22, 2


class _Program(ctypes.Structure):
  _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]


def filter_calls(open_files: bool) -> None:
  """Refuses, with EPERM, every system call that is not on a short list.

  Not on it are sockets, new processes and threads, programs, signals to
  others, devices, mounts, tracing, and all that changes a file.

  Args:
    open_files: whether files may be opened (elsewhere is decided which).
  """
  column, machine = _MACHINES.get(platform.machine(), (None, None))
  if column is None:
    raise OSError(f"no list of system calls for {platform.machine()}")
  calls = _CALLS | (_FILE_CALLS if open_files else {})
  steps = [(_LOAD, 0, 0, 4),  # the machine whose calls these are
           (_JUMP_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL),
           (_LOAD, 0, 0, 0),  # the number of the call
           (_JUMP_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
  for numbers in calls.values():
    if numbers[column] is not None:
      steps += [(_JUMP_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
  steps += [(_JUMP_EQUAL, 1, 0, _FCNTL[column]), (_RETURN, 0, 0, _REFUSE),
            (_LOAD, 0, 0, 24)]  # its second argument
  for command in _FCNTL_COMMANDS:
    steps += [(_JUMP_EQUAL, 0, 1, command), (_RETURN, 0, 0, _ALLOW)]
  steps.append((_RETURN, 0, 0, _REFUSE))
  code = ctypes.create_string_buffer(
      b"".join(struct.pack("=HBBI", *step) for step in steps))
  program = _Program(len(steps), ctypes.addressof(code))
  forgo_privileges()
  _checked(_libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0),
           "seccomp")


# --- limits and privileges ----------------------------------------------------


def limit_resources(memory_bytes: int, cpu_seconds: int) -> None:
  """Limits of this process and its children, which none of them can raise.

  Args:
    memory_bytes: of address space, above what there is now.
    cpu_seconds: of processor time, above what was used.
  """
  try:
    with open("/proc/self/statm") as stream:
      memory_bytes += int(stream.read().split()[0]) * resource.getpagesize()
  except OSError:  # not Linux; then the interpreter's own counts
    pass
  cpu_seconds += int(sum(os.times()[:2])) + 1
  for name, limit in (
      ("AS", memory_bytes), ("CPU", cpu_seconds), ("FSIZE", 0), ("CORE", 0),
      ("NPROC", 0), ("NOFILE", 32), ("MEMLOCK", 0), ("MSGQUEUE", 0)):
    number = getattr(resource, f"RLIMIT_{name}", None)
    if number is not None:
      hard = resource.getrlimit(number)[1]
      if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
      resource.setrlimit(number, (limit, limit))


_PARENT_DEATH_SIGNAL, _SIGKILL = 1, 9


def die_with_parent() -> None:
  """Has the kernel kill this process when the thread that made it is gone."""
  _checked(_libc.prctl(_PARENT_DEATH_SIGNAL, _SIGKILL, 0, 0, 0), "pdeathsig")


def drop_capabilities() -> None:
  """Gives up root's powers, within the namespaces too."""
  header = struct.pack("=Ii", 0x20080522, 0)
  _checked(_libc.capset(header, bytes(24)), "capset")


def be_killed_first() -> None:
  """Where the machine's memory runs out, this process goes, not its parent."""
  with open("/proc/self/oom_score_adj", "w") as stream:
    stream.write("1000")
