"""Reads files that nobody vouches for; writes complete files or none: under a temporary name, then renamed.

Also the files and folders that one process holds.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from hwprof.errors import EnvironmentUnfitError, HwprofError, InputError, one_line

# Raised by readers when content is not what they expect: a list for a dict, a missing key, 10^400 as a float.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, EOFError, csv.Error)
_MOST_BYTES = 1 << 28
_MOST_TOML_BYTES = 1 << 20
# The reader of TOML takes quadratic time for a key of many parts (a.a.a.a).
_MOST_KEY_PARTS = 32
_DEEP_KEY = re.compile(rf"""(?<![\w"'-])(?:[\w"'-]++\s*+\.\s*+){{{_MOST_KEY_PARTS}}}""")
_FOLDER_PREFIX = "hwprof-run-"
_ATTEMPTS = 3  # another process that cleans up may take a new file before it is locked


@contextmanager
def reading(subject: str) -> Iterator[None]:
    """Names a file in the errors about its content, whatever its reader raises. subject: "latency table PATH".

    The reader must not call anything that can fail for another reason than the content.
    """
    try:
        yield
    except InputError as error:
        text = one_line(error)
        raise InputError(text if subject in text else f"{subject}: {text}") from None
    except HwprofError:
        raise
    except RecursionError:
        raise InputError(f"{subject}: it is nested too deep") from None
    except MemoryError:
        raise EnvironmentUnfitError(
            f"{subject}: it takes more memory to read it than there is, or than a file may take"
        ) from None
    except OSError as error:
        raise InputError(f"{subject}: {error.strerror or one_line(error)}") from None
    except _MALFORMED as error:
        raise InputError(f"{subject}: it is damaged: {one_line(error) or type(error).__name__}") from None


def read_bytes(path: Path, subject: str, most_bytes: int = _MOST_BYTES) -> bytes:
    """Raises InputError for a file that cannot be read, is not a regular one (which may never end) or is too large."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{subject}: it is not a regular file")
        if facts.st_size > most_bytes:
            raise InputError(f"{subject}: it has {facts.st_size >> 20:,} MB; at most {most_bytes >> 20:,} MB are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{subject}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{subject}: {getattr(error, 'strerror', None) or error}") from None


def read_text(path: Path, subject: str, most_bytes: int = _MOST_BYTES) -> str:
    """Reads UTF-8 as `read_bytes` does."""
    with reading(subject):
        return read_bytes(path, subject, most_bytes).decode()


def json_value(text: str | bytes, subject: str) -> Any:
    """The value of a JSON text. Raises InputError for another text, also for one that is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{subject}: it is nested too deep") from None
    except ValueError as error:
        raise InputError(f"{subject}: it is not JSON: {error}") from None


def toml_table(path: Path, subject: str) -> dict[str, Any]:
    """The content of a TOML file. Raises InputError for another one."""
    text = read_text(path, subject, _MOST_TOML_BYTES)
    if _DEEP_KEY.search(text):
        raise InputError(f"{subject}: it has a key of more than {_MOST_KEY_PARTS} parts")
    with reading(subject):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{subject}: {error}") from None


def path_below(folder: Path, name: str) -> Path:
    """The place of a file that another machine named. Raises InputError for one outside of the folder."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise InputError(f"there is a file {name!r} outside its folder")
    return folder / relative


def require_writable(path: Path) -> None:
    """Raises EnvironmentUnfitError where `write_bytes` could not write: before the work that it would lose."""
    if path.is_dir():
        reason = errno.EISDIR
    elif not path.parent.is_dir():
        reason = errno.ENOTDIR if path.parent.exists() else errno.ENOENT
    elif not os.access(path.parent, os.W_OK):
        reason = errno.EROFS if os.statvfs(path.parent).f_flag & os.ST_RDONLY else errno.EACCES
    else:
        return
    raise EnvironmentUnfitError(f"cannot write {str(path)!r}: {os.strerror(reason)}")


def write_bytes(path: Path, content: bytes) -> None:
    """Raises EnvironmentUnfitError when the file cannot be written; an existing file is then unchanged."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            mask = os.umask(0)
            os.umask(mask)
            Path(temporary).chmod(0o666 & ~mask)  # mkstemp creates private files; these follow the umask
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentUnfitError(f"cannot write {str(path)!r}: {error.strerror}") from None


def write_text(path: Path, content: str) -> None:
    """Writes text in UTF-8 as `write_bytes` does."""
    write_bytes(path, content.encode())


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new, private folder that is removed with all its files at the end of the context.

    Where this process is killed before that, the next one that makes a temporary folder removes it.
    """
    parent = Path(tempfile.gettempdir())
    for abandoned in _owned(parent.glob(f"{_FOLDER_PREFIX}*")):
        remove_unlocked(abandoned)
    try:
        folder, lock = _new_locked_folder(parent)
    except OSError as error:
        raise EnvironmentUnfitError(f"cannot make a folder in {str(parent)!r}: {error.strerror}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def lock(path: Path) -> int | None:
    """Marks an existing file or folder as in use. Returns the descriptor that holds the lock until it is closed.

    The kernel releases the lock when the process ends, however that ends, and other containers on this machine see
    it. None when another process holds the lock, the path is gone, or its file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):  # nobody removed it before it was locked
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def new_locked_file(prefix: Path) -> tuple[Path, int | None]:
    """A new empty file whose name begins with `prefix`, and its lock (as `lock`). Raises OSError."""
    for _ in range(_ATTEMPTS):
        path = Path(f"{prefix}{os.urandom(8).hex()}")
        path.touch(exist_ok=False)
        if (held := lock(path)) is not None:
            return path, held
        path.unlink(missing_ok=True)
    path.touch()
    return path, None  # a file system without locks


def remove_unlocked(path: Path) -> bool:
    """Removes a file or folder unless a living process has locked it. Returns whether nobody uses it any more."""
    held = lock(path)
    if held is None:
        return not path.exists()
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.close(held)
    return True


def _new_locked_folder(parent: Path) -> tuple[Path, int | None]:
    for _ in range(_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent))
        if (held := lock(folder)) is not None:
            return folder, held
        shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent)), None


def _owned(paths: Iterator[Path]) -> Iterator[Path]:
    """The paths that belong to this user; other users remove their own."""
    for path in paths:
        with suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                yield path
