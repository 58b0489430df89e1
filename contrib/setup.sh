# Sourced by contrib/test and contrib/demo: a virtual environment in .venv and the Debian packages they want.
# In: $me (the script's name). It installs Debian packages as root or with passwordless sudo, and otherwise says
# by name what is missing. It runs no part of the project.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$*"; exit 1; }

# program or file=package
uml_packages="linux.uml=user-mode-linux pppd=ppp insmod=kmod curl=curl ping=iputils-ping"
bochs_packages="bochs-bin=bochs /usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so=bochs-term \
/usr/share/bochs/BIOS-bochs-latest=bochsbios /usr/share/vgabios/vgabios.bin=vgabios genisoimage=genisoimage \
/usr/lib/ISOLINUX/isolinux.bin=isolinux /usr/lib/syslinux/modules/bios/ldlinux.c32=syslinux-common"
test_packages="$uml_packages dig=dnsutils qemu-system-x86_64=qemu-system-x86 busybox=busybox-static iperf3=iperf3 \
setpriv=util-linux slirp-fullbolt=slirp $bochs_packages"

have_kernel() {
    local image
    for image in /boot/vmlinuz-*; do
        [ -r "$image" ] && [ -d "/lib/modules/${image#/boot/vmlinuz-}" ] && return 0
    done
    return 1
}

# The packages of a list whose programs are not there.
missing_packages() {
    local pair
    for pair in $1; do
        command -v "${pair%%=*}" >/dev/null || [ -e "${pair%%=*}" ] || [ -e "/usr/sbin/${pair%%=*}" ] || printf '%s ' "${pair#*=}"
    done
    case $1 in *qemu*) have_kernel || printf 'linux-image-amd64 ' ;; esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

apt_install() {
    local log status=0 package
    log=$(mktemp)
    say "installing $* (apt-get; this can take a few minutes)"
    as_root apt-get update -q >"$log" 2>&1 || say "apt-get update failed; trying with the lists there are"
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" >"$log" 2>&1; then
        status=1
        for package in "$@"; do         # one that does not exist here must not keep the others away
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$package" \
                >>"$log" 2>&1 || say "$package could not be installed: $(grep '^E:' "$log" | tail -1)"
        done
    fi
    rm -f "$log"
    return $status
}

# want_packages LIST WHAT: install what is missing of a list, or say that WHAT is done without it.
want_packages() {
    local missing
    missing=$(missing_packages "$1")
    [ -z "$missing" ] && return
    # shellcheck disable=SC2086
    if may_install; then apt_install $missing; missing=$(missing_packages "$1"); fi
    [ -z "$missing" ] || say "missing Debian packages: ${missing% }. $2 (as root: apt-get install ${missing% })"
}

find_python() {
    local python
    for python in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        command -v "$python" >/dev/null &&
            "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null &&
            { echo "$python"; return; }
    done
    return 1
}

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# A QEMU that takes our cards, for the tests that need one; the older ones do without.
want_newer_qemu() {
    "$root/contrib/newer-qemu" >/dev/null || say "the tests of cards over vfio-user are skipped"
}

# The environment, made anew when pyproject.toml has changed since. Sets $python.
make_venv() {
    local base stamp
    base=$(find_python) || {
        ! may_install || apt_install python3 python3-venv
        base=$(find_python) || die "python3 3.11 or later is needed; here is $(python3 --version 2>&1 || echo none)."
    }
    python=$root/.venv/bin/python
    stamp=$root/.venv/installed-for
    if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$root $(cksum <"$root/pyproject.toml")" ]; then return; fi
    if ! can_make_venv "$base"; then
        ! may_install || apt_install python3-venv
        can_make_venv "$base" || die "Debian package python3-venv is missing (as root: apt-get install python3-venv)."
    fi
    say "making the virtual environment .venv with $("$base" --version)"
    "$base" -m venv --clear "$root/.venv" || die "the virtual environment could not be made."
    say "installing pppgate and what its tests need into .venv (pip; about half a minute)"
    local pip=("$python" -m pip install --quiet --disable-pip-version-check -e)
    "${pip[@]}" "$root[fast,test]" || {
        say "the extra 'fast' (fastcrc) could not be installed; doing without it"
        "${pip[@]}" "$root[test]" || die "pip could not install the project; its reason stands above."
    }
    echo "$root $(cksum <"$root/pyproject.toml")" >"$stamp"
}
