"""Every error says in one sentence what happened, and shows nothing of a peer as it came."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer import errors
from netlayer.errors import (
    SHOWN_TEXT,
    AlreadyStarted,
    ConfigurationError,
    DeliveryError,
    DeliveryTimeout,
    HandlerFailed,
    InvalidArgument,
    InvalidPeer,
    JoinRefused,
    LifeCycleError,
    LinkLost,
    ListenError,
    LocalProtocolError,
    NetlayerError,
    NodeStopped,
    NotStarted,
    PacketTooLarge,
    PeerIdentityMismatch,
    PeerLost,
    PeerUnreachable,
    ProtocolError,
    QueueFull,
    Rejected,
    RemoteProtocolError,
    UnknownPeer,
    UnsupportedData,
    described,
    shown,
)

SENTENCES: list[tuple[NetlayerError, str]] = [
    (ConfigurationError("a port is a number"), "a port is a number"),
    (ListenError("tcp:8000", "in use"), "cannot listen on tcp:8000: in use"),
    (
        JoinRefused("id-taken", "held by another key", "192.0.2.7:8000"),
        "the bootstrap node at 192.0.2.7:8000 refuses this node: id-taken ('held by another key')",
    ),
    (AlreadyStarted(), "this node was already started"),
    (NotStarted(), "this node was not started yet: call start_node() of a node, or start() of a service, first"),
    (NodeStopped(), "this node was shut down"),
    (InvalidPeer("x", "give an id"), "'x' is not a peer to send to: give an id"),
    (InvalidPeer((1, "h"), "give an id"), "(1, 'h') is not a peer to send to: give an id"),
    (InvalidArgument("timeout", -1, "it is above 0"), "timeout=-1 makes no sense: it is above 0"),
    (UnsupportedData("data['a']", "set is none of …"), "data['a'] can't be sent: set is none of …"),
    (PacketTooLarge(1025, 1024), "a packet of 1025 bytes is over the limit of 1024 bytes"),
    (
        PacketTooLarge(1025, 1024, structured=True),
        "a packet of 1025 bytes is over the limit of 1024 bytes for structured values; bytes and text may be larger",
    ),
    (UnknownPeer(7), "no address is known for peer 7"),
    (PeerUnreachable(7, 1, "refused"), "peer 7 can't be reached (1 attempt): refused"),
    (PeerUnreachable(7, 4, "refused"), "peer 7 can't be reached (4 attempts): refused"),
    (PeerUnreachable(None, 0, "no address"), "the peer can't be reached (0 attempts): no address"),
    (PeerIdentityMismatch("node 7", "node 8"), "expected node 7 there, but found node 8"),
    (PeerLost(7, "gone"), "peer 7 was lost (gone); the packet may or may not have been handled"),
    (PeerLost(None, "gone"), "the peer was lost (gone); the packet may or may not have been handled"),
    (
        DeliveryTimeout(7, 10.0, True),
        "no receipt for the packet to peer 7 within 10 s; it may still be handled",
    ),
    (
        DeliveryTimeout(None, 0.5, False),
        "no receipt for the packet to the peer within 0.5 s; it was not sent and has been withdrawn",
    ),
    (
        DeliveryTimeout(7, 0.0, True),
        "the packet to peer 7, which has let its last deadlines pass, was not waited for; it may still be handled",
    ),
    (QueueFull(7, 9000, 8192), "the send queue of peer 7 is full (9000 of 8192 bytes)"),
    (QueueFull(None, 9000, 8192), "the send queue of the peer is full (9000 of 8192 bytes)"),
    (HandlerFailed(7, "ValueError: no\nway"), r"the handler of peer 7 failed: 'ValueError: no\nway'"),
    (HandlerFailed(None, "x"), "the handler of the peer failed: 'x'"),
    (LocalProtocolError("not now"), "not now"),
    (RemoteProtocolError("a frame of 0 bytes"), "a frame of 0 bytes"),
    (Rejected("full", "64 links"), "rejected: full ('64 links')"),
    (Rejected("full", ""), "rejected: full"),
    (LinkLost("silent for 15 s"), "silent for 15 s"),
]

#: Classes that only others are made of.
ABSTRACT = {NetlayerError, LifeCycleError, DeliveryError, ProtocolError}


class SentencesTests(SynchronousTestCase):
    def test_sentences(self) -> None:
        """str() of an error is the sentence that people read."""
        for error, sentence in SENTENCES:
            self.assertEqual(str(error), sentence)

    def test_all_are_here(self) -> None:
        """No error is without a sentence that was looked at."""
        every = {getattr(errors, name) for name in errors.__all__}
        self.assertEqual({type(error) for error, _ in SENTENCES}, every - ABSTRACT)

    def test_peers_text(self) -> None:
        """What a peer has written can't put line breaks, control characters or a page of text into a log."""
        hostile = "x\n2026-01-01 - ERROR - \x1b[31m\u202e" + "y" * 100_000
        for error in (
            JoinRefused("banned", hostile, "192.0.2.7:8000"),
            HandlerFailed(7, hostile),
            Rejected("banned", hostile),
            InvalidArgument("timeout", hostile, "no"),
            InvalidPeer(hostile, "no"),
            InvalidPeer([hostile], "no"),
        ):
            self.assertTrue(str(error).isprintable(), repr(error)[:100])
            self.assertLess(len(str(error)), SHOWN_TEXT + 100)

    def test_fields(self) -> None:
        """Code reads fields, not sentences."""
        self.assertEqual(Rejected("full", "", 2.0).retry_after, 2.0)
        self.assertIsNone(Rejected("full", "").retry_after)
        lost = LinkLost("goodbye: shutdown", "shutdown", (3, 4))
        self.assertEqual((lost.goodbye, lost.unknown), ("shutdown", (3, 4)))
        self.assertEqual((LinkLost("cut").goodbye, LinkLost("cut").unknown), (None, ()))

    def test_errors_are_distinct(self) -> None:
        """Two errors are never equal, so that each can be a key, or be looked for in a list."""
        one, other = UnknownPeer(7), UnknownPeer(7)
        self.assertNotEqual(one, other)
        self.assertEqual(len({one, other}), 2)

    def test_builtin_kinds(self) -> None:
        """Code that does not know netlayer catches mistakes of the caller as what they are."""
        self.assertIsInstance(ConfigurationError("x"), ValueError)
        self.assertIsInstance(InvalidPeer(1, "x"), ValueError)
        self.assertIsInstance(UnsupportedData("data", "x"), TypeError)

    def test_stopped_is_both(self) -> None:
        """A send on a node that was shut down ends in a delivery error, a verb in a life cycle error."""
        self.assertIsInstance(NodeStopped(), DeliveryError)
        self.assertIsInstance(NodeStopped(), LifeCycleError)


