"""The keys of a fleet: an authority that signs one certificate for each role, and the test that both sides have them.

2026-11-29, why the library `cryptography`. Python's `ssl` uses certificates but cannot make them. The program `openssl`
can, but a user's machine may lack it, and its options differ between OpenSSL and LibreSSL. Only `hwprof fleet init`
imports the library, so that boards do not need it.
"""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from hwprof import plugins
from hwprof.errors import EnvironmentUnfitError, InputError, one_line

AUTHORITY = "ca"
ROLE_DAYS = 365
_AUTHORITY_DAYS = 3650
_CLOCKS = timedelta(hours=1)
_ANSWER_S = 2.0
_RENEW = "hwprof fleet init --renew makes new ones"


class Role(StrEnum):
    """A part of a fleet with a certificate of its own, so that its key is on no other machine."""

    DRIVER = "driver"
    SCHEDULER = "scheduler"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Three files: the authority's certificate, and a role's certificate and key."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path, role: Role) -> Credentials:
        """Raises InputError where a file is missing."""
        found = cls(folder / f"{AUTHORITY}.pem", folder / f"{role}.pem", folder / f"{role}-key.pem")
        for path in (found.authority, found.certificate, found.key):
            if not path.is_file():
                raise InputError(
                    f"the fleet's {path.name} is missing in {str(folder)!r}; copy it from the machine on which "
                    "`hwprof fleet init` made it"
                )
        return found

    def context(self) -> ssl.SSLContext:
        """For a connection to another part of the fleet. Raises InputError for files that are not keys."""
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.authority))
            context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise InputError(f"cannot use the fleet's keys in {str(self.key.parent)!r}: {one_line(error)}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # boards are known by addresses that change
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def require_access(host: str, port: int, keys: Credentials, limit_s: float = _ANSWER_S) -> None:
    """Raises EnvironmentUnfitError where the scheduler does not take these keys or these keys do not vouch for the
    scheduler; ConnectionError where nobody listens there or it does not answer in time."""
    context, place = keys.context(), f"{host}:{port}"
    try:
        with socket.create_connection((host, port), limit_s) as plain:
            plain.settimeout(limit_s)
            with context.wrap_socket(plain) as secured:
                if not secured.recv(1):  # a scheduler that refuses us says so only now
                    raise ConnectionResetError("it closed the connection")
    except ssl.SSLCertVerificationError as error:
        raise EnvironmentUnfitError(
            f"{place} has a certificate that this fleet's authority does not vouch for: {error.verify_message}"
        ) from None
    except ssl.SSLError as error:
        raise EnvironmentUnfitError(
            f"{place} refused this certificate, or is not a fleet's scheduler ({_reason(error)}); use the keys of its "
            f"fleet, and where they have expired {_RENEW}"
        ) from None
    except OSError as error:
        raise ConnectionError(f"the fleet's scheduler at {place} does not answer: {one_line(error)}") from None


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or one_line(error)).lower().replace("_", " ")


def make(folder: Path, name: str, renew: bool = False, role_days: int = ROLE_DAYS) -> list[Path]:
    """Makes the authority, where there is none yet, and a key and certificate for each role. Returns the files, which
    only their owner can read.

    Raises InputError where the roles have certificates and `renew` does not ask for new ones.
    """
    if not renew and any((folder / f"{role}.pem").exists() for role in Role):
        raise InputError(f"{str(folder)!r} holds the keys of a fleet; {_RENEW}")
    with plugins.optional_library("hwprof fleet init"):
        from hwprof.fleet.signing import Authority
    start = datetime.now(UTC) - _CLOCKS  # the boards' clocks differ
    key_file, file = folder / f"{AUTHORITY}-key.pem", folder / f"{AUTHORITY}.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if key_file.exists():
            authority = Authority.read(key_file.read_bytes(), file.read_bytes())
        else:
            authority = Authority.make(f"hwprof fleet {name}", start, start + timedelta(days=_AUTHORITY_DAYS))
            _write_pair(key_file, file, authority.texts())
        for role in Role:
            signed = authority.signed(f"hwprof fleet {name}: {role}", start, start + timedelta(days=role_days))
            _write_pair(folder / f"{role}-key.pem", folder / f"{role}.pem", signed)
    except OSError as error:
        raise EnvironmentUnfitError(f"cannot keep keys in {str(folder)!r}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"cannot read the authority {str(file)!r}: {one_line(error)}") from None
    return [folder / f"{part}{end}.pem" for part in (AUTHORITY, *Role) for end in ("", "-key")]


def _write_pair(key_file: Path, certificate_file: Path, texts: tuple[bytes, bytes]) -> None:
    for path, text in zip((key_file, certificate_file), texts, strict=True):
        path.unlink(missing_ok=True)  # its old mode, too
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(text)
