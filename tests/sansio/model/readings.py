"""Naive readings of the rules: each looks right, and fails in some schedules.

A reading is given to the model by its name. The model with any of them must fail; without one it must not.
"""

from __future__ import annotations

__all__ = ["READINGS"]

#: What each naive reading says, by its name.
READINGS = {
    # resume
    "new-stream": "a stream gets a new id when the peer has forgotten it",
    "never-had-is-forgotten": "a peer that holds nothing of a stream has forgotten it, also if it never had a packet",
    "held-early": "a stream counts as held before a whole packet of it has come",
    "redelivery-waits": "packets for the next process wait without end, though none comes",
    "unbound": "a handler's receipt goes to the stream that is there when it finishes",
    # selection
    "losers-stay": "connections that were not selected stay open, and what they bring counts",
    "others-stay": "only the former link is closed at selection",
    "duplicate-quiets": "`duplicate` quiets a dialer that has no link, too",
    # window and queue
    "window-all": "packets that are to be sent again count against the window",
    "window-strict": "running handlers do not widen the window",
    "queue-fixed": "the queue of a peer may hold more than two of its windows",
    # farewell
    "goodbye-early": "the connection is closed before the other end has said GOODBYE",
    "goodbye-midway": "GOODBYE is said before what was begun is written whole",
    # packets that nobody needs
    "keep-needless": "packets that nobody needs any more are sent all the same",
    "keep-numbers": "packets that are left out keep their numbers",
    "skip-received": "packets that the peer has received are left out, too",
    "skip-midway": "a packet that nobody needs any more is dropped between two of its parts",
    "skip-plain": "packets that nobody waits for are left out like those that nobody needs",
    "free-window": "a packet that nobody needs is charged to the window no longer",
    "free-number": "a packet that nobody needs gives its number to the next one at once",
    "send-empty": "a packet that nobody needs is sent again without its payload",
    # packets that can't get through
    "break-never": "a packet is begun again, however often the path breaks inside it",
    "break-all": "every packet that is to be sent again counts a break",
    "break-progress": "a break counts though the link has brought other packets whole",
    "break-unasked": "a break counts when the link is lost, before the peer has told what it received",
    "break-other-boot": "a packet that an earlier process may have handled is said not to have been handled",
    "break-small": "packets of one frame count breaks, too",
    # packets that kill their handler's process
    "death-never": "a packet goes to process after process, however many have died with it",
    "death-two": "a packet is given up when two processes have died with it",
    "death-behind": "packets are begun behind a suspect that has no receipt",
    "death-link": "what was begun on an earlier link is not waited for",
    "death-waiting": "packets that wait to be sent again count a death",
    "death-any": "a suspect is given up though others were in flight with it",
    "death-strict": "a suspect is waited for until its receipt comes, however long",
    "death-clock": "the probation of a suspect ends by the clock, though the peer is silent",
    "death-lost-receipt": "a probation may end before lost receipts were repeated on the next link",
    "death-fixed": "a suspect is cleared after the first probation, and each lasts as long",
    "death-uncleared": "a suspect that has outlived its probations is never cleared",
    # room for large packets
    "room-leaks": "room is not given back when the connection is lost",
    "room-kept": "room is not given back when the packet is whole or withdrawn",
    "room-any-go": "a GO is good for whatever was announced last",
    "room-overtaken": "packets behind one that waits for GO are begun",
    "room-old-link": "an announcement outlives its connection",
    "room-smallest": "the smallest packet gets room first",
    "room-forgotten": "an announcement is not withdrawn when nobody needs the packet any more",
}
