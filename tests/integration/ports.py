"""Ports for programs under test that must know their port before they start, or find it again after a restart."""

import socket

# Sockets that hold reserved ports; the kernel closes them when the process ends.
_reservations: list[socket.socket] = []


def has_ipv6() -> bool:
    """Returns whether this machine has the IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def reserve_port_of_both_families() -> int:
    """Returns a port that is reserved, as by reserve_port, for IPv4 and for IPv6. For machines that have IPv6."""
    while True:
        port = reserve_port()
        reservation = socket.socket(socket.AF_INET6)
        reservation.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            reservation.bind(("::", port))
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        return port


def reserve_port() -> int:
    """Returns a TCP port that no other program on this machine is given until this process ends.

    The port stays bound, without listening, so the kernel neither picks it for an outgoing connection nor returns it
    for another bind to port 0. A listener joins the reservation with SO_REUSEADDR or SO_REUSEPORT, which every server
    here sets. Until one listens, connects are refused.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # All addresses, because some tests listen on several addresses of 127.0.0.0/8.
    reservation.bind(("0.0.0.0", 0))
    _reservations.append(reservation)
    port: int = reservation.getsockname()[1]
    return port
