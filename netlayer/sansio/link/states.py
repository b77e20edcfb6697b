"""The states of a connection, and what the other end may say in each of them."""

from __future__ import annotations

from enum import Enum

from netlayer.wire.messages import (
    Ack,
    Announce,
    Arriving,
    Done,
    Go,
    Goodbye,
    Hello,
    Links,
    Nack,
    Peers,
    Ping,
    Pong,
    Register,
    Registered,
    Reject,
    Select,
    Selected,
    Welcome,
)

__all__ = ["CARRIES", "LEGAL", "TAKES_DATA", "State"]


class State(Enum):
    """Where a connection stands; each state has its own legal messages."""

    SECURING = "securing"  # TLS is being set up
    AWAITING_HELLO = "awaiting HELLO"
    JUDGING = "judging"  # the node thinks about the other end's introduction
    AWAITING_WELCOME = "awaiting WELCOME"
    PROVEN = "proven"  # nobody has selected it yet
    SELECTING = "selecting"  # we are the arbiter and have said SELECT
    LINKED = "linked"
    LEAVING = "leaving"  # we have said GOODBYE
    LEFT = "left"  # the peer has said GOODBYE, and we finish a packet before we answer
    PARTING = "parting"  # both have said GOODBYE
    CLOSED = "closed"

    # Each member is there once. Enum's own hash is a Python function, which each look-up in a table would call.
    __hash__ = object.__hash__


_ALIVE = frozenset({Ping, Pong, Reject})
_COUNT = frozenset({Links})  # of a link, also when it ends: who does not know it skips it in any state
_RECEIPTS = frozenset({Ack, Done, Nack, Arriving, Go})
_NEWS = frozenset({Register, Registered, Peers})
_PACKETS = frozenset({Announce, Goodbye})  # besides DATA and DATA_PART

#: The messages that a peer may send in each state; DATA and DATA_PART stand in :data:`TAKES_DATA`.
LEGAL: dict[State, frozenset[type]] = {
    State.SECURING: frozenset(),
    State.AWAITING_HELLO: frozenset({Hello}),
    State.JUDGING: frozenset(),
    State.AWAITING_WELCOME: frozenset({Welcome, Reject}),
    State.PROVEN: _ALIVE | {Select},
    State.SELECTING: _ALIVE | {Selected},
    State.LINKED: _ALIVE | _COUNT | _RECEIPTS | _NEWS | _PACKETS,
    State.LEAVING: _ALIVE | _COUNT | _RECEIPTS | _NEWS | _PACKETS,
    State.LEFT: _ALIVE | _COUNT | _RECEIPTS,
    State.PARTING: _ALIVE | _COUNT | _RECEIPTS,
    State.CLOSED: frozenset(),
}

#: The states in which packets may arrive: on the link, until the peer's GOODBYE.
TAKES_DATA = frozenset({State.LINKED, State.LEAVING})

#: The states in which packets and receipts may be sent.
CARRIES = frozenset({State.LINKED, State.LEAVING, State.LEFT, State.PARTING})
