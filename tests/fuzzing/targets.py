"""What is fuzzed: functions of bytes that raise when netlayer has done what it never may.

Each target lets one reader take the bytes, and allows what that reader may do with bytes of others: ignore them, refuse
them by its named error, or take them within its limits. Anything else, any other exception above all, is a finding.
"""

from __future__ import annotations

import json
import random
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import attrs
from cryptography import x509

from netlayer.config import Settings
from netlayer.errors import ConfigurationError, LinkLost, Rejected, RemoteProtocolError
from netlayer.handlers import DataPacket
from netlayer.sansio.bootstrap.registry import Registry
from netlayer.sansio.link.connection import Connection
from netlayer.sansio.link.events import Closed
from netlayer.sansio.link.states import State
from netlayer.sansio.trust.succession import Succession, Successions, former_fingerprints
from netlayer.sansio.trust.tickets import key_fingerprint
from netlayer.storage.admission import Admission, AllowList, read_secrets
from netlayer.storage.certificate import certificate_succession
from netlayer.storage.identity import Identity
from netlayer.wire.frames import MAX_HANDSHAKE_FRAME, FrameDecoder
from netlayer.wire.messages import Goodbye, Peers, Pong, Record, Register, Registered, Reject, decode_message
from tests.sansio.pair import BINDING, LARGE, SMALL, Pair, local_node

__all__ = ["TARGETS", "corpus"]

VECTORS = Path(__file__).parents[1] / "vectors"
#: Small limits, so that they are met.
SETTINGS = Settings(
    window=64 * 1024,
    max_packet=64 * 1024,
    reassembly_limit=64 * 1024,
    buffer_size=1024,
    queue_limit=64 * 1024,
    node_queue_limit=64 * 1024,
)
SECRETS = Admission.from_options("default", secret="a secret of the network").secrets
#: What a connection may hold besides the bytes of one whole frame.
SLACK = 64

#: Why a connection may end because of what the other end says.
REASONS = (RemoteProtocolError, Rejected, LinkLost)
_VERIFIER = Identity.generate()
_DIRECTORY = Path(tempfile.mkdtemp(prefix="netlayer-fuzzing-"))


def chunks(data: bytes) -> Iterator[bytes]:
    """Cut bytes into pieces whose sizes come from the bytes themselves."""
    small = data[0] % 7 if data else 0
    size = 3**small if small else max(1, len(data))
    for start in range(1, len(data), size):
        yield data[start : start + size]


def before_admission(data: bytes) -> None:
    """A stranger at a node with a secret: whatever it says, it gets a REJECT at most, and is never believed."""
    dialed = bool(data[:1]) and data[0] & 0x80 != 0
    local = local_node(1, SETTINGS, fingerprint=LARGE, boot=1, secrets=SECRETS)
    connection = Connection(local=local, settings=SETTINGS, dialed=dialed, now=0.0)
    events = connection.secured(SMALL, None, BINDING)
    hello = connection.data_to_send(0.0)
    assert dialed == bool(hello)
    for chunk in chunks(data):
        events += connection.receive_data(chunk, 1.0)
        assert connection._frames.waiting <= MAX_HANDSHAKE_FRAME + len(chunk) + SLACK, "more is held than a frame"
    for event in events:
        assert isinstance(event, Closed), f"a stranger has caused {event!r}"
        assert isinstance(event.reason, REASONS), f"an end by {event.reason!r}"
    assert connection.state is not State.JUDGING, "a stranger was introduced"
    said = connection.data_to_send(1.0)
    decoder = FrameDecoder()
    decoder.feed(said)
    while (frame := decoder.next_frame()) is not None:
        assert isinstance(decode_message(*frame), Reject), f"a stranger was told {said!r}"


def after_admission(data: bytes) -> None:
    """A linked peer: whatever it says, only packets, news and the end of the link come of it, within all limits."""
    pair = Pair(SETTINGS, dialer_selects=bool(data[:1]) and data[0] & 0x40 != 0, roles=("bootstrap", "peer")).link()
    side = pair.listener
    side.handles = bool(data[:1]) and data[0] & 0x20 != 0
    side.send(b"one in flight")
    side.said()
    side.events.clear()
    connection, load = side.connection, side.load
    for chunk in chunks(data):
        side.receive(chunk)
        side.said()
        assert load.reassembling <= SETTINGS.reassembly_limit
        assert connection._frames.waiting <= connection.local.max_frame + SLACK + len(chunk)
        incoming = side.delivery.session.incoming if side.delivery.session is not None else None
        most = 2 * SETTINGS.window + SETTINGS.max_packet + 512
        assert incoming is None or incoming.unreceipted <= most, "more is held than two windows and a packet"
    for event in side.events:
        if isinstance(event, Closed):
            assert isinstance(event.reason, REASONS), f"an end by {event.reason!r}"
        else:
            assert isinstance(event, (DataPacket, Goodbye, Pong, Register, Registered, Peers)), event
    side.wait(200.0)
    assert side.closed is not None, "a silent peer is never given up"


