"""Where frames come from: sockets of emulators, switches, descriptors."""
