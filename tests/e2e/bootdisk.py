"""A CD to boot a Linux guest from, for emulators that cannot be handed a kernel, made so that a slow CPU boots it fast.

In:  a kernel, an initramfs and the kernel's command line; isolinux, syslinux-common and genisoimage.
Out: an ISO 9660 image ("El Torito", no emulation) with isolinux, which shows nothing and waits for nobody.

A bzImage unpacks itself, which is two thirds of a boot on an emulator that interprets. `unpacked` does it beforehand:
the same file with its real-mode part as it was and, as its protected-mode part, the kernel's image itself, led by the
few instructions that bring it to where it was linked to run, in the state that it is then entered in
(Documentation/arch/x86/boot.rst and arch/x86/kernel/head_{32,64}.S of Linux).
"""

from __future__ import annotations

import lzma
import shutil
import struct
import subprocess
from pathlib import Path

ISOLINUX = Path("/usr/lib/ISOLINUX/isolinux.bin")
LDLINUX = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
GENISOIMAGE = "genisoimage"
XZ = b"\xfd7zXZ\0"
PAGE = 4096
LOADED = 0x100000
"""Where a boot loader puts the protected-mode part, and enters it in 32-bit mode with boot_params in esi."""
TABLES = LOADED + PAGE
DESCRIPTORS = TABLES + 3 * PAGE
IMAGE = DESCRIPTORS + PAGE
"""Where the parts of our protected-mode part come to lie: a page of code, the page tables, the GDT, the kernel."""


def make(vmlinuz: Path, initramfs: Path, command_line: str, work: Path) -> Path:
    """Write WORK/boot.iso and return it; what is needed on the way is in WORK too."""
    tree = work / "iso"
    (tree / "isolinux").mkdir(parents=True)
    for file in (ISOLINUX, LDLINUX):
        shutil.copy(file, tree / "isolinux")
    (tree / "isolinux/isolinux.cfg").write_text(
        f"DEFAULT linux\nPROMPT 0\nLABEL linux\n KERNEL /vmlinuz\n APPEND initrd=/initrd {command_line}\n"
    )
    (tree / "vmlinuz").write_bytes(unpacked(vmlinuz.read_bytes()))
    (tree / "initrd").symlink_to(initramfs)
    image = work / "boot.iso"
    subprocess.run(
        [
            GENISOIMAGE,
            "-quiet",
            "-f",
            "-o",
            image,
            "-b",
            "isolinux/isolinux.bin",
            "-c",
            "isolinux/boot.cat",
            "-no-emul-boot",
            "-boot-load-size",
            "4",
            "-boot-info-table",
            tree,
        ],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(tree)
    return image


def unpacked(bzimage: bytes) -> bytes:
    """The same kernel with nothing to unpack; as it was if its payload is not xz's (boots slower)."""
    setup = bytearray(bzimage[: (bzimage[0x1F1] + 1) * 512])
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    payload = bzimage[len(setup) + offset :][:length]
    if not payload.startswith(XZ):
        return bzimage
    wide, base, kernel = image_of(lzma.LZMADecompressor().decompress(payload))
    parts = (
        b"".join(
            part.ljust(size, b"\0")
            for part, size in (
                (entry_code(wide, base, len(kernel)), PAGE),
                (page_tables(), 3 * PAGE),
                (descriptors(), PAGE),
            )
        )
        + kernel
    )
    struct.pack_into("<I", setup, 0x1F4, -(-len(parts) // 16))  # syssize
    return bytes(setup) + parts


def image_of(elf: bytes) -> tuple[bool, int, bytes]:
    """(64-bit, physical address, content) of a kernel in ELF; the content is padded to a multiple of 4.

    Zeros at its end are left out: that is .bss, which the kernel clears before it relies on it.
    """
    wide = elf[4] == 2
    first, count, size = (
        (*struct.unpack_from("<Q", elf, 32), *struct.unpack_from("<H", elf, 56), 56)
        if wide
        else (*struct.unpack_from("<I", elf, 28), *struct.unpack_from("<H", elf, 44), 32)
    )
    segments = []
    for at in range(first, first + count * size, size):
        (kind,) = struct.unpack_from("<I", elf, at)
        offset, address, length = (
            struct.unpack_from("<8xQ8xQQ", elf, at) if wide else struct.unpack_from("<4xI4xII", elf, at)
        )
        if kind == 1:  # PT_LOAD
            segments.append((address, elf[offset : offset + length]))
    base = min(address for address, _ in segments)
    image = bytearray(max(address + len(content) for address, content in segments) - base)
    for address, content in segments:
        image[address - base : address - base + len(content)] = content
    image = image.rstrip(b"\0")
    return wide, base, bytes(image) + bytes(-len(image) % 4)


def entry_code(wide: bool, base: int, size: int) -> bytes:
    """Move `size` octets from IMAGE to `base`, a higher address, and jump there; `wide` in 64-bit mode."""
    code = b"".join(
        (
            b"\xfa",  # cli
            b"\x89\xf5",  # mov ebp, esi
            b"\xfd",  # std: they overlap, so from the end
            b"\xbe",
            struct.pack("<I", IMAGE + size - 4),  # mov esi, the last word
            b"\xbf",
            struct.pack("<I", base + size - 4),  # mov edi, where it goes
            b"\xb9",
            struct.pack("<I", size // 4),  # mov ecx, the number of words
            b"\xf3\xa5",  # rep movsd
            b"\xfc",  # cld
            b"\x89\xee",  # mov esi, ebp
        )
    )
    if wide:
        code += b"".join(
            (
                b"\x0f\x01\x15",
                struct.pack("<I", DESCRIPTORS + 32),  # lgdt
                b"\xb8\x20\0\0\0",
                b"\x0f\x22\xe0",  # cr4: physical address extension
                b"\xb8",
                struct.pack("<I", TABLES),
                b"\x0f\x22\xd8",  # cr3
                b"\xb9\x80\0\0\xc0",
                b"\x0f\x32",  # rdmsr EFER
                b"\x0f\xba\xe8\x08",
                b"\x0f\x30",  # bts eax, 8 (long mode); wrmsr
                b"\xb8\x01\0\0\x80",
                b"\x0f\x22\xc0",  # cr0: paging, protected mode
            )
        )
    return code + b"\xea" + struct.pack("<IH", base, 0x10)  # jmp 0x10:base


def page_tables() -> bytes:
    """Three levels that map the first GB onto itself, in pages of 2 MB."""

    def table(*entries: int) -> bytes:
        return struct.pack("<512Q", *entries, *[0] * (512 - len(entries)))

    return (
        table(TABLES + PAGE | 0b11)
        + table(TABLES + 2 * PAGE | 0b11)
        + table(*(number << 21 | 0b1000_0011 for number in range(512)))
    )


def descriptors() -> bytes:
    """A GDT with the boot protocol's selectors (0x10 code, here 64-bit, 0x18 data), and at 32 what lgdt reads."""
    return struct.pack("<4Q", 0, 0, 0x00AF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF) + struct.pack("<HI", 31, DESCRIPTORS)
