"""PPP over a serial line, from octets to the open link (RFC 1661, RFC 1662): framing, LCP, authentication."""
