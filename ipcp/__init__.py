"""The IP Control Protocol (RFC 1332, RFC 1877) and the addresses it hands out."""
