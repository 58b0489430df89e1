"""open_link: from what the user writes to a Link. Each kind is imported when it is asked for."""

from serialport.port import Link, PortError

SCHEMES = ("pty", "tty", "serial", "tcp", "tcp-listen", "unix", "unix-listen", "stdio")
_PYSERIAL = ("rfc2217", "socket", "loop", "spy", "hwgrep", "alt", "cp2110")


def open_link(url: str, others: tuple[str, ...] = ()) -> Link:
    """The link that `url` names, not started yet. Raises PortError for one that is not understood, in a sentence that
    names the schemes of the caller's own, `others`, too.

    pty:[SYMLINK] tty:PATH serial:PATH[@BAUD] tcp:HOST:PORT tcp-listen:[HOST:]PORT unix:PATH
    unix-listen:PATH stdio: or a URL of pyserial. A bare path is taken for tty:PATH.
    """
    scheme, colon, rest = url.partition(":")
    if not colon:
        return _bare(url, others)
    if rest.startswith("//") and scheme in _PYSERIAL:
        from serialport.pyserial_port import PyserialLink

        return PyserialLink(url, url)
    match scheme:
        case "pty":
            from serialport.pty import PtyLink

            return PtyLink(url, rest)
        case "tty":
            from serialport.tty import TtyLink

            return TtyLink(url, rest)
        case "serial":
            return _serial(url, rest)
        case "tcp" | "unix":
            from serialport.sockets import ConnectLink

            return ConnectLink(url, scheme, rest)
        case "tcp-listen" | "unix-listen":
            from serialport.sockets import ListenLink

            return ListenLink(url, scheme, rest)
        case "stdio":
            from serialport.stdio import StdioLink

            return StdioLink(url)
    return _bare(url, others)


def _serial(url: str, rest: str) -> Link:
    path, at, speed = rest.rpartition("@")
    if not at:
        path, speed = rest, "115200"
    if not (speed.isascii() and speed.isdigit()) or not 0 < int(speed) < 100_000_000:
        raise PortError(f"{url}: the speed after @ is a number of baud, as in serial:/dev/ttyUSB0@115200.")
    if "://" in path:
        from serialport.pyserial_port import PyserialLink

        return PyserialLink(url, path, int(speed))
    from serialport.tty import TtyLink, knows_speed

    if knows_speed(int(speed)):
        return TtyLink(url, path, int(speed), "serial")
    from serialport.pyserial_port import PyserialLink

    return PyserialLink(url, path, int(speed))


def _bare(url: str, others: tuple[str, ...]) -> Link:
    if url.startswith("/dev/"):
        from serialport.tty import TtyLink

        return TtyLink(url, url)
    if url.startswith(("/", "./", "../", "~")):
        raise PortError(f"{url} alone is not a link: write pty:{url} to make it, or tty:{url} if it is there already.")
    known = ", ".join(f"{scheme}:" for scheme in SCHEMES + others)
    raise PortError(f"{url!r} is not a link: one begins with {known} or is a pyserial URL (rfc2217://...).")
