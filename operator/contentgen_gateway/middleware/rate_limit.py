"""Clients as rate limits count them."""

import ipaddress


def network_of(address: str) -> str:
    """The unit of rate limits: an IPv4 address, or the /64 of an IPv6 address, because one host may use all of it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)
