"""The DP8390 network interface controller, by its data sheet."""
