"""The DP8390D's registers by name: the bits of each, as its data sheet has them (section 10).

Plain integers, because they are looked at for every register access of a guest.
"""

from typing import Final

# Command register (CR).
CR_STP: Final = 0x01  # stop: no packets in or out
CR_STA: Final = 0x02  # start
CR_TXP: Final = 0x04  # transmit packet; reads 0 again when it has been sent
CR_RD_SHIFT: Final = 3  # the remote DMA command, three bits
RD_READ: Final = 1
RD_WRITE: Final = 2
RD_SEND: Final = 3  # read one packet out of the ring, set up by the chip
RD_ABORT: Final = 4  # and all above it
CR_PAGE_SHIFT: Final = 6

# Interrupt status; the mask register has the same bits but the last.
ISR_PRX: Final = 0x01  # packet received
ISR_PTX: Final = 0x02  # packet transmitted
ISR_RXE: Final = 0x04  # received with an error, or missed
ISR_TXE: Final = 0x08  # transmission aborted
ISR_OVW: Final = 0x10  # the ring is full and a packet was lost
ISR_CNT: Final = 0x20  # a tally counter has its most significant bit set
ISR_RDC: Final = 0x40  # remote DMA complete
ISR_RST: Final = 0x80  # the chip is stopped; a status without an interrupt
IMR_ALL: Final = 0x7F

# Data configuration.
DCR_WTS: Final = 0x01  # remote DMA in words
DCR_BOS: Final = 0x02  # the high octet of a word comes first, as the 68000 has it
DCR_LAS: Final = 0x04
DCR_LS: Final = 0x08
DCR_ARM: Final = 0x10  # the send-packet command is carried out

# Transmit configuration.
TCR_CRC: Final = 0x01  # 1: the chip appends none
TCR_LOOP: Final = 0x06  # loopback mode, 1 to 3
TCR_LOOP_SHIFT: Final = 1

# Transmit status.
TSR_PTX: Final = 0x01
TSR_NDT: Final = 0x02
TSR_CRS: Final = 0x10
TSR_FU: Final = 0x20  # the memory did not deliver: aborted
TSR_CDH: Final = 0x40

# Receive configuration.
RCR_SEP: Final = 0x01  # save packets with errors
RCR_AR: Final = 0x02  # accept runts
RCR_AB: Final = 0x04  # accept broadcast
RCR_AM: Final = 0x08  # accept multicast by the hash
RCR_PRO: Final = 0x10  # accept every physical address
RCR_MON: Final = 0x20  # look at packets, keep none

# Receive status; also the first octet of each packet in the ring.
RSR_PRX: Final = 0x01
RSR_CRC: Final = 0x02
RSR_FAE: Final = 0x04
RSR_MPA: Final = 0x10  # missed
RSR_PHY: Final = 0x20  # a group address
RSR_DIS: Final = 0x40  # monitor mode
