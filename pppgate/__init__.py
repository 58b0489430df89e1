"""pppgate: the network for anything with a serial port, on hosts where nobody has root."""

__version__ = "0.1.0"