class Evil:
    """Has no repr and no str."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class ShownTests(SynchronousTestCase):
    def test_escapes(self) -> None:
        """Only printable ASCII is shown."""
        self.assertEqual(shown("a\n\x1b\u202eä'"), '"a\\n\\x1b\\u202e\\xe4\'"')
        self.assertEqual(shown(b"a\xff"), r"b'a\xff'")
        self.assertEqual(shown(ValueError("a\nb")), r"'a\nb'")

    def test_cuts(self) -> None:
        """Two hundred characters are shown, what was escaped included, and a longer text ends in dots."""
        self.assertEqual(shown("x" * 198), "'" + "x" * 198 + "'")
        self.assertEqual(shown("x" * 199), "'" + "x" * 196 + "...")
        self.assertEqual(len(shown("\n" * 10_000)), SHOWN_TEXT)

    def test_described(self) -> None:
        """A value of the caller's is shown as its repr."""
        self.assertEqual(described(("a\n", 1)), r"('a\n', 1)")
        self.assertEqual(described("ä"), r"'\xe4'")
        self.assertEqual(len(described("x" * 1000)), SHOWN_TEXT)
        self.assertTrue(described("x" * 1000).endswith("x..."))

    def test_described_without_repr(self) -> None:
        """A value that can't be shown is named by its type: no error about an error."""
        self.assertEqual(described(Evil()), "<Evil>")
        self.assertEqual(described(10**5000), "<int>")
        self.assertEqual(str(InvalidPeer(Evil(), "no id")), "<Evil> is not a peer to send to: no id")
