"""DHCP for the guests on a segment (RFC 2131)."""
