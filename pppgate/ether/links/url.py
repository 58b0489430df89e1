"""open_ether: from what the user writes to a link that carries Ethernet frames.

In: a URL.  Out: a link, not started yet.  Each kind is imported when it is asked for.
"""

from pppgate.ether.links.port import EtherLink
from serialport.port import PortError

FORMS = (
    "ether:unix-listen:PATH",
    "ether:tcp-listen:[HOST:]PORT",
    "ether:dgram:LOCAL=REMOTE",
    "ether:bochs:PORT",
    "ether:vde:PATH",
    "ether:fd:N",
)


def open_ether(url: str) -> EtherLink:
    """The link that `url` names, one of FORMS, not started yet.  Raises PortError for one that is not understood."""
    _, _, rest = url.partition(":")
    kind, colon, where = rest.partition(":")
    if colon and not where:
        form = next((form for form in FORMS if form.startswith(f"ether:{kind}:")), None)
        if form is not None:
            raise PortError(f"{url} is not complete: write {form}.")
    match kind:
        case "unix-listen" | "tcp-listen" if colon:
            from pppgate.ether.links.stream import StreamListenLink

            return StreamListenLink(url, f"ether:{kind}", where)
        case "dgram" if colon:
            from pppgate.ether.links.dgram import open_dgram

            return open_dgram(url, where)
        case "bochs" if colon:
            from pppgate.ether.links.dgram import open_bochs

            return open_bochs(url, where)
        case "vde" if colon:
            from pppgate.ether.links.vde import VdeLink

            return VdeLink(url, where)
        case "fd" if colon:
            from pppgate.ether.links.fd import FdLink

            return FdLink(url, where)
    raise PortError(f"{url} is not understood: a link for Ethernet frames is one of {', '.join(FORMS)}.")