def files(data: bytes) -> None:
    """Files that were damaged: they are read, or refused by an error that says so."""
    path = _DIRECTORY / "file"
    path.write_bytes(data[1:])
    path.chmod(0o600)
    readers: tuple[Callable[[], object], ...] = (
        lambda: Identity.load_or_create(path),
        lambda: AllowList(path).allows(1, SMALL),
        lambda: Admission.from_options("default", secret=None) and read_secrets(path),
    )
    try:
        readers[data[0] % len(readers) if data else 0]()
    except ConfigurationError as error:
        assert str(error)


def records(data: bytes) -> None:
    """Records that a hostile bootstrap node or member tells of: listed and sampled within all limits, or refused."""
    registry = Registry(settings=SETTINGS, rng=random.Random(1))
    try:
        message = decode_message(data[0] if data else 0, data[1:])
    except RemoteProtocolError:
        return
    told: tuple[Record, ...] = getattr(message, "records", ())
    assert len(told) <= 64
    for record in told:
        registry.register(record)
    assert len(registry.records()) <= len(told)
    for local in (False, True):
        sample = registry.sample(64, but=1, local=local)
        assert all(record.node_id != 1 for record in sample)
        assert local or not any(_is_home(address.host) for record in sample for address in record.addresses)
    for record in told:
        registry.link_lost(record.fingerprint, 1.0)
    registry.deadline_reached(1e6)
    assert registry.records() == []


def _is_home(host: str) -> bool:
    """Tell whether the operating system takes a host, unless it is a name, for an address of the machine itself."""
    try:
        found = socket.getaddrinfo(host.encode(), None, family=socket.AF_INET, flags=socket.AI_NUMERICHOST)
    except OSError:
        return host in ("::", "::1", "localhost")
    address = found[0][4][0]
    return address.startswith("127.") or address == "0.0.0.0"


def certificates(data: bytes) -> None:
    """What a certificate tells of former keys: what these have signed, as in the vector, or a named error."""
    key, formers = _replaced()
    if data[:1] == b"\0":
        shown: Succession | None = Succession(key, data[1:])
    else:
        try:
            certificate = x509.load_der_x509_certificate(data[1:])
            certificate.public_key()
        except Exception:  # as where TLS has proven a key, any error there is that this is none
            return
        shown = certificate_succession(certificate)
    if shown is None:
        return
    try:
        found = former_fingerprints(shown, _VERIFIER)
    except RemoteProtocolError:
        return
    assert (shown.key, found) == (key, formers), f"a succession that nobody has signed: {found}"
    successions = Successions()
    assert successions.learn((*found, key_fingerprint(key)))
    assert successions.formers(key_fingerprint(key)) == formers


@cache
def _replaced() -> tuple[bytes, tuple[bytes, ...]]:
    """Return the key of the vector, and the fingerprints of those before it."""
    said = json.loads((VECTORS / "succession.json").read_text())
    return bytes.fromhex(said["key"]), (bytes.fromhex(said["former_fingerprint"]),)


@attrs.frozen
class Target:
    """A function to fuzz, and the vectors whose bytes are a good start for it.

    :ivar prefixed: whether the first byte is a message type, with the body alone behind it.
    """

    check: Callable[[bytes], None]
    vectors: tuple[str, ...]
    prefixed: bool = False


_LINKED = ("data", "data_part", "ack", "done", "nack", "ping", "goodbye", "registered", "peers", "select", "reject")
TARGETS = {
    "before-admission": Target(before_admission, ("hello", "welcome", "reject", "frames")),
    "after-admission": Target(after_admission, _LINKED),
    "files": Target(files, ()),
    "records": Target(records, ("peers", "registered", "register"), prefixed=True),
    "certificates": Target(certificates, ()),
}


def corpus(name: str) -> list[bytes]:
    """Return the inputs that fuzzing of a target begins with."""
    target = TARGETS[name]
    if target.check is certificates:
        said = json.loads((VECTORS / "succession.json").read_text())
        return [b"\0" + bytes.fromhex(said["extension"]), b"\1" + bytes.fromhex(said["certificate"])]
    if not target.vectors:
        key = Identity.load_or_create(_DIRECTORY / "identity.pem")
        assert not key.ephemeral
        listed = f"1 sha256:{SMALL.hex()}\n".encode()
        return [b"\0" + (_DIRECTORY / "identity.pem").read_bytes(), b"\1" + listed, b"\2" + b"a secret of it\n" * 2]
    found = []
    for vector in target.vectors:
        for entry in json.loads((VECTORS / f"{vector}.json").read_text())["vectors"]:
            frame = bytes.fromhex("".join(piece[0] for piece in entry["bytes"]))
            found.append(frame[4:] if target.prefixed else b"\0" + frame)
    return found
