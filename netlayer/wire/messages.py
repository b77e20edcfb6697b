"""The messages of wire version 1: their numbers, their fields, and their bytes.

Control messages are MessagePack arrays. A shorter array than expected is filled up with defaults and a longer one
tolerated, so fields are only ever appended; type numbers are never used twice. PING, PONG, DATA and DATA_PART are raw.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct as Packing
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from netlayer.errors import RemoteProtocolError, shown
from netlayer.wire.frames import encode_frame

__all__ = [
    "DATA_HEADER_SIZE",
    "FINAL_CODES",
    "FIRST_OPTIONAL_TYPE",
    "MAX_FEATURES",
    "MAX_RECORDS",
    "MAX_REFERRALS",
    "MAX_REFERRAL_ADDRESSES",
    "MAX_TEXT",
    "MAX_UNANNOUNCED",
    "MIN_MAX_FRAME",
    "MIN_MAX_PACKET",
    "MIN_PART",
    "MIN_WINDOW",
    "VERSION",
    "Ack",
    "Announce",
    "Arriving",
    "Done",
    "Feature",
    "Flag",
    "Go",
    "Goodbye",
    "GoodbyeCode",
    "Hello",
    "Links",
    "Message",
    "MessageType",
    "Nack",
    "NetAddress",
    "Peers",
    "Ping",
    "Pong",
    "Record",
    "Referral",
    "Register",
    "Registered",
    "Reject",
    "RejectCode",
    "Role",
    "Select",
    "Selected",
    "Ticket",
    "Welcome",
    "decode_message",
    "encode_data",
    "encode_message",
    "encode_ticket_statement",
]

#: The one version of the wire that exists.
VERSION = 1

#: Message types from here on may be skipped by who does not know them; below, an unknown type is an error.
FIRST_OPTIONAL_TYPE = 128

#: Characters of a text that explains something to people.
MAX_TEXT = 200

#: Records in one message at most. With eight literal addresses and a P-256 ticket each they fit the smallest frame;
#: with long host names they may not, and then their sender takes fewer.
MAX_RECORDS = 64

#: Features that one introduction tells of at most, so that it fits its frame with every field full.
MAX_FEATURES = 32

#: Peers that one refusal refers to at most, and the addresses of each.
MAX_REFERRALS, MAX_REFERRAL_ADDRESSES = 8, 3

#: The least that a node may announce: a frame of 64 KiB of payload, so that every control message fits one.
MIN_MAX_FRAME = 65536 + 3
#: The least that a node may announce; a sender can always begin a packet when nothing is in flight.
MIN_WINDOW = 65536
#: The least that a node may announce.
MIN_MAX_PACKET = 1024

#: The largest packet in parts, in payload bytes, that may come without being announced.
MAX_UNANNOUNCED = 262144

#: Payload bytes of a DATA_PART at least, so that parts can't cost their receiver more than they carry.
MIN_PART = 1024


class MessageType(IntEnum):
    """Type numbers, append-only: 1–15 the connection, 16–31 packets, 32–47 bootstraps, from 128 on what is optional."""

    HELLO = 1
    WELCOME = 2
    REJECT = 3
    SELECT = 4
    SELECTED = 5
    PING = 6
    PONG = 7
    GOODBYE = 8
    DATA = 16
    DATA_PART = 17
    ACK = 18
    DONE = 19
    NACK = 20
    REGISTER = 32
    REGISTERED = 33
    PEERS = 34
    ARRIVING = 128
    ANNOUNCE = 129
    GO = 130
    LINKS = 131


class Flag(IntEnum):
    """Bits of the first byte of DATA and DATA_PART; unknown bits are an error."""

    BROADCAST = 1
    REDELIVERED = 2
    RECEIPT_NOW = 4


class Feature:
    """What a node may speak beyond version 1. Names that are not known mean nothing."""

    ANNOUNCE = "announce"


class RejectCode:
    """Why a connection is refused. A dialer treats a code that it does not know like ``not-ready``."""

    VERSION = "version"
    NETWORK = "network"
    BAD_SECRET = "bad-secret"
    NOT_ALLOWED = "not-allowed"
    BANNED = "banned"
    ID_TAKEN = "id-taken"
    DUPLICATE = "duplicate"
    FULL = "full"
    SHUTTING_DOWN = "shutting-down"
    NOT_READY = "not-ready"
    SELF = "self"
    PROTOCOL_VIOLATION = "protocol-violation"


class GoodbyeCode:
    """Why a link ends, if that makes a difference to the other end."""

    SHUTDOWN = "shutdown"
    DISCONNECT = "disconnect"
    ROOM = "room"  # the link ends, and not the session


#: Refusals that another try will not change soon.
FINAL_CODES = frozenset(
    {
        RejectCode.VERSION,
        RejectCode.NETWORK,
        RejectCode.BAD_SECRET,
        RejectCode.NOT_ALLOWED,
        RejectCode.BANNED,
        RejectCode.ID_TAKEN,
    }
)

Role: TypeAlias = Literal["peer", "bootstrap"]

# A MessagePack integer ends at 2^64 − 1 by itself; only the lower bound has to be said.
_U64 = Annotated[int, Meta(ge=0)]
# A stream that is said to begin near 2^64 could be counted past it.
_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_NodeId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
_Seconds = Annotated[float, Meta(ge=0, le=1e9)]
_Port = Annotated[int, Meta(ge=1, le=65535)]
# Hosts and codes are shown to people and dialed: nothing in them may look like something else.
_Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[!-~]+\Z")]
_Code = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9-]+\Z")]
_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Network = Annotated[str, Meta(min_length=1, max_length=64)]
_Fingerprint = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Window = Annotated[int, Meta(ge=MIN_WINDOW, le=2**31)]
_FrameLimit = Annotated[int, Meta(ge=MIN_MAX_FRAME, le=2**31)]
_PacketLimit = Annotated[int, Meta(ge=MIN_MAX_PACKET, le=2**31)]
_Proof = Annotated[bytes, Meta(max_length=64)]
_PublicKey = Annotated[bytes, Meta(max_length=256)]
_Feature = Annotated[str, Meta(min_length=1, max_length=16, pattern=r"^[a-z0-9-]+\Z")]
_Features = Annotated[tuple[_Feature, ...], Meta(max_length=MAX_FEATURES)]


class NetAddress(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A host and a port at which somebody listens, or was seen."""

    host: _Host
    port: _Port


