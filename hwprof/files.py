"""Writes complete files or none: under a temporary name, then renamed. Files and folders that one process holds."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hwprof.errors import EnvironmentUnfitError

_FOLDER_PREFIX = "hwprof-run-"
_ATTEMPTS = 3  # another process that cleans up may take a new file before it is locked


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
    it. None when another process holds the lock, the path is gone, or its file system knows no locks.
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
    """Those that belong to this user: what others left is theirs to remove."""
    for path in paths:
        with suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                yield path
