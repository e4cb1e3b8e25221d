"""Confinement of the current process: rlimits, no_new_privs, landlock
(https://docs.kernel.org/userspace-api/landlock.html) and a seccomp filter (seccomp(2)).

It applies to this process and its later threads, and can't be undone. The limits' values are decided by the caller.
"""

import ctypes
import os
import platform
import resource
import struct
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import contentgen_contract
import contentgen_worker
from contentgen_worker.media.codec import transferable

_LIBC = ctypes.CDLL(None, use_errno=True)
_EPERM, _ENOSYS = 1, 38

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

# include/uapi/linux/landlock.h; the same numbers on every machine
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_CREATE_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 1, 1 << 5, 1 << 8, 1 << 14
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # bits of file access rights by ABI version
_NEWEST_FILE_RIGHTS = 16
_ALL_TCP = 0b11  # bind, connect; since version 4
_ALL_SCOPES = 0b11  # abstract sockets and signals to processes outside; since version 6

# Opcodes of a classic BPF program over struct seccomp_data {nr, arch, ip, args[6]}.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # lower 32 bits of arguments: both machines are little-endian
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000
_PROT_WRITE = 0x2
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_GROWSDOWN = 0x01, 0x20, 0x100
_SIGNALS_BY_DESCRIPTOR = (8, 10, 15)  # fcntl's F_SETOWN, F_SETSIG, F_SETOWN_EX
_STACK_BYTES = 8 << 20
_X32 = 0x40000000  # x32 calls of x86_64 have separate numbers

# Calls that no decoder needs: sockets, exec, fork, access to other processes, other ways to files and memory, kernel
# administration. An allow-list would break with each release of a C library.
_FORBIDDEN = {
    "x86_64": (
        *(41, 42, 43, 44, 46, 49, 50, 53, 288, 307),  # socket connect accept sendto sendmsg bind listen … sendmmsg
        *(57, 58, 59, 322),  # fork vfork execve execveat
        *(101, 310, 311, 312, 200, 129, 297),  # ptrace process_vm_* kcmp tkill rt_sigqueueinfo rt_tgsigqueueinfo
        *(272, 308, 155, 161, 165, 166, 303, 304),  # unshare setns pivot_root chroot mount umount2 *_handle_at
        *(29, 64, 68, 240),  # shmget semget msgget mq_open
        *(175, 176, 313, 246, 320, 248, 249, 250, 298, 321, 323),  # modules kexec keys perf_event_open bpf userfaultfd
        319,  # memfd_create
        *(90, 91, 268, 92, 93, 94, 260),  # chmod fchmod fchmodat chown fchown lchown fchownat
        *(132, 235, 261, 280),  # utime utimes futimesat utimensat
        *(188, 189, 190, 197, 198, 199),  # setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
        *(86, 265, 88, 266, 133, 259),  # link linkat symlink symlinkat mknod mknodat
        *(141, 142, 144, 203, 314, 251),  # setpriority sched_setparam sched_set{scheduler,affinity,attr} ioprio_set
        *(256, 279),  # migrate_pages move_pages
    ),
    "aarch64": (
        *(198, 203, 202, 206, 211, 200, 201, 199, 242, 269),
        *(221, 281),
        *(117, 270, 271, 272, 130, 138, 240),
        *(97, 268, 41, 51, 40, 39, 264, 265),
        *(194, 190, 186, 180),
        *(105, 106, 273, 104, 294, 217, 218, 219, 241, 280, 282),
        279,
        *(52, 53, 55, 54),
        88,
        *(5, 6, 7, 14, 15, 16),
        *(37, 36, 33),
        *(140, 118, 119, 122, 274, 30),
        *(238, 239),
    ),
}
_FORBIDDEN_ANYWHERE = (
    *(424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 440, 442, 448),  # pidfd io_uring mounts process_*
    *(447, 452, 463, 466, 469),  # memfd_secret fchmodat2 setxattrat removexattrat file_setattr
)
_CLONE3 = 435
_CLONE = {"x86_64": 56, "aarch64": 220}
_MMAP, _FCNTL, _PRLIMIT = {"x86_64": 9, "aarch64": 222}, {"x86_64": 72, "aarch64": 25}, {"x86_64": 302, "aarch64": 261}
_OWN_SIGNALS = {"x86_64": (62, 234), "aarch64": (129, 131)}  # kill tgkill: abort() sends one to itself
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Limits of a child. `files` are readable, `folder` is writable; memory is private memory without shared libraries.

    CPU seconds are summed over its threads; `file_bytes` limits each written file.
    """

    memory_bytes: int
    cpu_seconds: int
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    file_bytes: int = 0
    open_files: int = 128


@transferable
@dataclass(frozen=True, slots=True)
class Confinement:
    """Confinement in effect. `landlock`: ABI version of the kernel, 0 without landlock."""

    landlock: int
    seccomp: bool

    @property
    def complete(self) -> bool:
        """Whether both landlock and seccomp are in effect."""
        return bool(self.landlock and self.seccomp)


def confine(limits: ChildLimits) -> Confinement:
    """Confine this process for good. It must have no other thread. Returns what the kernel supports."""
    _set_rlimits(limits)
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return Confinement(landlock=0, seccomp=False)
    return Confinement(landlock=_apply_landlock(limits), seccomp=_apply_seccomp())


def _set_rlimits(limits: ChildLimits) -> None:
    # RLIMIT_DATA counts private writable memory; RLIMIT_AS would also count the reserved arena of each thread.
    # Other memory is refused by the seccomp filter and RLIMIT_STACK.
    _lower_rlimit(resource.RLIMIT_DATA, limits.memory_bytes)
    _lower_rlimit(resource.RLIMIT_STACK, _STACK_BYTES)
    _lower_rlimit(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1)  # SIGXCPU, a second later SIGKILL
    _lower_rlimit(resource.RLIMIT_FSIZE, limits.file_bytes if limits.folder else 0)
    _lower_rlimit(resource.RLIMIT_NOFILE, limits.open_files)
    _lower_rlimit(resource.RLIMIT_CORE, 0)


def _lower_rlimit(what: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, but not above the current hard limit, which only root may raise."""
    hard_limit = resource.getrlimit(what)[1]
    soft_hard = (soft, soft if hard is None else hard)
    resource.setrlimit(what, soft_hard if hard_limit < 0 else (min(soft, hard_limit), min(soft_hard[1], hard_limit)))


