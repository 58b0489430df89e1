"""Who the peer is: PAP, CHAP and the secrets they are checked against."""