_Addresses = Annotated[tuple[NetAddress, ...], Meta(max_length=8)]


class Ticket(msgspec.Struct, array_like=True, frozen=True):
    """A bootstrap's signed statement that `fingerprint` holds `node_id` in `network`.

    The signature is ECDSA over SHA-256 of the MessagePack array of the first six fields behind the bytes
    ``netlayer ticket 1`` and a NUL; times are seconds since 1970.
    """

    network: _Network
    node_id: _NodeId
    fingerprint: _Fingerprint
    ephemeral: bool
    issued: _U64
    expires: _U64
    signer: _PublicKey
    signature: Annotated[bytes, Meta(max_length=80)]


class Record(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a participant."""

    node_id: _NodeId
    fingerprint: _Fingerprint
    addresses: _Addresses
    boot: _U64
    ephemeral: bool
    ticket: Ticket | None = None


_Records = Annotated[tuple[Record, ...], Meta(max_length=MAX_RECORDS)]


class Referral(msgspec.Struct, array_like=True, frozen=True):
    """A peer that may have room, as a node tells of it that has none."""

    node_id: _NodeId
    fingerprint: _Fingerprint
    addresses: Annotated[tuple[NetAddress, ...], Meta(max_length=MAX_REFERRAL_ADDRESSES)]


_Referrals = Annotated[tuple[Referral, ...], Meta(max_length=MAX_REFERRALS)]


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """The dialer's first word: who it is and what it can do.

    :ivar features: what it speaks beyond version 1, by short names; the fields of :class:`Welcome` say the same.
    :ivar links: how many peers it is linked to, bootstraps left out; None if it does not tell. 0 asks to be let in.
    """

    version_min: _U32
    version_max: _U32
    network: _Network
    node_id: _NodeId
    role: Role
    boot: _U64
    ephemeral: bool
    window: _Window
    max_frame: _FrameLimit
    max_packet: _PacketLimit
    addresses: _Addresses = ()
    ticket: Ticket | None = None
    proof: _Proof = b""
    agent: _Text = ""
    features: _Features = ()
    links: _U32 | None = None


class Welcome(msgspec.Struct, array_like=True, frozen=True):
    """The listener's answer to a HELLO that it accepts."""

    version: _U32
    network: _Network
    node_id: _NodeId
    role: Role
    boot: _U64
    ephemeral: bool
    window: _Window
    max_frame: _FrameLimit
    max_packet: _PacketLimit
    addresses: _Addresses = ()
    ticket: Ticket | None = None
    observed: NetAddress | None = None
    proof: _Proof = b""
    agent: _Text = ""
    features: _Features = ()
    links: _U32 | None = None


class Reject(msgspec.Struct, array_like=True, frozen=True):
    """A refusal; the connection is closed behind it.

    :ivar referrals: peers that may have room, if this one has none.
    """

    code: _Code
    text: _Text = ""
    retry_after: _Seconds | None = None
    referrals: _Referrals = ()


class Select(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The arbiter makes this connection the link, and says where its streams stand.

    :ivar stream: the id of the sender's outgoing stream.
    :ivar first: the number of its first packet without a receipt.
    :ivar peer_stream: the id of the receiver's stream of which a whole packet has arrived, or 0.
    :ivar received: the last packet of it that arrived whole.
    :ivar receipted: the last of its own packets up to which the sender knows all receipts.
    """

    stream: _U64
    first: _Number
    peer_stream: _U64
    received: _Number
    receipted: _Number


class Selected(Select, array_like=True, frozen=True, gc=False):
    """The answer to SELECT, with the same fields as seen from the other end."""


class Ping(msgspec.Struct, frozen=True, gc=False):
    """Ask for a sign of life; the body is eight bytes that PONG repeats."""

    opaque: bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The answer to PING."""

    opaque: bytes


class Goodbye(msgspec.Struct, array_like=True, frozen=True):
    """No packet follows; what is in flight is still handled and receipted.

    :ivar retry_after: seconds after which another link makes sense, or None if nothing is said of that.
    """

    code: _Code
    text: _Text = ""
    retry_after: _Seconds | None = None


class Ack(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Every packet up to `through` was handled, or a NACK has said that it failed."""

    through: _Number


class Done(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Packet `number` was handled before an earlier one."""

    number: _Number


class Nack(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The handler of packet `number` failed."""

    number: _Number
    text: _Text = ""


class Register(msgspec.Struct, array_like=True, frozen=True):
    """A node asks a bootstrap to list it, and for records of others.

    :ivar wanted: how many records at most.
    """

    addresses: _Addresses
    ephemeral: bool
    wanted: _U32 = MAX_RECORDS


class Registered(msgspec.Struct, array_like=True, frozen=True):
    """The bootstrap's answer to REGISTER.

    :ivar lease: seconds that the id stays held after the link breaks.
    :ivar observed: the address that the node was seen from.
    :ivar vouched: public keys (DER) of other bootstraps whose tickets may be trusted.
    """

    lease: _Seconds
    observed: NetAddress | None = None
    ticket: Ticket | None = None
    vouched: Annotated[tuple[_PublicKey, ...], Meta(max_length=64)] = ()
    records: _Records = ()


class Peers(msgspec.Struct, array_like=True, frozen=True):
    """Records that were not asked for, such as newcomers."""

    records: _Records


class Arriving(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A packet is arriving, and not whole yet: a sign of life to a sender who has to wait for long.

    :ivar size: bytes of it that have come.
    """

    number: _Number
    size: _U64


class Announce(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The next packet is large: its parts wait for GO. Told only to a peer with the feature ``announce``.

    :ivar number: counts the announcements of a link, from 1.
    :ivar size: its payload bytes; 0 takes the announcement before this one back.
    """

    number: _Number
    size: _U64


class Go(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """There is room for the packet of announcement `number`."""

    number: _Number


class Links(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How many peers the sender is linked to now, bootstraps left out; who does not know it skips it."""

    links: _U32


Message: TypeAlias = (
    Hello
    | Welcome
    | Reject
    | Select
    | Selected
    | Ping
    | Pong
    | Goodbye
    | Ack
    | Done
    | Nack
    | Register
    | Registered
    | Peers
    | Arriving
    | Announce
    | Go
    | Links
)

_TYPES: dict[type[Message], MessageType] = {
    Hello: MessageType.HELLO,
    Welcome: MessageType.WELCOME,
    Reject: MessageType.REJECT,
    Select: MessageType.SELECT,
    Selected: MessageType.SELECTED,
    Ping: MessageType.PING,
    Pong: MessageType.PONG,
    Goodbye: MessageType.GOODBYE,
    Ack: MessageType.ACK,
    Done: MessageType.DONE,
    Nack: MessageType.NACK,
    Register: MessageType.REGISTER,
    Registered: MessageType.REGISTERED,
    Peers: MessageType.PEERS,
    Arriving: MessageType.ARRIVING,
    Announce: MessageType.ANNOUNCE,
    Go: MessageType.GO,
    Links: MessageType.LINKS,
}
_RAW: dict[int, type[Ping] | type[Pong]] = {MessageType.PING: Ping, MessageType.PONG: Pong}
# Members of an IntEnum are slow to find and to pack, and frames are many.
_NUMBERS = {message: int(kind) for message, kind in _TYPES.items()}
_encode = msgspec.msgpack.Encoder().encode
_decoders = {int(kind): msgspec.msgpack.Decoder(message) for message, kind in _TYPES.items() if kind not in _RAW}

_OPAQUE_SIZE = 8  # a counter or a time stamp fits


def encode_message(message: Message) -> bytes:
    """Return the frame of a control message."""
    body = message.opaque if isinstance(message, (Ping, Pong)) else _encode(message)
    return encode_frame(_NUMBERS[type(message)], body)


_TICKET_STATEMENT = b"netlayer ticket 1\0"


def encode_ticket_statement(ticket: Ticket) -> bytes:
    """Return what the signature of a ticket is about."""
    told = (ticket.network, ticket.node_id, ticket.fingerprint, ticket.ephemeral, ticket.issued, ticket.expires)
    return _TICKET_STATEMENT + _encode(told)


def decode_message(kind: int, body: bytes) -> Message | None:
    """Return the control message of type `kind`, or None if it is unknown and may be skipped.

    :raises RemoteProtocolError: when the type is unknown and may not be skipped, or the body malformed.
    """
    decoder = _decoders.get(kind)
    if decoder is not None:
        try:
            message: Message = decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RemoteProtocolError(f"a malformed {MessageType(kind).name}: {shown(str(error))[1:-1]}") from None
        return message
    raw = _RAW.get(kind)
    if raw is not None:
        if len(body) != _OPAQUE_SIZE:
            raise RemoteProtocolError(f"{MessageType(kind).name} has {len(body)} bytes instead of {_OPAQUE_SIZE}")
        return raw(body)
    if kind >= FIRST_OPTIONAL_TYPE:
        return None
    raise RemoteProtocolError(f"unknown message type {kind}")


# ---- packets: flags u8 | value tag u8 | payload

_DATA_FRAME = Packing(">IBBB")

#: Bytes of a DATA body in front of the payload.
DATA_HEADER_SIZE = 2


def encode_data(kind: int, flags: int, tag: int, payload: bytes) -> bytes:
    """Return the frame of a DATA or DATA_PART message.

    :param flags: a sum of :class:`Flag` bits.
    :param tag: a value tag of :mod:`netlayer.wire.payload`.
    """
    return _DATA_FRAME.pack(len(payload) + 1 + DATA_HEADER_SIZE, kind, flags, tag) + payload
