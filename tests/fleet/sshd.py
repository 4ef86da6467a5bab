"""OpenSSH's server on the loopback interface, as the user who runs the tests: with keys and a port of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fleet.chaos import free_port

_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_LIMIT_S = 20.0


class NoServerError(Exception):
    """There is no server here, or it does not start; says why."""


@dataclass
class Sshd:
    """A context manager. `folder` then holds a program `ssh` that knows the server's port and keys: a user has them in
    ~/.ssh/config."""

    folder: Path
    host: str = field(default_factory=lambda: f"{getpass.getuser()}@127.0.0.1")

    def __enter__(self):
        server, client = shutil.which("sshd", path=_PLACES), shutil.which("ssh")
        if server is None or client is None:
            raise NoServerError("there is no OpenSSH server here; install openssh-server")
        self._make_keys()
        self.port = free_port()
        (self.folder / "sshd_config").write_text(self._settings())
        program = self.folder / "ssh"
        program.write_text(f'#!/bin/sh\nexec {client} -F {self.folder}/ssh_config "$@"\n')
        program.chmod(0o755)
        (self.folder / "ssh_config").write_text(
            f"Port {self.port}\nIdentityFile {self.folder}/user\nIdentitiesOnly yes\nStrictHostKeyChecking yes\n"
            f"UserKnownHostsFile {self.folder}/known_hosts\n"
        )
        host_key = (self.folder / "host.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        self.log = (self.folder / "sshd.log").open("w+")
        self.process = subprocess.Popen(
            [server, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=self.log, stdin=subprocess.DEVNULL
        )
        try:
            self._await_start()
        except NoServerError:
            self.__exit__()
            raise
        return self

    def _make_keys(self) -> None:
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized_keys")

    def _settings(self) -> str:
        return (
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nPasswordAuthentication no\nStrictModes no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        )

    def _await_start(self) -> None:
        end = time.monotonic() + _LIMIT_S
        while self.process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.log.seek(0)
        raise NoServerError(f"the OpenSSH server does not start: {self.log.read().strip() or 'it does not say why'}")

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()
