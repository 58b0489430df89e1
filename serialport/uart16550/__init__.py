"""The 16550 UART and its kin: the chip, what is behind it, and a bridge to any port."""
