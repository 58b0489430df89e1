"""The chips as devices of an emulator: over vfio-user to one in another process, by calls to one in this process."""
