"""What a fleet's ports answer to whoever has no certificate of it: nothing, within two seconds."""

import shutil
import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from distributed import Client

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.fleet import certificates
from hwprof.fleet.certificates import Credentials, Role, require_access
from tests.fleet.loopback import Loopback, plan_of
from tests.measure.scripted import ScriptedTransport

LIMIT_S = 10.0  # a refusal takes 0.1 s; the machine may be busy


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A scheduler and an agent; their keys are in `keys`."""
    plan = plan_of(tmp_path_factory.mktemp("fleet"), ["a"])
    with Loopback(plan, {"a": ScriptedTransport()}) as loopback:
        while not loopback.scheduler.workers:
            time.sleep(0.05)
        yield loopback


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """The keys of another fleet."""
    folder = tmp_path_factory.mktemp("foreign")
    certificates.make(folder / "keys", "other")
    return folder / "keys"


def ports() -> list[int]:
    """Every port at which this process listens."""
    connections = psutil.Process().net_connections("tcp")
    return [c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN]


def answer_to(port: int, message: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """The bytes that the port sends back before it closes; none for a refusal."""
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", port), LIMIT_S))
            if context:
                stream = stack.enter_context(context.wrap_socket(stream))
            stream.sendall(message)
            return stream.recv(1000)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_keys_are_for_their_owner_alone(tmp_path: Path):
    files = certificates.make(tmp_path / "keys", "mine")
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert {path.name for path in files} == {path.name for path in (tmp_path / "keys").iterdir()}


def test_keys_are_not_replaced_unless_asked_and_then_by_the_same_authority(tmp_path: Path):
    folder = tmp_path / "keys"
    certificates.make(folder, "mine")
    authority, agent = (folder / "ca.pem").read_bytes(), (folder / "agent.pem").read_bytes()
    with pytest.raises(InputError, match="--renew makes new ones"):
        certificates.make(folder, "mine")
    certificates.make(folder, "mine", renew=True)
    assert (folder / "ca.pem").read_bytes() == authority
    assert (folder / "agent.pem").read_bytes() != agent


def test_a_missing_key_is_named(tmp_path: Path):
    certificates.make(tmp_path, "mine")
    (tmp_path / "agent-key.pem").unlink()
    with pytest.raises(InputError, match=r"agent-key\.pem is missing"):
        Credentials.of(tmp_path, Role.AGENT)


def test_each_role_of_the_fleet_is_let_in(fleet):
    for role in Role:
        require_access(*fleet.plan.host_and_port, Credentials.of(fleet.plan.keys, role))


def test_no_port_answers_plain_bytes(fleet):
    assert len(ports()) >= 2  # the scheduler's and the agent's
    for port in ports():
        assert answer_to(port, b"GET /json/identity.json HTTP/1.0\r\n\r\n") in (b"", b"\x15\x03\x01\x00\x02\x02F")


def test_no_port_answers_without_a_certificate(fleet):
    context = ssl.create_default_context(cafile=str(fleet.plan.keys / "ca.pem"))
    context.check_hostname = False
    for port in ports():
        assert answer_to(port, b"GET / HTTP/1.0\r\n\r\n", context) == b""


def test_no_port_answers_a_foreign_certificate(fleet, foreign: Path):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(foreign / "driver.pem", foreign / "driver-key.pem")
    for port in ports():
        assert answer_to(port, b"x", context) == b""


def test_no_port_speaks_tls_before_1_2(fleet):
    context = Credentials.of(fleet.plan.keys, Role.DRIVER).context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    for bound in ("minimum_version", "maximum_version"):
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            setattr(context, bound, ssl.TLSVersion.TLSv1_1)
    for port in ports():
        assert answer_to(port, b"x", context) == b""


def test_a_driver_with_keys_of_another_fleet_is_told_in_one_line(fleet, foreign: Path):
    with pytest.raises(EnvironmentUnfitError, match="this fleet's authority does not vouch for") as raised:
        require_access(*fleet.plan.host_and_port, Credentials.of(foreign, Role.DRIVER))
    assert "\n" not in str(raised.value)


def test_a_driver_whose_certificate_has_expired_is_told_in_one_line(fleet, tmp_path: Path):
    shutil.copytree(fleet.plan.keys, tmp_path / "keys")
    certificates.make(tmp_path / "keys", "test", renew=True, role_days=0)
    with pytest.raises(EnvironmentUnfitError, match=r"certificate expired.*--renew makes new ones"):
        require_access(*fleet.plan.host_and_port, Credentials.of(tmp_path / "keys", Role.DRIVER))


def test_a_certificate_of_the_fleets_name_that_the_authority_did_not_sign_is_refused(fleet, foreign: Path, tmp_path):
    """The right authority's certificate is public; only its key makes others."""
    shutil.copytree(foreign, tmp_path / "keys")
    shutil.copy(fleet.plan.keys / "ca.pem", tmp_path / "keys" / "ca.pem")
    with pytest.raises(EnvironmentUnfitError, match="refused this certificate"):
        require_access(*fleet.plan.host_and_port, Credentials.of(tmp_path / "keys", Role.DRIVER))


def test_a_place_where_nobody_listens_is_a_connection_error(fleet):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionError, match="does not answer"):
            require_access("127.0.0.1", unused.getsockname()[1], Credentials.of(fleet.plan.keys, Role.DRIVER))


def test_dask_itself_connects_to_nothing_without_encryption(fleet):
    host, port = fleet.plan.host_and_port
    with pytest.raises((OSError, RuntimeError)):
        Client(f"tcp://{host}:{port}", timeout=1, set_as_default=False)


def test_what_signs_with_a_damaged_key_is_one_line(tmp_path: Path):
    certificates.make(tmp_path, "mine")
    (tmp_path / "ca-key.pem").write_text("nonsense")
    with pytest.raises(InputError, match="cannot read the authority"):
        certificates.make(tmp_path, "mine", renew=True)
