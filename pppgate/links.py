"""open_links: from what the user writes to links, of octets or of frames.  Each kind is imported when asked for."""

from dataclasses import dataclass, field

from pppgate.ether.links.port import EtherLink
from serialport.port import Link

SCHEMES = ("ether", "uart", "ne2k")
"""Beside those of serialport.url."""


@dataclass(slots=True)
class Links:
    """What the user named, by what its ports carry."""

    serial: list[Link] = field(default_factory=list)
    ether: list[EtherLink] = field(default_factory=list)

    @property
    def all(self) -> list[Link | EtherLink]:
        return [*self.serial, *self.ether]

    def remove(self, link: Link | EtherLink) -> None:
        """One that will never make another port."""
        self.serial = [each for each in self.serial if each is not link]
        self.ether = [each for each in self.ether if each is not link]


def open_links(urls: tuple[str, ...]) -> Links:
    """The links that `urls` name, not started yet.  Raises PortError for one that is not understood.

    ether:... carries Ethernet frames; uart:... and ne2k:... are chips of ours in an emulator; all else is a serial line
    (serialport.url).
    """
    links = Links()
    for url in urls:
        scheme = url.partition(":")[0]
        if scheme == "ether":
            from pppgate.ether.links.url import open_ether

            links.ether.append(open_ether(url))
        elif scheme == "ne2k":
            from pppgate.devices.links import open_ne2k

            links.ether.append(open_ne2k(url))
        elif scheme == "uart":
            from pppgate.devices.links import open_uart

            links.serial.append(open_uart(url))
        else:
            from serialport.url import open_link

            links.serial.append(open_link(url, SCHEMES))
    return links