def _apply_landlock(limits: ChildLimits) -> int:
    version: int = _LIBC.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _CREATE_VERSION)
    if version <= 0:
        return 0
    rights = (1 << _FILE_RIGHTS.get(version, _NEWEST_FILE_RIGHTS)) - 1
    attributes = struct.pack("QQQ", rights, _ALL_TCP, _ALL_SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _LIBC.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return 0
    try:
        allowed = [(path, _READ_FILE) for path in limits.files]
        allowed += [(path, _READ_FILE | _READ_DIR) for path in _code_folders()]
        if limits.folder:
            allowed.append((limits.folder, rights & (_READ_FILE | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE)))
        added = all(_allow(rules, path, right) for path, right in allowed)
        return version if added and not _LIBC.syscall(_LANDLOCK_RESTRICT, rules, 0) else 0
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, right: int) -> bool:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = struct.pack("=Qi", right, descriptor)
        return not _LIBC.syscall(_LANDLOCK_ADD, rules, _PATH_BENEATH, beneath, 0)
    finally:
        os.close(descriptor)


def _code_folders() -> Iterable[Path]:
    """Folders of Python and our packages: some modules are imported on demand."""
    paths = sysconfig.get_paths()
    installed = (Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    ours = (Path(part.__path__[0]) for part in (contentgen_worker, contentgen_contract))
    return {path.resolve() for path in (*installed, *ours) if path.is_dir()}


def _apply_seccomp() -> bool:
    machine = platform.machine()
    if machine not in _FORBIDDEN:
        return False
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _program(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    return not _LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0)


_Instruction = tuple[int, int, int, int]
_REFUSE: _Instruction = (_RETURN, 0, 0, _ERRNO | _EPERM)
_PASS: _Instruction = (_RETURN, 0, 0, _ALLOW)


def _program(machine: str, own: int) -> Iterable[_Instruction]:
    """BPF instructions (opcode, skip if true, skip if false, operand): allow threads and signals to itself, refuse the
    forbidden calls."""
    yield _LOAD, 0, 0, _ARCH
    yield _IF_EQUAL, 1, 0, _AUDIT_ARCH[machine]
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    if machine == "x86_64":
        yield _IF_AT_LEAST, 0, 1, _X32
        yield _REFUSE
    for number in (*_FORBIDDEN[machine], *_FORBIDDEN_ANYWHERE):
        yield from _rule(number, _REFUSE)
    yield from _rule(
        _CLONE3, (_RETURN, 0, 0, _ERRNO | _ENOSYS)
    )  # its flags are behind a pointer; the C library falls back to clone
    yield from _rule(_CLONE[machine], _argument(0), (_IF_ANY_BIT, 1, 0, _CLONE_THREAD), _REFUSE, _PASS)
    for number in _OWN_SIGNALS[machine]:
        yield from _rule(number, _argument(0), (_IF_EQUAL, 1, 0, own), _REFUSE, _PASS)
    yield from _rule(_PRLIMIT[machine], _argument(0), (_IF_EQUAL, 1, 0, 0), _REFUSE, _PASS)  # 0: the caller
    commands = [instruction for each in _SIGNALS_BY_DESCRIPTOR for instruction in ((_IF_EQUAL, 0, 1, each), _REFUSE)]
    yield from _rule(_FCNTL[machine], _argument(1), *commands, _PASS)
    yield from _rule(_MMAP[machine], *_mapping())
    yield _PASS


def _rule(number: int, *instructions: _Instruction) -> Iterable[_Instruction]:
    """Instructions for one system call. They must end in a return, since the accumulator no longer holds the number."""
    yield _IF_EQUAL, 0, len(instructions), number
    yield from instructions


def _argument(index: int) -> _Instruction:
    return _LOAD, 0, 0, _ARGUMENTS + 8 * index


def _mapping() -> Iterable[_Instruction]:
    """mmap without memory that RLIMIT_DATA does not count: shared mappings except read-only files, and
    MAP_GROWSDOWN."""
    yield _argument(3)  # flags
    yield _IF_ANY_BIT, 0, 1, _MAP_GROWSDOWN
    yield _REFUSE
    yield _IF_ANY_BIT, 1, 0, _MAP_SHARED
    yield _PASS
    yield _IF_ANY_BIT, 0, 1, _MAP_ANONYMOUS
    yield _REFUSE
    yield _argument(2)  # protection
    yield _IF_ANY_BIT, 0, 1, _PROT_WRITE
    yield _REFUSE
    yield _PASS
