"""This is where it is decided what whoever asks over the agent's socket may have.

The kernel says who that is. Its own user and root may everything. Whoever belongs to the group of the socket, which is
that of the state directory, may ask `GUESTS_MAY`: that changes nothing, and the answers name no picture of somebody
else's (of the status they are told `agent.excerpt.TOLD`; their questions watch no version and are not noted).
"""

from __future__ import annotations

import os
import socket
import struct

from edge_agent.errors import UserError

GUESTS_MAY = ("predict", "status", "versions")
"""What members of the group are answered."""

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid; ids have no sign
_SO_PEERGROUPS = 59  # asm-generic/socket.h; Python has no name for it
_MOST_BYTES = 1024  # as much as Python reads of an option: 256 groups


class Peer:
    """Who is at the other end of a connection to a socket that belongs to the group `group`."""

    def __init__(self, connection: socket.socket, group: int) -> None:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, own_group = _CREDENTIALS.unpack(raw)
        self.is_owner = user in (0, os.getuid())
        self.is_guest = not self.is_owner and (own_group == group or group in _groups(connection))

    def check(self, name: str = "") -> None:
        """Raise `UserError` when nothing is answered, or not the question `name`."""
        if not self.is_owner and not self.is_guest:
            raise UserError(
                "this agent answers only its own user, root, and members of the group of its socket"
            )
        if name and not self.is_owner and name not in GUESTS_MAY:
            raise UserError(
                f"{name} is for the agent's own user and for root, so say it with sudo; members of its group may ask"
                f" {', '.join(GUESTS_MAY)}"
            )


def _groups(connection: socket.socket) -> tuple[int, ...]:
    """The further groups of whoever is there; none where there are more than 256, or the kernel is too old to say."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)
